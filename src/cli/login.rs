//! `passerelle login`: what CRMs sign in with.

use super::{
    Error, Place,
    arguments::LoginCommand,
    words::{self, Card, Way},
};
use passerelle::{
    control::{
        account, crm,
        login::{self, Naming},
    },
    model::{Address, Login, quoted},
    store::unix_now,
};
use serde::Serialize;
use serde_json::json;

pub(super) async fn run(command: LoginCommand, place: &Place) -> Result<(), Error> {
    match command {
        LoginCommand::Add { address, name, label, crm } => {
            let naming = match (name, label) {
                (Some(name), _) => Naming::Name(name),
                (None, Some(label)) => Naming::Label(label),
                (None, None) => Naming::Address,
            };
            add(place, address.as_ref().map(|address| &address.0), &naming, &crm).await
        }
        LoginCommand::List { address } => list(place, address.as_ref().map(|address| &address.0)).await,
        LoginCommand::Set { name, crm } => set(place, &name, &crm).await,
        LoginCommand::Revoke { name } => revoke(place, &name).await,
    }
}

async fn add(place: &Place, address: Option<&Address>, naming: &Naming, crm: &str) -> Result<(), Error> {
    let config = place.config()?;
    let profiles = place.profiles()?;
    let crm = crm::named(&profiles, crm)?;
    let store = place.store().await?;
    let account = account::named(&store, address).await?;
    let created = login::add(&store, &account, naming, crm, unix_now()).await?;
    let password = created.password.expose();
    let card = Card {
        address: account.address.as_str(),
        crm: &crm.name,
        login: created.name.as_str(),
        password,
        connect: words::ways(&config, &crm.name),
    };
    let words = format!("Copy this into the CRM; the password is shown this once:\n\n{card}");
    place.answer(&card, &words)
}

async fn list(place: &Place, address: Option<&Address>) -> Result<(), Error> {
    let store = place.store().await?;
    let account = account::named(&store, address).await?;
    let logins = login::list(&store, &account).await?;
    let row = |login: &login::Shown| {
        let state = login.revoked_at.map_or_else(|| "in force".to_owned(), |at| format!("revoked {}", words::day(at)));
        [login.name.to_string(), login.label.clone(), login.crm.clone(), words::day(login.created_at), state]
    };
    let rows: Vec<_> = logins.iter().map(row).collect();
    place.answer(&logins, &words::columns(["LOGIN", "LABEL", "CRM", "MADE", "STATE"], &rows))
}

#[derive(Serialize)]
struct SetJson<'a> {
    /// Whether it had another profile before.
    changed: bool,
    address: &'a Address,
    #[serde(flatten)]
    login: &'a login::Shown,
    connect: Vec<Way>,
}

async fn set(place: &Place, name: &Login, crm: &str) -> Result<(), Error> {
    let config = place.config()?;
    let profiles = place.profiles()?;
    let crm = crm::named(&profiles, crm)?;
    let store = place.store().await?;
    let login::Changed { login, address, changed } = login::set(&store, name, crm).await?;
    let since = if changed { "from now on" } else { "already" };
    let text = format!(
        "the login is one for {} {since}: {}\nits password stays; what to copy into the CRM:\n  passerelle crm settings \
         {} --crm {}\n",
        crm.name,
        login.name,
        quoted(address.as_str()),
        quoted(&crm.name)
    );
    let connect = words::ways(&config, &crm.name);
    place.answer(&SetJson { changed, address: &address, login: &login, connect }, &text)
}

async fn revoke(place: &Place, name: &Login) -> Result<(), Error> {
    let store = place.store().await?;
    login::revoke(&store, name, unix_now()).await?;
    place.answer(&json!({ "revoked": name }), &format!("the login is refused from now on: {name}\n"))
}
