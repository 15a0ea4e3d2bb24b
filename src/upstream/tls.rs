//! TLS towards providers: whose certificate is believed, and what its refusal means.
//!
//! TLS 1.2 and newer. A certificate that is not believed ends the handshake, before any credential (rule R4).

mod verifiers;

use super::{Stream, ahead::ReadAhead};
use crate::{
    failure::{Failure, Unreachable},
    model::{Certificates, Host, Pins},
};
use ::ring::digest::{SHA256, digest};
use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
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
    let stream: Stream = Box::new(ReadAhead::new(stream));
    let stream = connector.connect(name, stream).await.map_err(|error| unreachable(reason(&error)))?;
    let version = match stream.get_ref().1.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS 1.2",
    };
    stream.get_ref().0.acknowledge();
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

/// Configurations of pins and files that are kept with their sessions: a firm has a handful of each. Beyond that all are
/// made anew.
pub(crate) const KNOWN_TRUST: usize = 64;

/// What is believed beside the machine's trust.
#[derive(PartialEq, Eq, Hash)]
enum Trust {
    Pins(Pins),
    /// The digest of what stands in the file now.
    Authorities([u8; 32]),
}

/// A TLS session is resumed by the same configuration alone: without a certificate, but for one that was shown before to
/// the same trust.
fn config(certificates: &Certificates) -> Result<Arc<ClientConfig>, Failure> {
    // Reading the machine's trust takes milliseconds; it does not change while the bridge runs.
    static VERIFY: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    static ACCEPT_ANY: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    match certificates {
        Certificates::Verify => Ok(VERIFY.get_or_init(|| Arc::new(verifying(machine_trust()))).clone()),
        Certificates::AcceptAny => Ok(ACCEPT_ANY.get_or_init(|| Arc::new(verifying(Arc::new(AcceptAny)))).clone()),
        Certificates::Pin(pins) => known(Trust::Pins(*pins), || Ok(Arc::new(Pinned(*pins)))),
        // Read at each connect: an administrator who replaces the file expects it to count.
        Certificates::Ca(file) => {
            let read = std::fs::read(file).unwrap_or_default();
            let digest = digest(&SHA256, &read);
            let digest = digest.as_ref().try_into().map_err(|_| Failure::Internal("a digest of another length"))?;
            known(Trust::Authorities(digest), || trust_in(&read, file))
        }
    }
}

/// The configuration for this trust, as it was made before or now.
fn known(
    trust: Trust,
    verifier: impl FnOnce() -> Result<Arc<dyn ServerCertVerifier>, Failure>,
) -> Result<Arc<ClientConfig>, Failure> {
    static KNOWN: Mutex<Option<HashMap<Trust, Arc<ClientConfig>>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(config) = known.get(&trust) {
        return Ok(config.clone());
    }
    let config = Arc::new(verifying(verifier()?));
    if known.len() >= KNOWN_TRUST {
        known.clear();
    }
    known.insert(trust, config.clone());
    Ok(config)
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

/// `read` is what stands in the file.
fn trust_in(read: &[u8], file: &Path) -> Result<Arc<dyn ServerCertVerifier>, Failure> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(CertificateDer::pem_slice_iter(read).filter_map(Result::ok));
    if added == 0 {
        tracing::error!(file = %file.display(), "no certificate authority can be read from this file");
    }
    webpki(roots).ok_or(unreachable(Unreachable::CertificateUnknown { key: None }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::{
        TlsAcceptor,
        rustls::{HandshakeKind, ServerConfig, pki_types::PrivateKeyDer},
    };

    /// A server that lets so many in; how each shook hands.
    async fn serve(config: Arc<ServerConfig>, clients: usize) -> (u16, tokio::task::JoinHandle<Vec<HandshakeKind>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let served = tokio::spawn(async move {
            let mut kinds = Vec::new();
            for _ in 0..clients {
                let (stream, _) = listener.accept().await.expect("a client");
                let Ok(mut stream) = TlsAcceptor::from(config.clone()).accept(stream).await else { continue };
                kinds.push(stream.get_ref().1.handshake_kind().expect("shaken"));
                stream.write_all(b"x").await.expect("written");
                let _ = stream.shutdown().await;
            }
            kinds
        });
        (port, served)
    }

    async fn visit(port: u16, certificates: &Certificates) -> Result<(), Failure> {
        let host = Host::parse("localhost").expect("a host");
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
        let (mut stream, _) = connect(Box::new(stream), &host, certificates).await?;
        // The tickets come before it.
        assert_eq!(stream.read_u8().await.expect("read"), b'x');
        Ok(())
    }

    #[tokio::test]
    async fn a_session_is_resumed_under_the_same_trust_and_no_other() {
        let root = tempfile::tempdir().expect("a directory");
        let file = root.path().join("ca.pem");
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".into()]).expect("made");
        std::fs::write(&file, cert.pem()).expect("written");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let config = builder.expect("versions").with_no_client_auth();
        let config = Arc::new(config.with_single_cert(vec![cert.der().clone()], key).expect("a configuration"));
        let (port, served) = serve(config, 5).await;
        let trust = Certificates::Ca(file.clone());
        visit(port, &trust).await.expect("believed");
        visit(port, &trust).await.expect("believed");
        // Another authority, in the same file: what was shown to the former counts for nothing.
        let CertifiedKey { cert: other, .. } = generate_simple_self_signed(["localhost".into()]).expect("made");
        std::fs::write(&file, other.pem()).expect("written");
        visit(port, &trust).await.expect_err("not believed any more");
        std::fs::write(&file, format!("{}{}", other.pem(), cert.pem())).expect("written");
        visit(port, &trust).await.expect("believed");
        visit(port, &trust).await.expect("believed");
        let kinds = served.await.expect("served");
        use HandshakeKind::{Full, Resumed};
        assert_eq!(kinds, [Full, Resumed, Full, Resumed]);
    }
}
