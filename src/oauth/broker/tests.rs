//! The broker over a real store, against a token endpoint on loopback that answers as it is told.

use super::*;
use crate::{
    model::{Address, Certificates, Endpoint, Security, UserFormat},
    oauth::{
        TokenEndpoint,
        flow::{Client, Means, Proof},
    },
    store::{ADMIN, Changes, Credential, Leased, NewAccount, NewGrant, NewPlace, Settings},
    upstream::exchange,
};
use std::{
    collections::VecDeque,
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Answers each question with the next of its answers, or with the last for ever; remembers the refresh tokens shown.
#[derive(Clone, Default)]
struct Endpoints {
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    shown: Arc<Mutex<Vec<String>>>,
    /// How long each answer takes, in milliseconds.
    takes: Arc<AtomicU64>,
}

impl Endpoints {
    fn say(&self, answers: &[(u16, &str)]) {
        *self.answers.lock().expect("no panic") =
            answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
    }

    fn shown(&self) -> Vec<String> {
        std::mem::take(&mut *self.shown.lock().expect("no panic"))
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let endpoints = self.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut chunk = [0; 4096];
                // The body of a form without blanks: its end is told by the length.
                while !is_whole(&request) {
                    let read = stream.read(&mut chunk).await.unwrap_or(0);
                    if read == 0 {
                        return;
                    }
                    request.extend_from_slice(&chunk[..read]);
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                let token =
                    text.split("refresh_token=").last().unwrap_or_default().split('&').next().unwrap_or_default();
                endpoints.shown.lock().expect("no panic").push(token.to_owned());
                let answer = {
                    let mut answers = endpoints.answers.lock().expect("no panic");
                    if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
                };
                let (status, body) = answer.expect("an answer");
                tokio::time::sleep(Duration::from_millis(20 + endpoints.takes.load(Ordering::SeqCst))).await;
                let answer =
                    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    length.is_none_or(|length: usize| body.len() >= length)
}

struct House {
    _root: tempfile::TempDir,
    endpoints: Endpoints,
    store: Store,
    broker: Broker,
    id: AccountId,
    client: Client,
}

const FIRST: Generation = Generation(1);

impl House {
    async fn with(old_tokens_stay_valid: bool) -> Self {
        let endpoints = Endpoints::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/token", listener.local_addr().expect("an address"));
        tokio::spawn(endpoints.clone().serve(listener));
        let root = tempfile::tempdir().expect("a directory");
        let store = Store::open(root.path(), None, 1_800_000_000).await.expect("a store");
        let client = Client {
            token_endpoint: TokenEndpoint::parse(&url).expect("an endpoint"),
            id: "client".to_owned(),
            proof: Proof::Secret(Secret::new("client secret".to_owned())),
            scope: String::new(),
        };
        let endpoint = Endpoint::parse("mail.test", Security::Tls, 993).expect("an endpoint");
        let new = NewAccount {
            owner: store.user(ADMIN).await.expect("read").expect("there").id,
            address: Address::parse("alice@mail.test").expect("an address"),
            imap: endpoint.clone(),
            smtp: endpoint,
            certificates: Certificates::Verify,
            sign_in_name: "alice".to_owned(),
            credential: Credential::Grant(grant(&client, "R1", old_tokens_stay_valid)),
            settings: Settings::default(),
            smtp_password: None,
            aliases: Vec::new(),
            checked_at: None,
        };
        let id = store.add_account(&new, 0).await.expect("added");
        let broker = Broker::new(store.clone(), exchange().expect("a client"), Holder::Serve);
        Self { _root: root, endpoints, store, broker, id, client }
    }

    async fn token(&self) -> Result<String, Failure> {
        self.broker.token(self.id, FIRST).await.map(|access| access.token.expose().clone())
    }

    async fn kept(&self) -> (String, Option<String>, GrantState) {
        let now = self.store.account(self.id).await.expect("read").expect("there").generation;
        let grant = self.store.grant(self.id, now).await.expect("read").expect("a grant");
        (refresh_token(&grant).expose().clone(), grant.previous.map(|token| token.expose().clone()), grant.state)
    }
}

fn grant(client: &Client, refresh_token: &str, old_tokens_stay_valid: bool) -> NewGrant {
    let means = Means::Refresh(Secret::new(refresh_token.to_owned()));
    NewGrant { client: client.clone(), registration: None, means, old_tokens_stay_valid }
}

fn refresh_token(grant: &Grant) -> &Secret<String> {
    let Means::Refresh(token) = &grant.means else { panic!("no refresh token") };
    token
}

fn tokens(access: &str, refresh: Option<&str>) -> String {
    let refresh = refresh.map(|token| format!(r#","refresh_token":"{token}""#)).unwrap_or_default();
    format!(r#"{{"access_token":"{access}","token_type":"Bearer","expires_in":3600{refresh}}}"#)
}

const GONE: (u16, &str) = (400, r#"{"error":"invalid_grant"}"#);

async fn all<T>(count: usize, one: impl Fn() -> T) -> Vec<T::Output>
where
    T: Future<Output: Send> + Send + 'static,
{
    let tasks: Vec<_> = (0..count).map(|_| tokio::spawn(one())).collect();
    let mut outputs = Vec::new();
    for task in tasks {
        outputs.push(task.await.expect("no panic"));
    }
    outputs
}

#[tokio::test]
async fn many_logins_at_once_make_one_renewal() {
    let house = House::with(false).await;
    house.endpoints.say(&[(200, &tokens("A1", Some("R2")))]);
    let (broker, id) = (house.broker.clone(), house.id);
    let ask = || {
        let broker = broker.clone();
        async move { broker.token(id, FIRST).await.map(|access| access.token.expose().clone()) }
    };
    for token in all(20, ask).await {
        assert_eq!(token, Ok("A1".to_owned()));
    }
    assert_eq!(house.endpoints.shown(), ["R1"]);

    // All are refused the same token: one brings another, and all have it.
    house.endpoints.say(&[(200, &tokens("A2", Some("R3")))]);
    let refused = broker.token(id, FIRST).await.expect("a token");
    let ask = || {
        let (broker, refused) = (broker.clone(), refused.clone());
        async move { broker.instead_of(&refused, "imap", id, FIRST).await.map(|access| access.token.expose().clone()) }
    };
    for token in all(20, ask).await {
        assert_eq!(token, Ok("A2".to_owned()));
    }
    assert_eq!(house.endpoints.shown(), ["R2"]);
    assert_eq!(house.kept().await.0, "R3");
}

#[tokio::test]
async fn a_client_that_goes_away_loses_no_refresh_token() {
    let house = House::with(false).await;
    house.endpoints.say(&[(200, &tokens("A1", Some("R2")))]);
    let asked = tokio::time::timeout(Duration::from_millis(5), house.token()).await;
    assert!(asked.is_err(), "it went away");
    house.broker.settle().await;
    assert_eq!(house.kept().await.0, "R2");
    assert_eq!(house.token().await, Ok("A1".to_owned()));
    assert_eq!(house.endpoints.shown(), ["R1"]);
}

#[tokio::test]
async fn a_token_that_is_refused_at_once_again_is_not_renewed_for_ever() {
    let house = House::with(false).await;
    house.endpoints.say(&[(200, &tokens("A1", None)), (200, &tokens("A2", None))]);
    let first = house.broker.token(house.id, FIRST).await.expect("a token");
    let second = house.broker.instead_of(&first, "imap", house.id, FIRST).await.expect("another");
    let third = house.broker.instead_of(&second, "imap", house.id, FIRST).await;
    assert_eq!(third.err(), Some(Failure::SignInRefused));
    assert_eq!(house.endpoints.shown().len(), 2);
    // One that a service has let in and then refuses has ended, and is renewed.
    house.broker.worked(&second, "imap", house.id).await;
    assert!(house.broker.instead_of(&second, "imap", house.id, FIRST).await.is_ok());
}

#[tokio::test]
async fn a_grant_that_is_gone_is_asked_for_once() {
    let house = House::with(false).await;
    house.endpoints.say(&[GONE]);
    for _ in 0..3 {
        assert_eq!(house.token().await, Err(Failure::ConsentNeeded(None)));
    }
    assert_eq!(house.endpoints.shown(), ["R1"]);
    assert_eq!(house.kept().await, ("R1".to_owned(), None, GrantState::ConsentNeeded));

    // Until a person gives another; the account's generation grows with it.
    house.endpoints.say(&[(200, &tokens("A1", None))]);
    let credential = Some(Credential::Grant(grant(&house.client, "R9", false)));
    let changes = Changes { credential, ..Changes::default() };
    let generation = house.store.change_account(house.id, &changes).await.expect("changed");
    let token = house.broker.token(house.id, generation).await.map(|access| access.token.expose().clone());
    assert_eq!((token, house.endpoints.shown()), (Ok("A1".to_owned()), vec!["R9".to_owned()]));
}

#[tokio::test]
async fn trouble_that_passes_deletes_nothing_and_is_not_hammered() {
    let house = House::with(false).await;
    house.endpoints.say(&[(503, "<html>")]);
    let unavailable = Err(Failure::ProviderUnreachable(Unreachable::Unavailable));
    for _ in 0..5 {
        assert_eq!(house.token().await, unavailable);
    }
    assert_eq!(house.endpoints.shown().len(), 2, "one other try, then a pause");
    assert_eq!(house.kept().await, ("R1".to_owned(), None, GrantState::Good));

    let house = House::with(false).await;
    house.endpoints.say(&[(401, r#"{"error":"invalid_client"}"#)]);
    for _ in 0..3 {
        assert_eq!(house.token().await, Err(Failure::SignInRefused));
    }
    assert_eq!(house.endpoints.shown().len(), 1);
    assert_eq!(house.kept().await.2, GrantState::Good);
}

#[tokio::test]
async fn a_refused_client_is_its_operators_alarm_until_a_token_comes() {
    let house = House::with(false).await;
    house.endpoints.say(&[(401, r#"{"error":"invalid_client"}"#)]);
    assert_eq!(house.token().await, Err(Failure::SignInRefused));
    let standing = house.store.refusals(house.id).await.expect("read");
    let standing: Vec<_> = standing.iter().map(|refusal| (refusal.service.as_str(), refusal.words.as_str())).collect();
    assert_eq!(standing, [("token", "invalid_client")]);
    // Another program of this store, once the client is mended.
    house.endpoints.say(&[(200, &tokens("A1", None))]);
    let other = Broker::new(house.store.clone(), exchange().expect("HTTP"), Holder::Command);
    assert!(other.token(house.id, FIRST).await.is_ok());
    assert_eq!(house.store.refusals(house.id).await.expect("read"), []);
}

#[tokio::test]
async fn redirects_and_endless_answers_are_not_followed() {
    let house = House::with(false).await;
    house.endpoints.say(&[(307, "")]);
    assert_eq!(house.token().await, Err(Failure::ProviderMisbehaved(Misbehaviour::Syntax)));
    let house = House::with(false).await;
    house.endpoints.say(&[(200, &format!("{}{}", tokens("A1", None), " ".repeat(100_000)))]);
    assert_eq!(house.token().await, Err(Failure::ProviderMisbehaved(Misbehaviour::Syntax)));
    assert_eq!(house.endpoints.shown().len(), 1);
}

#[tokio::test]
async fn a_spent_token_is_shown_only_where_old_ones_stay_valid() {
    for (stay_valid, shown) in [(true, vec!["R2", "R1"]), (false, vec!["R2"])] {
        let house = House::with(stay_valid).await;
        house.endpoints.say(&[(200, &tokens("A1", Some("R2")))]);
        house.token().await.expect("a token");
        assert_eq!(house.endpoints.shown(), ["R1"]);
        assert_eq!(house.kept().await.1, stay_valid.then(|| "R1".to_owned()));
        house.endpoints.say(&[GONE, (200, &tokens("A2", None))]);
        let first = house.broker.token(house.id, FIRST).await.expect("a token");
        let second = house.broker.instead_of(&first, "imap", house.id, FIRST).await;
        assert_eq!(second.map(|access| access.token.expose().clone()).ok(), stay_valid.then(|| "A2".to_owned()));
        assert_eq!(house.endpoints.shown(), shown);
        // What worked is what is kept.
        let kept = if stay_valid { ("R1", GrantState::Good) } else { ("R2", GrantState::ConsentNeeded) };
        let (token, previous, state) = house.kept().await;
        assert_eq!(((&*token, state), previous), (kept, None));
    }
}

#[tokio::test]
async fn a_token_of_a_newer_grant_is_nothing_for_who_knows_the_older_one() {
    let house = House::with(false).await;
    house.endpoints.say(&[(200, &tokens("A1", None)), (200, &tokens("A2", None)), (200, &tokens("A3", None))]);
    let first = house.broker.token(house.id, FIRST).await.expect("a token");
    let credential = Some(Credential::Grant(grant(&house.client, "R9", false)));
    let changes = Changes { credential, ..Changes::default() };
    let generation = house.store.change_account(house.id, &changes).await.expect("changed");
    let second = house.broker.token(house.id, generation).await.expect("a token");
    assert_eq!(second.token.expose(), "A2");
    // An opening that began before: its host is the old provider's, and refused the old token just now.
    let told = |access: Result<Access, Failure>| access.map(|access| access.token.expose().clone());
    let outdated = Err(Failure::ProviderUnreachable(Unreachable::Lost));
    assert_eq!(told(house.broker.instead_of(&first, "imap", house.id, FIRST).await), outdated);
    assert_eq!(told(house.broker.token(house.id, FIRST).await), outdated);
    assert_eq!(told(house.broker.token(house.id, generation).await), Ok("A2".to_owned()));
    assert_eq!(house.endpoints.shown(), ["R1", "R9"]);
}

#[tokio::test]
async fn the_trouble_of_an_older_grant_is_not_the_new_ones() {
    let house = House::with(false).await;
    house.endpoints.say(&[(401, r#"{"error":"invalid_client"}"#), (200, &tokens("A2", None))]);
    house.endpoints.takes.store(500, Ordering::SeqCst);
    let (broker, id) = (house.broker.clone(), house.id);
    let older = tokio::spawn(async move { broker.token(id, FIRST).await.map(|_| ()) });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let credential = Some(Credential::Grant(grant(&house.client, "R9", false)));
    let changes = Changes { credential, ..Changes::default() };
    let generation = house.store.change_account(house.id, &changes).await.expect("changed");
    let token = house.broker.token(house.id, generation).await.map(|access| access.token.expose().clone());
    assert_eq!(token, Ok("A2".to_owned()));
    assert_eq!(older.await.expect("no panic"), Err(Failure::SignInRefused));
    assert_eq!(house.endpoints.shown(), ["R1", "R9"]);
}

#[tokio::test]
async fn a_token_that_could_not_be_kept_outlives_every_change_but_that_of_its_grant() {
    let house = House::with(false).await;
    house.endpoints.say(&[(200, &tokens("A9", None))]);
    let late = |version| Uncommitted {
        version,
        used: Secret::new("R1".to_owned()),
        tokens: Tokens {
            access: Secret::new("A1".to_owned()),
            refresh: Some(Secret::new("R2".to_owned())),
            lifetime: Duration::from_secs(600),
            short: None,
            scope: None,
        },
    };
    let version = house.store.grant(house.id, FIRST).await.expect("read").expect("a grant").version;
    house.broker.desk(house.id).held().generation = FIRST;
    house.broker.desk(house.id).held().uncommitted = Some(late(version));
    // Grows the generation, and leaves the grant as it is.
    let changes = Changes { sends: Some(false), ..Changes::default() };
    let generation = house.store.change_account(house.id, &changes).await.expect("changed");
    let told = |access: Result<Access, Failure>| access.map(|access| access.token.expose().clone());
    assert_eq!(told(house.broker.token(house.id, generation).await), Ok("A1".to_owned()));
    let kept = house.store.grant(house.id, generation).await.expect("read").expect("a grant");
    assert_eq!((refresh_token(&kept).expose().as_str(), house.endpoints.shown()), ("R2", Vec::new()));

    house.broker.desk(house.id).held().uncommitted = Some(late(kept.version));
    let credential = Some(Credential::Grant(grant(&house.client, "R9", false)));
    let generation =
        house.store.change_account(house.id, &Changes { credential, ..Changes::default() }).await.expect("changed");
    assert_eq!(told(house.broker.token(house.id, generation).await), Ok("A9".to_owned()));
    assert_eq!(house.endpoints.shown(), ["R9"]);
}

#[tokio::test]
async fn on_a_refused_grant_the_row_is_read_once_more() {
    let house = House::with(false).await;
    house.endpoints.say(&[GONE, (200, &tokens("A1", None))]);
    house.endpoints.takes.store(1000, Ordering::SeqCst);
    // Another program renews while we ask: our token is spent, theirs is in the row.
    let (store, id) = (house.store.clone(), house.id);
    let other = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let version = store.grant(id, FIRST).await.expect("read").expect("a grant").version;
        let (used, fresh) = (Secret::new("R1".to_owned()), Secret::new("R2".to_owned()));
        store.rotate_grant(id, version, &used, &fresh).await.expect("kept");
    });
    assert_eq!(house.token().await, Ok("A1".to_owned()));
    other.await.expect("no panic");
    assert_eq!(house.endpoints.shown(), ["R1", "R2"]);
    assert_eq!(house.kept().await.2, GrantState::Good);
}

#[tokio::test]
async fn nobody_listening_is_transient() {
    let house = House::with(false).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let client = Client {
        token_endpoint: TokenEndpoint::parse(&format!("http://127.0.0.1:{port}/token")).expect("an endpoint"),
        ..house.client.clone()
    };
    let changes = Changes { credential: Some(Credential::Grant(grant(&client, "R1", false))), ..Changes::default() };
    let generation = house.store.change_account(house.id, &changes).await.expect("changed");
    let asked = house.broker.token(house.id, generation).await.map(|_| ());
    assert_eq!(asked, Err(Failure::ProviderUnreachable(Unreachable::Refused)));
    assert_eq!(house.kept().await.2, GrantState::Good);
}

#[test]
fn a_token_is_renewed_before_it_ends_and_pauses_are_bounded() {
    let mut held = Held::default();
    let lifetime = Duration::from_secs(1000);
    let tokens = |access: &str| Tokens {
        access: Secret::new(access.to_owned()),
        refresh: None,
        lifetime,
        short: None,
        scope: None,
    };
    for _ in 0..100 {
        held.keep(tokens("A"), false);
        let token = held.token.as_ref().expect("kept");
        let ripe = (token.ripe - token.born).as_secs_f64();
        assert!((750.0..=900.0).contains(&ripe) && token.ripe < token.dies && token.dies < token.born + lifetime);
    }
    let problem = Problem::Trouble(Trouble::Unavailable { status: 503 });
    for times in 0..40 {
        held.wait(&problem);
        let pause = held.pause.as_ref().expect("a pause").until - Instant::now();
        let least = if times == 0 { PAUSE_FIRST } else { PAUSE_FIRST * 2 }.min(PAUSE_MAX);
        assert!(pause > least.mul_f64(0.99) && pause <= PAUSE_MAX.mul_f64(1.21), "{times}: {pause:?}");
    }
    assert!(held.paused().is_err() && held.usable(None).is_some(), "what still lives is used");
}

#[tokio::test]
async fn a_client_with_a_right_of_its_own_spends_nothing_and_keeps_nothing() {
    let house = House::with(false).await;
    let own =
        NewGrant { client: house.client.clone(), registration: None, means: Means::Own, old_tokens_stay_valid: false };
    let changes = Changes { credential: Some(Credential::Grant(own)), ..Changes::default() };
    let generation = house.store.change_account(house.id, &changes).await.expect("changed");
    let version = house.store.grant(house.id, generation).await.expect("read").expect("a grant").version;
    house.endpoints.say(&[(200, &tokens("A1", None)), (200, &tokens("A2", None))]);
    let first = house.broker.token(house.id, generation).await;
    assert_eq!(first.map(|access| access.token.expose().clone()), Ok("A1".to_owned()));
    let access = house.broker.token(house.id, generation).await.map_err(|_| ()).expect("held");
    let fresh = house.broker.instead_of(&access, "imap", house.id, generation).await;
    assert_eq!(fresh.map(|access| access.token.expose().clone()), Ok("A2".to_owned()));
    let kept = house.store.grant(house.id, generation).await.expect("read").expect("a grant");
    assert!(matches!(kept.means, Means::Own) && kept.version == version);
}

#[tokio::test]
async fn r28_two_bridges_on_one_store_show_no_token_twice() {
    let house = House::with(false).await;
    house.endpoints.say(&[(200, &tokens("A1", Some("R2"))), (200, &tokens("A2", Some("R3")))]);
    house.endpoints.takes.store(300, Ordering::SeqCst);
    let other = Broker::new(house.store.clone(), exchange().expect("a client"), Holder::Command);
    let (one, two) = tokio::join!(house.broker.token(house.id, FIRST), other.token(house.id, FIRST));
    let mut given = [one, two].map(|access| access.map(|access| access.token.expose().clone()).expect("a token"));
    given.sort();
    assert_eq!(given, ["A1", "A2"]);
    assert_eq!(house.endpoints.shown(), ["R1", "R2"]);
    assert_eq!(house.kept().await, ("R3".to_owned(), None, GrantState::Good));
}

#[tokio::test]
async fn what_comes_for_a_grant_that_a_swap_has_set_aside_is_kept_there() {
    let house = House::with(false).await;
    house.endpoints.say(&[(200, &tokens("A1", Some("R2")))]);
    house.endpoints.takes.store(500, Ordering::SeqCst);
    let (broker, id) = (house.broker.clone(), house.id);
    let under_way = tokio::spawn(async move { broker.token(id, FIRST).await.map(|_| ()) });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let endpoint = Endpoint::parse("elsewhere.test", Security::Tls, 993).expect("an endpoint");
    let new = NewPlace {
        address: Address::parse("alice@elsewhere.test").expect("an address"),
        provider: "generic".to_owned(),
        imap: endpoint.clone(),
        smtp: endpoint,
        certificates: Certificates::Verify,
        user_format: UserFormat::Address,
        sign_in_name: "alice@elsewhere.test".to_owned(),
        credential: Credential::Password(Secret::new("a password".to_owned())),
        folder_map: Vec::new(),
        hidden: Vec::new(),
    };
    house.store.swap_account(id, FIRST, &new, 100, 0).await.expect("swapped");
    // Whoever goes back waits until it is there, and shows no token that was shown.
    let aside = Lease::take(&house.store, id, LeaseOf::Aside, "command", LEASE).await.expect("read").expect("a grant");
    let kept = house.store.way_back_grant(id).await.expect("read").expect("a grant");
    assert_eq!(refresh_token(&kept).expose(), "R2");
    aside.give_back().await;
    assert!(under_way.await.expect("no panic").is_err(), "a token of the old place is none of the new");
    assert_eq!(house.endpoints.shown(), ["R1"]);
    assert!(matches!(house.store.lease_grant(id, LeaseOf::Aside, "next", None).await, Ok(Leased::Ours(_))));
}

#[tokio::test]
async fn a_lease_is_waited_for_until_its_holder_is_gone() {
    let house = House::with(false).await;
    let (id, store, age) = (house.id, &house.store, Duration::from_millis(700));
    let take = |holder: &'static str| Lease::take(store, id, LeaseOf::Current, holder, age);
    let killed = take("killed").await.expect("read").expect("a grant");
    let began = Instant::now();
    let next = take("next").await.expect("read").expect("a grant");
    assert!(began.elapsed() >= age, "{:?}", began.elapsed());
    // Who was taken for dead takes nothing away.
    killed.give_back().await;
    let began = Instant::now();
    let (third, ()) = tokio::join!(take("third"), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        next.give_back().await;
    });
    assert!(third.expect("read").is_some() && began.elapsed() >= Duration::from_millis(250));
    // Its own, started again, waits for nobody.
    let began = Instant::now();
    assert!(take("third").await.expect("read").is_some() && began.elapsed() < age);
    assert!(Lease::take(store, AccountId(999), LeaseOf::Current, "third", age).await.expect("read").is_none());
}
