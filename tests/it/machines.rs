//! Accounts that sign in by a registered client's own right, against a real authorization server: a tenant's client by
//! its secret and by its certificate, and a service account.

use crate::harness::{
    ALICE, BOB, EMAIL, Endpoint, Firm, KID, KeyFiles, PATIENCE, Wire, openssl, secrets, settings, until, words,
};
use serde_json::{Value, json};
use std::fs;

const REGISTER: [&str; 3] = ["provider", "register", "firm"];
const TENANT: [&str; 4] = ["--for", "tenant", "--domain", "OVH.test"];

#[test]
fn a_tenants_client_opens_its_mailboxes_by_secret_and_by_certificate() {
    let Some(mut firm) = Firm::start("token") else { return };
    let secret = [&REGISTER[..], &TENANT, &["--client-id", "tenant", "--secret-stdin"]].concat();
    let (error, hint) = firm.refused(&[&secret], "wrongsecret\n", 4);
    assert!(error.contains("refuses the client: invalid_client") && hint.contains("a new secret"), "{error}\n{hint}");
    assert_eq!(firm.json(&[&["provider", "registrations"]], ""), json!([]));

    let registered = firm.json(&[&secret], "open-sesame-7\n");
    assert_eq!(registered["signed_in"], true);
    assert_eq!(
        (&registered["for"], &registered["proof"], &registered["domains"]),
        (&"tenant".into(), &"secret".into(), &json!(["ovh.test"]))
    );
    let alice = firm.add(ALICE);
    // One that signed in by password goes over.
    let [option, ca] = firm.certificates();
    let by_password = ["account", "add", BOB, "--provider", "firm", "--password-stdin", &option, &ca];
    let bob = settings(&firm.json(&[&by_password], "direct\n"));
    assert_eq!(firm.json(&[&["account", "show", BOB]], "")["grant"], Value::Null);
    let set = firm.json(&[&["account", "set", BOB, "--by-registration"]], "");
    assert_eq!((&set["signed_in"], &set["grant"]["client_id"]), (&true.into(), &"tenant".into()));
    let (error, _) =
        firm.refused(&[&["account", "add", "carol@elsewhere.test", "--provider", "firm", "--device"]], "", 2);
    assert!(error.contains("no client is registered for people"), "{error}");
    firm.bridge.serve();
    firm.lives(&alice, ALICE);
    firm.lives(&bob, BOB);

    // From now on by its certificate, whose files are not needed any more: all its accounts follow.
    let [certificate, key] = [&firm.keys.certificate, &firm.keys.key].map(|file| file.to_string_lossy().into_owned());
    let by_key =
        [&REGISTER[..], &TENANT, &["--client-id", "daemon", "--certificate", &certificate, "--key", &key]].concat();
    let registered = firm.json(&[&by_key], "");
    assert_eq!((&registered["proof"], &registered["signed_in"]), (&"key".into(), &true.into()));
    assert_eq!(registered["key"].as_str().map(str::len), Some(43), "a thumbprint: {registered}");
    fs::remove_file(&certificate).and_then(|()| fs::remove_file(&key)).expect("deleted");
    firm.outlive_the_token();
    firm.lives(&alice, ALICE);
    assert!(firm.bridge.drain(), "{}", firm.bridge.log());
    firm.bridge.serve();
    firm.lives(&bob, BOB);
    assert_eq!(firm.json(&[&["account", "show", ALICE]], "")["grant"]["state"], "good");

    let unregister = ["provider", "unregister", "firm"];
    let (error, _) = firm.refused(&[&unregister], "", 6);
    assert!(error.ends_with("by this registered client: daemon"), "{error}");
    for address in [ALICE, BOB] {
        firm.json(&[&["account", "remove", address]], "");
    }
    assert_eq!(firm.json(&[&unregister], "")["client_id"], "daemon");
    firm.refused(&[&unregister], "", 5);
    assert!(firm.bridge.drain(), "{}", firm.bridge.log());
}

#[test]
fn r33_keys_and_secrets_of_clients_stand_sealed() {
    let Some(mut firm) = Firm::start("token") else { return };
    let [certificate, key] = [&firm.keys.certificate, &firm.keys.key].map(|file| file.to_string_lossy().into_owned());
    let by_key = ["--client-id", "daemon", "--certificate", &certificate, "--key", &key];
    let mut said = words(&firm.cli(&[&REGISTER, &TENANT, &by_key], ""));
    let consent = ["--client-id", "people", "--secret-stdin"];
    said += &words(&firm.cli(&[&REGISTER, &consent], "a-secret-of-people\n"));
    said += &words(&firm.cli(&[&["provider", "registrations"]], ""));
    assert!(said.contains("\"people\"") && said.contains("\"daemon\""), "{said}");
    firm.bridge.serve();
    let crm = firm.add(ALICE);
    firm.bridge.sign_in(&crm).imap_ok("SELECT INBOX");
    assert!(firm.bridge.drain(), "{}", firm.bridge.log());
    let (given, found) = firm.bridge.secrets_found();
    assert!(given > 20 && found.is_empty(), "{given} given, found: {found:?}");
    assert_eq!(secrets::found_in(said.as_bytes()), Vec::<String>::new());
    // The database as a whole, not only what the running bridge had open.
    let octets = fs::read(firm.bridge.state().join("passerelle.db")).expect("the database");
    assert_eq!(secrets::found_in(&octets), Vec::<String>::new());
}

#[test]
fn a_service_account_acts_for_the_users_of_its_domain() {
    let Some(mut firm) = Firm::start("service/token") else { return };
    let uri = format!("http://127.0.0.1:{}/service/token", firm.oidc.port);
    let register =
        |file: &str| [&REGISTER[..], &["--domain", "ovh.test", "--service-account", file]].concat().join("\n");
    let file = firm.key_file(&uri, &firm.keys.key_in_pem());
    let registered = firm.json(&[&register(&file).split('\n').collect::<Vec<_>>()], "");
    assert_eq!(
        (&registered["for"], &registered["client_id"], &registered["key"]),
        (&"domain".into(), &EMAIL.into(), &KID.into())
    );
    fs::remove_file(&file).expect("deleted");
    let (alice, bob) = (firm.add(ALICE), firm.add(BOB));
    firm.bridge.serve();
    firm.lives(&alice, ALICE);
    firm.lives(&bob, BOB);
    let (before, _) = firm.oidc.refreshes();
    firm.outlive_the_token();
    firm.bridge.sign_in(&alice).imap_ok("SELECT INBOX");
    assert_eq!(firm.oidc.refreshes(), (before + 1, 0), "{}", firm.bridge.log());
    assert!(firm.bridge.drain(), "{}", firm.bridge.log());

    assert_eq!(firm.json(&[&["account", "show", ALICE]], "")["grant"]["for"], "domain");

    // A key that the provider has not (any more): the same account, and what Google says of it.
    let other = KeyFiles::make(&firm.lab.folder("k"), "other");
    let file = firm.key_file(&uri, &other.key_in_pem());
    firm.json(&[&register(&file).split('\n').collect::<Vec<_>>()], "");
    let (error, hint) = firm.refused(&[&["account", "set", ALICE, "--by-registration"]], "", 4);
    assert!(error.contains("invalid_grant") && hint.contains("main address"), "{error}\n{hint}");
    // A CRM is told to come again. No grant is lost: with the key that is good all is well at once.
    firm.bridge.serve();
    let mut imap = Wire::plain(firm.bridge.imap);
    imap.expect("* OK");
    let refused = imap.imap(&alice.imap_login()).tagged;
    assert!(refused.starts_with("NO [CONTACTADMIN]"), "{refused}");
    assert_eq!(firm.json(&[&["account", "show", ALICE]], "")["grant"]["state"], "good");
    let file = firm.key_file(&uri, &firm.keys.key_in_pem());
    firm.json(&[&register(&file).split('\n').collect::<Vec<_>>()], "");
    let back = until(PATIENCE, || {
        let mut imap = Wire::plain(firm.bridge.imap);
        imap.expect("* OK");
        imap.imap(&alice.imap_login()).is_ok().then_some(())
    });
    assert!(back.is_some(), "{}", firm.bridge.log());
    assert!(firm.bridge.drain(), "{}", firm.bridge.log());
}

#[test]
fn a_swap_to_a_registered_provider_asks_for_no_password() {
    let Some(firm) = Firm::start("token") else { return };
    let [option, ca] = firm.certificates();
    let hosts = [("--imap", firm.dovecot.imaps), ("--smtp", firm.exim.submissions)];
    let hosts = hosts.map(|(name, port)| [name.to_owned(), format!("localhost:{port}")]).concat();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let add = [&["account", "add", ALICE, "--password-stdin", &option, &ca], &hosts[..]].concat();
    firm.json(&[&add], "direct\n");
    firm.json(&[&REGISTER, &TENANT, &["--client-id", "tenant", "--secret-stdin"]], "open-sesame-7\n");
    // A registered client is not for who names another provider.
    let other = ["account", "add", BOB, "--provider", "generic", "--password-stdin", &option, &ca];
    firm.json(&[&[&other[..], &hosts].concat()], "direct\n");
    assert_eq!(firm.json(&[&["account", "show", BOB]], "")["grant"], Value::Null);
    let swap = ["account", "swap", ALICE, "--provider", "firm", &option, &ca, "--yes"];
    assert_eq!(firm.json(&[&swap], "")["provider"], "firm");
    let grant = firm.json(&[&["account", "show", ALICE]], "")["grant"].clone();
    assert_eq!((&grant["client_id"], &grant["for"]), (&"tenant".into(), &"tenant".into()));
    firm.json(&[&["account", "check", ALICE]], "");
}

#[test]
fn what_is_no_client_is_refused_before_anything_is_kept() {
    let Some(firm) = Firm::start("service/token") else { return };
    let folder = firm.lab.folder("w");
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let other = KeyFiles::make(&folder, "other");
    let [certificate, key] = [&firm.keys.certificate, &other.key].map(|file| file.to_string_lossy().into_owned());
    let [small, old, locked, curve] = ["small", "old", "locked", "curve"].map(file);
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", &small]);
    openssl(&["rsa", "-in", &key, "-traditional", "-out", &old]);
    openssl(&["pkcs8", "-topk8", "-in", &key, "-passout", "pass:locked", "-out", &locked]);
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &curve]);
    let tenant = [&REGISTER[..], &TENANT, &["--client-id", "daemon", "--unchecked"]].concat();
    let told = |parts: &[&str], words: &str, hint: &str| {
        let (error, said) = firm.refused(&[parts], "", 2);
        assert!(error.contains(words) && said.contains(hint), "{error}\n{said}");
    };
    told(
        &[&tenant[..], &["--certificate", &certificate, "--key", &key]].concat(),
        "not that of the certificate",
        "together",
    );
    told(
        &[&tenant[..], &["--certificate", &key, "--key", &key]].concat(),
        "certificate is none in PEM",
        "--certificate",
    );
    for key in [&small, &old, &locked, &curve, &certificate] {
        told(&[&tenant[..], &["--certificate", &certificate, "--key", key]].concat(), "PKCS #8", "openssl pkcs8");
    }
    let of = |file: &str| [&REGISTER[..], &["--domain", "ovh.test", "--service-account", file]].concat().join("\n");
    let none = file("none.json");
    fs::write(&none, r#"{"installed":{"client_id":"x"}}"#).expect("written");
    told(&of(&none).split('\n').collect::<Vec<_>>(), "no key file of a service account", "JSON");
    told(&[&REGISTER[..], &["--for", "tenant", "--client-id", "x"]].concat(), "for which domains", "--domain");
    told(
        &[&REGISTER[..], &["--client-id", "x", "--domain", "ovh.test"]].concat(),
        "whatever their domain",
        "--for tenant",
    );
    told(
        &["provider", "register", "google", "--for", "tenant", "--client-id", "x"],
        "no client can be registered",
        "--for",
    );
    let microsoft =
        ["provider", "register", "microsoft365", "--for", "tenant", "--client-id", "x", "--domain", "a.test"];
    told(&microsoft, "for which tenant", "--tenant");
    told(&[&microsoft[..], &["--tenant", "common"]].concat(), "for which tenant", "--tenant");
    assert_eq!(firm.json(&[&["provider", "registrations"]], ""), json!([]));
    let dave = ["account", "set", "dave@ovh.test", "--by-registration"];
    firm.refused(&[&dave], "", 5);
}

#[test]
fn r31_a_key_file_sends_no_assertion_elsewhere() {
    let Some(firm) = Firm::start("service/token") else { return };
    let other = Endpoint::start(|_, _| (200, json!({ "access_token": "caught", "token_type": "Bearer" })));
    for uri in [other.url(), "https://tokens.evil.test/token".to_owned(), "not an address".to_owned()] {
        let file = firm.key_file(&uri, &firm.keys.key_in_pem());
        let register = [&REGISTER[..], &["--domain", "ovh.test", "--service-account", &file]].concat();
        let (error, hint) = firm.refused(&[&register], "", 2);
        assert!(error.ends_with(&format!("elsewhere than at the provider: {uri}")), "{error}");
        assert!(hint.contains("do not use this file"), "{hint}");
    }
    assert_eq!(firm.json(&[&["provider", "registrations"]], ""), json!([]));
    assert_eq!(other.asked().len(), 0);
}
