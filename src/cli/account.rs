//! `passerelle account`: adds, shows, changes, checks and removes mailboxes at providers.

mod check;
mod grant;
mod password;
mod set;
mod swap;

use super::{
    Error, Place,
    arguments::{Account, AccountAdd},
    words::{self, Card},
};
use passerelle::{
    control::{
        self, Service,
        account::{self, Added, Draft, Shown},
        crm,
        folder::FolderRow,
        settings::User,
    },
    model::{Address, Certificates, SmtpAuth, UnreadScope},
    store::{Credential, Settings, unix_now},
    upstream::Step,
};
use serde::Serialize;
use serde_json::json;
use std::fmt::Write as _;

pub(super) async fn run(command: Account, place: &Place) -> Result<(), Error> {
    match command {
        Account::Add(add) => self::add(place, *add).await,
        Account::Check { address } => check::run(place, &address.0).await,
        Account::Swap(swap) => self::swap::run(*swap, place).await,
        Account::List => list(place).await,
        Account::Set(set) => self::set::run(place, *set).await,
        Account::Show { address } => show(place, &address.0).await,
        Account::Remove { address } => remove(place, &address.0).await,
    }
}

async fn add(place: &Place, arguments: AccountAdd) -> Result<(), Error> {
    let (config, table) = (place.config()?, place.providers()?);
    let (address, settings) = (arguments.address.0, arguments.settings);
    let (imap, smtp) = (settings.at.imap(), settings.at.smtp());
    let provider = control::provider::of_account(&table, settings.at.provider.as_deref(), &address, [&imap, &smtp])?;
    let grant = grant::read(&arguments.grant, Some(provider))?;
    // Whoever names another host knows better than the table.
    if imap.host.is_none() && grant.is_none() {
        control::provider::takes_passwords(provider)?;
    }
    let (user_format, sign_in_name) = settings.at.user().unwrap_or(User::Format(provider.sign_in.user)).of(&address);
    let (imap, smtp) = (
        control::provider::endpoint(provider, Service::Imap, &imap)?,
        control::provider::endpoint(provider, Service::Smtp, &smtp)?,
    );
    let profiles = place.profiles()?;
    let crm = crm::named(&profiles, &arguments.crm)?.clone();
    let credential = match grant {
        Some(grant) => Credential::Grant(grant),
        None => Credential::Password(password::of_mailbox(&address, arguments.password_stdin)?),
    };
    let smtp_password = password::of_submission(&settings)?;
    let store = place.store().await?;
    let draft = Draft {
        owner: arguments.owner,
        imap,
        smtp,
        certificates: settings.at.certificates.clone().unwrap_or(Certificates::Verify),
        sign_in_name,
        credential,
        settings: Settings {
            provider: provider.name.clone(),
            display_name: settings.display_name.clone().unwrap_or_default(),
            sender: settings.sender.clone().map(|sender| sender.0).filter(|sender| *sender != address),
            user_format,
            smtp_auth: settings.smtp_auth().unwrap_or_default(),
            receives: settings.receives().unwrap_or(true),
            sends: settings.sends().unwrap_or(true),
            unread: settings.unread().unwrap_or_default(),
        },
        smtp_password,
        aliases: settings.aliases.iter().map(|alias| alias.0.clone()).collect(),
        advice: provider.sign_in.advice.clone(),
        crm: crm.clone(),
        address,
    };
    let added = if settings.unchecked {
        account::add_unchecked(&store, draft, unix_now()).await?
    } else {
        account::add(&store, draft, &progress(place.json), unix_now()).await?
    };
    let card = Card {
        address: added.account.address.as_str(),
        crm: &crm.name,
        login: added.login.name.as_str(),
        password: added.login.password.expose(),
        connect: words::ways(&config, &crm.name),
    };
    let warnings = account::warnings(&added.account);
    let json = AddedJson {
        address: &added.account.address,
        provider: &provider.name,
        card: &card,
        folders: added.folders.as_deref(),
        warnings,
    };
    place.answer(&json, &words_of_added(&added, &card, &json.warnings))
}

/// Says each step of a sign-in as it happens, unless a program listens.
fn progress(quiet: bool) -> impl Fn(Service, Step) + Sync {
    move |service, step| {
        if !quiet {
            super::say(&format!("{service:<6}{}\n", words_of(&step)));
        }
    }
}

#[derive(Serialize)]
struct AddedJson<'a> {
    address: &'a Address,
    provider: &'a str,
    #[serde(flatten)]
    card: &'a Card<'a>,
    /// Null if no sign-in was tried.
    folders: Option<&'a [FolderRow]>,
    warnings: Vec<&'static str>,
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

fn words_of_added(added: &Added, card: &Card<'_>, warnings: &[&str]) -> String {
    let mut text = String::new();
    if let Some(folders) = &added.folders {
        let roles = folders.iter().filter(|folder| folder.role.is_some());
        let roles: Vec<_> = roles
            .map(|folder| format!("{} = {}", folder.local.as_deref().unwrap_or_default(), folder.remote))
            .collect();
        let roles = if roles.is_empty() { "no special folder found".to_owned() } else { roles.join(", ") };
        let _ = writeln!(text, "imap  roles          {roles}");
    }
    let state = if added.folders.is_some() { "is added" } else { "is added without a sign-in" };
    let _ = writeln!(text, "\n{} {state}.", added.account.address);
    warn(&mut text, warnings);
    let _ = write!(text, "Copy this into the CRM; the password is shown this once:\n\n{card}");
    text
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
    if let Some(grant) = &account.grant {
        let state = if grant.state == "good" { "" } else { " (its owner must consent again)" };
        words::field(&mut text, "access tokens", format_args!("from {}{state}", grant.token_endpoint));
        words::field(&mut text, "client", &grant.client_id);
    }
    match &account.smtp_auth {
        SmtpAuth::Same => {}
        SmtpAuth::None => words::field(&mut text, "SMTP sign-in", "none"),
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
    for login in account.logins.iter().filter(|login| login.revoked_at.is_none()) {
        words::field(&mut text, "login", &login.name);
    }
    warn(&mut text, &account.warnings);
    text
}

async fn remove(place: &Place, address: &Address) -> Result<(), Error> {
    let store = place.store().await?;
    account::remove(&store, address, unix_now()).await?;
    let words = format!("the account, its password and its logins are removed: {address}\n");
    place.answer(&json!({ "removed": address }), &words)
}
