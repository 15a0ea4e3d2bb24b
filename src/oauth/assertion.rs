//! Signs assertions (RFC 7523): a client's of itself, and a service account's for a user.
//!
//! A key is parsed for each: assertions are made about once an hour for an account.

use super::flow::{Client, Proof, Reason, SigningKey, Trouble};
use crate::model::Secret;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64_URL},
};
use ring::{
    rand::{SecureRandom, SystemRandom},
    rsa::KeyPair,
    signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding},
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Seconds that an assertion holds: what Google allows at most. Microsoft wants some minutes, and takes more.
const LIFETIME: i64 = 3600;
/// A clock of ours that is ahead by less than this is no obstacle.
pub(crate) const LEEWAY: i64 = 60;

/// The client's assertion of itself (RFC 7523 section 2.2), where its proof is a key. `now` in Unix seconds, by the
/// clock of who is asked.
///
/// # Errors
/// [`Trouble::Client`] if the key cannot sign.
pub fn of_client(client: &Client, now: i64) -> Result<Option<Secret<String>>, Trouble> {
    let Proof::Key(key) = &client.proof else { return Ok(None) };
    let mut number = [0; 16];
    SystemRandom::new().fill(&mut number).map_err(|_| unusable())?;
    let claims = json!({
        "iss": client.id,
        "sub": client.id,
        "aud": client.token_endpoint.as_str(),
        "jti": BASE64_URL.encode(number),
        "iat": now - LEEWAY,
        "nbf": now - LEEWAY,
        "exp": now - LEEWAY + LIFETIME,
    });
    // As Microsoft documents it for certificates.
    let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": key.name, "kid": key.name });
    sign(&header, &claims, key, &RSA_PSS_SHA256).map(Some)
}

/// A service account's assertion for a user (RFC 7523 section 2.1), as Google documents it. `now` in Unix
/// seconds, by the clock of who is asked.
///
/// # Errors
/// [`Trouble::Client`] if there is no key, or if it cannot sign.
pub fn on_behalf(client: &Client, user: &str, now: i64) -> Result<Secret<String>, Trouble> {
    let Proof::Key(key) = &client.proof else { return Err(unusable()) };
    let claims = json!({
        "iss": client.id,
        "sub": user,
        "scope": client.scope,
        "aud": client.token_endpoint.as_str(),
        "iat": now - LEEWAY,
        "exp": now - LEEWAY + LIFETIME,
    });
    sign(&json!({ "alg": "RS256", "typ": "JWT", "kid": key.name }), &claims, key, &RSA_PKCS1_SHA256)
}

/// Whether a key can sign: RSA of at least 2048 bits.
#[must_use]
pub fn can_sign(key: &SigningKey) -> bool {
    pair(key).is_ok()
}

fn sign(
    header: &Value,
    claims: &Value,
    key: &SigningKey,
    encoding: &'static dyn RsaEncoding,
) -> Result<Secret<String>, Trouble> {
    let pair = pair(key)?;
    let mut text = format!("{}.{}", BASE64_URL.encode(header.to_string()), BASE64_URL.encode(claims.to_string()));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), text.as_bytes(), &mut signature).map_err(|_| unusable())?;
    text.push('.');
    text.push_str(&BASE64_URL.encode(signature));
    Ok(Secret::new(text))
}

fn pair(key: &SigningKey) -> Result<KeyPair, Trouble> {
    let der = Zeroizing::new(BASE64.decode(key.pkcs8.expose()).map_err(|_| unusable())?);
    KeyPair::from_pkcs8(&der).map_err(|_| unusable())
}

fn unusable() -> Trouble {
    Trouble::Client(Reason { code: "invalid_client", number: None, text: None })
}
