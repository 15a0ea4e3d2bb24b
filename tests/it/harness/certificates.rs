//! The lab's certificate authority, the server certificates that it signs, and those that a bridge must refuse.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// Names that the good certificate is for: the loopback, and those of providers, so that a bridge pointed at a lab
/// server still verifies the provider's real name; and those of a firm and its hoster.
const NAMES: [&str; 12] = [
    "localhost",
    "127.0.0.1",
    "::1",
    "imap.gmail.com",
    "smtp.gmail.com",
    "outlook.office365.com",
    "smtp.office365.com",
    "ssl0.ovh.net",
    "firm.test",
    "*.firm.test",
    "*.hoster.test",
    "ex5.mail.ovh.net",
];

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Signed {
    /// The SHA-256 of the public key, in hex, worked out from the key's own file.
    pub(crate) fn pin(&self) -> String {
        let key = KeyPair::from_pem(&fs::read_to_string(&self.key).expect("a key")).expect("PEM");
        let digest = ::ring::digest::digest(&::ring::digest::SHA256, &key.subject_public_key_info());
        digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// A TLS server that shows it.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let chain = CertificateDer::from_pem_file(&self.certificate).expect("a PEM certificate");
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("a PEM key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .expect("the key fits the certificate");
        Arc::new(config)
    }
}

/// A TLS client that trusts this authority alone.
pub(crate) fn trusting(authority: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).expect("a PEM certificate")).expect("an authority to trust");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

pub(crate) struct Certificates {
    /// The authority to trust.
    pub(crate) ca: PathBuf,
    pub(crate) good: Signed,
    /// By the same authority, but over since 2021.
    pub(crate) expired: Signed,
    /// By the same authority, for `elsewhere.test`.
    pub(crate) wrong_name: Signed,
    /// For the right names, by an authority that nobody trusts.
    pub(crate) unknown_ca: Signed,
}

impl Certificates {
    pub(crate) fn issue(folder: &Path) -> Self {
        let folder = folder.join("tls");
        fs::create_dir(&folder).expect("a folder for certificates");
        let (ca, issuer) = authority(&folder, "ca", "Lab authority");
        let (_, stranger) = authority(&folder, "stranger", "Strange authority");
        Self {
            ca,
            good: sign(&folder, "good", &NAMES, 2120, &issuer),
            expired: sign(&folder, "expired", &NAMES, 2021, &issuer),
            wrong_name: sign(&folder, "wrong-name", &["elsewhere.test"], 2120, &issuer),
            unknown_ca: sign(&folder, "unknown-ca", &NAMES, 2120, &stranger),
        }
    }
}

fn authority(folder: &Path, file: &str, name: &str) -> (PathBuf, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().expect("a key");
    let mut wanted = CertificateParams::default();
    wanted.distinguished_name.push(DnType::CommonName, name);
    wanted.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    wanted.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    wanted.not_before = rcgen::date_time_ymd(2020, 1, 1);
    wanted.not_after = rcgen::date_time_ymd(2120, 1, 1);
    let certificate = wanted.self_signed(&key).expect("an authority signs itself");
    (write(folder, &format!("{file}.pem"), &certificate.pem()), Issuer::new(wanted, key))
}

fn sign(folder: &Path, file: &str, names: &[&str], last_year: i32, issuer: &Issuer<'_, KeyPair>) -> Signed {
    let key = KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut wanted = CertificateParams::new(names.clone()).expect("the names fit a certificate");
    wanted.distinguished_name.push(DnType::CommonName, names[0].as_str());
    wanted.is_ca = IsCa::ExplicitNoCa;
    wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    wanted.use_authority_key_identifier_extension = true;
    wanted.not_before = rcgen::date_time_ymd(2020, 1, 2);
    wanted.not_after = rcgen::date_time_ymd(last_year, 1, 1);
    let certificate = wanted.signed_by(&key, issuer).expect("the authority signs");
    Signed {
        certificate: write(folder, &format!("{file}.pem"), &certificate.pem()),
        key: write(folder, &format!("{file}.key"), &key.serialize_pem()),
    }
}

/// Readable by all: the servers run as another user, and these keys guard nothing.
fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("a certificate is written");
    path
}
