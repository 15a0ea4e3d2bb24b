//! `passerelle account`: adds, shows and removes mailboxes at providers.

use super::{
    Error, Place,
    arguments::{Account, AccountAdd},
    words::{self, Card},
};
use passerelle::{
    control::{
        account::{self, Added, Draft, Shown},
        folder::FolderRow,
    },
    model::{Address, Secret},
    store::{Credential, unix_now},
    upstream::Step,
};
use serde::Serialize;
use serde_json::json;
use std::{fmt::Write as _, io::BufRead};
use zeroize::Zeroizing;

pub(super) async fn run(command: Account, place: &Place) -> Result<(), Error> {
    match command {
        Account::Add(add) => self::add(place, *add).await,
        Account::List => list(place).await,
        Account::Show { address } => show(place, &address.0).await,
        Account::Remove { address } => remove(place, &address.0).await,
    }
}

async fn add(place: &Place, arguments: AccountAdd) -> Result<(), Error> {
    let (imap, smtp) = match (arguments.imap(), arguments.smtp()) {
        (Ok(imap), Ok(smtp)) => (imap, smtp),
        (Err(error), _) | (_, Err(error)) => error.exit(),
    };
    let config = place.config()?;
    let password = read_password(&arguments)?;
    let store = place.store().await?;
    let address = arguments.address.0;
    let draft = Draft {
        sign_in_name: arguments.user.unwrap_or_else(|| address.to_string()),
        address,
        owner: arguments.owner,
        imap,
        smtp,
        certificates: arguments.certificates,
        credential: Credential::Password(password),
    };
    let added = if arguments.unchecked {
        account::add_unchecked(&store, draft, unix_now()).await?
    } else {
        let quiet = place.json;
        let report = move |service, step| {
            if !quiet {
                super::say(&format!("{service:<6}{}\n", words_of(&step)));
            }
        };
        account::add(&store, draft, &report, unix_now()).await?
    };
    let card = Card {
        login: added.login.name.as_str(),
        password: added.login.password.expose(),
        connect: words::ways(&config),
    };
    let warnings = account::warnings(&added.account);
    let json = AddedJson { address: &added.account.address, card: &card, folders: added.folders.as_deref(), warnings };
    place.answer(&json, &words_of_added(&added, &card, &json.warnings))
}

#[derive(Serialize)]
struct AddedJson<'a> {
    address: &'a Address,
    #[serde(flatten)]
    card: &'a Card<'a>,
    /// Null if no sign-in was tried.
    folders: Option<&'a [FolderRow]>,
    warnings: Vec<&'static str>,
}

/// One line, without its end: what a shell or an editor puts behind a password is not part of it.
fn read_password(arguments: &AccountAdd) -> Result<Secret<String>, Error> {
    let line = if arguments.password_stdin {
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().lock().read_line(&mut line).map_err(Error::Password)?;
        line
    } else {
        let prompt = format!("Password of {} at the provider: ", arguments.address.0);
        Zeroizing::new(rpassword::prompt_password(prompt).map_err(Error::Password)?)
    };
    match line.trim_end_matches(['\r', '\n']) {
        "" => Err(Error::PasswordEmpty),
        password => Ok(Secret::new(password.to_owned())),
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

fn words_of_added(added: &Added, card: &Card<'_>, warnings: &[&str]) -> String {
    let mut text = String::new();
    if let Some(folders) = &added.folders {
        let roles = folders.iter().filter(|folder| folder.role.is_some());
        let roles: Vec<_> = roles.map(|folder| format!("{} = {}", folder.local, folder.remote)).collect();
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
    let mut text = format!("{}\n", account.address);
    words::field(&mut text, "owner", &account.owner);
    words::field(&mut text, "IMAP", &account.imap);
    words::field(&mut text, "SMTP", &account.smtp);
    words::field(&mut text, "certificates", &account.certificates);
    words::field(&mut text, "user name", &account.user);
    words::field(&mut text, "added", words::day(account.created_at));
    words::field(&mut text, "checked", account.checked_at.map_or_else(|| "never".to_owned(), words::day));
    for login in account.logins.iter().filter(|login| login.revoked_at.is_none()) {
        words::field(&mut text, "login", &login.name);
    }
    warn(&mut text, &account.warnings);
    place.answer(&account, &text)
}

async fn remove(place: &Place, address: &Address) -> Result<(), Error> {
    let store = place.store().await?;
    account::remove(&store, address, unix_now()).await?;
    let words = format!("the account, its password and its logins are removed: {address}\n");
    place.answer(&json!({ "removed": address }), &words)
}
