//! What a running bridge does not ask a provider for a while: what, why, until when, and what to do. Nothing is asked here.

use super::{Error, words};
use passerelle::{
    app::usage::Usage,
    control::doctor::{self, Finding, Severity},
    model::quoted,
    provider::{Explanations, Said},
    store::{Account, Store},
    upstream::{BackOff, Cause},
};

const CHECK: &str = "back-off";

/// Those of one account that are in force.
pub(super) async fn of(
    store: &Store,
    used: &Usage,
    account: &Account,
    explanations: &Explanations,
    now: i64,
) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    let (refusals, logins) = (store.refusals(account.id).await?, store.logins().await?);
    for back_off in used.back_offs.iter().filter(|back_off| back_off.account == account.id.0) {
        // `account check` was let in since: the bridge sees that when it is asked next, and tries at once.
        let is_mended =
            back_off.cause == Cause::Refused && refusals.iter().all(|kept| kept.service != back_off.service);
        if is_mended {
            continue;
        }
        let login = logins.iter().find(|login| Some(login.id.0) == back_off.login).map(|login| login.name.as_str());
        found.push(finding(back_off, login, account, explanations, now));
    }
    Ok(found)
}

/// That there are more than a bridge tells of.
pub(super) fn left_out(used: &Usage) -> Option<Finding> {
    let what =
        format!("back-offs that the bridge does not tell of, as there are too many: {}", used.back_offs_left_out);
    let mend = "look at those that it tells of first: so many at once have one cause";
    (used.back_offs_left_out > 0).then(|| Finding::bad(CHECK, Severity::Warning, what, mend))
}

fn finding(
    back_off: &BackOff,
    login: Option<&str>,
    account: &Account,
    explanations: &Explanations,
    now: i64,
) -> Finding {
    let address = quoted(account.address.as_str());
    let (on, where_to) = match back_off.service.as_str() {
        "imap" => (Said::Imap, "a sign-in to IMAP"),
        "smtp" => (Said::Smtp, "a sign-in to SMTP"),
        _ => (Said::Token, "the request of an access token"),
    };
    let (what, mend) = match back_off.cause {
        Cause::Refused => (
            "the provider refuses the credentials".to_owned(),
            format!(
                "put right what is refused, then `passerelle account check {address}`: the bridge tries again at once"
            ),
        ),
        Cause::SentAway => (
            "the provider is busy, or asks for a pause".to_owned(),
            "nothing: the bridge tries again by itself; if it comes again, find the program that asks so much"
                .to_owned(),
        ),
        Cause::ClientTokens => (
            format!(
                "too many wrong tokens were shown{}; one that was let in lately is not held up",
                login.map(|login| format!(" by the login {login}")).unwrap_or_default()
            ),
            "give the CRM an access token that the provider takes: it is shown when the pause is over".to_owned(),
        ),
        Cause::NoToken => (
            "the token endpoint does not give one now".to_owned(),
            "nothing, where the provider has trouble: the bridge asks again by itself; else mend \
             what is said of the token above"
                .to_owned(),
        ),
        Cause::ClientRefused => (
            "the token endpoint refuses the registered client".to_owned(),
            "`passerelle provider register PROVIDER` says what it needs there, and takes a new id and secret"
                .to_owned(),
        ),
        Cause::Ourselves => (
            "the bridge could not read or keep what it must".to_owned(),
            "the log of `passerelle serve` says what; look at the disk and at the state directory".to_owned(),
        ),
    };
    let why = Some(back_off.words.clone()).filter(|words| !words.is_empty());
    let finding = Finding { why, ..Finding::bad(CHECK, Severity::Warning, what, mend) };
    let finding = doctor::explained(finding, explanations, on, &back_off.words, account);
    let until = now.saturating_add(i64::try_from(back_off.seconds).unwrap_or(i64::MAX));
    let what = format!("{where_to} waits until {}: {}", words::moment(until), finding.what);
    Finding { what, until: Some(until), account: Some(account.address.clone()), ..finding }
}
