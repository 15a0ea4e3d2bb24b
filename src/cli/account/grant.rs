//! Reads the grant of an account from standard input, and fills in what the provider's entry knows.

use super::device;
use crate::cli::{Error, Place, arguments::GrantArguments, secret};
use passerelle::{
    control::{consent, registration},
    model::{Address, SmtpAuth},
    oauth::{
        TokenEndpoint,
        flow::{Client, Means, Proof, is_refresh_token},
    },
    provider::{Provider, Tokens},
    store::{NewGrant, Registration, Store},
};

/// The grant, where one is given: a refresh token on standard input, or a sign-in on another device, which wants the store.
/// `wished` tells whose grant opens a shared mailbox, where it is not what the account has.
pub(super) async fn of(
    arguments: &GrantArguments,
    provider: Option<&Provider>,
    mailbox: &Address,
    place: &Place,
    store: Option<&Store>,
    wished: Option<&SmtpAuth>,
) -> Result<Option<NewGrant>, Error> {
    match (arguments.device, provider, store) {
        (true, Some(provider), Some(store)) => {
            let account = store.account_by_address(mailbox).await?;
            let smtp_auth = wished.or(account.as_ref().map(|account| &account.settings.smtp_auth));
            let person = consent::expected(store, mailbox, smtp_auth, account.as_ref()).await?;
            device::grant(place, store, provider, mailbox, &person).await.map(Some)
        }
        (true, ..) => Err(Error::NoTokenEndpoint),
        (false, provider, _) => read(arguments, provider),
    }
}

/// The client that opens this mailbox by itself, if no other provider is named.
pub(super) async fn registered(
    store: &Store,
    address: &Address,
    provider: Option<&str>,
) -> Result<Option<Registration>, Error> {
    let found = registration::of_address(store, address).await?;
    Ok(found.filter(|found| provider.is_none_or(|name| name == found.provider)))
}

fn read(arguments: &GrantArguments, provider: Option<&Provider>) -> Result<Option<NewGrant>, Error> {
    let (true, Some(id)) = (arguments.refresh_token_stdin, &arguments.client_id) else { return Ok(None) };
    let oauth = provider.and_then(|provider| provider.oauth.as_ref());
    let known = oauth.and_then(|oauth| TokenEndpoint::parse(&oauth.token_of(arguments.tenant.as_deref())).ok());
    let token_endpoint = arguments.token_endpoint.clone().or(known).ok_or(Error::NoTokenEndpoint)?;
    let mut input = std::io::stdin().lock();
    let refresh_token = secret::line(&mut input, || Error::RefreshToken)?;
    if !is_refresh_token(refresh_token.expose()) {
        return Err(Error::RefreshToken);
    }
    let secret =
        if arguments.client_secret_stdin { Some(secret::line(&mut input, || Error::RefreshToken)?) } else { None };
    Ok(Some(NewGrant {
        client: Client {
            token_endpoint,
            id: id.clone(),
            proof: secret.map_or(Proof::Nothing, Proof::Secret),
            scope: oauth.map(|oauth| oauth.scopes.join(" ")).unwrap_or_default(),
        },
        registration: None,
        means: Means::Refresh(refresh_token),
        old_tokens_stay_valid: oauth.is_some_and(|oauth| oauth.old_refresh_tokens == Tokens::Valid),
    }))
}
