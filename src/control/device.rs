//! A sign-in on another device: a code is shown, and a grant comes of it when its person has signed in there.

use super::{Error, tokens};
use crate::{
    model::Address,
    oauth::{
        TokenEndpoint, device,
        exchange::Exchange,
        flow::{Client, Means, device::Code},
    },
    provider::{Provider, Tokens},
    store::{NewGrant, Registration, Store},
    upstream,
};

/// A code that waits for its person.
pub struct Waiting {
    pub code: Code,
    exchange: Exchange,
    registration: Registration,
    old_tokens_stay_valid: bool,
}

/// Asks for a code for this mailbox, as the client that is registered for people who consent.
///
/// # Errors
/// If the provider gives no codes, no client is registered, or the provider refuses.
pub async fn start(store: &Store, provider: &Provider, mailbox: &Address) -> Result<Waiting, Error> {
    let oauth = provider.oauth.as_ref().filter(|oauth| oauth.device.is_some());
    let oauth = oauth.ok_or_else(|| Error::NoDevice(provider.name.clone()))?;
    let registration = store.registration_for_consent(&provider.name, Some(mailbox), None).await?;
    let registration = registration.ok_or_else(|| Error::NoClient(provider.name.clone()))?;
    let tenant = Some(registration.tenant.as_str()).filter(|tenant| !tenant.is_empty());
    let endpoint = oauth.device_of(tenant).and_then(|address| TokenEndpoint::parse(&address).ok());
    let endpoint = endpoint.ok_or_else(|| Error::NoDevice(provider.name.clone()))?;
    let exchange = upstream::exchange().map_err(|_| Error::NoHttp)?;
    let code = device::start(&exchange, &registration.client, &endpoint).await;
    let code = code.map_err(|trouble| Error::Registered { endpoint, trouble })?;
    let old_tokens_stay_valid = oauth.old_refresh_tokens == Tokens::Valid;
    Ok(Waiting { code, exchange, registration, old_tokens_stay_valid })
}

impl Waiting {
    /// The grant, when its person has signed in. Who drops this asks no more.
    ///
    /// # Errors
    /// [`Error::Device`]; or if the tokens are not for the whole mailbox, or do not last.
    pub async fn grant(self) -> Result<NewGrant, Error> {
        let Registration { id, client, .. } = self.registration;
        let given = device::wait(&self.exchange, &client, self.code).await.map_err(Error::Device)?;
        tokens::are_for_all(&client, &given)?;
        let refresh = given.refresh.ok_or_else(|| no_refresh(&client))?;
        Ok(NewGrant {
            client,
            registration: Some(id),
            means: Means::Refresh(refresh),
            old_tokens_stay_valid: self.old_tokens_stay_valid,
        })
    }
}

fn no_refresh(client: &Client) -> Error {
    Error::NoRefreshToken(client.token_endpoint.clone())
}
