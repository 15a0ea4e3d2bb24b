//! `passerelle account swap`: shows what becomes of the folders, asks, and switches.

use super::{grant, password, progress};
use crate::cli::{Error, Place, arguments::AccountSwap, say, words};
use passerelle::{
    control::{
        self, Manner, Service, registration,
        settings::User,
        swap::{self, Draft, Folders, Moved, Prepared, Switched},
    },
    model::{Certificates, SmtpAuth, quoted},
    store::{Credential, Store, unix_now},
};
use serde::Serialize;
use std::{
    fmt::Write as _,
    io::{BufRead as _, IsTerminal as _},
};

pub(super) async fn run(arguments: AccountSwap, place: &Place) -> Result<(), Error> {
    let (yes, days) = (arguments.yes, arguments.back_days);
    let Ready { store, prepared } = prepare(arguments, place).await?;
    let shown = words_of_plan(&prepared);
    if !place.json {
        say(&shown);
    }
    if !yes && !is_confirmed(place.json)? {
        return Err(if prepared.spent { Error::UnconfirmedSpent } else { Error::Unconfirmed });
    }
    let folders = prepared.folders.clone();
    let switched = swap::switch(&store, prepared, days, unix_now()).await?;
    let words = words_of(&switched);
    place.answer(&SwapJson { switched: &switched, folders: &folders }, &words)
}

#[derive(Serialize)]
struct SwapJson<'a> {
    #[serde(flatten)]
    switched: &'a Switched,
    folders: &'a Folders,
}

/// A swap that would work, and where it is made.
struct Ready {
    store: Store,
    prepared: Prepared,
}

async fn prepare(arguments: AccountSwap, place: &Place) -> Result<Ready, Error> {
    let manner = Manner { own: &place.own_listeners()?, report: &progress(place.json) };
    let store = place.store().await?;
    let at = &arguments.at;
    // Nobody is asked for the password of an account that there is not.
    let account = control::account::by_address(&store, &arguments.address.0).await?;
    let naming = control::crm::naming(&store, &place.profiles()?, &account, None).await?;
    if arguments.back {
        let prepared = swap::prepare_back(&store, account, &naming, manner, unix_now()).await?;
        return Ok(Ready { store, prepared });
    }
    let table = place.providers()?;
    let (imap, smtp) = (at.imap(), at.smtp());
    let address = arguments.new_address.as_ref().unwrap_or(&arguments.address).0.clone();
    let asks = !arguments.password_stdin && !arguments.grant.is_given();
    let registered = if asks { grant::registered(&store, &address, at.provider.as_deref()).await? } else { None };
    let provider = match &registered {
        Some(registration) => registration::provider_of(&table, registration)?,
        None => control::provider::of_account(&table, at.provider.as_deref(), &address, [&imap, &smtp])?,
    };
    // No delegate moves along: whoever opens the mailbox at its new provider is its own.
    let grant = grant::of(&arguments.grant, Some(provider), &address, place, Some(&store), Some(&SmtpAuth::Same));
    let grant = grant.await?.map(Credential::Grant);
    let given = grant.or(registered.as_ref().and_then(registration::credential));
    // Whoever names another host knows better than the table.
    if imap.host.is_none() && given.is_none() {
        control::provider::takes_passwords(provider)?;
    }
    let (user_format, sign_in_name) = at.user().unwrap_or(User::Format(provider.sign_in.user)).of(&address);
    let imap = control::provider::endpoint(provider, Service::Imap, &imap)?;
    let smtp = control::provider::endpoint(provider, Service::Smtp, &smtp)?;
    let draft = Draft {
        imap,
        smtp,
        provider: provider.name.clone(),
        certificates: at.certificates.clone().unwrap_or(Certificates::Verify),
        user_format,
        sign_in_name,
        credential: match given {
            Some(given) => given,
            None => Credential::Password(password::of_mailbox(&address, arguments.password_stdin)?),
        },
        advice: provider.sign_in.advice.clone(),
        address: arguments.new_address.as_ref().map(|address| address.0.clone()),
    };
    let prepared = swap::prepare(&store, account, draft, &naming, manner).await?;
    Ok(Ready { store, prepared })
}

fn words_of_plan(prepared: &Prepared) -> String {
    let Folders { known, fresh, complete, asked } = &prepared.folders;
    let account = prepared.account();
    let mut text = format!("\n{} goes\n", account.address);
    let [imap, smtp] = prepared.services();
    words::field(&mut text, "from IMAP", &account.imap);
    words::field(&mut text, "to IMAP", imap);
    words::field(&mut text, "from SMTP", &account.smtp);
    words::field(&mut text, "to SMTP", smtp);
    text.push('\n');
    if !asked {
        text.push_str(
            "warning: nobody has signed in where it goes back to, which the CRM's own access token opens; folders are what \
             they were there\n",
        );
        return text + STAYS;
    }
    let row = |moved: &Moved| {
        let none = if moved.role.is_some() { "(none yet, made when it is used)" } else { "(none)" };
        [moved.local.clone(), moved.remote.clone().unwrap_or_else(|| none.to_owned())]
    };
    let rows: Vec<_> = known.iter().map(row).collect();
    text.push_str(&words::columns(["IN THE CRM", "AT THE NEW PROVIDER"], &rows));
    let missing = known.iter().filter(|moved| moved.remote.is_none() && moved.role.is_none()).count();
    if missing > 0 {
        let _ = writeln!(text, "warning: folders without a counterpart, which the CRM will not find: {missing}");
    }
    if prepared.spent {
        text.push_str(
            "warning: the refresh token that was given is spent; what came in its place is kept by the switch alone\n",
        );
    }
    if !complete {
        let why = if account.by_client_token {
            "nobody can sign in to the old mailbox without the CRM's own access token"
        } else {
            "the old provider does not answer"
        };
        let _ = writeln!(text, "warning: {why}; only folders that a CRM has opened are known");
    }
    if !fresh.is_empty() {
        let names: Vec<_> = fresh.iter().map(|moved| moved.local.as_str()).collect();
        let _ = writeln!(text, "\nNew for the CRM: {}", names.join(", "));
    }
    text + STAYS
}

const STAYS: &str = "\nMail is not copied. CRMs keep login, password, ports and folder names, and fetch mail anew.\n";

/// Asks, where somebody is there to answer.
fn is_confirmed(json: bool) -> Result<bool, Error> {
    let mut input = std::io::stdin().lock();
    if json || !input.is_terminal() {
        return Ok(false);
    }
    say("Switch now? [y/N] ");
    let mut line = String::new();
    input.read_line(&mut line).map_err(Error::Answer)?;
    Ok(["y", "yes"].contains(&line.trim().to_lowercase().as_str()))
}

fn words_of(switched: &Switched) -> String {
    let mut text = format!("\n{} is switched to {}.\n", switched.address, switched.imap);
    for warning in &switched.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    let _ = writeln!(
        text,
        "Until {} it can go back: passerelle account swap {} --back",
        words::day(switched.back_until),
        quoted(switched.address.as_str())
    );
    text
}
