//! Accounts: added when the provider has let us in, shown without their secrets, removed with them.

use super::{
    Error, Refused, Service,
    folder::{self, FolderRow},
    login::{self, Created, Naming},
    user,
};
use crate::{
    model::{AccountId, Address, Certificates, Endpoint, Security},
    relay::{LaneUse, opening::SignIn},
    rules::namespace::Choices,
    store::{Account, Credential, Error as StoreError, NewAccount, Settings, Store},
    upstream::{self, Opened, Refusal, Step, Target},
};
use serde::Serialize;
use std::time::Duration;

/// For each service from name to signed in. A person waits, and some providers greet slowly on purpose (10 s and more).
pub(super) const DEADLINE: Duration = Duration::from_secs(45);

/// Said wherever an account is shown that believes any certificate.
const ACCEPT_ANY: &str = "any certificate is accepted: whoever stands between this machine and the provider can read \
                          the password and all mail";
/// Said wherever an account is shown that signs in without TLS.
const IN_CLEAR: &str = "the connection to the provider is not encrypted: whoever stands between can read the password \
                        and all mail";

/// What a person says of an account.
pub struct Draft {
    pub address: Address,
    /// The owner's name; none for the user whom the first start made.
    pub owner: Option<String>,
    pub imap: Endpoint,
    pub smtp: Endpoint,
    pub certificates: Certificates,
    pub sign_in_name: String,
    pub credential: Credential,
}

/// An account that was just added.
pub struct Added {
    pub account: Account,
    pub login: Created,
    /// As CRMs see them; None if no sign-in was tried.
    pub folders: Option<Vec<FolderRow>>,
}

/// An account as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    pub address: Address,
    pub owner: String,
    pub imap: Endpoint,
    pub smtp: Endpoint,
    pub certificates: String,
    pub user: String,
    pub created_at: i64,
    /// When a sign-in is known to have worked.
    pub checked_at: Option<i64>,
    pub warnings: Vec<&'static str>,
    pub logins: Vec<login::Shown>,
}

/// Signs in to both services at once and, if both let us in, stores the account with a first login. Each step that
/// worked is reported as it happens.
///
/// # Errors
/// If the address is taken, a service does not let us in, or the store fails. Then nothing is stored.
pub async fn add(
    store: &Store,
    draft: Draft,
    report: &(dyn Fn(Service, Step) + Sync),
    now: i64,
) -> Result<Added, Error> {
    free(store, &draft.address).await?;
    user::named(store, draft.owner.as_deref()).await?;
    let (imap, smtp) = tokio::join!(sign_in(&draft, Service::Imap, report), sign_in(&draft, Service::Smtp, report));
    let imap = imap.map_err(|refusal| Refused::by(Service::Imap, &draft.imap, refusal));
    let smtp = smtp.map_err(|refusal| Refused::by(Service::Smtp, &draft.smtp, refusal));
    let folders = match (imap, smtp) {
        // The account has no row yet, and no choices of its own.
        (Ok(imap), Ok(_)) => folder::rows(AccountId(0), &folder::table(imap), &Choices::default()),
        (imap, smtp) => return Err(Error::Refused([imap.err(), smtp.err()].into_iter().flatten().collect())),
    };
    let added = keep(store, draft, Some(now), now).await?;
    Ok(Added { folders: Some(folders), ..added })
}

/// Stores the account without asking the provider.
///
/// # Errors
/// If the address is taken or the store fails.
pub async fn add_unchecked(store: &Store, draft: Draft, now: i64) -> Result<Added, Error> {
    keep(store, draft, None, now).await
}

/// All accounts, by address.
///
/// # Errors
/// If the store fails.
pub async fn list(store: &Store) -> Result<Vec<Shown>, Error> {
    let mut shown = Vec::new();
    for account in store.accounts().await? {
        shown.push(show_one(store, account).await?);
    }
    Ok(shown)
}

/// One account.
///
/// # Errors
/// If there is none with this address or the store fails.
pub async fn show(store: &Store, address: &Address) -> Result<Shown, Error> {
    let account = by_address(store, address).await?;
    show_one(store, account).await
}

/// Removes an account, its password and its logins.
///
/// # Errors
/// If there is none with this address or the store fails.
pub async fn remove(store: &Store, address: &Address, now: i64) -> Result<(), Error> {
    let account = by_address(store, address).await?;
    Ok(store.remove_account(account.id, now).await?)
}

/// The account with this address.
///
/// # Errors
/// [`Error::NoAccount`], or if the store fails.
pub async fn by_address(store: &Store, address: &Address) -> Result<Account, Error> {
    store.account_by_address(address).await?.ok_or_else(|| Error::NoAccount(address.clone()))
}

/// The account with this address, or the only one there is.
///
/// # Errors
/// If there is none or it is not clear which, or if the store fails.
pub async fn named(store: &Store, address: Option<&Address>) -> Result<Account, Error> {
    if let Some(address) = address {
        return by_address(store, address).await;
    }
    let mut accounts = store.accounts().await?;
    match (accounts.pop(), accounts.is_empty()) {
        (None, _) => Err(Error::NoAccountYet),
        (Some(only), true) => Ok(only),
        (Some(_), false) => Err(Error::AccountNotNamed),
    }
}

/// A provider is not bothered for an account that could not be stored.
async fn free(store: &Store, address: &Address) -> Result<(), Error> {
    match store.account_by_address(address).await? {
        Some(account) => Err(StoreError::AddressTaken(account.address).into()),
        None => Ok(()),
    }
}

async fn sign_in(draft: &Draft, service: Service, report: &(dyn Fn(Service, Step) + Sync)) -> Result<Opened, Refusal> {
    let (endpoint, lane_use) = match service {
        Service::Imap => (&draft.imap, LaneUse::Imap),
        Service::Smtp => (&draft.smtp, LaneUse::Submission),
    };
    let target = Target { endpoint: endpoint.clone(), certificates: draft.certificates.clone() };
    let steps = &mut |step| report(service, step);
    let user = draft.sign_in_name.as_str().into();
    let sign_in = match &draft.credential {
        Credential::Password(password) => SignIn::Password { user, password: password.clone() },
    };
    upstream::open(&target, lane_use, sign_in, DEADLINE, steps).await
}

async fn keep(store: &Store, draft: Draft, checked_at: Option<i64>, now: i64) -> Result<Added, Error> {
    let owner = user::named(store, draft.owner.as_deref()).await?;
    let new = NewAccount {
        owner: owner.id,
        address: draft.address,
        imap: draft.imap,
        smtp: draft.smtp,
        certificates: draft.certificates,
        sign_in_name: draft.sign_in_name,
        credential: draft.credential,
        settings: Settings::default(),
        smtp_password: None,
        aliases: Vec::new(),
        checked_at,
    };
    let id = store.add_account(&new, now).await?;
    let account = store.account(id).await?.ok_or(StoreError::Missing("the account"))?;
    match login::add(store, &account, &Naming::Address, now).await {
        Ok(login) => Ok(Added { account, login, folders: None }),
        // Another account's login may have this name: an account without a login is of no use to anyone.
        Err(error) => {
            store.remove_account(id, now).await?;
            Err(error)
        }
    }
}

async fn show_one(store: &Store, account: Account) -> Result<Shown, Error> {
    let logins = login::list(store, &account).await?;
    Ok(Shown {
        warnings: warnings(&account),
        address: account.address,
        owner: account.owner_name,
        imap: account.imap,
        smtp: account.smtp,
        certificates: account.certificates.to_string(),
        user: account.sign_in_name,
        created_at: account.created_at,
        checked_at: account.checked_at,
        logins,
    })
}

/// What whoever sees the account must know of it.
#[must_use]
pub fn warnings(account: &Account) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    if account.certificates == Certificates::AcceptAny {
        warnings.push(ACCEPT_ANY);
    }
    if [&account.imap, &account.smtp].iter().any(|endpoint| endpoint.security == Security::None) {
        warnings.push(IN_CLEAR);
    }
    warnings
}
