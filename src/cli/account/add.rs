//! `passerelle account add`: finds the provider, signs in, stores, and says what to copy into the CRM.

use super::{grant, password, progress, warn};
use crate::cli::{
    Error, Place,
    arguments::{AccountAdd, Settings as SettingsArguments},
    find::{self, Whereto},
    words::{self, Card},
};
use passerelle::{
    control::{
        self, Manner, Service,
        account::{self, Added, Draft},
        crm,
        folder::FolderRow,
        registration,
        settings::User,
    },
    model::{Address, Certificates, UserFormat},
    provider::{Provider, Table},
    store::{Credential, Settings, Store, unix_now},
};
use serde::Serialize;
use std::fmt::Write as _;

pub(super) async fn run(place: &Place, arguments: AccountAdd) -> Result<(), Error> {
    let (config, table) = (place.config()?, place.providers()?);
    let crm_token = arguments.crm_token;
    let unchecked = arguments.settings.unchecked || crm_token;
    let (store, provider, draft) = prepare(place, &table, arguments).await?;
    let crm = draft.crm.clone();
    let added = if unchecked {
        account::add_unchecked(&store, draft, unix_now()).await?
    } else {
        let manner = Manner { own: &place.own_listeners()?, report: &progress(place.json) };
        account::add(&store, draft, manner, unix_now()).await?
    };
    let card = Card {
        address: added.account.address.as_str(),
        crm: &crm.name,
        login: added.login.name.as_str(),
        password: if crm_token { OWN_TOKEN } else { added.login.password.expose() },
        connect: words::ways(&config, &crm.name),
    };
    let json = AddedJson {
        address: &added.account.address,
        provider: &provider.name,
        card: &card,
        folders: added.folders.as_deref(),
        warnings: account::warnings(&added.account),
    };
    place.answer(&json, &words_of_added(&added, &card, &json.warnings))
}

/// In the place of the password that such a login has no use for.
const OWN_TOKEN: &str = "(the CRM's own access token)";

/// The account as it is wanted, with its sign-in asked for, and where it goes. Nothing is made on disk for a command that
/// is not understood.
async fn prepare<'a>(
    place: &Place,
    table: &'a Table,
    arguments: AccountAdd,
) -> Result<(Store, &'a Provider, Draft), Error> {
    let (at, address) = (&arguments.settings.at, &arguments.address.0);
    let asks = !arguments.password_stdin && !arguments.grant.is_given() && !arguments.crm_token;
    let store = if asks || arguments.grant.device { Some(place.store().await?) } else { None };
    let registered = match &store {
        Some(store) if asks => grant::registered(store, address, at.provider.as_deref()).await?,
        _ => None,
    };
    let to = match &registered {
        Some(registration) => {
            let provider = registration::provider_of(table, registration)?;
            Whereto::said(provider, at)
        }
        None => find::whereto(place, table, address, at, &arguments.finding).await?,
    };
    let provider = to.provider;
    let wished = arguments.settings.smtp_auth();
    let grant = grant::of(&arguments.grant, Some(provider), address, place, store.as_ref(), wished.as_ref())
        .await?
        .map(Credential::Grant);
    let grant = grant.or_else(|| arguments.crm_token.then_some(Credential::OfClient));
    let consented = arguments.grant.device;
    let draft = draft(place, arguments, to, grant.or(registered.as_ref().and_then(registration::credential)))?;
    let store = match store {
        Some(store) => store,
        None => place.store().await?,
    };
    Ok((store, provider, Draft { consented, ..draft }))
}

/// What the arguments and the provider's place in the table make of the account, with the passwords asked for.
fn draft(place: &Place, arguments: AccountAdd, to: Whereto<'_>, given: Option<Credential>) -> Result<Draft, Error> {
    let (address, wished, provider) = (arguments.address.0, arguments.settings, to.provider);
    // Whoever names another host knows better than the table.
    if wished.at.imap().host.is_none() && given.is_none() {
        control::provider::takes_passwords(provider)?;
        if !to.password {
            return Err(control::Error::NoPasswords(provider.label.clone()).into());
        }
    }
    let (user_format, sign_in_name) = to.user.unwrap_or(User::Format(provider.sign_in.user)).of(&address);
    let imap = control::provider::endpoint(provider, Service::Imap, &to.imap)?;
    let smtp = control::provider::endpoint(provider, Service::Smtp, &to.smtp)?;
    let crm = crm::named(&place.profiles()?, &arguments.crm)?.clone();
    let credential = match given {
        Some(given) => given,
        None => Credential::Password(password::of_mailbox(&address, arguments.password_stdin)?),
    };
    Ok(Draft {
        owner: arguments.owner,
        imap,
        smtp,
        certificates: wished.at.certificates.clone().unwrap_or(Certificates::Verify),
        sign_in_name,
        credential,
        consented: false,
        smtp_password: password::of_submission(&wished)?,
        aliases: wished.aliases.iter().map(|alias| alias.0.clone()).collect(),
        settings: settings(wished, provider, user_format, &address),
        advice: provider.sign_in.advice.clone(),
        crm,
        address,
    })
}

pub(super) fn settings(
    wished: SettingsArguments,
    provider: &Provider,
    user_format: UserFormat,
    address: &Address,
) -> Settings {
    Settings {
        provider: provider.name.clone(),
        user_format,
        smtp_auth: wished.smtp_auth().unwrap_or_default(),
        receives: wished.receives().unwrap_or(true),
        sends: wished.sends().unwrap_or(true),
        unread: wished.unread().unwrap_or_default(),
        from: wished.from().unwrap_or_default(),
        sent_copy: wished.sent_copy().unwrap_or_default(),
        submission: wished.submission().unwrap_or_default(),
        uncertain: wished.uncertain().unwrap_or_default(),
        files_sent: None,
        display_name: wished.display_name.unwrap_or_default(),
        sender: wished.sender.map(|sender| sender.0).filter(|sender| sender != address),
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
