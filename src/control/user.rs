//! Users, as far as they own accounts.

use super::Error;
use crate::store::{ADMIN, Store, User};

/// The user of this name, or the one whom the first start made.
///
/// # Errors
/// [`Error::NoUser`], or if the store fails.
pub async fn named(store: &Store, name: Option<&str>) -> Result<User, Error> {
    let name = name.unwrap_or(ADMIN);
    store.user(name).await?.ok_or_else(|| Error::NoUser(name.to_owned()))
}
