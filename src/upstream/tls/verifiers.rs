//! Whom TLS believes beside what webpki verifies: a pinned key, everyone, or no one; and which key was shown where an
//! authority is unknown.
//!
//! Each still holds the peer to its key: what is accepted is an unknown name, never a broken handshake.

use super::provider;
use crate::{
    failure::Unreachable,
    model::{Pin, Pins},
};
use ring::digest::{SHA256, digest};
use std::{fmt, sync::Arc};
use tokio_rustls::rustls::{
    self, CertificateError, DigitallySignedStruct, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

/// The methods of a verifier that hold the peer to the key of its certificate.
macro_rules! signatures_are_checked {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

/// What the verifiers of this file say of a certificate, carried through TLS.
#[derive(Debug)]
struct Told(Unreachable);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Told {}

fn refuse(reason: Unreachable) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Told(reason)))))
}

/// What a refused certificate means.
pub(super) fn meaning(refused: &CertificateError) -> Unreachable {
    match refused {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Unreachable::CertificateName
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Unreachable::CertificateTime,
        CertificateError::Other(OtherError(other)) => {
            other.downcast_ref::<Told>().map_or(Unreachable::CertificateUnknown { key: None }, |told| told.0)
        }
        _ => Unreachable::CertificateUnknown { key: None },
    }
}

/// None of a certificate that cannot be read.
fn pin_of(certificate: &CertificateDer<'_>) -> Option<Pin> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let digest = digest(&SHA256, &parsed.subject_public_key_info());
    digest.as_ref().try_into().ok().map(Pin::new)
}

/// Believes whom another believes; of an unknown authority it tells the key that could be pinned.
#[derive(Debug)]
pub(super) struct Telling(pub(super) Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for Telling {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| match &error {
            rustls::Error::InvalidCertificate(why) => match meaning(why) {
                Unreachable::CertificateUnknown { .. } => {
                    refuse(Unreachable::CertificateUnknown { key: pin_of(end_entity) })
                }
                _ => error,
            },
            _ => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Believes whoever holds one of these keys: neither chain nor name nor time of the certificate says more than that.
#[derive(Debug)]
pub(super) struct Pinned(pub(super) Pins);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match pin_of(end_entity) {
            Some(key) if self.0.contain(key) => Ok(ServerCertVerified::assertion()),
            Some(shown) => Err(refuse(Unreachable::CertificateKey { pinned: self.0, shown })),
            None => Err(refuse(Unreachable::CertificateUnknown { key: None })),
        }
    }

    signatures_are_checked!();
}

/// Believes every certificate.
#[derive(Debug)]
pub(super) struct AcceptAny;

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures_are_checked!();
}

/// Believes no certificate: what stands in when no list of authorities can be had.
#[derive(Debug)]
pub(super) struct AcceptNone;

impl ServerCertVerifier for AcceptNone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }

    signatures_are_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local_tls::tests::shake_hands;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData};
    use tokio_rustls::rustls::{
        ClientConnection, ServerConfig, ServerConnection,
        crypto::ring::sign::any_supported_type,
        pki_types::PrivateKeyDer,
        sign::{CertifiedKey, SingleCertAndKey},
    };

    fn pin(key: &KeyPair) -> Pin {
        Pin::new(digest(&SHA256, &key.subject_public_key_info()).as_ref().try_into().expect("32 octets"))
    }

    /// A client that pins meets a peer with this certificate, which signs with this key.
    fn handshake(pins: Pins, certificate: &KeyPair, signs_with: &KeyPair) -> Result<(), rustls::Error> {
        let shown = CertificateParams::new(["elsewhere.test".to_owned()]).expect("a name");
        let shown = shown.self_signed(certificate).expect("signed").der().clone();
        let key = PrivateKeyDer::try_from(signs_with.serialize_der()).expect("a key");
        let shown = CertifiedKey::new(vec![shown], any_supported_type(&key)?);
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
        let mut server = ServerConnection::new(server.into())?;
        let client = super::super::verifying(Arc::new(Pinned(pins)));
        let mut client = ClientConnection::new(client.into(), ServerName::try_from("imap.test").expect("a name"))?;
        shake_hands(&mut client, &mut server)
    }

    #[test]
    fn a_pinned_key_must_be_shown_and_held() {
        let [one, other] = [(); 2].map(|()| KeyPair::generate().expect("a key"));
        let pins = Pins::from(pin(&one));
        assert_eq!(handshake(pins, &one, &one), Ok(()));
        let changed = handshake(pins, &other, &other).expect_err("another key");
        let rustls::Error::InvalidCertificate(why) = changed else { panic!("{changed}") };
        assert_eq!(meaning(&why), Unreachable::CertificateKey { pinned: pins, shown: pin(&other) });
        // Whoever only has the certificate, which everyone is shown.
        let stolen = handshake(pins, &one, &other).expect_err("no key");
        assert_eq!(stolen, rustls::Error::InvalidCertificate(CertificateError::BadSignature));
    }
}
