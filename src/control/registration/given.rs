//! What a client shows that it is itself by, as files and pages give it: a secret, a certificate with its key, a service
//! account's key file.

use crate::{
    model::Secret,
    oauth::{
        TokenEndpoint, assertion,
        flow::{Proof, SigningKey},
    },
    store::ForWhom,
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64_URL},
};
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use tokio_rustls::rustls::{
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

/// What a person gives.
pub enum Given {
    /// A client that can keep no secret: its id.
    Public(String),
    Secret {
        id: String,
        secret: Secret<String>,
    },
    /// Both in PEM.
    Certificate {
        id: String,
        certificate: Vec<u8>,
        key: Secret<String>,
    },
    /// Google's key file, in JSON.
    ServiceAccount(Secret<String>),
}

/// Why that does not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUsable {
    #[error("the certificate is none in PEM")]
    Certificate,
    #[error("not a client id: {0}")]
    ClientId(String),
    #[error("not a domain: {0}")]
    Domain(String),
    /// Wanted and missing, or said and not wanted.
    #[error("{}", if *.0 == ForWhom::Consenting { "people consent for themselves, whatever their domain" } else { "it is not said for which domains" })]
    Domains(ForWhom),
    #[error("the key is none in PEM and PKCS #8, of RSA with at least 2048 bits, without a password")]
    Key,
    #[error("the key is not that of the certificate")]
    KeyElsewhere,
    #[error("the file is no key file of a service account")]
    ServiceAccount,
    #[error("it is not said for which tenant")]
    TenantWanted,
    #[error("no tokens can be asked for there")]
    TokenEndpoint,
    #[error("the key file asks for its tokens elsewhere than at the provider: {0}")]
    TokenUri(String),
}

/// The parts of a client.
pub(super) struct Read {
    pub(super) id: String,
    pub(super) proof: Proof,
    pub(super) number: Option<String>,
}

/// The fields of Google's file that matter.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    client_id: Option<String>,
    private_key: String,
    private_key_id: String,
    token_uri: String,
}

/// As long as any provider makes them.
const ID_MAX: usize = 255;

impl Given {
    pub(super) fn read(self, at: &TokenEndpoint) -> Result<Read, NotUsable> {
        let (id, proof, number) = match self {
            Self::Public(id) => (id, Proof::Nothing, None),
            Self::Secret { id, secret } => (id, Proof::Secret(secret), None),
            Self::Certificate { id, certificate, key } => (id, Proof::Key(of_certificate(&certificate, &key)?), None),
            Self::ServiceAccount(json) => service_account(&json, at)?,
        };
        let plain = |id: &str| !id.is_empty() && id.len() <= ID_MAX && id.bytes().all(|octet| octet.is_ascii_graphic());
        if plain(&id) { Ok(Read { id, proof, number }) } else { Err(NotUsable::ClientId(id)) }
    }
}

/// The key by which the provider knows this certificate: its name is the certificate's thumbprint.
fn of_certificate(certificate: &[u8], key: &Secret<String>) -> Result<SigningKey, NotUsable> {
    let certificate = CertificateDer::from_pem_slice(certificate).map_err(|_| NotUsable::Certificate)?;
    let name = BASE64_URL.encode(digest(&SHA256, &certificate));
    let (read, der) = signing_key(key, name)?;
    let fits = CertifiedKey::from_der(vec![certificate], PrivateKeyDer::Pkcs8(der), &default_provider());
    fits.map(|_| read).map_err(|_| NotUsable::KeyElsewhere)
}

fn service_account(json: &Secret<String>, at: &TokenEndpoint) -> Result<(String, Proof, Option<String>), NotUsable> {
    let file: KeyFile = serde_json::from_str(json.expose()).map_err(|_| NotUsable::ServiceAccount)?;
    if file.kind != "service_account" || file.private_key_id.is_empty() {
        return Err(NotUsable::ServiceAccount);
    }
    // Whoever gives a file that he found could send the assertion, and with it the mailbox, to another.
    if TokenEndpoint::parse(&file.token_uri).as_ref() != Ok(at) {
        return Err(NotUsable::TokenUri(file.token_uri));
    }
    let (key, _) = signing_key(&Secret::new(file.private_key), file.private_key_id)?;
    Ok((file.client_email, Proof::Key(key), file.client_id))
}

fn signing_key(pem: &Secret<String>, name: String) -> Result<(SigningKey, PrivatePkcs8KeyDer<'static>), NotUsable> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| NotUsable::Key)?;
    let key = SigningKey { pkcs8: Secret::new(BASE64.encode(der.secret_pkcs8_der())), name };
    if assertion::can_sign(&key) { Ok((key, der)) } else { Err(NotUsable::Key) }
}

impl NotUsable {
    /// What mends it, for people.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Certificate => {
                "give the certificate that was uploaded at the provider, as PEM, with --certificate FILE"
            }
            Self::ClientId(_) | Self::TokenEndpoint => return None,
            Self::Domain(_) => "give the part of the addresses behind the @",
            Self::Domains(ForWhom::Consenting) => "leave --domain out, or add --for tenant",
            Self::Domains(_) => {
                "name each with --domain DOMAIN: its mailboxes, and no others, are opened by this client"
            }
            Self::Key => {
                "`openssl pkcs8 -topk8 -nodes -in KEY -out NEW` makes one of another form, and asks for its password"
            }
            Self::KeyElsewhere => "give the certificate and the key that were made together",
            Self::ServiceAccount => "download it from the service account's page: Keys, Add key, Create new key, JSON",
            Self::TenantWanted => "give the directory's id or domain with --tenant",
            Self::TokenUri(_) => {
                "do not use this file if you do not know who made it; `passerelle provider show NAME` says where tokens are \
                 asked for"
            }
        })
    }
}
