//! What comes back from the page of consent, against toys that say what no authorization server says that can be
//! installed: permissions that were unticked, no refresh token, another issuer; and a bridge behind a public address.

use crate::harness::{Bridge, Endpoint, Lab, PATIENCE, Person, passerelle, secrets, until, words};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use passerelle::store::Store;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::Output,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const ALICE: &str = "alice@toys.test";

/// A provider of toys, with a client; its token endpoint gives what stands in the cell.
struct Toys {
    root: tempfile::TempDir,
    endpoint: Endpoint,
    given: Arc<Mutex<(u16, Value)>>,
    /// Whether its token endpoint was asked, and answers when `given` is free.
    asked: Arc<AtomicBool>,
}

impl Toys {
    fn start() -> Self {
        let given = Arc::new(Mutex::new((500, json!({}))));
        let says = given.clone();
        let asked = Arc::new(AtomicBool::new(false));
        let is_asked = asked.clone();
        let base = Arc::new(Mutex::new(String::new()));
        let own = base.clone();
        let endpoint = Endpoint::start(move |path, _| match path {
            "/.well-known/openid-configuration" => {
                let base = own.lock().expect("no test panicked").clone();
                let page = format!("{base}/auth");
                let token = format!("{base}/token");
                let said = json!({ "issuer": base, "authorization_endpoint": page, "token_endpoint": token,
                    "authorization_response_iss_parameter_supported": true });
                (200, said)
            }
            "/token" => {
                is_asked.store(true, Ordering::SeqCst);
                says.lock().expect("no test panicked").clone()
            }
            _ => (404, json!({})),
        });
        *base.lock().expect("no test panicked") = format!("http://127.0.0.1:{}", endpoint.port);
        let root = tempfile::tempdir().expect("a directory");
        let entry = include_str!("../../config/providers/gandi.toml").to_owned()
            + &format!(
                r#"[oauth]
authorise = "http://127.0.0.1:{port}/auth"
token = "http://127.0.0.1:{port}/token"
scopes = ["mail.read", "mail.send", "offline_access"]
old-refresh-tokens = "spent"
source = "a test"
"#,
                port = endpoint.port
            );
        fs::create_dir_all(root.path().join("providers")).expect("a folder");
        fs::write(root.path().join("providers/toys.toml"), entry).expect("written");
        let register = passerelle(root.path(), &["provider", "register", "toys", "--client-id", "app"], "");
        assert!(register.status.success(), "{}", words(&register));
        Self { root, endpoint, given, asked }
    }

    fn state(&self) -> &Path {
        self.root.path()
    }

    fn gives(&self, status: u16, answer: Value) {
        *self.given.lock().expect("no test panicked") = (status, answer);
    }

    /// The page that a sign-in is sent to.
    fn begin(&self, more: &[&str]) -> String {
        let command = [&["account", "sign-in", ALICE, "--paste", "--json"], more].concat();
        let output = passerelle(self.state(), &command, "");
        assert!(output.status.success(), "{}", words(&output));
        let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        said["open"].as_str().expect("an address").to_owned()
    }

    fn answer(&self, address: &str) -> Output {
        passerelle(self.state(), &["account", "sign-in", ALICE, "--answer-stdin", "--json"], &format!("{address}\n"))
    }

    /// Begins, and comes back with this; what is said of it.
    fn refused(&self, more: &[&str], back: &str) -> (String, String) {
        let page = self.begin(more);
        let output = self.answer(&format!("{}?{back}&state={}", field(&page, "redirect_uri"), field(&page, "state")));
        assert_eq!(output.status.code(), Some(4), "{}", words(&output));
        let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
        let listed = passerelle(self.state(), &["account", "list", "--json"], "");
        assert_eq!(String::from_utf8_lossy(&listed.stdout).trim(), "[]", "nothing is stored");
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        (text("error"), text("hint"))
    }
}

/// Of the query of an address, as it was before it was put there.
fn field(address: &str, name: &str) -> String {
    let query = address.split_once('?').expect("a query").1;
    let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).expect("the field");
    value.replace("%3A", ":").replace("%2F", "/")
}

fn tokens(scope: Option<&str>, refresh: bool, person: Option<&str>) -> Value {
    let mut answer = json!({ "access_token": "toy-access-token-1", "token_type": "Bearer", "expires_in": 3600 });
    if let Some(scope) = scope {
        answer["scope"] = scope.into();
    }
    if refresh {
        answer["refresh_token"] = "toy-refresh-token-1".into();
    }
    if let Some(person) = person {
        let claims = URL_SAFE_NO_PAD.encode(json!({ "preferred_username": person }).to_string());
        answer["id_token"] = format!("e30.{claims}.e30").into();
    }
    answer
}

const TOYS: [&str; 2] = ["--provider", "toys"];

#[test]
fn what_was_not_granted_is_said_before_anything_is_stored() {
    let toys = Toys::start();
    let whole = Some("mail.read mail.send");
    let cases = [
        (200, tokens(Some("mail.read"), true, None), "missing: mail.send"),
        (200, tokens(whole, false, Some(ALICE)), "no refresh token"),
        (
            200,
            tokens(whole, true, Some("bob@toys.test")),
            "somebody else signed in than alice@toys.test: bob@toys.test",
        ),
        (400, json!({ "error": "invalid_grant" }), "does not take the code that it gave: invalid_grant"),
        (401, json!({ "error": "invalid_client" }), "refuses the client: invalid_client"),
        (503, json!({}), "not available"),
    ];
    for (status, answer, awaited) in cases {
        toys.gives(status, answer);
        let (error, hint) = toys.refused(&TOYS, "code=toy-code");
        assert!(error.contains(awaited) && !hint.is_empty(), "{error}\n{hint}");
        assert!(!error.contains("toy-"), "{error}");
    }
    for (back, awaited) in [
        ("error=access_denied&error_description=AADSTS65004%3A+declined", "the person declined"),
        (
            "error=access_denied&error_description=AADSTS90094%3A+admin",
            "an administrator of the organisation must allow",
        ),
        ("error=invalid_request&error_description=AADSTS50011", "the redirect address is not registered"),
        ("error=temporarily_unavailable", "not available now"),
    ] {
        let (error, _) = toys.refused(&TOYS, back);
        assert!(error.contains(awaited), "{error}");
    }
}

#[test]
fn r27_the_verifier_is_that_of_the_question_and_the_issuer_that_was_asked() {
    let toys = Toys::start();
    toys.gives(200, tokens(Some("mail.read"), true, None));
    let page = toys.begin(&TOYS);
    let (challenge, redirect) = (field(&page, "code_challenge"), field(&page, "redirect_uri"));
    assert_eq!(
        (field(&page, "code_challenge_method").as_str(), redirect.as_str()),
        ("S256", "http://localhost:1180/oauth/callback/toys")
    );
    let before = toys.endpoint.asked().len();
    let output = toys.answer(&format!("{redirect}?code=toy-code&state={}", field(&page, "state")));
    assert_eq!(output.status.code(), Some(4), "{}", words(&output));
    let asked = toys.endpoint.asked().remove(before);
    let verifier = asked["code_verifier"].as_str();
    let hashed = digest(&SHA256, verifier.as_bytes());
    assert_eq!(URL_SAFE_NO_PAD.encode(hashed), challenge);
    assert_eq!((asked["redirect_uri"].as_str(), asked["code"].as_str()), (redirect.as_str(), "toy-code"));
    assert!(verifier.len() >= 43, "{} letters", verifier.len());

    // Where a provider says that it names itself, an answer without its name or with another's is none (RFC 9207).
    let issuer = format!("http://127.0.0.1:{}", toys.endpoint.port);
    let by_issuer = ["--provider", "gandi", "--issuer", &issuer, "--client-id", "app", "--scope", "mail.read"];
    for (back, awaited) in [
        ("code=toy-code", "does not come from the provider that was asked"),
        ("code=toy-code&iss=https%3A%2F%2Fevil.test", "does not come from the provider that was asked"),
        ("error=access_denied&iss=https%3A%2F%2Fevil.test", "does not come from the provider that was asked"),
    ] {
        let count = toys.endpoint.asked().len();
        let (error, _) = toys.refused(&by_issuer, back);
        assert!(error.contains(awaited), "{error}");
        // It was asked for its description alone: no code is shown to a wrong endpoint.
        assert_eq!(toys.endpoint.asked().len(), count + 1);
    }
    let iss = issuer.replace(':', "%3A").replace('/', "%2F");
    toys.gives(200, tokens(Some("nothing"), true, None));
    let (error, _) = toys.refused(&by_issuer, &format!("code=toy-code&iss={iss}"));
    assert!(error.contains("missing: mail.read"), "{error}");
}

#[test]
fn r36_a_public_address_is_known_and_its_cookie_secure() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let toys = Toys::start();
    let mut bridge = Bridge::prepare(&lab);
    bridge.is_public_as("https://mail.firm.test");
    let entry = fs::read_to_string(toys.state().join("providers/toys.toml")).expect("an entry");
    bridge.know_provider("toys", &entry);
    let register = bridge.cli(&["provider", "register", "toys", "--client-id", "app"], b"");
    assert!(register.status.success(), "{}", words(&register));
    let guide = bridge.cli(&["provider", "register", "toys", "--json"], b"");
    let guide: Value = serde_json::from_slice(&guide.stdout).expect("JSON");
    assert_eq!(guide["redirects"], json!(["https://mail.firm.test/oauth/callback/toys"]));
    let output = bridge.cli(&["account", "sign-in", ALICE, "--provider", "toys", "--link", "--json"], b"");
    assert!(output.status.success(), "{}", words(&output));
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let link = said["link"].as_str().expect("a link");
    let ticket = link.strip_prefix("https://mail.firm.test/sign-in/").expect("a public link");
    secrets::give_out(ticket);
    bridge.serve();

    // As the web server before it passes it on.
    let local = format!("http://localhost:{}/sign-in/{ticket}", bridge.console);
    let host = "Host: mail.firm.test\r\n";
    let mut alice = Person::default();
    for more in [host, "Host: localhost\r\n", "Host: [::1]:1180\r\n", "Host: 127.0.0.1:9\r\n"] {
        assert_eq!(alice.ask("GET", &local, more, None).status, 200, "{more}");
    }
    assert_eq!(alice.ask("GET", &local, "Host: other.firm.test\r\n", None).status, 421);
    let sent = alice.ask("POST", &local, &format!("{host}Sec-Fetch-Site: same-origin\r\n"), Some(""));
    assert_eq!(sent.status, 303, "{sent:?}");
    let cookie = sent.header("set-cookie").expect("a cookie");
    assert!(cookie.ends_with("; Max-Age=600; Path=/oauth/callback/; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
    let page = sent.header("location").expect("an address");
    assert_eq!(field(page, "redirect_uri"), "https://mail.firm.test/oauth/callback/toys");

    // Windows and others take `localhost` for ::1.
    if TcpListener::bind("[::1]:0").is_ok() {
        drop(TcpStream::connect(("::1", bridge.console)).expect("it listens there, too"));
    }
    // A browser opens connections to have them ready: they keep no bridge from its end.
    let idle = TcpStream::connect(("127.0.0.1", bridge.console)).expect("it listens");
    let begun = Instant::now();
    assert!(bridge.drain(), "{}", bridge.log());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(idle);
}

#[test]
fn a_sign_in_that_is_under_way_when_the_bridge_stops_comes_to_its_end() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let toys = Toys::start();
    let mut bridge = Bridge::configured(&lab, "[timeouts]\ndrain = \"1s\"\n");
    bridge.know_provider("toys", &fs::read_to_string(toys.state().join("providers/toys.toml")).expect("an entry"));
    let register = bridge.cli(&["provider", "register", "toys", "--client-id", "app"], b"");
    assert!(register.status.success(), "{}", words(&register));
    let output = bridge.cli(&["account", "sign-in", ALICE, "--provider", "toys", "--link", "--json"], b"");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(&output)));
    let link = said["link"].as_str().expect("a link");
    secrets::give_out(link.rsplit('/').next().expect("a ticket"));
    bridge.serve();
    let mut alice = Person::default();
    let page = alice.begin(link);
    let back = format!("{}?code=toy-code&state={}", field(&page, "redirect_uri"), field(&page, "state"));

    toys.gives(400, json!({ "error": "invalid_grant" }));
    let slow = toys.given.lock().expect("no test panicked");
    let browser = thread::spawn(move || alice.get(&back));
    let asked = until(PATIENCE, || toys.asked.load(Ordering::SeqCst).then_some(()));
    assert!(asked.is_some(), "{}", bridge.log());
    bridge.ask_to_stop();
    let over = until(PATIENCE, || {
        bridge.log().contains("sessions and deliveries that did not end in time are cut").then_some(())
    });
    assert!(over.is_some(), "{}", bridge.log());
    // Longer than it takes a bridge to end that waits for nothing.
    thread::sleep(Duration::from_millis(500));
    drop(slow);
    assert!(bridge.drain(), "{}", bridge.log());
    drop(browser.join().expect("no panic"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(async {
        let store = Store::open(&bridge.state(), None, 1).await.expect("a store");
        let outcome = store.consent_outcome(1).await.expect("the first sign-in");
        store.close().await;
        outcome
    });
    assert!(outcome.as_ref().is_some_and(|outcome| outcome.contains("invalid_grant")), "{outcome:?}");
}
