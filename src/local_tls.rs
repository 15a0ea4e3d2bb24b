//! The certificate that clients see: made by a local authority of the bridge's own, or the administrator's.
//!
//! The authority's key never leaves its directory, signs nothing but the bridge's own certificate, and is never written
//! over: CRMs were told to trust it. No socket is opened here.

mod shown;

pub use shown::Shown;

use crate::{
    model::Host,
    store::{Error as FileError, files},
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ResolvesServerCert,
    sign::{CertifiedKey, SingleCertAndKey},
};
use zeroize::Zeroizing;

const DAY: i64 = 86_400;
/// The clocks of client and bridge may differ by a day (rule R32), and by some seconds more.
const BACKDATED_DAYS: i64 = 2;
/// With the days before it 390 in all: Apple's libraries refuse more than 398.
const LEAF_DAYS: i64 = 388;
/// A leaf with less than this before it is made anew.
const RENEW_DAYS: i64 = 30;
/// Trust in the authority is given once, by hand.
const AUTHORITY_DAYS: i64 = 3650;
/// What every leaf is valid for: how CRMs on this machine spell it.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Stands in the leaf's file before the certificate: for which names it was made.
const NAMES_LINE: &str = "Names: ";

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the directory cannot be written or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate cannot be made.
    #[error("the local certificate cannot be made")]
    Made(#[source] rcgen::Error),
    /// The administrator's file cannot be read.
    #[error("cannot read the certificate or key: {}", path.display())]
    Read { path: PathBuf, source: rustls::pki_types::pem::Error },
    /// Certificate and key do not go together, or TLS does not take them.
    #[error("the certificate cannot be used: {}", path.display())]
    Unusable { path: PathBuf, source: rustls::Error },
}

impl Error {
    /// What mends it, for people.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Made(_) => Some(
                "move the directory `certs` of the state away: the next start makes another, which CRMs must trust anew"
                    .to_owned(),
            ),
            Self::Read { .. } => Some("the file must be in PEM form, as `-----BEGIN` shows".to_owned()),
            Self::Unusable { .. } => Some("check that certificate.key is the key of certificate.file".to_owned()),
        }
    }
}

/// Where the local authority and its leaf are kept.
pub struct LocalTls {
    directory: PathBuf,
}

impl LocalTls {
    /// In this directory, made if it is not there.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn at(directory: &Path) -> Result<Self, Error> {
        files::private_directory(directory)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// The authority's certificate: what a CRM is told to trust.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// TLS with a leaf for localhost and these names, made or renewed if need be. `now` is in Unix seconds.
    ///
    /// # Errors
    /// If a file cannot be read or written, or holds something else.
    pub fn server_config(&self, names: &[Host], now: i64) -> Result<Arc<ServerConfig>, Error> {
        self.ensure(names, now)?;
        server_config(&self.path("leaf.pem"), &self.path("leaf.key"))
    }

    /// The leaf is there, good for these names and not due; whether it had to be made.
    fn ensure(&self, names: &[Host], now: i64) -> Result<bool, Error> {
        let _lock = files::lock(&self.directory)?;
        self.refuse_open_keys()?;
        self.ensure_authority(now)?;
        let names = leaf_names(names);
        let good = self.leaf_is_good(&names, now);
        if !good {
            self.make_leaf(&names, now)?;
        }
        Ok(!good)
    }

    /// The leaf's certificate and key.
    fn leaf(&self) -> [PathBuf; 2] {
        ["leaf.pem", "leaf.key"].map(|name| self.path(name))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Whoever has a key could be the bridge to every CRM that trusts the authority.
    fn refuse_open_keys(&self) -> Result<(), Error> {
        for key in ["ca.key", "leaf.key"].map(|name| self.path(name)) {
            if key.exists() && files::open_to_others(&key)? {
                return Err(FileError::OpenToOthers(key).into());
            }
        }
        Ok(())
    }

    /// The key is written first and the certificate last: where that is, all is made. One whose key was taken away still
    /// serves until its leaf is due.
    fn ensure_authority(&self, now: i64) -> Result<(), Error> {
        if self.authority().exists() {
            return Ok(());
        }
        let key = KeyPair::generate().map_err(Error::Made)?;
        let mut params = params("Passerelle local authority", now, AUTHORITY_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(Error::Made)?;
        files::replace_private(&self.path("ca.key"), Zeroizing::new(key.serialize_pem()).as_bytes())?;
        files::create_private(&self.authority(), certificate.pem().as_bytes())?;
        Ok(())
    }

    fn make_leaf(&self, names: &[String], now: i64) -> Result<(), Error> {
        let authority_key = Zeroizing::new(self.read("ca.key")?);
        let authority_key = KeyPair::from_pem(&authority_key).map_err(Error::Made)?;
        let issuer = Issuer::from_ca_cert_pem(&self.read("ca.pem")?, authority_key).map_err(Error::Made)?;
        let mut params = params(names.first().map_or("localhost", String::as_str), now, LEAF_DAYS);
        params.subject_alt_names = CertificateParams::new(names.to_vec()).map_err(Error::Made)?.subject_alt_names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(Error::Made)?;
        let certificate = params.signed_by(&key, &issuer).map_err(Error::Made)?;
        let text = format!("{NAMES_LINE}{}\n{}", names.join(" "), certificate.pem());
        files::replace_private(&self.path("leaf.key"), Zeroizing::new(key.serialize_pem()).as_bytes())?;
        files::replace_private(&self.path("leaf.pem"), text.as_bytes())?;
        Ok(())
    }

    /// Made for these names, with its key, and what a client would still accept when it is due for renewal.
    fn leaf_is_good(&self, names: &[String], now: i64) -> bool {
        let Ok(text) = self.read("leaf.pem") else { return false };
        let made_for = text.lines().next().and_then(|line| line.strip_prefix(NAMES_LINE));
        made_for.is_some_and(|line| line.split(' ').eq(names))
            && server_config(&self.path("leaf.pem"), &self.path("leaf.key")).is_ok()
            && names.first().and_then(|name| self.client_accepts(name, now + RENEW_DAYS * DAY)).unwrap_or(false)
    }

    fn client_accepts(&self, name: &str, at: i64) -> Option<bool> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.authority()).ok()?).ok()?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build().ok()?;
        let leaf = CertificateDer::from_pem_file(self.path("leaf.pem")).ok()?;
        let name = ServerName::try_from(name).ok()?;
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).ok()?));
        Some(verifier.verify_server_cert(&leaf, &[], &name, &[], at).is_ok())
    }

    fn read(&self, name: &str) -> Result<String, Error> {
        let path = self.path(name);
        let read = std::fs::read_to_string(&path);
        read.map_err(|source: io::Error| FileError::File { doing: "read", path, source }.into())
    }
}

/// TLS 1.2 and newer with this certificate chain and key (PEM), as they are now.
///
/// # Errors
/// If a file cannot be read, or the two do not go together.
pub fn server_config(chain: &Path, key: &Path) -> Result<Arc<ServerConfig>, Error> {
    let shown = SingleCertAndKey::from(certified(chain, key)?);
    tls_with(Arc::new(shown)).map_err(|source| Error::Unusable { path: chain.to_owned(), source })
}

/// When a certificate (DER) ends, in Unix seconds; None for what is no certificate.
#[must_use]
pub fn ends_at(certificate: &[u8]) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

fn certified(chain: &Path, key: &Path) -> Result<Arc<CertifiedKey>, Error> {
    let unread = |path: &Path| {
        let path = path.to_owned();
        |source| Error::Read { path, source }
    };
    let certificates = CertificateDer::pem_file_iter(chain).map_err(unread(chain))?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(unread(chain))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(unread(key))?;
    let certified = CertifiedKey::from_der(certificates, key, &provider());
    certified.map(Arc::new).map_err(|source| Error::Unusable { path: chain.to_owned(), source })
}

fn tls_with(resolver: Arc<dyn ResolvesServerCert>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Loopback first, then the names that are not of it, each once.
fn leaf_names(names: &[Host]) -> Vec<String> {
    let mut all: Vec<String> = LOOPBACK.map(str::to_owned).into();
    for name in names {
        if !all.iter().any(|known| known == name.as_str()) {
            all.push(name.as_str().to_owned());
        }
    }
    all
}

fn params(name: &str, now: i64, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let at = |unix: i64| {
        let since = Duration::from_secs(u64::try_from(unix).unwrap_or(0));
        rcgen::date_time_ymd(1970, 1, 1) + since
    };
    params.not_before = at(now - BACKDATED_DAYS * DAY);
    params.not_after = at(now + days * DAY);
    params
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use tokio_rustls::rustls::{ClientConfig, ClientConnection, ServerConnection};

    const NOW: i64 = 1_800_000_000;

    fn host(name: &str) -> Host {
        Host::parse(name).expect("a host")
    }

    /// A handshake in memory, with a client whose clock is fixed.
    pub(super) fn handshake(
        tls: &LocalTls,
        server: Arc<ServerConfig>,
        name: &str,
        at: i64,
    ) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(tls.authority()).expect("PEM")).expect("a root");
        #[derive(Debug)]
        struct At(i64);
        impl rustls::time_provider::TimeProvider for At {
            fn current_time(&self) -> Option<UnixTime> {
                Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.try_into().ok()?)))
            }
        }
        let config = ClientConfig::builder_with_details(provider(), Arc::new(At(at)))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut client = ClientConnection::new(config.into(), ServerName::try_from(name.to_owned()).expect("a name"))?;
        let mut server = ServerConnection::new(server)?;
        shake_hands(&mut client, &mut server)
    }

    /// Carries octets between the two until both know each other, or one refuses.
    pub(crate) fn shake_hands(
        client: &mut ClientConnection,
        server: &mut ServerConnection,
    ) -> Result<(), rustls::Error> {
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).expect("in memory");
            }
            server.read_tls(&mut wire.as_slice()).expect("in memory");
            server.process_new_packets()?;
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).expect("in memory");
            }
            let mut wire = wire.as_slice();
            while !wire.is_empty() {
                client.read_tls(&mut wire).expect("in memory");
                client.process_new_packets()?;
            }
        }
        Ok(())
    }

    #[test]
    fn a_client_that_trusts_the_authority_accepts_the_leaf() {
        let root = tempfile::tempdir().expect("a directory");
        let tls = LocalTls::at(&root.path().join("certs")).expect("made");
        let config = tls.server_config(&[host("mail.example.test"), host("192.0.2.1")], NOW).expect("made");
        for name in ["localhost", "127.0.0.1", "::1", "mail.example.test", "192.0.2.1"] {
            assert_eq!(handshake(&tls, config.clone(), name, NOW), Ok(()), "{name}");
        }
        assert!(handshake(&tls, config.clone(), "other.example.test", NOW).is_err());
        assert_eq!(handshake(&tls, config.clone(), "localhost", NOW + (LEAF_DAYS - 1) * DAY), Ok(()));
        assert!(handshake(&tls, config, "localhost", NOW + (LEAF_DAYS + 1) * DAY).is_err());
    }

    #[test]
    fn r32_a_client_whose_clock_is_a_day_behind_believes_a_new_leaf() {
        let root = tempfile::tempdir().expect("a directory");
        let tls = LocalTls::at(root.path()).expect("made");
        let config = tls.server_config(&[], NOW).expect("made");
        // The authority is as young.
        for late in [0, 1, 60, 3600] {
            assert_eq!(handshake(&tls, config.clone(), "localhost", NOW - DAY - late), Ok(()), "{late}");
        }
    }

    #[test]
    fn the_leaf_is_kept_until_it_is_due_or_its_names_change() {
        let root = tempfile::tempdir().expect("a directory");
        let tls = LocalTls::at(root.path()).expect("made");
        let leaf = |names: &[Host], now| {
            tls.server_config(names, now).expect("made");
            std::fs::read_to_string(tls.path("leaf.pem")).expect("read")
        };
        let first = leaf(&[], NOW);
        let authority = std::fs::read(tls.authority()).expect("read");
        assert_eq!(leaf(&[host("localhost")], NOW + (LEAF_DAYS - RENEW_DAYS - 1) * DAY), first);
        let renewed = leaf(&[], NOW + (LEAF_DAYS - RENEW_DAYS + 1) * DAY);
        assert_ne!(renewed, first);
        let named = leaf(&[host("a.test")], NOW);
        assert_ne!(named, renewed);
        assert_ne!(leaf(&[], NOW), named, "a name that was taken away is gone");
        std::fs::remove_file(tls.path("leaf.key")).expect("removed");
        leaf(&[], NOW);
        assert_eq!(std::fs::read(tls.authority()).expect("read"), authority, "trust was given to this one");
    }

    #[cfg(unix)]
    #[test]
    fn keys_that_others_may_use_are_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().expect("a directory");
        let tls = LocalTls::at(root.path()).expect("made");
        tls.server_config(&[], NOW).expect("made");
        let chmod = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
        };
        for key in ["ca.key", "leaf.key"].map(|name| tls.path(name)) {
            for mode in [0o620, 0o604] {
                chmod(&key, mode);
                let refused = tls.server_config(&[], NOW).expect_err("refused");
                assert_eq!(refused.hint(), Some(format!("chmod 600 {}", key.display())));
            }
            chmod(&key, 0o600);
        }
        tls.server_config(&[], NOW).expect("made");
        chmod(root.path(), 0o770);
        assert!(LocalTls::at(root.path()).is_err());
    }

    #[test]
    fn the_leaf_is_what_strict_clients_want() {
        let root = tempfile::tempdir().expect("a directory");
        let tls = LocalTls::at(root.path()).expect("made");
        tls.server_config(&[], NOW).expect("made");
        let leaf = CertificateDer::from_pem_file(tls.path("leaf.pem")).expect("PEM");
        let holds = |octets: &[u8]| leaf.windows(octets.len()).any(|window| window == octets);
        // Object identifiers in DER: extKeyUsage serverAuth, authorityKeyIdentifier, basicConstraints with CA:FALSE.
        assert!(holds(&[0x2b, 6, 1, 5, 5, 7, 3, 1]));
        assert!(holds(&[0x55, 0x1d, 0x23]));
        assert!(holds(&[0x55, 0x1d, 0x13, 1, 1, 0xff, 4, 2, 0x30, 0]));
        const { assert!(BACKDATED_DAYS + LEAF_DAYS < 398) };
    }
}
