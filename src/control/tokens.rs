//! What an account that is being added signs in with: its password, or a first access token of its grant.

use super::Error;
use crate::{
    model::{AccountId, Secret},
    oauth::flow::{Client, Tokens},
    relay::opening::SignIn,
    store::{Credential, Grant, NewGrant, Store},
    upstream,
};

/// A sign-in by this credential. Of a grant the refresh token may be another afterwards: that one is to be stored.
///
/// # Errors
/// [`Error::Grant`] if the token endpoint gives no access token.
pub(super) async fn first_sign_in(user: &str, credential: &mut Credential) -> Result<SignIn, Error> {
    let user = user.into();
    match credential {
        Credential::Grant(grant) => Ok(SignIn::Bearer { user, token: first_token(grant).await? }),
        Credential::Password(password) => Ok(SignIn::Password { user, password: password.clone() }),
    }
}

/// A sign-in by the grant of where an account can go back to. What comes in the place of its refresh token is kept there.
///
/// # Errors
/// As for [`first_sign_in`], or if the store fails.
pub(super) async fn sign_in_before(
    store: &Store,
    account: AccountId,
    user: &str,
    grant: &Grant,
) -> Result<SignIn, Error> {
    let tokens = ask(&grant.client, &grant.refresh_token).await?;
    if let Some(fresh) = tokens.refresh.filter(|fresh| fresh.expose() != grant.refresh_token.expose()) {
        store.rotate_way_back_grant(account, grant.version, &grant.refresh_token, &fresh).await?;
    }
    Ok(SignIn::Bearer { user: user.into(), token: tokens.access })
}

async fn first_token(grant: &mut NewGrant) -> Result<Secret<String>, Error> {
    let tokens = ask(&grant.client, &grant.refresh_token).await?;
    if let Some(fresh) = tokens.refresh {
        grant.refresh_token = fresh;
    }
    Ok(tokens.access)
}

async fn ask(client: &Client, refresh_token: &Secret<String>) -> Result<Tokens, Error> {
    let exchange = upstream::exchange().map_err(|_| Error::NoHttp)?;
    let asked = exchange.refresh(client, refresh_token).await;
    asked.map_err(|trouble| Error::Grant { endpoint: client.token_endpoint.clone(), trouble })
}
