//! TLS towards providers: whose certificate is believed, and what its refusal means.
//!
//! TLS 1.2 and newer. A certificate that is not believed ends the handshake, before any credential (rule R4).

use super::Stream;
use crate::{
    failure::{Failure, Unreachable},
    model::{Certificates, Host},
};
use std::{
    io,
    path::Path,
    sync::{Arc, OnceLock},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    },
};

/// Shakes hands over `stream`. Returns the stream and the protocol's version for people.
pub(super) async fn connect(
    stream: Stream,
    host: &Host,
    certificates: &Certificates,
) -> Result<(Stream, &'static str), Failure> {
    let name = ServerName::try_from(host.as_str().to_owned()).map_err(|_| unreachable(Unreachable::NameUnknown))?;
    let connector = TlsConnector::from(config(certificates)?);
    let stream = connector.connect(name, stream).await.map_err(|error| unreachable(reason(&error)))?;
    let version = match stream.get_ref().1.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS 1.2",
    };
    Ok((Box::new(stream), version))
}

fn unreachable(reason: Unreachable) -> Failure {
    Failure::ProviderUnreachable(reason)
}

fn reason(error: &io::Error) -> Unreachable {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Unreachable::CertificateName
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Unreachable::CertificateTime,
            _ => Unreachable::CertificateUnknown,
        },
        Some(_) => Unreachable::Tls,
        None if error.kind() == io::ErrorKind::TimedOut => Unreachable::TimedOut,
        None => Unreachable::Lost,
    }
}

fn config(certificates: &Certificates) -> Result<Arc<ClientConfig>, Failure> {
    // Reading the machine's trust takes milliseconds; it does not change while the bridge runs.
    static VERIFY: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    static ACCEPT_ANY: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    match certificates {
        Certificates::Verify => Ok(VERIFY.get_or_init(|| Arc::new(verifying(machine_trust()))).clone()),
        Certificates::AcceptAny => Ok(ACCEPT_ANY.get_or_init(|| Arc::new(verifying(Arc::new(AcceptAny)))).clone()),
        // Read at each connect: an administrator who replaces the file expects it to count.
        Certificates::Ca(file) => Ok(Arc::new(verifying(trust_in(file)?))),
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(ring::default_provider())).clone()
}

fn verifying(verifier: Arc<dyn ServerCertVerifier>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider());
    #[expect(
        clippy::expect_used,
        reason = "ring has suites for TLS 1.2 and 1.3; anything else is a fault of the build"
    )]
    let builder = builder.with_safe_default_protocol_versions().expect("ring speaks TLS 1.2 and 1.3");
    builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
}

/// The trust of this machine; where it has none (a bare container), Mozilla's list as built in.
fn machine_trust() -> Arc<dyn ServerCertVerifier> {
    match rustls_platform_verifier::Verifier::new(provider()) {
        Ok(verifier) => Arc::new(verifier),
        Err(error) => {
            tracing::warn!(%error, "this machine has no certificate authorities, using the built-in list");
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            webpki(roots).unwrap_or_else(|| Arc::new(AcceptNone))
        }
    }
}

fn webpki(roots: RootCertStore) -> Option<Arc<dyn ServerCertVerifier>> {
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    verifier.ok().map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
}

fn trust_in(file: &Path) -> Result<Arc<dyn ServerCertVerifier>, Failure> {
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::pem_file_iter(file).map(|found| found.filter_map(Result::ok).collect::<Vec<_>>());
    let (added, _) = roots.add_parsable_certificates(read.unwrap_or_default());
    if added == 0 {
        tracing::error!(file = %file.display(), "no certificate authority can be read from this file");
    }
    webpki(roots).ok_or(unreachable(Unreachable::CertificateUnknown))
}

/// Believes every certificate, but still holds the peer to its key: what is accepted is an unknown name, not a broken
/// handshake.
#[derive(Debug)]
struct AcceptAny;

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
}

/// Believes no certificate: what stands in when no list of authorities can be had.
#[derive(Debug)]
struct AcceptNone;

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

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
