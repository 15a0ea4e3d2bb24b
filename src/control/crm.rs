//! CRM profiles: found by name, and the login with which one opens an account.

use super::Error;
use crate::{
    model::Login,
    profile::{Profile, Table},
    rules::namespace::Naming,
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

/// How the CRM of this name calls an account's folders; without a name, the CRM of its oldest login in force.
///
/// # Errors
/// [`Error::NoCrm`], or if the store fails.
pub async fn naming(store: &Store, table: &Table, account: &Account, name: Option<&str>) -> Result<Arc<Naming>, Error> {
    if let Some(name) = name {
        return Ok(named(table, name)?.naming().clone());
    }
    let logins = store.logins().await?;
    let theirs = logins.into_iter().filter(|login| login.account == account.id && login.revoked_at.is_none());
    let first = theirs.min_by_key(|login| login.id);
    // A profile whose file is gone is said where the login is used; the house's own names are what is left.
    let profile = first.and_then(|login| table.named(&login.profile).cloned());
    Ok(profile.map_or_else(Arc::default, |profile| profile.naming().clone()))
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
