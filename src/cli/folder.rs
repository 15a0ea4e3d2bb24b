//! `passerelle folder`: the folders of an account under both their names, and what people change about that.

use super::{
    Error, Place,
    arguments::{Folder, FolderMapping},
    words,
};
use passerelle::control::folder::{self, FolderChange, FolderRow, FolderState};

pub(super) async fn run(command: Folder, place: &Place) -> Result<(), Error> {
    let store = place.store().await?;
    match command {
        Folder::List { address } => {
            let rows = folder::list(&store, &address.0).await?;
            let cells: Vec<[String; 5]> = rows.iter().map(cells).collect();
            place.answer(&rows, &words::columns(["CRM", "PROVIDER", "ROLE", "SUBSCRIBED", "STATE"], &cells))
        }
        Folder::Map(FolderMapping { address, local, remote, unchecked }) => {
            let change = folder::map(&store, &address.0, &local, &remote, unchecked).await?;
            answer(place, &change, &format!("CRMs see {} as {local}", change.remote))
        }
        Folder::Unmap { address, local } => {
            let change = folder::unmap(&store, &address.0, &local).await?;
            answer(place, &change, &format!("{} is not {local} any more", change.remote))
        }
        Folder::Hide { address, folder, unchecked } => {
            let change = folder::hide(&store, &address.0, &folder, unchecked).await?;
            answer(place, &change, &format!("CRMs do not see this folder, nor what is below it: {}", change.remote))
        }
        Folder::Show { address, folder } => {
            let change = folder::show(&store, &address.0, &folder).await?;
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
