//! Reads the grant of an account from standard input, and fills in what the provider's entry knows.

use crate::cli::{Error, arguments::GrantArguments};
use passerelle::{
    model::Secret,
    oauth::{
        TokenEndpoint,
        flow::{Client, Means, Proof, is_refresh_token},
    },
    provider::{Provider, Tokens},
    store::NewGrant,
};
use std::io::BufRead;
use zeroize::Zeroizing;

/// The grant, where one is given.
pub(super) fn read(arguments: &GrantArguments, provider: Option<&Provider>) -> Result<Option<NewGrant>, Error> {
    let (true, Some(id)) = (arguments.refresh_token_stdin, &arguments.client_id) else { return Ok(None) };
    let oauth = provider.and_then(|provider| provider.oauth.as_ref());
    let known = oauth.and_then(|oauth| TokenEndpoint::parse(&oauth.token_of(arguments.tenant.as_deref())).ok());
    let token_endpoint = arguments.token_endpoint.clone().or(known).ok_or(Error::NoTokenEndpoint)?;
    let mut input = std::io::stdin().lock();
    let refresh_token = line(&mut input)?;
    if !is_refresh_token(refresh_token.expose()) {
        return Err(Error::RefreshToken);
    }
    let secret = if arguments.client_secret_stdin { Some(line(&mut input)?) } else { None };
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

/// Without its end, and without the blanks that copying leaves around it.
fn line(input: &mut impl BufRead) -> Result<Secret<String>, Error> {
    let mut line = Zeroizing::new(String::new());
    input.read_line(&mut line).map_err(Error::Password)?;
    match line.trim() {
        "" => Err(Error::RefreshToken),
        text => Ok(Secret::new(text.to_owned())),
    }
}
