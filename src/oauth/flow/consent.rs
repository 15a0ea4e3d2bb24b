//! Asking a person to consent (RFC 6749 section 4.1): the address that is opened, what comes back from there, who it was,
//! and where a provider says that it asks (RFC 8414, OpenID Connect Discovery).
//!
//! Pure: what must be drawn at random comes as an argument. Of what a provider says back, its own words are never kept:
//! only codes and numbers that are known.

use crate::{model::Secret, oauth::TokenEndpoint, wire::sasl::bearer::TOKEN_MAX};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth2::{
    PkceCodeChallenge, PkceCodeVerifier,
    url::{Url, form_urlencoded},
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt};

/// What a person is asked.
pub struct Asked<'a> {
    /// The provider's page of consent.
    pub page: &'a TokenEndpoint,
    /// What this provider wants beside.
    pub parameters: &'a BTreeMap<String, String>,
    pub client: &'a str,
    pub scope: &'a str,
    pub redirect: &'a str,
    /// The address that the page is to begin with.
    pub login_hint: &'a str,
    pub state: &'a Secret<String>,
    pub verifier: &'a Secret<String>,
}

/// The address that asks. PKCE is always by S256 (rule R27).
#[must_use]
pub fn address(asked: &Asked<'_>) -> String {
    let mut url = asked.page.url().clone();
    let challenge =
        PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(asked.verifier.expose().clone()));
    let fixed = [
        ("response_type", "code"),
        ("client_id", asked.client),
        ("redirect_uri", asked.redirect),
        ("scope", asked.scope),
        ("state", asked.state.expose()),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
        ("login_hint", asked.login_hint),
    ];
    let more = asked.parameters.iter().filter(|(name, _)| !fixed.iter().any(|(fixed, _)| fixed == name));
    url.query_pairs_mut().extend_pairs(fixed).extend_pairs(more);
    url.into()
}

/// What comes back.
pub struct Returned {
    pub state: Secret<String>,
    /// Who says so (RFC 9207).
    pub issuer: Option<String>,
    pub answer: Result<Secret<String>, Denial>,
}

/// Why there is no code. Of the provider's words only what is known is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    code: &'static str,
    /// `AADSTS…`
    number: Option<u64>,
}

/// Not what comes back from a page of consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not the address at which a sign-in ends")]
pub struct NotReturned;

/// Google's and Microsoft's longest have less than half.
pub const RETURNED_MAX: usize = 8 * 1024;

/// Errors of RFC 6749 section 4.1.2.1, of OpenID Connect and of Google.
const DENIALS: [(&str, &str); 10] = [
    ("access_denied", "the permission was not given"),
    ("admin_policy_enforced", "an administrator of the organisation must allow this application first"),
    ("consent_required", "the permission was not given"),
    ("interaction_required", "the provider wants the person to do more, such as to confirm by telephone"),
    ("invalid_request", "the provider does not understand the question: the redirect address may not be registered"),
    ("invalid_scope", "the registered client may not ask for mail"),
    ("login_required", "nobody signed in"),
    ("server_error", "the provider has trouble of its own"),
    ("temporarily_unavailable", "the provider is not available now"),
    ("unauthorized_client", "the registered client may not ask people to consent"),
];
/// Microsoft's numbers say it better than the code beside them.
const NUMBERS: [(u64, &str); 9] = [
    (50_011, "the redirect address is not registered for this client"),
    (50_020, "this person is not of the organisation that the client is for"),
    (50_105, "an administrator has not assigned this person to the application"),
    (53_003, "a rule of the organisation bars this sign-in (Conditional Access)"),
    (65_001, "the permission was not given"),
    (65_004, "the person declined"),
    (90_094, "an administrator of the organisation must allow this application first"),
    (90_095, "an administrator was asked to allow this application; try again when that is done"),
    (700_016, "the organisation does not know this client"),
];

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = NUMBERS.iter().find(|(number, _)| Some(*number) == self.number).map(|(_, words)| *words);
        let words = words.or_else(|| DENIALS.iter().find(|(code, _)| *code == self.code).map(|(_, words)| *words));
        write!(f, "{} ({}", words.unwrap_or("the provider refused, and it is not known why"), self.code)?;
        match self.number {
            Some(number) => write!(f, ", AADSTS{number})"),
            None => f.write_str(")"),
        }
    }
}

/// Reads the query of the address to which a browser came back.
///
/// # Errors
/// [`NotReturned`] where the state is missing, something is said twice, or there is neither a code nor an error.
pub fn returned(query: &str) -> Result<Returned, NotReturned> {
    if query.len() > RETURNED_MAX {
        return Err(NotReturned);
    }
    let mut said = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let known = ["code", "state", "iss", "error", "error_description"].into_iter().find(|known| *known == name);
        if let Some(known) = known
            && said.insert(known, Secret::new(value.into_owned())).is_some()
        {
            return Err(NotReturned);
        }
    }
    let state = said.remove("state").filter(|state| !state.expose().is_empty()).ok_or(NotReturned)?;
    let issuer = said.remove("iss").map(|issuer| issuer.expose().clone());
    let answer = match (said.remove("error"), said.remove("code")) {
        (Some(error), _) => Err(denial(error.expose(), said.remove("error_description").as_ref())),
        (None, Some(code)) if is_code(code.expose()) => Ok(code),
        (None, _) => return Err(NotReturned),
    };
    Ok(Returned { state, issuer, answer })
}

/// Reads an address that was copied from a browser: its path, and what came back.
///
/// # Errors
/// [`NotReturned`].
pub fn pasted(text: &str) -> Result<(String, Returned), NotReturned> {
    let text = text.trim();
    if text.len() > RETURNED_MAX {
        return Err(NotReturned);
    }
    // Browsers leave the scheme out where they show an address.
    let url = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    let url = url.or_else(|| Url::parse(&format!("http://{text}")).ok()).ok_or(NotReturned)?;
    Ok((url.path().to_owned(), returned(url.query().ok_or(NotReturned)?)?))
}

fn is_code(code: &str) -> bool {
    !code.is_empty() && code.len() <= TOKEN_MAX && code.bytes().all(|octet| matches!(octet, b' '..=b'~'))
}

fn denial(error: &str, description: Option<&Secret<String>>) -> Denial {
    let code = DENIALS.iter().map(|(code, _)| *code).find(|code| *code == error).unwrap_or("unknown");
    let digits = description
        .and_then(|text| text.expose().split_once("AADSTS"))
        .map(|(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).take(9).map(char::from).collect::<String>());
    Denial { code, number: digits.and_then(|digits| digits.parse().ok()) }
}

/// The addresses that the one who signed in is known by, as the `id_token` of a token endpoint's answer has them. It came
/// from that endpoint over TLS, so its signature need not be looked at (OpenID Connect Core 3.1.3.7); nothing is let in
/// for it: it only tells a wrong person early.
#[must_use]
pub fn identities(answer: &[u8]) -> Vec<String> {
    let claims = || -> Option<Map<String, Value>> {
        let answer: Map<String, Value> = serde_json::from_slice(answer).ok()?;
        let body = answer.get("id_token")?.as_str()?.split('.').nth(1)?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
    };
    let Some(claims) = claims() else { return Vec::new() };
    let said = ["email", "preferred_username", "upn"].into_iter().filter_map(|name| claims.get(name)?.as_str());
    said.filter(|address| address.contains('@') && address.len() <= IDENTITY_MAX).map(str::to_lowercase).collect()
}

/// Of an address (RFC 5321, 4.5.3.1).
const IDENTITY_MAX: usize = 320;

/// Where a provider asks for consent, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    pub issuer: String,
    pub authorise: TokenEndpoint,
    pub token: TokenEndpoint,
    /// Whether each answer names the issuer (RFC 9207).
    pub says_issuer: bool,
}

/// Why nothing was discovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDiscovered {
    #[error("its description has no page of consent and token endpoint that are safe")]
    Endpoints,
    #[error("there is no description of an authorization server")]
    Nothing,
    #[error("its description is of another issuer")]
    OtherIssuer,
}

/// Where the description of this issuer may stand (OpenID Connect Discovery 4, RFC 8414 section 3).
#[must_use]
pub fn descriptions(issuer: &TokenEndpoint) -> [String; 2] {
    let mut inserted = issuer.url().clone();
    let path = inserted.path().trim_end_matches('/').to_owned();
    inserted.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
    let base = issuer.as_str().trim_end_matches('/');
    [format!("{base}/.well-known/openid-configuration"), inserted.into()]
}

/// Reads a description.
///
/// # Errors
/// [`NotDiscovered`].
pub fn discovered(issuer: &TokenEndpoint, body: &[u8]) -> Result<Discovered, NotDiscovered> {
    let said: Map<String, Value> = serde_json::from_slice(body).map_err(|_| NotDiscovered::Nothing)?;
    let text = |name: &str| said.get(name).and_then(Value::as_str);
    let same = |said: &&str| said.trim_end_matches('/') == issuer.as_str().trim_end_matches('/');
    let name = text("issuer").filter(same).ok_or(NotDiscovered::OtherIssuer)?;
    let endpoint =
        |name: &str| text(name).and_then(|url| TokenEndpoint::parse(url).ok()).ok_or(NotDiscovered::Endpoints);
    Ok(Discovered {
        issuer: name.to_owned(),
        authorise: endpoint("authorization_endpoint")?,
        token: endpoint("token_endpoint")?,
        says_issuer: said.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
    })
}

#[cfg(test)]
mod tests;
