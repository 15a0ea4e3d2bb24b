//! What a good support engineer would look at, in order, stopping at nothing: each finding says what, why and what to do.
//!
//! The provider's own words are explained by one table (`config/explanations.toml`). Nothing is changed but what a
//! successful sign-in changes: the account is known to work again.

use super::{
    Error, Manner, OwnListeners, Refused, Service,
    account::by_address,
    check, folder, provider,
    trial::{self, Trial, Tried, With},
};
use crate::{
    failure::Failure,
    model::{Address, Certificates, quoted},
    oauth::{
        broker::{Broker, Holder},
        flow::Trouble,
    },
    provider::{Explanations, Said, Table},
    rules::namespace::Naming,
    store::{Account, ForWhom, GrantState, QueueState, Store},
    upstream::{self, Opened, Step, Stream},
    wire::smtp::{Reply, ReplyReader},
};
use serde::Serialize;
use std::{
    borrow::Cow,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

/// One reply of a provider that has just let us in.
pub(crate) const ASKED_WITHIN: Duration = Duration::from_secs(10);

/// Google takes no assertion that was signed more than some minutes away from its own time.
pub(crate) const CLOCK_DIFFERS: Duration = Duration::from_secs(120);

/// From this age on a copy that waits is late.
const LATE_MINUTES: i64 = 20;

/// How bad a finding is; the worst is what the command ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Ok,
    /// It works, and will not for long, or not as it should.
    Warning,
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// A short name that stays, for programs: `grant`, `imap-sign-in`.
    pub check: String,
    /// None: of the bridge itself.
    pub account: Option<Address>,
    pub severity: Severity,
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// The row of the table of explanations that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// When it is over by itself, in Unix seconds. None: not by itself, or nobody knows when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}

impl Finding {
    /// Something that is as it should be.
    #[must_use]
    pub fn good(check: &str, what: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            account: None,
            severity: Severity::Ok,
            what: what.into(),
            why: None,
            mend: None,
            explanation: None,
            until: None,
        }
    }

    /// Something that is not.
    #[must_use]
    pub fn bad(check: &str, severity: Severity, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { severity, mend: Some(mend.into()), ..Self::good(check, what) }
    }

    fn of(self, account: &Account) -> Self {
        Self { account: Some(account.address.clone()), ..self }
    }
}

/// What is looked at for one account, from the grant to the sign-ins.
///
/// # Errors
/// If there is no such account or the store fails.
pub async fn account(
    store: &Store,
    table: &Table,
    explanations: &Explanations,
    own: &OwnListeners,
    address: &Address,
    now: i64,
) -> Result<Vec<Finding>, Error> {
    let account = by_address(store, address).await?;
    let mut found = settings(&account);
    found.extend(sent_copies(store, &account, now).await?);
    found.extend(queued(store, &account, now).await?);
    let has_token = grant(store, &account, explanations, &mut found).await?;
    // Why a grant is gone was said of the grant.
    for refusal in store.refusals(account.id).await?.into_iter().filter(|refusal| refusal.service != "grant") {
        let on = match refusal.service.as_str() {
            "imap" => Said::Imap,
            "token" => Said::Token,
            _ => Said::Smtp,
        };
        let what = "a running bridge was refused, and asks the provider seldom until it is put right";
        let mend =
            format!("put right what is said below, then `passerelle account check {}`", quoted(address.as_str()));
        let finding = Finding::bad("refusals", Severity::Warning, what, mend);
        found.push(explained(finding, explanations, on, &refusal.words, &account));
    }
    if account.by_client_token {
        found.push(Finding::good("sign-in", check::CLIENT_TOKEN));
    } else if has_token {
        sign_ins(store, table, explanations, own, &account, &mut found).await?;
    } else {
        found.push(Finding::bad("sign-in", Severity::Warning, "the sign-ins were not tried", "mend the grant first"));
    }
    Ok(found.into_iter().map(|finding| finding.of(&account)).collect())
}

/// What is sent and does not stand in Sent yet. None: nothing waits.
async fn sent_copies(store: &Store, account: &Account, now: i64) -> Result<Option<Finding>, Error> {
    let (waiting, since) = store.unfiled_sent(account.id).await?;
    let Some(since) = since else { return Ok(None) };
    let minutes = (now - since).max(0) / 60;
    let what = format!("copies that do not stand in Sent yet: {waiting}, the oldest for {minutes} minutes");
    // One of an outcome that nobody knows waits a quarter of an hour for the CRM to try again.
    Ok(Some(if minutes < LATE_MINUTES {
        Finding::good("sent-copies", what)
    } else {
        let mend = "they are kept, and tried again once an hour at least: put right what is said of IMAP below";
        Finding::bad("sent-copies", Severity::Warning, what, mend)
    }))
}

/// What is queued: fresh, waiting for long, in doubt, or failed without a report in INBOX.
async fn queued(store: &Store, account: &Account, now: i64) -> Result<Vec<Finding>, Error> {
    const CHECK: &str = "queue";
    let all = store.all_queued(Some(account.id)).await?;
    let (mut found, address) = (Vec::new(), &account.address);
    let of = |state| all.iter().filter(move |queued| queued.state == state);
    let uncertain: Vec<_> = of(QueueState::Uncertain).map(|queued| queued.id.to_string()).collect();
    if !uncertain.is_empty() {
        let what = format!("nobody knows whether these messages were sent: {}", uncertain.join(", "));
        let mend = "ask their recipients, then `passerelle queue retry NUMBER` or `passerelle queue remove NUMBER`";
        found.push(Finding::bad(CHECK, Severity::Problem, what, mend));
    }
    let waiting: Vec<_> = of(QueueState::Waiting).collect();
    if let Some(oldest) = waiting.first() {
        let minutes = (now - oldest.began_at).max(0) / 60;
        let what = format!("messages that wait to be delivered: {}, the oldest for {minutes} minutes", waiting.len());
        found.push(if minutes < LATE_MINUTES {
            Finding::good(CHECK, what)
        } else {
            let mend =
                format!("`passerelle queue list {address}` says why; what is said of SMTP below may be the cause");
            let finding = Finding::bad(CHECK, Severity::Warning, what, mend);
            Finding { why: Some(oldest.words.clone()).filter(|words| !words.is_empty()), ..finding }
        });
    }
    let reporting = of(QueueState::Reporting).count();
    if reporting > 0 {
        let what = format!("messages that failed, and whose senders have no report yet: {reporting}");
        let mend = format!("`passerelle queue list {address}`; put right what is said of IMAP below");
        found.push(Finding::bad(CHECK, Severity::Warning, what, mend));
    }
    Ok(found)
}

fn settings(account: &Account) -> Vec<Finding> {
    let mut found = Vec::new();
    if account.certificates == Certificates::AcceptAny {
        let mend = format!("`passerelle account set {} --certificates verify`", in_a_command(account));
        let what = "any certificate is accepted, which lets whoever stands between read passwords and mail";
        found.push(Finding::bad("certificates", Severity::Warning, what, mend));
    }
    for (name, on) in [("receiving", account.settings.receives), ("sending", account.settings.sends)] {
        if !on {
            found.push(Finding::good(name, format!("{name} is switched off for this account")));
        }
    }
    found
}

/// Whether sign-ins can be tried.
async fn grant(
    store: &Store,
    account: &Account,
    explanations: &Explanations,
    found: &mut Vec<Finding>,
) -> Result<bool, Error> {
    let Some(grant) = store.grant_summary(account.id).await? else { return Ok(true) };
    let again = format!("its owner signs in again: `passerelle account sign-in {}`", in_a_command(account));
    if grant.state == GrantState::ConsentNeeded {
        let what = "the grant is gone: the provider has said so, and is not asked again";
        let said = store.refusals(account.id).await?.into_iter().find(|refusal| refusal.service == "grant");
        let words = said.map(|refusal| refusal.words).unwrap_or_default();
        let finding = Finding::bad("grant", Severity::Problem, what, again);
        found.push(explained(finding, explanations, Said::Token, &words, account));
        return Ok(false);
    }
    found.push(Finding::good("grant", format!("there is one, of the client {}", grant.client_id)));
    let exchange = upstream::exchange().map_err(|_| Error::NoHttp)?;
    let broker = Broker::new(store.clone(), exchange.clone(), Holder::Command);
    let asked = broker.token(account.id, account.generation).await;
    broker.settle().await;
    found.extend(exchange.ahead().map(|ahead| clock(ahead, &grant.token_endpoint)));
    let failure = match asked {
        Ok(_) => {
            found.push(Finding::good("token", format!("an access token came from {}", grant.token_endpoint)));
            found.extend(scopes(&broker.lacks(account.id), grant.for_whom, &again));
            return Ok(true);
        }
        Err(failure) => failure,
    };
    let mend = match failure {
        Failure::ConsentNeeded(_) => again,
        _ => format!("check that {} can be reached from this machine, and the registered client", grant.token_endpoint),
    };
    let trouble = broker.trouble(account.id);
    let words = match &trouble {
        Some(Trouble::Client(reason) | Trouble::Consent(reason)) => reason.to_string(),
        _ => String::new(),
    };
    let what = trouble.map_or_else(|| failure.to_string(), |trouble| trouble.to_string());
    let finding = Finding::bad("token", Severity::Problem, what, mend);
    found.push(explained(finding, explanations, Said::Token, &words, account));
    Ok(false)
}

/// What a provider refuses for a right that was not granted, it refuses in words that say nothing of that.
fn scopes(lacks: &[String], for_whom: ForWhom, again: &str) -> Option<Finding> {
    if lacks.is_empty() {
        return None;
    }
    let what = format!("the access token is for less than was asked for; missing: {}", lacks.join(", "));
    let mend = match for_whom {
        ForWhom::Consenting => format!("{again}, and leaves every permission ticked"),
        ForWhom::Tenant | ForWhom::Domain => {
            "whoever administers the provider's side gives the registered client these permissions".to_owned()
        }
    };
    Some(Finding::bad("scopes", Severity::Warning, what, mend))
}

/// Providers refuse what is signed with a time that is not theirs, and certificates that seem not to be valid.
fn clock(ahead: i64, endpoint: &str) -> Finding {
    let seconds = ahead.unsigned_abs();
    if seconds <= CLOCK_DIFFERS.as_secs() {
        return Finding::good("clock", format!("within {} s of that of {endpoint}", seconds.max(1)));
    }
    let way = if ahead > 0 { "behind" } else { "ahead of" };
    let what = format!("the clock of this machine is {way} that of {endpoint}, by seconds: {seconds}");
    Finding::bad("clock", Severity::Warning, what, "let this machine keep its time by NTP: `timedatectl set-ntp true`")
}

async fn sign_ins(
    store: &Store,
    table: &Table,
    explanations: &Explanations,
    own: &OwnListeners,
    account: &Account,
    found: &mut Vec<Finding>,
) -> Result<(), Error> {
    let steps = Mutex::new(Vec::new());
    let report = |service: Service, step: Step| {
        steps.lock().unwrap_or_else(PoisonError::into_inner).push(step_of(service, &step));
    };
    let of = |service, endpoint| {
        let trial = Trial { service, endpoint, certificates: &account.certificates, with: With::Stored(account) };
        trial::is_on(&account.settings, service).then_some(trial)
    };
    let manner = Manner { own, report: &report };
    let (imap, smtp) = (of(Service::Imap, &account.imap), of(Service::Smtp, &account.smtp));
    let Tried { imap, smtp } = trial::both(store, imap, smtp, manner).await?;
    // Of both at once: each service's own steps stand together.
    let mut steps = steps.into_inner().unwrap_or_else(PoisonError::into_inner);
    steps.sort_by(|one, other| one.check.split('-').next().cmp(&other.check.split('-').next()));
    found.append(&mut steps);
    for (name, tried) in [("imap", imap), ("smtp", smtp)] {
        match tried {
            None => {}
            Some(Ok(opened)) if name == "imap" => {
                let choices = store.choices(account.id).await?;
                let rows = folder::rows(account.id, &folder::table(opened), &choices, &Naming::default());
                let roles = rows.iter().filter_map(|row| {
                    row.role.map(|_| format!("{} = {}", row.local.as_deref().unwrap_or_default(), row.remote))
                });
                let roles: Vec<_> = roles.collect();
                found.push(if roles.is_empty() {
                    let mend =
                        format!("`passerelle folder map {} Sent FOLDER` says which it is", in_a_command(account));
                    Finding::bad("folder-roles", Severity::Warning, "no special folder was found", mend)
                } else {
                    Finding::good("folder-roles", roles.join(", "))
                });
            }
            Some(Ok(opened)) => found.push(sending_rights(opened, explanations, account).await),
            Some(Err(refused)) => found.push(refusal(name, refused, table, explanations, account)),
        }
    }
    Ok(())
}

/// Whether the provider lets the account send as it would: asked with MAIL FROM, and nothing is sent.
async fn sending_rights(mut opened: Opened, explanations: &Explanations, account: &Account) -> Finding {
    const CHECK: &str = "sending-rights";
    let sender = account.settings.sender.as_ref().unwrap_or(&account.address);
    let asked = timeout(ASKED_WITHIN, mail_from(&mut opened.stream, sender)).await;
    let reply = match asked {
        Ok(Some(reply)) => reply,
        Ok(None) | Err(_) => {
            let what = "the provider did not say whether the account may send";
            return Finding::bad(CHECK, Severity::Warning, what, "try again later");
        }
    };
    if reply.class() == 2 {
        return Finding::good(CHECK, format!("may send as {sender}"));
    }
    let words = reply.words();
    let what = format!("the provider does not let it send as {sender}: {words}");
    let mend = format!(
        "send as an address that is the account's: `passerelle account set {} --sender OWN`",
        in_a_command(account)
    );
    explained(Finding::bad(CHECK, Severity::Problem, what, mend), explanations, Said::Smtp, &words, account)
}

async fn mail_from(stream: &mut Stream, sender: &Address) -> Option<Reply> {
    stream.write_all(format!("MAIL FROM:<{sender}>\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    let (mut reader, mut buffer) = (ReplyReader::default(), [0; 1024]);
    loop {
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        let mut input = buffer.get(..read)?;
        if let Some(reply) = reader.read(&mut input).ok()? {
            // Ends what was begun; whatever it answers, the connection closes.
            let _ = stream.write_all(b"RSET\r\nQUIT\r\n").await;
            return Some(reply);
        }
    }
}

fn step_of(service: Service, step: &Step) -> Finding {
    let name = |what: &str| format!("{service}-{what}");
    match step {
        Step::Resolved(addresses) => {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            Finding::good(&name("dns"), addresses.join(", "))
        }
        Step::Connected(address) => Finding::good(&name("tcp"), format!("connected to {address}")),
        Step::TlsEstablished { version, verified: true } => {
            Finding::good(&name("tls"), format!("{version}, certificate verified"))
        }
        Step::TlsEstablished { version, verified: false } => {
            Finding::good(&name("tls"), format!("{version}, certificate NOT verified"))
        }
        Step::Greeted => Finding::good(&name("greeting"), "greeted"),
        Step::SignedIn => Finding::good(&name("sign-in"), "signed in"),
        Step::FoldersRead(count) => Finding::good(&name("folders"), format!("{count} folders")),
    }
}

fn refusal(
    service: &str,
    mut refused: Refused,
    table: &Table,
    explanations: &Explanations,
    account: &Account,
) -> Finding {
    refused.advice = provider::advice(table, &account.settings.provider);
    refused.account = Some(account.address.clone());
    let words = refused.words.clone().unwrap_or_default();
    let mend = refused.hint().unwrap_or_else(|| "the log of `passerelle serve` may say more".to_owned());
    let finding = Finding::bad(&format!("{service}-sign-in"), Severity::Problem, refused.to_string(), mend);
    let on = if service == "imap" { Said::Imap } else { Said::Smtp };
    explained(finding, explanations, on, &words, account)
}

/// The account in a line for a shell.
fn in_a_command(account: &Account) -> Cow<'_, str> {
    quoted(account.address.as_str())
}

/// What the table knows of these words takes the place of what we would say.
#[must_use]
pub fn explained(finding: Finding, explanations: &Explanations, on: Said, words: &str, account: &Account) -> Finding {
    let Some(row) = explanations.of(on, words) else { return finding };
    Finding {
        what: row.what.clone(),
        why: Some(format!("{}; the provider said: {words}", row.why)),
        mend: Some(row.mend_for(&in_a_command(account))),
        explanation: Some(row.id.clone()),
        ..finding
    }
}
