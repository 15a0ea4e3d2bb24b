//! What is asked of a token endpoint: the requests of RFC 6749, of its extensions for devices (RFC 8628) and assertions
//! (RFC 7523).
//!
//! Pure: whatever has to be signed, or drawn at random, comes as an argument. Requests are made by `oauth2`, but for the
//! assertion grant, which it has not.

use super::{Reason, Trouble};
use crate::{model::Secret, oauth::TokenEndpoint};
use oauth2::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse,
    PkceCodeVerifier, RedirectUrl, RefreshToken, Scope, TokenUrl, basic::BasicClient, url::form_urlencoded,
};
use std::{borrow::Cow, cell::Cell};

/// Who asks, and where.
#[derive(Clone)]
pub struct Client {
    pub token_endpoint: TokenEndpoint,
    pub id: String,
    pub proof: Proof,
    /// What is asked for, with blanks between; empty for all that was granted.
    pub scope: String,
}

/// By what a client shows that it is itself.
#[derive(Clone)]
pub enum Proof {
    /// A public client: a program on a person's machine can keep no secret.
    Nothing,
    /// A "Desktop" client of Google has one, too.
    Secret(Secret<String>),
    /// An assertion that is signed for each request (RFC 7523 section 2.2).
    Key(SigningKey),
}

/// A private key by which the provider knows a client or a service account.
#[derive(Clone)]
pub struct SigningKey {
    /// RSA, in PKCS #8 and base64.
    pub pkcs8: Secret<String>,
    /// What the provider calls it: the SHA-256 thumbprint of its certificate in base64url, or the key's number.
    pub name: String,
}

/// What a grant stands on.
#[derive(Clone)]
pub enum Means {
    /// A person's consent: its refresh token.
    Refresh(Secret<String>),
    /// The client's own right to the mailboxes of a tenant.
    Own,
    /// A service account's right to act for the users of a domain.
    Behalf,
}

/// With what an access token is asked for.
pub enum Question<'a> {
    /// A refresh token (section 6).
    Refresh(&'a Secret<String>),
    /// The code that came back from the page of consent (section 4.1.3), with the verifier of RFC 7636.
    Code { code: &'a Secret<String>, verifier: &'a Secret<String>, redirect: &'a str },
    /// What a device has been given (RFC 8628 section 3.4).
    Device(&'a Secret<String>),
    /// Nothing but what the client is itself (section 4.4).
    Own,
    /// An assertion that is signed for one user (RFC 7523 section 2.1).
    Behalf(&'a Secret<String>),
}

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const GRANT_BEHALF: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const GRANT_DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The request. `assertion` is the client's own, where its proof is a key.
///
/// # Errors
/// [`Trouble::Client`] if no request can be made of it.
pub fn message(
    client: &Client,
    question: &Question<'_>,
    assertion: Option<&Secret<String>>,
) -> Result<HttpRequest, Trouble> {
    let basic = basic(client);
    let extra = of_client(assertion);
    let scopes = || client.scope.split_whitespace().map(|scope| Scope::new(scope.to_owned()));
    // The crate makes the request only on the way to a transport: this one keeps it, and carries nothing.
    let made = Cell::new(None);
    let keeps = |request: HttpRequest| -> Result<HttpResponse, Kept> {
        made.set(Some(request));
        Err(Kept)
    };
    macro_rules! made {
        ($request:expr) => {{
            let request =
                extra.into_iter().fold($request, |request, (name, value)| request.add_extra_param(name, value));
            let _ = request.request(&keeps);
        }};
    }
    match question {
        Question::Refresh(token) => {
            let token = RefreshToken::new(token.expose().clone());
            made!(basic.exchange_refresh_token(&token).add_scopes(scopes()));
        }
        Question::Code { code, verifier, redirect } => {
            let redirect = RedirectUrl::new((*redirect).to_owned()).map_err(|_| unusable())?;
            let code = AuthorizationCode::new(code.expose().clone());
            let verifier = PkceCodeVerifier::new(verifier.expose().clone());
            made!(basic.exchange_code(code).set_pkce_verifier(verifier).set_redirect_uri(Cow::Owned(redirect)));
        }
        Question::Own => made!(basic.exchange_client_credentials().add_scopes(scopes())),
        Question::Device(code) => {
            let fields = [("grant_type", GRANT_DEVICE), ("device_code", code.expose()), ("client_id", &client.id)];
            return form(client, fields.into_iter(), extra, &client.proof);
        }
        // Who asks stands in the assertion: a second name would be refused.
        Question::Behalf(signed) => {
            let fields = [("grant_type", GRANT_BEHALF), ("assertion", signed.expose())];
            return form(client, fields.into_iter(), Vec::new(), &Proof::Nothing);
        }
    }
    made.into_inner().ok_or_else(unusable)
}

/// The fields of a client's own assertion.
pub(super) fn of_client(assertion: Option<&Secret<String>>) -> Vec<(&'static str, Cow<'_, str>)> {
    assertion.map_or_else(Vec::new, |signed| {
        vec![("client_assertion_type", ASSERTION_TYPE.into()), ("client_assertion", signed.expose().as_str().into())]
    })
}

type Basic = BasicClient<EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// Its secret goes in the body, as Google and Microsoft document it.
fn basic(client: &Client) -> Basic {
    let url = TokenUrl::from_url(client.token_endpoint.url().clone());
    let basic = BasicClient::new(ClientId::new(client.id.clone())).set_token_uri(url);
    let basic = match &client.proof {
        Proof::Secret(secret) => basic.set_client_secret(ClientSecret::new(secret.expose().clone())),
        Proof::Nothing | Proof::Key(_) => basic,
    };
    basic.set_auth_type(AuthType::RequestBody)
}

/// A request that the crate has not, or makes only for a client of another kind.
fn form<'a>(
    client: &Client,
    fields: impl Iterator<Item = (&'a str, &'a str)>,
    extra: Vec<(&str, Cow<'_, str>)>,
    proof: &Proof,
) -> Result<HttpRequest, Trouble> {
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(fields).extend_pairs(extra);
    if let Proof::Secret(secret) = proof {
        body.append_pair("client_secret", secret.expose());
    }
    let request = oauth2::http::Request::post(client.token_endpoint.as_str())
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json");
    request.body(body.finish().into_bytes()).map_err(|_| unusable())
}

fn unusable() -> Trouble {
    Trouble::Client(Reason { code: "invalid_request", number: None, text: None })
}

#[derive(Debug, thiserror::Error)]
#[error("kept, not carried")]
struct Kept;
