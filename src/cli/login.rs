//! `passerelle login`: what CRMs sign in with.

use super::{
    Error, Place,
    arguments::LoginCommand,
    words::{self, Card},
};
use passerelle::{
    control::{
        account, crm,
        login::{self, Naming},
    },
    model::{Address, Login},
    store::unix_now,
};
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

async fn revoke(place: &Place, name: &Login) -> Result<(), Error> {
    let store = place.store().await?;
    login::revoke(&store, name, unix_now()).await?;
    place.answer(&json!({ "revoked": name }), &format!("the login is refused from now on: {name}\n"))
}
