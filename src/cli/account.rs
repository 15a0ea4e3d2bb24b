//! `passerelle account`: adds, shows, changes, checks and removes mailboxes at providers.

mod add;
mod check;
mod device;
mod grant;
mod password;
mod set;
mod sign_in;
mod swap;

use super::{Error, Place, arguments::Account, words};
use passerelle::{
    control::{
        Service,
        account::{self, Shown},
    },
    model::{Address, FromPolicy, SentCopy, SmtpAuth, Submission, UnreadScope},
    profile::GENERIC,
    store::{ForWhom, StandingRefusal, unix_now},
    telemetry::visible,
    upstream::Step,
};
use serde_json::json;
use std::fmt::Write as _;

pub(super) async fn run(command: Account, place: &Place) -> Result<(), Error> {
    match command {
        Account::Add(add) => self::add::run(place, *add).await,
        Account::Check { address } => check::run(place, &address.0).await,
        Account::Swap(swap) => self::swap::run(*swap, place).await,
        Account::List => list(place).await,
        Account::Set(set) => self::set::run(place, *set).await,
        Account::SignIn(sign_in) if sign_in.device => {
            let person = sign_in.person.as_ref().map(|person| &person.0);
            self::set::sign_in(place, sign_in.address(), person).await
        }
        Account::SignIn(sign_in) => self::sign_in::run(place, *sign_in).await,
        Account::Show { address } => show(place, &address.0).await,
        Account::Remove { address } => remove(place, &address.0).await,
    }
}

/// Says each step of a sign-in as it happens, unless a program listens.
pub(super) fn progress(quiet: bool) -> impl Fn(Service, Step) + Sync {
    move |service, step| {
        if !quiet {
            super::say(&format!("{service:<6}{}\n", words_of(&step)));
        }
    }
}

/// One step that worked.
fn words_of(step: &Step) -> String {
    match step {
        Step::Resolved(addresses) => {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            format!("name           {}", addresses.join(", "))
        }
        Step::Connected(address) => format!("connected      {address}"),
        Step::TlsEstablished { version, verified: true } => format!("encrypted      {version}, certificate verified"),
        Step::TlsEstablished { version, verified: false } => {
            format!("encrypted      {version}, certificate NOT verified")
        }
        Step::Greeted => "greeted".to_owned(),
        Step::SignedIn => "signed in".to_owned(),
        Step::FoldersRead(count) => format!("folders        {count}"),
    }
}

fn warn(text: &mut String, warnings: &[&str]) {
    for warning in warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
}

async fn list(place: &Place) -> Result<(), Error> {
    let store = place.store().await?;
    let accounts = account::list(&store).await?;
    let row = |account: &Shown| {
        let checked = account.checked_at.map_or_else(|| "never".to_owned(), words::day);
        [
            account.address.to_string(),
            account.owner.clone(),
            account.imap.to_string(),
            account.smtp.to_string(),
            checked,
        ]
    };
    let rows: Vec<_> = accounts.iter().map(row).collect();
    let mut text = if rows.is_empty() {
        "no account yet; add one with `passerelle account add`\n".to_owned()
    } else {
        words::columns(["ADDRESS", "OWNER", "IMAP", "SMTP", "CHECKED"], &rows)
    };
    for account in &accounts {
        for refusal in &account.refused {
            let _ = writeln!(text, "refused: {}: {}", account.address, visible(&words_of_refusal(refusal)));
        }
        for warning in &account.warnings {
            let _ = writeln!(text, "warning: {}: {warning}", account.address);
        }
    }
    place.answer(&accounts, &text)
}

async fn show(place: &Place, address: &Address) -> Result<(), Error> {
    let store = place.store().await?;
    let account = account::show(&store, address).await?;
    place.answer(&account, &words_of_shown(&account))
}

fn words_of_shown(account: &Shown) -> String {
    let mut text = format!("{}\n", account.address);
    words::field(&mut text, "owner", &account.owner);
    words::field(&mut text, "provider", &account.provider);
    words::field(&mut text, "IMAP", &account.imap);
    words::field(&mut text, "SMTP", &account.smtp);
    words::field(&mut text, "certificates", &account.certificates);
    words::field(&mut text, "user name", &account.user);
    if account.crm_token {
        words::field(&mut text, "access tokens", "the CRM's own, shown at each login and not kept");
    }
    if let Some(grant) = &account.grant {
        let state = if grant.state == "good" { "" } else { " (its owner must consent again)" };
        words::field(&mut text, "access tokens", format_args!("from {}{state}", grant.token_endpoint));
        let right = match grant.for_whom {
            ForWhom::Consenting => "",
            ForWhom::Tenant => ", for all mailboxes of the tenant",
            ForWhom::Domain => ", for all users of the domain",
        };
        words::field(&mut text, "client", format_args!("{}{right}", grant.client_id));
    }
    match &account.smtp_auth {
        SmtpAuth::Same => {}
        SmtpAuth::None => words::field(&mut text, "SMTP sign-in", "none"),
        SmtpAuth::Delegate(user) => {
            words::field(&mut text, "SMTP sign-in", format_args!("as {user}, the delegate of this mailbox"));
        }
        SmtpAuth::Separate(user) => words::field(&mut text, "SMTP sign-in", format_args!("as {user}")),
    }
    if !account.display_name.is_empty() {
        words::field(&mut text, "display name", &account.display_name);
    }
    words::field(&mut text, "sends as", &account.sender);
    let others = [&account.address].into_iter().chain(&account.aliases).filter(|other| **other != account.sender);
    for other in others {
        words::field(&mut text, "  or", other);
    }
    if account.from != FromPolicy::default() {
        words::field(&mut text, "From of mail", account.from);
    }
    if account.sent_copy != SentCopy::default() {
        words::field(&mut text, "copy in Sent", account.sent_copy);
    }
    if account.submission != Submission::default() {
        let words = format!("{}; of unknown outcome: {}", account.submission, account.uncertain);
        words::field(&mut text, "submission", words);
    }
    for (name, on) in [("receiving", account.receives), ("sending", account.sends)] {
        if !on {
            words::field(&mut text, name, "switched off");
        }
    }
    if account.unread != UnreadScope::All {
        words::field(&mut text, "unread of", account.unread);
    }
    words::field(&mut text, "added", words::day(account.created_at));
    words::field(&mut text, "checked", account.checked_at.map_or_else(|| "never".to_owned(), words::day));
    for refusal in &account.refused {
        words::field(&mut text, "refused", words_of_refusal(refusal));
    }
    for login in account.logins.iter().filter(|login| login.revoked_at.is_none()) {
        let crm = if login.crm == GENERIC { String::new() } else { format!("   for {}", login.crm) };
        words::field(&mut text, "login", format_args!("{}{crm}", login.name));
    }
    warn(&mut text, &account.warnings);
    text
}

/// Since when, and in whose words.
fn words_of_refusal(refusal: &StandingRefusal) -> String {
    let since = words::day(refusal.since);
    if refusal.service == "token" {
        return format!("access tokens since {since}; the provider refuses the registered client: {}", refusal.words);
    }
    if refusal.service == "grant" {
        return format!("the grant since {since}; the provider says: {}", refusal.words);
    }
    let service = refusal.service.to_uppercase();
    format!("{service} since {since}; the provider says: {}", refusal.words)
}

async fn remove(place: &Place, address: &Address) -> Result<(), Error> {
    let store = place.store().await?;
    account::remove(&store, address, unix_now()).await?;
    let words = format!("the account, its password and its logins are removed: {address}\n");
    place.answer(&json!({ "removed": address }), &words)
}
