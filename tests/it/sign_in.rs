//! Signing in at the provider's own page: by a browser that comes back, by an address that is pasted, by a link; and what
//! a hostile browser tries.

use crate::harness::{
    ALICE, BOB, CrmSettings, Firm, Leashed, PATIENCE, Person, Reply, passerelle, secrets, settings, until, words,
};
use passerelle::{
    model::{Address, Secret},
    store::{
        Store,
        consent::{Bound, NewConsent, Sent},
    },
};
use serde_json::Value;
use std::{fs, net::TcpStream, path::PathBuf};

/// The client for browsers is registered.
fn firm() -> Option<Firm> {
    let firm = Firm::start("token")?;
    let register = ["provider", "register", "firm", "--client-id", "browser", "--secret-stdin", "--unchecked"];
    firm.json(&[&register], "keep-it-quiet-8\n");
    Some(firm)
}

fn sign_in<'a>(address: &'a str, ca: &'a [String; 2]) -> [&'a str; 7] {
    ["account", "sign-in", address, "--provider", "firm", &ca[0], &ca[1]]
}

/// A command that waits for a browser.
struct Waiting {
    command: Leashed,
    log: PathBuf,
    open: String,
}

impl Waiting {
    fn start(firm: &Firm, arguments: &[&str]) -> Self {
        let log = firm.lab.folder("w").join("said");
        let command = firm.bridge.start_cli(&[arguments, &["--json"]].concat(), &log);
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let line = until(PATIENCE, || said().split_once('\n').map(|(line, _)| line.to_owned()));
        let first: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let open = first["open"].as_str().unwrap_or_else(|| panic!("{}", said())).to_owned();
        Self { command, log, open }
    }

    /// How it ended, and what it said behind the first line.
    fn end(mut self) -> (String, Value) {
        let ended = until(PATIENCE, || self.command.ended()).expect("it ends");
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let rest = said.split_once('\n').map(|(_, rest)| rest).unwrap_or_default();
        (ended, serde_json::from_str(rest).unwrap_or_else(|error| panic!("{error}: {said}")))
    }

    fn crm(self) -> CrmSettings {
        let (ended, said) = self.end();
        assert_eq!((ended.as_str(), &said["added"]), ("exit status: 0", &true.into()), "{said}");
        secrets::give_out(said["password"].as_str().expect("a password"));
        settings(&said)
    }
}

/// A one-time link, whose letters are a secret.
fn link(firm: &Firm, arguments: &[&str]) -> String {
    let answer = firm.json(&[arguments, &["--link"]], "");
    let link = answer["link"].as_str().expect("a link").to_owned();
    secrets::give_out(link.rsplit('/').next().expect("a ticket"));
    link
}

fn state_of(address: &str) -> &str {
    address.split("state=").nth(1).and_then(|rest| rest.split('&').next()).expect("a state")
}

fn accounts(firm: &Firm) -> usize {
    firm.json(&[&["account", "list"]], "").as_array().map_or(0, Vec::len)
}

#[test]
fn a_person_signs_in_and_comes_back() {
    let Some(mut firm) = firm() else { return };
    firm.bridge.serve();
    let ca = firm.certificates();
    let waiting = Waiting::start(&firm, &sign_in(ALICE, &ca));
    let mut alice = Person::default();
    let page = alice.begin(&waiting.open);
    assert!(page.contains("code_challenge_method=S256") && page.contains("scope=email+profile+mail+openid"), "{page}");
    let back = alice.consents(&page, ALICE);
    let done = alice.get(&back);
    assert_eq!(done.status, 200, "{done:?}\n{}", firm.bridge.log());
    assert!(done.body.contains("alice@ovh.test is connected."), "{}", done.body);
    let crm = waiting.crm();
    firm.lives(&crm, ALICE);
    firm.outlive_the_token();
    firm.bridge.sign_in(&crm).imap_ok("SELECT INBOX");
    assert_eq!(firm.json(&[&["account", "show", ALICE]], "")["grant"]["client_id"], "browser");

    // The grant is gone; signed in anew, the CRM goes on with what it has.
    firm.oidc.stop();
    firm.oidc.start_again();
    assert!(firm.bridge.drain(), "{}", firm.bridge.log());
    firm.bridge.serve();
    let waiting = Waiting::start(&firm, &["account", "sign-in", ALICE]);
    let page = alice.begin(&waiting.open);
    let back = Person::default().consents(&page, ALICE);
    assert_eq!(alice.get(&back).status, 200, "{}", firm.bridge.log());
    let (ended, said) = waiting.end();
    assert_eq!((ended.as_str(), &said["added"]), ("exit status: 0", &false.into()), "{said}");
    firm.lives(&crm, ALICE);
    let (error, _) = firm.refused(&[&sign_in(ALICE, &ca)], "", 6);
    assert!(error.contains("keeps its settings"), "{error}");
    assert!(firm.bridge.drain(), "{}", firm.bridge.log());
}

#[test]
fn without_a_browser_the_address_is_pasted() {
    let Some(mut firm) = firm() else { return };
    let ca = firm.certificates();
    let paste = [&sign_in(ALICE, &ca)[..], &["--paste"]].concat();
    let open = firm.json(&[&paste], "")["open"].as_str().expect("an address").to_owned();
    let back = Person::default().consents(&open, ALICE);
    let answer = ["account", "sign-in", ALICE, "--answer-stdin"];
    let of_bob = ["account", "sign-in", BOB, "--answer-stdin"];
    for (command, pasted, code) in [(&of_bob, back.as_str(), 4), (&answer, "http://localhost/", 2), (&answer, "", 2)] {
        let (error, hint) = firm.refused(&[command], &format!("{pasted}\n"), code);
        assert!(error.contains("this") && !hint.is_empty(), "{error}");
    }
    assert_eq!(accounts(&firm), 0);
    // A browser that shows no scheme.
    let crm = settings(&firm.json(&[&answer], &format!("  {}\r\n", back.trim_start_matches("http://"))));
    let (error, _) = firm.refused(&[&answer], &format!("{back}\n"), 4);
    assert!(error.contains("this sign-in is not known"), "{error}");
    firm.bridge.serve();
    firm.lives(&crm, ALICE);

    // By an authorization server that describes itself, while this command answers the browser: no bridge runs.
    assert!(firm.bridge.drain(), "{}", firm.bridge.log());
    let issuer = format!("http://127.0.0.1:{}", firm.oidc.port);
    let hosts = [format!("localhost:{}", firm.dovecot.imaps), format!("localhost:{}", firm.exim.submissions)];
    let mut by_issuer = vec!["account", "sign-in", BOB, "--issuer", &issuer, "--imap", &hosts[0], "--smtp", &hosts[1]];
    by_issuer.extend([ca[0].as_str(), &ca[1], "--scope", "openid offline_access mail"]);
    let (error, hint) = firm.refused(&[&by_issuer], "", 2);
    assert!(error.contains("no client is registered") && hint.contains("--client-id"), "{error}\n{hint}");
    let with_client = [&by_issuer[..], &["--client-id", "browser", "--client-secret-stdin", "--link"]].concat();
    let (error, _) =
        firm.refused(&[&with_client[..3], &["--issuer", "http://127.0.0.1:9", "--imap", "x", "--smtp", "x"]], "", 4);
    assert!(error.contains("no description of an authorization server"), "{error}");
    let answer = firm.json(&[&with_client], "keep-it-quiet-8\n");
    let link = answer["link"].as_str().expect("a link").to_owned();
    secrets::give_out(link.rsplit('/').next().expect("a ticket"));
    firm.bridge.serve();
    let mut bob = Person::default();
    let back = bob.begin(&link);
    let back = bob.consents(&back, BOB);
    assert!(back.contains("/oauth/callback/127.0.0.1?") && back.contains("&iss="), "{back}");
    // Where it cannot be opened, the page of the link takes it; a wrong issuer is no answer of this provider.
    let form =
        |address: &str| format!("address={}", address.replace('%', "%25").replace('&', "%26").replace('+', "%2B"));
    let done = bob.post(&format!("{link}/answer"), &form(&back));
    assert_eq!(done.status, 200, "{done:?}\n{}", firm.bridge.log());
    let crm = settings(&firm.json(&[&["login", "add", BOB]], ""));
    firm.lives(&crm, BOB);
    assert_eq!(bob.get(&link).status, 400, "a link is good once");
    // Signed in again, nobody says where: neither does the link that a CRM's login would be told.
    let again = firm.json(&[&["account", "sign-in", BOB, "--link"]], "");
    let link = again["link"].as_str().expect("a link").to_owned();
    secrets::give_out(link.rsplit('/').next().expect("a ticket"));
    let back = bob.begin(&link);
    let back = bob.consents(&back, BOB);
    let done = bob.post(&format!("{link}/answer"), &form(&back));
    assert_eq!(done.status, 200, "{done:?}\n{}", firm.bridge.log());
    firm.lives(&crm, BOB);
    assert!(firm.bridge.drain(), "{}", firm.bridge.log());
}

#[test]
fn where_no_bridge_runs_the_command_answers_the_browser() {
    let Some(firm) = firm() else { return };
    let ca = firm.certificates();
    let waiting = Waiting::start(&firm, &sign_in(ALICE, &ca));
    let mut alice = Person::default();
    alice.language = "fr-FR, en;q=0.5";
    let page = alice.get(&waiting.open);
    assert!(page.body.contains("Se connecter chez") && page.body.contains("<html lang=\"fr\">"), "{}", page.body);
    let page = alice.begin(&waiting.open);
    let back = alice.declines(&page, ALICE);
    let declined = alice.get(&back);
    assert_eq!(declined.status, 403, "{declined:?}");
    assert!(declined.body.contains("n’a pas accordé l’autorisation"), "{}", declined.body);
    let (ended, said) = waiting.end();
    assert_eq!(ended, "exit status: 4", "{said}");
    let error = said["error"].as_str().expect("an error");
    assert!(error.contains("the permission was not given (access_denied)"), "{error}");
    assert_eq!(accounts(&firm), 0);

    // Somebody else signs in; then it is said that this is wanted.
    let waiting = Waiting::start(&firm, &sign_in(ALICE, &ca));
    let page = alice.begin(&waiting.open);
    let back = Person::default().consents(&page, BOB);
    let other = alice.get(&back);
    assert_eq!(other.status, 403);
    assert!(other.body.contains("Ce n’est pas la personne attendue pour cette boîte"), "{}", other.body);
    let (ended, said) = waiting.end();
    assert_eq!(ended, "exit status: 4", "{said}");
    let error = said["error"].as_str().expect("an error");
    assert!(error.contains("somebody else signed in than alice@ovh.test: bob@ovh.test"), "{error}");
    assert_eq!(accounts(&firm), 0);
    let waiting = Waiting::start(&firm, &[&sign_in(ALICE, &ca)[..], &["--as", BOB]].concat());
    let page = alice.begin(&waiting.open);
    let back = Person::default().consents(&page, BOB);
    assert_eq!(alice.get(&back).status, 200);
    assert!(!waiting.crm().password.is_empty());

    // Who that was is known from then on, unless the settings name a delegate, or somebody is named.
    let again = ["account", "sign-in", ALICE];
    let asked_for = |more: &[&str]| {
        let asked = firm.json(&[&again, &["--paste"], more], "");
        let page = asked["open"].as_str().expect("an address").to_owned();
        let hint = page.split("login_hint=").nth(1).and_then(|rest| rest.split('&').next());
        hint.expect("who is to sign in").replace("%40", "@")
    };
    assert_eq!(asked_for(&[]), BOB);
    assert_eq!(asked_for(&["--as", "carol@ovh.test"]), "carol@ovh.test");
    firm.json(&[&["account", "set", ALICE, "--smtp-delegate", "Dave@ovh.test", "--unchecked"]], "");
    assert_eq!(asked_for(&[]), "dave@ovh.test");
    firm.json(&[&["account", "set", ALICE, "--smtp-auth", "same", "--unchecked"]], "");
    assert_eq!(asked_for(&[]), BOB);
    // Its owner, who signs in at last.
    let asked = firm.json(&[&again, &["--paste", "--as", ALICE]], "");
    let back = Person::default().consents(asked["open"].as_str().expect("an address"), ALICE);
    firm.json(&[&again, &["--answer-stdin"]], &format!("{back}\n"));
    assert_eq!(asked_for(&[]), ALICE);
    // A mailbox that is new, and of a delegate.
    let new = [&sign_in("info@ovh.test", &ca)[..], &["--smtp-delegate", BOB, "--paste"]].concat();
    let asked = firm.json(&[&new], "");
    assert!(asked["open"].as_str().is_some_and(|page| page.contains("login_hint=bob%40ovh.test")), "{asked}");
}

#[test]
fn r27_only_the_browser_that_was_sent_brings_the_answer_and_once() {
    let Some(mut firm) = firm() else { return };
    firm.bridge.serve();
    let ca = firm.certificates();
    let [to_alice, to_bob] = [ALICE, BOB].map(|address| link(&firm, &sign_in(address, &ca)));
    // Two at once in one browser.
    let mut person = Person::default();
    let page = person.begin(&to_alice);
    let of_alice = Person::default().consents(&page, ALICE);
    let page = person.begin(&to_bob);
    let of_bob = Person::default().consents(&page, BOB);
    let base = format!("http://localhost:{}/oauth/callback/firm", firm.bridge.console);
    assert!(of_alice.starts_with(&base), "{of_alice}");
    let state = state_of(&of_alice).to_owned();
    assert_eq!(state.len(), 22, "128 bits");

    let mut stranger = Person::default();
    let page = stranger.begin(&link(&firm, &sign_in("carol@ovh.test", &ca)));
    let of_stranger = state_of(&page).to_owned();
    let mut tried = 0;
    let mut refused = |reply: Reply, what: &str| {
        assert!((400..500).contains(&reply.status), "{what}: {reply:?}");
        for (name, part) in [("cache-control", "no-store"), ("referrer-policy", "no-referrer")] {
            assert_eq!(reply.header(name), Some(part), "{what}: {reply:?}");
        }
        let policy = reply.header("content-security-policy").unwrap_or_default();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{what}: {policy}");
        tried += 1;
    };
    let other = of_alice.replace(&state, "AAAAAAAAAAAAAAAAAAAAAA");
    refused(person.get(&base), "nothing");
    refused(person.get(&of_alice.replace("state=", "stale=")), "no state");
    refused(person.get(&other), "a state of nobody");
    refused(stranger.get(&of_alice), "without the cookie");
    refused(person.get(&of_alice.replace(&state, &of_stranger)), "the state of another browser");
    refused(
        stranger.get(&of_alice.replace(&state, &of_stranger).replace("/firm", "/google")),
        "another provider's path",
    );
    refused(person.get(&format!("{of_alice}&state=x")), "two states");
    refused(person.get(&format!("{base}?code=x&state={}", "s".repeat(9000))), "a long query");
    let authority = format!("localhost:{}", firm.bridge.console);
    for host in ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "169.254.1.1"] {
        let more = format!("Host: {host}\r\n");
        refused(person.ask("GET", &of_alice, &more, None), host);
    }
    for method in ["HEAD", "PUT", "DELETE", "OPTIONS"] {
        refused(person.ask(method, &of_alice, "", None), method);
    }
    refused(person.post(&of_alice, ""), "POST");
    refused(person.ask("POST", &to_bob, "Sec-Fetch-Site: cross-site\r\n", Some("")), "another site's form");
    refused(person.ask("POST", &to_bob, "Origin: https://evil.test\r\n", Some("")), "another origin's form");
    refused(person.get(&format!("http://{authority}/sign-in/AAAAAAAAAAAAAAAAAAAAAA")), "a link of nobody");
    refused(person.post(&format!("{to_alice}/answer"), &format!("address={}", "x".repeat(40_000))), "a long form");
    refused(person.post(&format!("{to_alice}/answer"), "address=http%3A%2F%2Flocalhost%2F"), "no answer");
    assert_eq!(accounts(&firm), 0, "{tried} tries");
    // What is not HTTP, and more than any head.
    drop(TcpStream::connect(("127.0.0.1", firm.bridge.console)).expect("it listens"));
    let huge = person.get(&format!("{base}?code={}", "x".repeat(100_000)));
    assert!(huge.status == 0 || (400..500).contains(&huge.status), "{}", huge.status);

    // The provider's own words are not shown.
    let bad = "error=%3Cscript%3Ealert(1)%3C/script%3E&error_description=%3Cimg+src=x%3E+AADSTS65004";
    let reply = stranger.get(&format!("{base}?{bad}&state={of_stranger}"));
    assert!(reply.status == 403 && reply.body.contains("the person declined"), "{reply:?}");
    assert!(!reply.body.contains("<script") && !reply.body.contains("<img"), "{}", reply.body);

    // After all that both answers are good, each once.
    for back in [&of_bob, &of_alice] {
        let done = person.get(back);
        assert_eq!(done.status, 200, "{done:?}\n{}", firm.bridge.log());
        let again = person.get(back);
        assert_eq!(again.status, 400, "{again:?}");
    }
    assert_eq!(accounts(&firm), 2);
    assert!(tried >= 20, "{tried}");
    let log = firm.bridge.log();
    assert!(!log.contains(&state) && !log.contains("code="), "{log}");
    assert!(firm.bridge.drain(), "{log}");
}

#[tokio::test]
async fn r27_a_state_ends_after_ten_minutes_and_is_kept_as_a_hash() {
    let root = tempfile::tempdir().expect("a directory");
    let store = Store::open(root.path(), None, 0).await.expect("a store");
    let secret = |text: &str| Secret::new(text.to_owned());
    let (state, cookie, ticket, order) =
        (secret("state-of-22-letters-xx"), secret("cookie-of-22-letters-x"), secret("ticket-x"), secret("an order"));
    let (verifier, address) = (secret("a verifier"), Address::parse(ALICE).expect("an address"));
    let new = NewConsent { address: &address, place: "/cb", order: &order, ticket: Some(&ticket), expires_at: 5000 };
    let id = store.begin_consent(&new, 1000).await.expect("begun");
    let sent = Sent { state: &state, cookie: Some(&cookie), verifier: &verifier, expires_at: 1600 };
    store.send_consent(id, &sent).await.expect("sent");
    let answer = async |at: &str, bound: Bound<'_>, now| {
        store.answer_consent(&state, at, bound, now).await.expect("read").map(|answered| answered.consent.id)
    };
    assert_eq!(answer("/cb", Bound::Cookie(cookie.expose()), 1600).await, None, "too late");
    assert_eq!(answer("/other", Bound::Cookie(cookie.expose()), 1599).await, None, "another provider's");
    assert_eq!(answer("/cb", Bound::Cookie("x"), 1599).await, None, "another browser");
    assert_eq!(answer("/cb", Bound::Ticket(&secret("x")), 1599).await, None, "another link");
    assert_eq!(answer("/cb", Bound::Cookie(cookie.expose()), 1599).await, Some(id));
    for bound in [Bound::Cookie(cookie.expose()), Bound::Ticket(&ticket), Bound::Address(&address)] {
        assert_eq!(answer("/cb", bound, 1599).await, None, "twice");
    }
    assert!(store.consent_by_ticket(&ticket, 1599).await.expect("read").is_none(), "a link is good once");
    store.close().await;
    for file in fs::read_dir(root.path()).expect("the state").map(|entry| entry.expect("an entry").path()) {
        let octets = fs::read(&file).unwrap_or_default();
        for secret in [&state, &cookie, &ticket, &order, &verifier] {
            let text = secret.expose().as_bytes();
            assert!(!octets.windows(text.len()).any(|window| window == text), "{}", file.display());
        }
    }
}

#[test]
fn a_console_that_could_be_overheard_is_refused() {
    let root = tempfile::tempdir().expect("a directory");
    for (text, what) in [
        ("listen = \"0.0.0.0:1180\"", "an address of this machine alone"),
        ("listen = [\"127.0.0.1:1180\", \"[::1]:1181\"]", "one port, the same for all"),
        ("listen = \"127.0.0.1:1143\"", "another listener has this port"),
        ("public-url = \"http://mail.example.org\"", "expected https://"),
        ("public-url = \"https://mail.example.org/mail\"", "without a path"),
    ] {
        let file = root.path().join("passerelle.toml");
        fs::write(&file, format!("[console]\n{text}\n")).expect("written");
        let output = passerelle(root.path(), &["config", "check"], "");
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(words(&output).contains(what), "{}", words(&output));
    }
}
