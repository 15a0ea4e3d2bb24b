//! `passerelle folder`: the folders of an account under both their names.

use super::{Error, Place, arguments, words};
use passerelle::control::folder::{self, FolderRow};

pub(super) async fn run(command: arguments::Folder, place: &Place) -> Result<(), Error> {
    let arguments::Folder::List { address } = command;
    let store = place.store().await?;
    let rows = folder::list(&store, &address.0).await?;
    let cells: Vec<[String; 4]> = rows.iter().map(cells).collect();
    place.answer(&rows, &words::columns(["CRM", "PROVIDER", "ROLE", "SUBSCRIBED"], &cells))
}

fn cells(row: &FolderRow) -> [String; 4] {
    let role = row.role.map(|role| role.attribute().trim_start_matches('\\').to_owned()).unwrap_or_default();
    let subscribed = if row.subscribed { "yes" } else { "" };
    [row.local.clone(), row.remote.clone(), role, subscribed.to_owned()]
}
