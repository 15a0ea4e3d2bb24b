//! Logins: one per application that opens an account, each with a password of its own that is shown once.

use super::Error;
use crate::{
    model::{Address, Login, Secret},
    profile::Profile,
    store::{self, Account, LoginRow, NewLogin, Store, password},
};
use serde::Serialize;

/// How a new login is called.
#[derive(Clone, Debug)]
pub enum Naming {
    /// The account's address.
    Address,
    /// `local+label@domain`.
    Label(String),
    /// As it is.
    Name(Login),
}

/// A login that was just made.
pub struct Created {
    pub name: Login,
    /// Shown now and never again.
    pub password: Secret<String>,
}

/// A login as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    pub name: Login,
    pub label: String,
    /// Its CRM profile.
    pub crm: String,
    pub created_at: i64,
    pub revoked_at: Option<i64>,
}

/// Makes a login for an account and a CRM profile that there is, with a generated password.
///
/// # Errors
/// If the name is taken or the label makes none, or if the store fails.
pub async fn add(store: &Store, account: &Account, naming: &Naming, crm: &Profile, now: i64) -> Result<Created, Error> {
    let (name, label) = match naming {
        Naming::Address => (of_address(&account.address)?, String::new()),
        Naming::Label(label) => (labelled(&account.address, label)?, label.clone()),
        Naming::Name(name) => (name.clone(), String::new()),
    };
    let password = password::generate()?;
    let user = account.owner;
    let profile = crm.name.clone();
    let new = NewLogin { user, account: account.id, name: name.clone(), label, profile, password: password.clone() };
    store.add_login(&new, now).await?;
    Ok(Created { name, password })
}

/// The logins of an account, the revoked too.
///
/// # Errors
/// If the store fails.
pub async fn list(store: &Store, account: &Account) -> Result<Vec<Shown>, Error> {
    let all = store.logins().await?;
    Ok(all.into_iter().filter(|login| login.account == account.id).map(Shown::from).collect())
}

/// A login that was given a profile.
pub struct Changed {
    pub login: Shown,
    /// Of its account.
    pub address: Address,
    /// Whether it had another before.
    pub changed: bool,
}

/// Gives a login the CRM profile of another program. Its password stays; what is open under the old one ends.
///
/// # Errors
/// [`Error::NoLogin`], or if the store fails.
pub async fn set(store: &Store, name: &Login, crm: &Profile) -> Result<Changed, Error> {
    let changed = store.set_login_profile(name, &crm.name).await.map_err(|error| missing(error, name))?;
    let logins = store.logins().await?;
    let found = logins.into_iter().find(|login| login.revoked_at.is_none() && login.name.key() == name.key());
    let login = found.ok_or_else(|| Error::NoLogin(name.clone()))?;
    let account = store.accounts().await?.into_iter().find(|account| account.id == login.account);
    let address = account.ok_or_else(|| Error::NoLogin(name.clone()))?.address;
    Ok(Changed { login: Shown::from(login), address, changed })
}

/// Refuses a login from now on.
///
/// # Errors
/// [`Error::NoLogin`], or if the store fails.
pub async fn revoke(store: &Store, name: &Login, now: i64) -> Result<(), Error> {
    store.revoke_login(name, now).await.map_err(|error| missing(error, name))
}

/// Which login is not there.
fn missing(error: store::Error, name: &Login) -> Error {
    match error {
        store::Error::Missing(_) => Error::NoLogin(name.clone()),
        error => Error::Store(error),
    }
}

impl From<LoginRow> for Shown {
    fn from(row: LoginRow) -> Self {
        Self {
            name: row.name,
            label: row.label,
            crm: row.profile,
            created_at: row.created_at,
            revoked_at: row.revoked_at,
        }
    }
}

/// Addresses are shorter than logins may be and hold nothing that a login may not.
fn of_address(address: &Address) -> Result<Login, Error> {
    Login::parse(address.as_str()).map_err(|_| Error::Label(address.to_string()))
}

fn labelled(address: &Address, label: &str) -> Result<Login, Error> {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b".-_".contains(&octet);
    let refused = || Error::Label(label.to_owned());
    if label.is_empty() || !label.bytes().all(plain) {
        return Err(refused());
    }
    let name = format!("{}+{label}@{}", address.local_part(), address.domain());
    Login::parse(&name).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_stands_before_the_at_sign() {
        let address = Address::parse("alice@example.test").expect("an address");
        let name = labelled(&address, "crm-2").map(|login| login.to_string());
        assert_eq!(name.ok().as_deref(), Some("alice+crm-2@example.test"));
        for label in ["", "a b", "a@b", "é", "a+b"] {
            assert!(labelled(&address, label).is_err(), "{label}");
        }
    }
}
