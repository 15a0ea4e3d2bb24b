//! What an account that is being added signs in with: its password, or a first access token of its grant.

use super::Error;
use crate::{
    model::{Certificates, Secret},
    oauth::{
        broker::{Holder, LEASE, Lease},
        flow::{Client, Means, Tokens, scope},
    },
    relay::opening::SignIn,
    store::{Account, Credential, Error as StoreError, LeaseOf, NewGrant, Store},
    upstream,
};

/// Whether a token is shown for an account with this credential.
pub(super) fn shows_tokens(credential: &Credential) -> bool {
    matches!(credential, Credential::Grant(_) | Credential::OfClient)
}

/// That an account may have both: a token opens the whole mailbox to whoever it is shown, for as long as it lives.
///
/// # Errors
/// [`Error::AcceptAny`].
pub(super) fn fit(certificates: &Certificates, by_grant: bool) -> Result<(), Error> {
    if by_grant && *certificates == Certificates::AcceptAny { Err(Error::AcceptAny) } else { Ok(()) }
}

/// What a credential signs in with for the first time.
pub(super) struct First {
    pub(super) sign_in: SignIn,
    /// Whether what a person gave is of no use any more: what came in its place stands in the credential, and nowhere else.
    pub(super) spent: bool,
}

impl First {
    /// An error after which nothing is stored.
    pub(super) fn lost(&self, error: Error) -> Error {
        if self.spent { Error::Spent(Box::new(error)) } else { error }
    }
}

/// A sign-in by this credential. Of a grant the refresh token may be another afterwards: that one is to be stored.
///
/// # Errors
/// [`Error::Grant`] if the token endpoint gives no access token; [`Error::ScopeMissing`] if it gives one for less than was
/// asked for, as [`Error::Spent`] where what was given is spent for that.
pub(super) async fn first_sign_in(user: &str, credential: &mut Credential) -> Result<First, Error> {
    let user: Box<str> = user.into();
    match credential {
        Credential::Grant(grant) => {
            let (token, spent) = first_token(grant, &user).await?;
            Ok(First { sign_in: SignIn::Bearer { token, user }, spent })
        }
        Credential::OfClient => Err(Error::ClientToken),
        Credential::Password(password) => {
            Ok(First { sign_in: SignIn::Password { user, password: password.clone() }, spent: false })
        }
    }
}

/// A sign-in by the grant of where an account can go back to, if it has one. What comes in the place of its refresh token is
/// kept there. A bridge may have begun to renew it before the account went away: that is waited for, or both would show one
/// refresh token.
///
/// # Errors
/// As for [`first_sign_in`]; [`StoreError::Changed`] if the account went elsewhere meanwhile; or if the store fails.
pub(super) async fn sign_in_before(store: &Store, account: &Account, user: &str) -> Result<Option<SignIn>, Error> {
    let holder = Holder::Command.name();
    let lease = Lease::take(store, account.id, LeaseOf::Aside, &holder, LEASE).await?;
    let Some(lease) = lease else { return Ok(None) };
    let asked = ask_before(store, account, user).await;
    lease.give_back().await;
    asked
}

async fn ask_before(store: &Store, account: &Account, user: &str) -> Result<Option<SignIn>, Error> {
    let Some(grant) = store.way_back_grant(account.id).await? else { return Ok(None) };
    is_unchanged(store, account).await?;
    // The provider's answer will exist nowhere else.
    store.hold_reserve().await?;
    let tokens = ask(&grant.client, &grant.means, user).await?;
    // Before it is looked at: the one that was used may be spent.
    if let (Means::Refresh(used), Some(fresh)) = (&grant.means, &tokens.refresh)
        && fresh.expose() != used.expose()
    {
        match store.in_reserve(|| store.rotate_way_back_grant(account.id, grant.version, used, fresh)).await {
            // Another went back meanwhile.
            Err(StoreError::Contended(_)) => store.rotate_moved_grant(account.id, used, fresh).await?,
            kept => kept?,
        }
    }
    are_for_all(&grant.client, &tokens)?;
    Ok(Some(SignIn::Bearer { user: user.into(), token: tokens.access }))
}

/// That what was read of where an account can go back to is of the place that was read before: what signs in at one place is
/// shown to no host of another.
///
/// # Errors
/// [`StoreError::Changed`], or if the store fails.
pub(super) async fn is_unchanged(store: &Store, account: &Account) -> Result<(), Error> {
    let now = store.account(account.id).await?;
    let same = now.is_some_and(|now| now.generation == account.generation);
    if same { Ok(()) } else { Err(StoreError::Changed.into()) }
}

/// That tokens are for all that was asked for.
///
/// # Errors
/// [`Error::ScopeMissing`].
pub(super) fn are_for_all(client: &Client, tokens: &Tokens) -> Result<(), Error> {
    let missing = scope::missing(&client.scope, tokens.scope.as_deref());
    if missing.is_empty() {
        return Ok(());
    }
    let scopes = missing.into_iter().map(str::to_owned).collect();
    Err(Error::ScopeMissing { endpoint: client.token_endpoint.clone(), scopes })
}

/// A first access token, and whether the refresh token that was given is spent for it.
async fn first_token(grant: &mut NewGrant, user: &str) -> Result<(Secret<String>, bool), Error> {
    let Means::Refresh(current) = &mut grant.means else {
        return Ok((ask_registered(&grant.client, &grant.means, user).await?.access, false));
    };
    let tokens = ask(&grant.client, &Means::Refresh(current.clone()), user).await?;
    let fresh = tokens.refresh.as_ref().filter(|fresh| fresh.expose() != current.expose());
    let spent = fresh.is_some() && !grant.old_tokens_stay_valid;
    if let Some(fresh) = fresh {
        *current = fresh.clone();
    }
    match are_for_all(&grant.client, &tokens) {
        Ok(()) => Ok((tokens.access, spent)),
        Err(error) if spent => Err(Error::Spent(Box::new(error))),
        Err(error) => Err(error),
    }
}

/// Tokens of a client that asks by a right of its own: what is refused is its operator's to mend.
///
/// # Errors
/// [`Error::Registered`], [`Error::ScopeMissing`].
pub(super) async fn ask_registered(client: &Client, means: &Means, user: &str) -> Result<Tokens, Error> {
    let asked = ask(client, means, user).await.map_err(|error| match error {
        Error::Grant { endpoint, trouble } => Error::Registered { endpoint, trouble },
        error => error,
    })?;
    are_for_all(client, &asked)?;
    Ok(asked)
}

async fn ask(client: &Client, means: &Means, user: &str) -> Result<Tokens, Error> {
    let exchange = upstream::exchange().map_err(|_| Error::NoHttp)?;
    let asked = exchange.ask_by(client, means, user).await;
    asked.map_err(|trouble| Error::Grant { endpoint: client.token_endpoint.clone(), trouble })
}
