//! `passerelle folder`: the folders of an account under both their names, and what people change about that.

use super::{
    Error, Place,
    arguments::{AddressArgument, Folder, FolderMapping},
    words,
};
use passerelle::{
    control::{
        OwnListeners, account, crm,
        folder::{self, FolderChange, FolderRow, FolderState},
    },
    rules::namespace::Naming,
    store::{Account, Store},
};
use std::sync::Arc;

/// The account, and how its CRM calls folders.
async fn of(
    place: &Place,
    store: &Store,
    address: &AddressArgument,
    crm: Option<&str>,
) -> Result<(Account, Arc<Naming>), Error> {
    let account = account::by_address(store, &address.0).await?;
    let naming = crm::naming(store, &place.profiles()?, &account, crm).await?;
    Ok((account, naming))
}

/// What a look at the provider needs; None where none is wanted.
fn checked(place: &Place, unchecked: bool) -> Result<Option<OwnListeners>, Error> {
    if unchecked { Ok(None) } else { place.own_listeners().map(Some) }
}

pub(super) async fn run(command: Folder, place: &Place) -> Result<(), Error> {
    let store = place.store().await?;
    match command {
        Folder::List { address, crm } => {
            let (account, naming) = of(place, &store, &address, crm.as_deref()).await?;
            let rows = folder::list(&store, &account, &naming, &place.own_listeners()?).await?;
            let cells: Vec<[String; 5]> = rows.iter().map(cells).collect();
            place.answer(&rows, &words::columns(["CRM", "PROVIDER", "ROLE", "SUBSCRIBED", "STATE"], &cells))
        }
        Folder::Map(FolderMapping { address, local, remote, unchecked, crm }) => {
            let (account, naming) = of(place, &store, &address, crm.as_deref()).await?;
            let own = checked(place, unchecked)?;
            let change = folder::map(&store, &account, &naming, [&local, &remote], own.as_ref()).await?;
            answer(place, &change, &format!("CRMs see {} as {local}", change.remote))
        }
        Folder::Unmap { address, local, crm } => {
            let (account, naming) = of(place, &store, &address, crm.as_deref()).await?;
            let change = folder::unmap(&store, &account, &naming, &local).await?;
            answer(place, &change, &format!("{} is not {local} any more", change.remote))
        }
        Folder::Hide { address, folder, unchecked, crm } => {
            let (account, naming) = of(place, &store, &address, crm.as_deref()).await?;
            let own = checked(place, unchecked)?;
            let change = folder::hide(&store, &account, &naming, &folder, own.as_ref()).await?;
            answer(place, &change, &format!("CRMs do not see this folder, nor what is below it: {}", change.remote))
        }
        Folder::Show { address, folder } => {
            let account = account::by_address(&store, &address.0).await?;
            let change = folder::show(&store, &account, &folder).await?;
            answer(place, &change, &format!("CRMs see this folder again: {}", change.remote))
        }
    }
}

fn cells(row: &FolderRow) -> [String; 5] {
    let role = row.role.map(|role| role.attribute().trim_start_matches('\\').to_owned()).unwrap_or_default();
    let subscribed = if row.subscribed { "yes" } else { "" };
    let state = match row.state {
        FolderState::Plain => "",
        FolderState::Mapped => "mapped",
        FolderState::Hidden => "hidden",
        FolderState::Missing => "mapped, not there",
    };
    [row.local.clone().unwrap_or_default(), row.remote.clone(), role, subscribed.to_owned(), state.to_owned()]
}

fn answer(place: &Place, change: &FolderChange, words: &str) -> Result<(), Error> {
    let already = if change.changed { "" } else { " (it was so already)" };
    place.answer(change, &format!("{words}{already}\n"))
}
