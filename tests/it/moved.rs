//! Sign-ins that were asked for before their account went elsewhere: their token is of the old provider, and the host where
//! the account is now never sees it.

use crate::{
    harness::{CrmSettings, PATIENCE, Person, Provider, Wire, secrets, settings, until},
    toy_house::{self, ALICE, Door, FIRST, Toys, field, refusal},
};
use passerelle::{
    control::consent::Links,
    model::{Address, Certificates, Endpoint, Secret, Security},
    oauth::{
        TokenEndpoint,
        flow::{Client, Means, Proof},
    },
    provider::Table,
    store::{ADMIN, Credential, NewAccount, NewGrant, Settings, Store, consent::NewConsent},
    upstream::Inviter as _,
};
use std::sync::{Arc, Mutex};

const PUBLIC: &str = "https://mail.firm.test";
const HOST: &str = "Host: mail.firm.test\r\nSec-Fetch-Site: same-origin\r\n";

/// Alice's account, and the servers to which it will go.
fn house(prepare: impl FnOnce(&Toys)) -> Option<(Toys, [Provider; 2], CrmSettings)> {
    let toys = Toys::start()?;
    prepare(&toys);
    let output = toys.hand_over("add", FIRST, &["--unchecked"]);
    let crm = settings(&serde_json::from_slice(&output.stdout).expect("JSON"));
    let elsewhere = toy_house::imap(&toys.lab, Arc::new(Mutex::new(Door::Open)));
    let smtp = toy_house::smtp(&toys.lab);
    Some((toys, [elsewhere, smtp], crm))
}

#[test]
fn what_was_asked_before_an_account_moved_signs_in_nowhere() {
    let Some((toys, [imap, smtp], _)) = house(|_| {}) else { return };
    let [imap_there, smtp_there] = [&imap, &smtp].map(|double| format!("localhost:{}", double.port));
    let answer = ["account", "sign-in", ALICE, "--answer-stdin", "--json"];
    let mut moves = 0;
    for change in [
        ["--imap", imap_there.as_str()],
        ["--smtp", &smtp_there],
        ["--provider", "gandi"],
        ["--smtp-delegate", "bob@toys.test"],
        ["--user", "mallory"],
    ] {
        let open = toys.done(&["account", "sign-in", ALICE, "--paste"], "")["open"].as_str().expect("text").to_owned();
        toys.done(&[&["account", "set", ALICE, "--unchecked"][..], &change].concat(), "");
        let back = format!("{}?code=toy-code&state={}\n", field(&open, "redirect_uri"), field(&open, "state"));
        let (error, hint) = refusal(&toys.bridge.cli(&answer, back.as_bytes()), 6);
        assert!(error.ends_with("changed since this sign-in was asked for: alice@toys.test"), "{change:?}: {error}");
        assert!(hint.contains("`passerelle account sign-in alice@toys.test`"), "{hint}");
        // Back to where it was.
        let ports = toys.at([toys.imap.port, toys.smtp.port]);
        let mut back = vec!["account", "set", ALICE, "--unchecked", "--provider", "toys", "--user-format", "address"];
        back.extend(ports.iter().map(String::as_str).chain(["--smtp-auth", "same"]));
        toys.done(&back, "");
        moves += 1;
    }
    assert_eq!(toys.knows(|known| known.codes), 0, "no code is shown for a token that nobody can use");
    assert_eq!((imap.visits(), smtp.visits(), toys.imap.visits()), (0, 0, 0));

    // A swap, and the way back.
    toys.knows(|known| known.rotates = false);
    let open = toys.done(&["account", "sign-in", ALICE, "--paste"], "")["open"].as_str().expect("text").to_owned();
    let ports = toys.at([imap.port, smtp.port]);
    let mut swap = vec!["account", "swap", ALICE, "--provider", "toys", "--yes", "--refresh-token-stdin"];
    swap.extend(ports.iter().map(String::as_str).chain(["--client-id", "app"]));
    toys.done(&swap, &format!("{FIRST}\n"));
    let there = imap.heard();
    let back = format!("{}?code=toy-code&state={}\n", field(&open, "redirect_uri"), field(&open, "state"));
    let (error, _) = refusal(&toys.bridge.cli(&answer, back.as_bytes()), 6);
    assert!(error.contains("has changed since this sign-in was asked for"), "{error}");
    assert_eq!((imap.heard(), toys.knows(|known| known.codes)), (there, 0));
    toys.done(&["account", "swap", ALICE, "--back", "--yes"], "");

    // What is no other place keeps it good.
    let open = toys.done(&["account", "sign-in", ALICE, "--paste"], "")["open"].as_str().expect("text").to_owned();
    toys.done(&["account", "set", ALICE, "--display-name", "Alice", "--alias", "sales@toys.test"], "");
    let back = format!("{}?code=toy-code&state={}\n", field(&open, "redirect_uri"), field(&open, "state"));
    toys.done(&["account", "sign-in", ALICE, "--answer-stdin"], &back);
    eprintln!("moved: {moves} changes of a place, 0 codes shown, 0 tokens at the new host");
}

#[test]
fn a_link_that_was_told_is_withdrawn_when_its_account_moves() {
    let Some((mut toys, [imap, smtp], crm)) = house(|toys| toys.bridge.is_public_as(PUBLIC)) else { return };
    toys.knows(|known| known.revoked = true);
    toys.bridge.serve();
    let told = |toys: &Toys| {
        let mut wire = Wire::plain(toys.bridge.imap);
        wire.expect("* OK");
        let told = wire.imap(&crm.imap_login()).tagged;
        let link = told.split(' ').find(|word| word.starts_with(PUBLIC)).unwrap_or_else(|| panic!("no link: {told}"));
        secrets::give_out(link.rsplit('/').next().expect("a ticket"));
        link.replace(PUBLIC, &format!("http://localhost:{}", toys.bridge.console))
    };
    let old = told(&toys);
    assert_eq!(told(&toys), old, "one for all who ask");
    let (mut alice, mut later) = (Person::default(), Person::default());
    later.language = "fr";
    let sent = alice.ask("POST", &old, HOST, Some(""));
    let page = sent.header("location").unwrap_or_else(|| panic!("{sent:?}")).to_owned();

    let ports = toys.at([imap.port, smtp.port]);
    let set = [&["account", "set", ALICE, "--unchecked"][..], &ports.iter().map(String::as_str).collect::<Vec<_>>()];
    toys.done(&set.concat(), "");
    let back = field(&page, "redirect_uri").replace(PUBLIC, &format!("http://localhost:{}", toys.bridge.console));
    let ended = alice.ask("GET", &format!("{back}?code=toy-code&state={}", field(&page, "state")), HOST, None);
    assert_eq!(ended.status, 410, "{ended:?}\n{}", toys.bridge.log());
    assert!(ended.body.contains("Ask your administrator for a new link"), "{}", ended.body);
    assert_eq!((imap.visits(), smtp.visits(), toys.knows(|known| known.codes)), (0, 0, 0));

    // Whoever asks now is told another, which is good; the page of the first says so before anybody is sent away.
    let fresh = until(PATIENCE, || Some(told(&toys)).filter(|link| *link != old)).expect("another link");
    assert_eq!(later.ask("GET", &fresh, HOST, None).status, 200);
    let link = toys.done(&["account", "sign-in", ALICE, "--link"], "")["link"].as_str().expect("a link").to_owned();
    secrets::give_out(link.rsplit('/').next().expect("a ticket"));
    let link = link.replace(PUBLIC, &format!("http://localhost:{}", toys.bridge.console));
    assert_eq!(later.ask("GET", &link, HOST, None).status, 200);
    toys.done(&["account", "set", ALICE, "--unchecked", "--provider", "gandi"], "");
    for method in ["GET", "POST"] {
        let page = later.ask(method, &link, HOST, (method == "POST").then_some(""));
        assert_eq!(page.status, 410, "{page:?}");
        assert!(page.body.contains("Demandez un nouveau lien à votre administrateur"), "{}", page.body);
        assert!(!page.body.contains("<form"), "{}", page.body);
    }
    assert!(toys.bridge.drain(), "{}", toys.bridge.log());
}

#[tokio::test]
async fn where_no_link_can_be_told_none_is_made() {
    let root = tempfile::tempdir().expect("a directory");
    let store = Store::open(root.path(), None, 0).await.expect("a store");
    let endpoint = Endpoint::parse("mail.example.test", Security::Tls, 993).expect("an endpoint");
    let secret = |text: &str| Secret::new(text.to_owned());
    let client = Client {
        token_endpoint: TokenEndpoint::parse("https://oauth2.googleapis.com/token").expect("an endpoint"),
        id: "app".to_owned(),
        proof: Proof::Nothing,
        scope: "https://mail.google.com/".to_owned(),
    };
    let means = Means::Refresh(secret("a-refresh-token"));
    let account = NewAccount {
        owner: store.user(ADMIN).await.expect("read").expect("there is one").id,
        address: Address::parse(ALICE).expect("an address"),
        imap: endpoint.clone(),
        smtp: endpoint,
        certificates: Certificates::Verify,
        sign_in_name: ALICE.to_owned(),
        credential: Credential::Grant(NewGrant { client, registration: None, means, old_tokens_stay_valid: true }),
        settings: Settings { provider: "google".to_owned(), ..Settings::default() },
        smtp_password: None,
        aliases: Vec::new(),
        checked_at: None,
    };
    let id = store.add_account(&account, 0).await.expect("added");
    let table = Table::built_in().expect("a table");
    let links = |base: String| Links::new(store.clone(), table.clone(), base);
    // A row for each login would be one more each second.
    assert!(links(format!("https://{}.test", "x".repeat(270))).invite(id).await.is_none());
    assert!(links("https://mail.firm.test".to_owned()).invite(id).await.is_some());
    let (address, order) = (&account.address, secret("order"));
    let next = NewConsent { address, place: "/cb", order: &order, ticket: None, expires_at: 5 };
    assert_eq!(store.begin_consent(&next, 1).await.expect("begun"), 2, "one row before this");
}
