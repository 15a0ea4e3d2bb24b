//! CRM profiles: found by name, and the login with which one opens an account.

use super::Error;
use crate::{
    model::Login,
    profile::{Profile, Table},
    store::{Account, Error as StoreError, Store},
};
use std::sync::Arc;

/// The profile of this name.
///
/// # Errors
/// [`Error::NoCrm`].
pub fn named<'a>(table: &'a Table, name: &str) -> Result<&'a Arc<Profile>, Error> {
    table.named(name).ok_or_else(|| Error::NoCrm(name.to_owned()))
}

/// A login in force with which this CRM opens the account, and true; any other, and false, where there is none for it.
///
/// # Errors
/// If the account has no login in force, or if the store fails.
pub async fn login(store: &Store, account: &Account, profile: &Profile) -> Result<(Login, bool), Error> {
    let logins = store.logins().await?;
    let mut theirs = logins.into_iter().filter(|login| login.account == account.id && login.revoked_at.is_none());
    let first = theirs.next().ok_or(StoreError::Missing("a login of this account"))?;
    if first.profile == profile.name {
        return Ok((first.name, true));
    }
    match theirs.find(|login| login.profile == profile.name) {
        Some(login) => Ok((login.name, true)),
        None => Ok((first.name, false)),
    }
}
