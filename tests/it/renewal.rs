//! The certificate that a running bridge shows: renewed by itself, or read again when its files change, without a
//! session that ends.

use crate::harness::{Bridge, Lab, PATIENCE, Wire, trusting, until};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use std::{
    fs,
    net::TcpStream,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio_rustls::rustls::{ClientConnection, pki_types::ServerName};

/// The certificate that a TLS port shows to whoever trusts this authority; None if it is not believed.
fn shown(port: u16, authority: &Path, name: &str) -> Option<Vec<u8>> {
    let name = ServerName::try_from(name.to_owned()).expect("a host name");
    let mut session = ClientConnection::new(trusting(authority), name).expect("a TLS client");
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the port answers");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    while session.is_handshaking() {
        session.complete_io(&mut socket).ok()?;
    }
    Some(session.peer_certificates()?.first()?.to_vec())
}

#[test]
fn a_leaf_that_ends_soon_is_renewed_while_the_bridge_serves() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let mut bridge = Bridge::prepare(&lab);
    bridge.serve();
    let authority = bridge.authority();
    let certs = bridge.state().join("certs");
    let mut before = Wire::tls(bridge.imaps, &authority, "localhost");
    before.expect("* OK");
    let first = shown(bridge.imaps, &authority, "localhost").expect("believed");

    // The same names, by the same authority, for five more days.
    let read = |name: &str| fs::read_to_string(certs.join(name)).expect("it is there");
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), KeyPair::from_pem(&read("ca.key")).expect("a key"));
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let mut wanted = CertificateParams::new(names).expect("names");
    let today = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    wanted.not_before = rcgen::date_time_ymd(2020, 1, 1);
    wanted.not_after = rcgen::date_time_ymd(1970, 1, 1) + today + Duration::from_secs(5 * 86_400);
    let key = KeyPair::generate().expect("a key");
    let ending = wanted.signed_by(&key, &issuer.expect("an authority")).expect("signed");
    let names = read("leaf.pem").lines().next().expect("a line").to_owned();
    fs::write(certs.join("leaf.key"), key.serialize_pem()).expect("written");
    fs::write(certs.join("leaf.pem"), format!("{names}\n{}", ending.pem())).expect("written");

    let renewed = until(PATIENCE, || {
        let now = shown(bridge.imaps, &authority, "localhost").expect("always believed");
        (now != first && now != ending.der().to_vec()).then_some(now)
    });
    let renewed = renewed.unwrap_or_else(|| panic!("it is not renewed\n{}", bridge.log()));
    assert_eq!(shown(bridge.smtps, &authority, "localhost"), Some(renewed), "at every port");
    before.imap_ok("NOOP");
}

#[test]
fn the_administrators_files_are_read_again_when_they_change() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let known = &lab.certificates;
    let folder = lab.folder("own");
    let [chain, key] = ["chain.pem", "key.pem"].map(|name| folder.join(name));
    let copy = |from: &Path, to: &Path| {
        fs::copy(from, to).expect("copied");
    };
    copy(&known.good.certificate, &chain);
    copy(&known.good.key, &key);
    let configuration = format!("[certificate]\nfile = {chain:?}\nkey = {key:?}\n");
    let mut bridge = Bridge::configured(&lab, &configuration);
    bridge.serve();
    let mut before = Wire::tls(bridge.imaps, &known.ca, "localhost");
    before.expect("* OK");

    // Half of a change is no change, and is said.
    copy(&known.wrong_name.certificate, &chain);
    let said = until(PATIENCE, || bridge.log().contains("a new certificate cannot be used").then_some(()));
    assert!(said.is_some(), "{}", bridge.log());
    assert!(shown(bridge.imaps, &known.ca, "localhost").is_some());
    copy(&known.wrong_name.key, &key);
    let served = until(PATIENCE, || shown(bridge.imaps, &known.ca, "elsewhere.test"));
    assert!(served.is_some(), "{}", bridge.log());
    assert!(shown(bridge.smtps, &known.ca, "localhost").is_none(), "at every port");
    before.imap_ok("NOOP");
    assert_eq!(bridge.log().matches("a new certificate cannot be used").count(), 1, "said once\n{}", bridge.log());
}
