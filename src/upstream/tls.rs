//! TLS towards providers: whose certificate is believed, and what its refusal means.
//!
//! TLS 1.2 and newer. A certificate that is not believed ends the handshake, before any credential (rule R4).

mod verifiers;

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
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, RootCertStore,
        client::danger::ServerCertVerifier,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use verifiers::{AcceptAny, AcceptNone, Pinned, Telling, meaning};

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

/// The certificate that a TLS server shows, in DER, whatever it is worth: nothing else is said to it.
///
/// # Errors
/// If there is no handshake, or no certificate in it.
pub async fn shown_by(server: TcpStream) -> io::Result<Vec<u8>> {
    let config = config(&Certificates::AcceptAny).map_err(io::Error::other)?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let stream = TlsConnector::from(config).connect(name, server).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    shown.map(|leaf| leaf.to_vec()).ok_or_else(|| io::Error::other("no certificate"))
}

fn unreachable(reason: Unreachable) -> Failure {
    Failure::ProviderUnreachable(reason)
}

fn reason(error: &io::Error) -> Unreachable {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(refused)) => meaning(refused),
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
        // Made at each connect, too: no session is resumed for which another key was shown.
        Certificates::Pin(pins) => Ok(Arc::new(verifying(Arc::new(Pinned(*pins))))),
        // Read at each connect: an administrator who replaces the file expects it to count.
        Certificates::Ca(file) => Ok(Arc::new(verifying(trust_in(file)?))),
    }
}

/// What believes whom this machine believes, for other protocols than mail.
pub(super) fn machine() -> ClientConfig {
    verifying(machine_trust())
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
        Ok(verifier) => Arc::new(Telling(Arc::new(verifier))),
        Err(error) => {
            tracing::warn!(%error, "this machine has no certificate authorities, using the built-in list");
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            webpki(roots).unwrap_or_else(|| Arc::new(AcceptNone))
        }
    }
}

fn webpki(roots: RootCertStore) -> Option<Arc<dyn ServerCertVerifier>> {
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    verifier.ok().map(|verifier| Arc::new(Telling(verifier)) as Arc<dyn ServerCertVerifier>)
}

fn trust_in(file: &Path) -> Result<Arc<dyn ServerCertVerifier>, Failure> {
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::pem_file_iter(file).map(|found| found.filter_map(Result::ok).collect::<Vec<_>>());
    let (added, _) = roots.add_parsable_certificates(read.unwrap_or_default());
    if added == 0 {
        tracing::error!(file = %file.display(), "no certificate authority can be read from this file");
    }
    webpki(roots).ok_or(unreachable(Unreachable::CertificateUnknown { key: None }))
}
