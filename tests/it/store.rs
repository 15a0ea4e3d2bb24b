//! The store from outside: what is on disk, who may read it, what one process sees of another.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use passerelle::{
    failure::Failure,
    model::{
        AccountId, Address, Certificates, Endpoint, Epoch, Generation, LocalName, Login, RemoteName, Role, Secret,
        Security, SmtpAuth, UnreadScope, UserFormat, UserId,
    },
    profile::GENERIC,
    relay::{Admission, Credentials},
    rules::namespace::Choices,
    store::{self, Changes, Credential, Error, Mapping, NewAccount, NewLogin, NewPlace, Origin, Settings, Store},
};
use sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};
use std::{path::Path, time::Duration};

const PASSWORD: &str = "correct-horse-battery-staple";
const SMTP_PASSWORD: &str = "another-horse-another-staple";
const NOW: i64 = 1_800_000_000;

async fn open(state: &Path) -> Store {
    Store::open(state, None, NOW).await.expect("a store")
}

async fn admin(store: &Store) -> UserId {
    store.user("ADMIN").await.expect("read").expect("made at the first start").id
}

fn account(owner: UserId, address: &str) -> NewAccount {
    let endpoint = |port| Endpoint::parse("mail.example.test", Security::Tls, port).expect("an endpoint");
    NewAccount {
        owner,
        address: Address::parse(address).expect("an address"),
        imap: endpoint(993),
        smtp: endpoint(465),
        certificates: Certificates::Verify,
        sign_in_name: address.to_owned(),
        credential: Credential::Password(Secret::new(PASSWORD.to_owned())),
        settings: Settings::default(),
        smtp_password: None,
        aliases: Vec::new(),
        checked_at: None,
    }
}

pub(crate) async fn one_account(store: &Store) -> AccountId {
    store.add_account(&account(admin(store).await, "alice@example.test"), NOW).await.expect("added")
}

pub(crate) async fn raw(state: &Path, statement: &'static str) {
    let mut connection =
        SqliteConnectOptions::new().filename(store::database_path(state)).connect().await.expect("a connection");
    connection.execute(statement).await.expect("executed");
}

fn local(name: &str) -> LocalName {
    LocalName::parse(name.as_bytes()).expect("a name")
}

fn remote(name: &str) -> RemoteName {
    RemoteName::parse(name.as_bytes()).expect("a name")
}

#[tokio::test]
async fn an_account_that_a_clients_token_opens_keeps_no_password() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let id = one_account(&store).await;
    let changes = Changes { credential: Some(Credential::OfClient), ..Changes::default() };
    store.change_account(id, &changes).await.expect("changed");
    let kept = store.account(id).await.expect("read").expect("there");
    assert!(kept.by_client_token && store.account_password(&kept).await.is_err());
}

#[tokio::test]
async fn no_secret_stands_in_the_files() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let separate = NewAccount {
        settings: Settings { smtp_auth: SmtpAuth::Separate("relay".to_owned()), ..Settings::default() },
        smtp_password: Some(Secret::new(SMTP_PASSWORD.to_owned())),
        ..account(admin(&store).await, "alice@example.test")
    };
    let id = store.add_account(&separate, NOW).await.expect("added");
    let generated = store::password::generate().expect("a password");
    let login = NewLogin {
        user: admin(&store).await,
        account: id,
        name: Login::parse("alice@example.test").expect("a login"),
        label: String::new(),
        profile: GENERIC.to_owned(),
        password: generated.clone(),
    };
    store.add_login(&login, NOW).await.expect("added");
    let mut found = Vec::new();
    for round in ["open", "closed"] {
        for entry in std::fs::read_dir(root.path()).expect("list") {
            let path = entry.expect("an entry").path();
            let octets = std::fs::read(&path).expect("read");
            for secret in [PASSWORD, SMTP_PASSWORD, generated.expose()] {
                for needle in [secret.to_owned(), BASE64.encode(secret)] {
                    if octets.windows(needle.len()).any(|window| window == needle.as_bytes()) {
                        found.push((round, path.clone()));
                    }
                }
            }
        }
        store.close().await;
    }
    assert_eq!(found, Vec::new());
    let again = open(root.path()).await;
    let account_of = async |id| again.account(id).await.expect("read").expect("there");
    let kept = account_of(id).await;
    assert_eq!(again.account_password(&kept).await.expect("opened").expose(), PASSWORD);
    assert_eq!(again.smtp_password(&kept).await.expect("opened").expose(), SMTP_PASSWORD);
    again.remove_account(id, NOW).await.expect("removed");
    assert!(again.smtp_password(&kept).await.is_err());
    // The address comes back without what was chosen for it before.
    let id = again.add_account(&account(admin(&again).await, "alice@example.test"), NOW).await.expect("added");
    assert_eq!(account_of(id).await.settings, Settings::default());
}

#[tokio::test]
async fn r34_a_sealed_secret_moved_to_another_row_does_not_open() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let alice = one_account(&store).await;
    let bob = store.add_account(&account(admin(&store).await, "bob@example.test"), NOW).await.expect("added");
    raw(
        root.path(),
        "UPDATE accounts SET sealed_password = (SELECT sealed_password FROM accounts WHERE id = 1) WHERE id = 2",
    )
    .await;
    let read = async |id| store.account(id).await.expect("read").expect("there");
    assert!(store.account_password(&read(alice).await).await.is_ok());
    assert!(matches!(store.account_password(&read(bob).await).await, Err(Error::Vault(_))));
}

#[tokio::test]
async fn another_key_is_refused_at_the_start() {
    let root = tempfile::tempdir().expect("a directory");
    open(root.path()).await.close().await;
    let other = tempfile::tempdir().expect("a directory");
    open(other.path()).await.close().await;
    let key = other.path().join("master.key");
    let refused = Store::open(root.path(), Some(&key), NOW).await.err().expect("refused");
    assert!(refused.to_string().starts_with("the key does not fit this database"), "{refused}");
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_private_from_the_first_moment() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path().join("state/passerelle");
    let store = open(&state).await;
    one_account(&store).await;
    let mode = |path: &Path| std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    let names: Vec<_> = std::fs::read_dir(&state).expect("list").map(|entry| entry.expect("an entry").path()).collect();
    assert!(names.len() >= 4, "database, log, shared memory, key: {names:?}");
    for path in names {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn what_others_may_write_is_not_believed() {
    use std::{fs, os::unix::fs::PermissionsExt};
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path().join("state");
    open(&state).await.close().await;
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    for (path, safe) in [(state.clone(), 0o700), (store::database_path(&state), 0o600)] {
        for mode in [0o720, 0o702] {
            chmod(&path, mode);
            let refused = Store::open(&state, None, NOW).await.err().expect("refused");
            let hint = format!("chmod go-w {}", path.display());
            assert_eq!((refused.to_string().contains("may write"), refused.hint()), (true, Some(hint)));
        }
        chmod(&path, safe | 0o055);
        open(&state).await.close().await;
        chmod(&path, safe);
    }
}

#[tokio::test]
async fn addresses_and_names_are_unique_without_case() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let id = one_account(&store).await;
    let again = store.add_account(&account(admin(&store).await, "ALICE@example.test"), NOW).await;
    assert!(matches!(again, Err(Error::AddressTaken(_))));
    let found = store.account_by_address(&Address::parse("Alice@Example.Test").expect("an address")).await;
    assert_eq!(found.expect("read").map(|account| account.id), Some(id));
}

#[tokio::test]
async fn the_digest_of_a_challenge_opens_what_its_password_opens() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let account = one_account(&store).await;
    let name = Login::parse("tim@example.test").expect("a login");
    let new = NewLogin {
        user: UserId(1),
        account,
        name: name.clone(),
        label: String::new(),
        profile: "suitecrm".to_owned(),
        password: Secret::new("tanstaaftanstaaf".to_owned()),
    };
    store.add_login(&new, NOW).await.expect("added");
    // The example of RFC 2195.
    let challenge = "<1896.697170952@postoffice.reston.mci.net>";
    let digest = 0xb913_a602_c7ed_a7a4_95b4_e6e7_334d_3890_u128.to_be_bytes();
    let verdict = async |login: &str, challenge: &str, digest| {
        let login = Login::parse(login).expect("a login");
        let verdict = store.verdict(&Credentials::CramMd5 { login, challenge: challenge.into(), digest }).await;
        verdict.map(|(admission, _)| (admission.account, admission.profile.to_string()))
    };
    assert_eq!(verdict("Tim@Example.Test", challenge, digest).await, Ok((account, "suitecrm".to_owned())));
    assert_eq!(verdict("tim@example.test", challenge, [0; 16]).await, Err(Failure::LoginRefused));
    assert_eq!(verdict("tim@example.test", "<1897.1@other.test>", digest).await, Err(Failure::LoginRefused));
    assert_eq!(verdict("nobody@example.test", challenge, digest).await, Err(Failure::LoginRefused));
    store.revoke_login(&name, NOW).await.expect("revoked");
    assert_eq!(verdict("tim@example.test", challenge, digest).await, Err(Failure::LoginRefused));
}

#[tokio::test]
async fn only_the_right_password_of_a_login_in_force_is_let_in() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let account = one_account(&store).await;
    let name = Login::parse("alice@example.test").expect("a login");
    let password = store::password::generate().expect("a password");
    let new = |name: &Login| NewLogin {
        user: UserId(1),
        account,
        name: name.clone(),
        label: "crm".to_owned(),
        profile: "suitecrm".to_owned(),
        password: password.clone(),
    };
    store.add_login(&new(&name), NOW).await.expect("added");
    let twice = store.add_login(&new(&Login::parse("ALICE@example.test").expect("a login")), NOW).await;
    assert!(matches!(twice, Err(Error::LoginTaken(_))));

    let verdict = async |login: &str, password: &str| {
        let login = Login::parse(login).expect("a login");
        let password = Secret::new(password.as_bytes().to_vec());
        store.verdict(&Credentials::Plain { login, password }).await.map(|(admission, _)| admission.account)
    };
    assert_eq!(verdict("Alice@Example.Test", password.expose()).await, Ok(account));
    assert_eq!(verdict("alice@example.test", "wrong").await, Err(Failure::LoginRefused));
    assert_eq!(verdict("nobody@example.test", password.expose()).await, Err(Failure::LoginRefused));
    assert_eq!(verdict("%", password.expose()).await, Err(Failure::LoginRefused));

    let before = store.account(account).await.expect("read").expect("there").generation;
    store.revoke_login(&name, NOW).await.expect("revoked");
    assert_eq!(verdict("alice@example.test", password.expose()).await, Err(Failure::LoginRefused));
    let after = store.account(account).await.expect("read").expect("there").generation;
    assert_eq!(after, before, "its other logins go on");
    let revoked: Vec<_> = store.revoked_logins().await.expect("read").into_iter().collect();
    assert_eq!(revoked.len(), 1);
    assert!(!store.is_in_force(revoked[0]).await.expect("read"));
    store.add_login(&new(&name), NOW).await.expect("a revoked name is free");
}

#[tokio::test]
async fn a_removed_account_leaves_no_secret_and_no_login() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let id = one_account(&store).await;
    let account = store.account(id).await.expect("read").expect("there");
    store.remove_account(id, NOW).await.expect("removed");
    assert!(matches!(store.remove_account(id, NOW).await, Err(Error::Missing(_))));
    assert!(matches!(store.account_password(&account).await, Err(Error::Changed)));
    assert!(store.accounts().await.expect("read").is_empty());
    assert!(store.generations().await.expect("read").is_empty());
}

#[tokio::test]
async fn an_address_that_comes_back_elsewhere_tells_new_numbers() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let id = one_account(&store).await;
    let told = async |now| store.uid_validity(id, &local("Sent"), &remote("INBOX.Sent"), 1, now).await.expect("told");
    assert_eq!(told(NOW).await, 1);

    let mut new = account(admin(&store).await, "alice@example.test");
    store.remove_account(id, NOW).await.expect("removed");
    assert_eq!(store.add_account(&new, NOW).await.expect("added"), id);
    assert_eq!(told(NOW).await, 1, "the same mailbox at the same host");

    store.remove_account(id, NOW).await.expect("removed");
    new.imap = Endpoint::parse("mail.other.test", Security::Tls, 993).expect("an endpoint");
    store.add_account(&new, NOW).await.expect("added");
    assert_eq!(store.account(id).await.expect("read").expect("there").epoch, Epoch(2));
    assert_eq!(told(NOW).await, 1_800_000_000, "another mailbox with the same value");
}

#[tokio::test]
async fn sessions_that_ask_at_once_are_told_the_same() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let account = one_account(&store).await;
    let ask = |name: &'static str, upstream| {
        let stores: Vec<Store> = (0..12).map(|_| store.clone()).collect();
        let asked = stores.into_iter().map(|store| {
            tokio::spawn(async move { store.uid_validity(account, &local("Sent"), &remote(name), upstream, NOW).await })
        });
        let asked: Vec<_> = asked.collect();
        async {
            let mut told = Vec::new();
            for one in asked {
                told.push(one.await.expect("no panic").expect("told"));
            }
            told.dedup();
            told
        }
    };
    assert_eq!(ask("INBOX.Sent", 7).await, [7]);
    assert_eq!(ask("Sent Items", 7).await, [1_800_000_000]);
    assert_eq!(ask("INBOX.Sent", 7).await, [1_800_000_001]);
    assert_eq!(ask("INBOX.Sent", 3).await, [1_800_000_002]);
}

#[tokio::test]
async fn the_folder_map_is_one_to_one() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let id = one_account(&store).await;
    let row = |name: &str, other: &str| Mapping { local: local(name), remote: remote(other), origin: Origin::Role };
    let rows = [row("Drafts", "INBOX.Drafts"), row("Sent", "INBOX.Sent")];
    store.set_folder_map(id, &rows).await.expect("stored");
    assert!(store.set_folder_map(id, &[row("Sent", "a"), row("Trash", "a")]).await.is_err());
    assert_eq!(store.folder_map(id).await.expect("read"), rows);
}

#[tokio::test]
async fn a_persons_word_is_above_what_a_crm_made() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let id = one_account(&store).await;
    let generation = async || store.account(id).await.expect("read").expect("it is there").generation;
    let first = generation().await;
    store.keep_role(id, Role::Sent, &remote("INBOX.a")).await.expect("kept");
    store.keep_role(id, Role::Sent, &remote("INBOX.b")).await.expect("kept");
    assert_eq!(store.choices(id).await.expect("read").made, [(Role::Sent, remote("INBOX.b"))].into());
    // Made for one role first, then for another.
    store.keep_role(id, Role::Junk, &remote("INBOX.b")).await.expect("kept");
    assert_eq!(store.choices(id).await.expect("read").made, [(Role::Junk, remote("INBOX.b"))].into());
    assert_eq!(generation().await, first, "the session that made it goes on");

    store.map_folder(id, &local("Mine"), &remote("INBOX.b")).await.expect("mapped");
    store.map_folder(id, &local("Sent"), &remote("INBOX.c")).await.expect("mapped");
    assert!(generation().await > first);
    assert!(store.map_folder(id, &local("Sent"), &remote("INBOX.d")).await.is_err());
    for (role, name) in [(Role::Sent, "INBOX.e"), (Role::Trash, "INBOX.b")] {
        store.keep_role(id, role, &remote(name)).await.expect("left as it is");
    }
    let choices = store.choices(id).await.expect("read");
    assert_eq!(choices.pairs, [(local("Mine"), remote("INBOX.b")), (local("Sent"), remote("INBOX.c"))]);
    assert!(choices.made.is_empty());
    assert!(store.unmap_folder(id, &local("Mine")).await.expect("unmapped"));
    assert!(!store.unmap_folder(id, &local("Mine")).await.expect("nothing to do"));
}

#[tokio::test]
async fn what_is_hidden_and_subscribed_goes_with_its_account() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let id = one_account(&store).await;
    let generation = async || store.account(id).await.expect("read").map(|account| account.generation);
    let first = generation().await;
    for subscribed in [Some(true), Some(false), None, Some(false)] {
        store.keep_subscription(id, &remote("a"), subscribed).await.expect("kept");
    }
    assert_eq!(generation().await, first, "sessions go on");
    assert!(store.set_hidden(id, &remote("b"), true).await.expect("hidden"));
    assert!(generation().await > first);
    assert!(!store.set_hidden(id, &remote("b"), true).await.expect("so already"));
    let choices = store.choices(id).await.expect("read");
    assert_eq!((choices.subscribed, choices.hidden), ([(remote("a"), false)].into(), [remote("b")].into()));
    store.remove_account(id, 1).await.expect("removed");
    assert_eq!(store.choices(id).await.expect("read"), Choices::default());
}

#[tokio::test]
async fn a_change_by_another_process_is_seen_within_a_second() {
    let root = tempfile::tempdir().expect("a directory");
    let serving = open(root.path()).await;
    let mut changes = serving.changes().await.expect("watched");
    let other = open(root.path()).await;
    one_account(&other).await;
    tokio::time::timeout(Duration::from_secs(1), changes.changed()).await.expect("in time").expect("watched");
    assert_eq!(serving.generations().await.expect("read").len(), 1);
}

#[tokio::test]
async fn two_first_starts_at_once_make_one_store() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path().join("state");
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let state = state.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async { open(&state).await.users().await.expect("read").len() })
            })
        })
        .collect();
    for start in starts {
        assert_eq!(start.join().expect("no panic"), 1);
    }
}

#[tokio::test]
async fn a_verdict_says_what_the_account_may_do() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let id = one_account(&store).await;
    let name = Login::parse("alice").expect("a login");
    let password = Secret::new("a".repeat(31));
    let new = NewLogin {
        user: UserId(1),
        account: id,
        name: name.clone(),
        label: String::new(),
        profile: GENERIC.to_owned(),
        password,
    };
    store.add_login(&new, NOW).await.expect("added");
    let verdict = async || {
        let password = Secret::new("a".repeat(31).into_bytes());
        store.verdict(&Credentials::Plain { login: name.clone(), password }).await.expect("let in")
    };
    let address = |text: &str| Address::parse(text).expect("an address");
    let senders = |admission: &Admission| admission.senders.iter().map(ToString::to_string).collect::<Vec<_>>();

    let (admission, first) = verdict().await;
    assert_eq!(senders(&admission), ["alice@example.test"]);
    assert!(admission.receives && admission.sends && admission.unread == UnreadScope::All);

    let changes = Changes {
        sender: Some(Some(address("sales@example.test"))),
        add_aliases: vec![address("Info@example.test"), address("ALICE@example.test")],
        receives: Some(false),
        unread: Some(UnreadScope::Inbox),
        ..Changes::default()
    };
    store.change_account(id, &changes).await.expect("changed");
    let (admission, second) = verdict().await;
    assert_eq!(senders(&admission), ["sales@example.test", "alice@example.test", "Info@example.test"]);
    assert!(!admission.receives && admission.sends && admission.unread == UnreadScope::Inbox);
    assert!(second.generation > first.generation);

    let back = Changes { sender: Some(None), remove_aliases: vec![address("INFO@example.test")], ..Changes::default() };
    store.change_account(id, &back).await.expect("changed");
    assert_eq!(senders(&verdict().await.0), ["alice@example.test"]);
}

#[tokio::test]
async fn what_changes_how_we_sign_in_grows_the_generation_and_nothing_grows_the_epoch() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let id = one_account(&store).await;
    let endpoint = || Endpoint::parse("mail.other.test", Security::Tls, 993).ok();
    let words = Changes { display_name: Some("Alice".to_owned()), ..Changes::default() };
    let user = Some((UserFormat::MailboxName, "alice".to_owned()));
    let separate = Changes {
        smtp_auth: Some(SmtpAuth::Separate("relay".to_owned())),
        smtp_password: Some(Secret::new("relay password".to_owned())),
        ..Changes::default()
    };
    let cases = [
        (words, 0),
        (Changes { provider: Some("ovh".to_owned()), ..Changes::default() }, 1),
        (Changes { checked_at: Some(NOW), ..Changes::default() }, 0),
        (Changes { unread: Some(UnreadScope::Inbox), ..Changes::default() }, 0),
        (Changes { credential: Some(Credential::Password(Secret::new("new".to_owned()))), ..Changes::default() }, 1),
        (Changes { imap: endpoint(), smtp: endpoint(), ..Changes::default() }, 1),
        (Changes { certificates: Some(Certificates::AcceptAny), ..Changes::default() }, 1),
        (Changes { user, ..Changes::default() }, 1),
        (separate, 1),
        (Changes { sends: Some(false), ..Changes::default() }, 1),
        (Changes { receives: Some(false), ..Changes::default() }, 1),
    ];
    let mut generation = Generation(1);
    for (number, (changes, grows)) in cases.into_iter().enumerate() {
        let now = store.change_account(id, &changes).await.expect("changed");
        assert_eq!(now, Generation(generation.0 + grows), "case {number}");
        generation = now;
    }
    let account = store.account(id).await.expect("read").expect("there");
    assert_eq!((account.epoch, account.generation), (Epoch(1), generation));
    assert_eq!(account.imap.host.as_str(), "mail.other.test");
    assert_eq!(account.certificates, Certificates::AcceptAny);
    assert_eq!(account.sign_in_name, "alice");
    assert_eq!(account.settings.smtp_auth, SmtpAuth::Separate("relay".to_owned()));
    assert_eq!(account.settings.provider, "ovh");
    assert_eq!(account.checked_at, None, "what was proven is not what is now");
    assert_eq!(store.account_password(&account).await.expect("opened").expose(), "new");
    assert_eq!(store.smtp_password(&account).await.expect("opened").expose(), "relay password");

    let late = Changes {
        of: Some(Generation(1)),
        user: Some((UserFormat::Address, "other".to_owned())),
        ..Changes::default()
    };
    assert!(matches!(store.change_account(id, &late).await, Err(Error::Changed)), "it is another by now");

    let same = Changes { of: Some(generation), smtp_auth: Some(SmtpAuth::Same), ..Changes::default() };
    store.change_account(id, &same).await.expect("changed");
    assert!(
        matches!(store.account_password(&account).await, Err(Error::Changed)),
        "a new one never goes to an old place"
    );
    let account = store.account(id).await.expect("read").expect("there");
    assert!(
        matches!(store.smtp_password(&account).await, Err(Error::Changed)),
        "a password that is not used is not kept"
    );
}

/// Somewhere else, with a password of its own.
fn elsewhere(address: &str) -> NewPlace {
    let endpoint = |port| Endpoint::parse("mail.new.test", Security::Tls, port).expect("an endpoint");
    NewPlace {
        address: Address::parse(address).expect("an address"),
        provider: "google".to_owned(),
        imap: endpoint(993),
        smtp: endpoint(465),
        certificates: Certificates::Verify,
        user_format: UserFormat::Address,
        sign_in_name: address.to_owned(),
        credential: Credential::Password(Secret::new("another secret".to_owned())),
        folder_map: Vec::new(),
        hidden: Vec::new(),
    }
}

async fn read(store: &Store, id: AccountId) -> store::Account {
    store.account(id).await.expect("read").expect("there")
}

#[tokio::test]
async fn a_swap_moves_all_at_once_and_back_again() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let id = one_account(&store).await;
    let name = |name: &str| RemoteName::parse(name.as_bytes()).expect("a name");
    let sent = LocalName::parse(b"Sent").expect("a name");
    let chosen = Mapping { local: sent.clone(), remote: name("INBOX.Outbox"), origin: Origin::User };
    store.set_folder_map(id, std::slice::from_ref(&chosen)).await.expect("set");
    let relay = Changes {
        smtp_auth: Some(SmtpAuth::Separate("relay".to_owned())),
        smtp_password: Some(Secret::new("relay password".to_owned())),
        ..Changes::default()
    };
    store.change_account(id, &relay).await.expect("changed");
    store.set_hidden(id, &name("INBOX.Private"), true).await.expect("hidden");
    store.keep_subscription(id, &name("INBOX.News"), Some(true)).await.expect("kept");
    let choices = store.choices(id).await.expect("read");
    let before = read(&store, id).await;
    let told = store.uid_validity(id, &sent, &name("INBOX.Outbox"), 7, NOW).await.expect("told");

    let until = NOW + 86_400;
    store.swap_account(id, before.generation, &elsewhere("bob@new.test"), until, NOW).await.expect("swapped");
    let there = read(&store, id).await;
    assert_eq!((there.epoch, there.generation), (Epoch(before.epoch.0 + 1), Generation(before.generation.0 + 1)));
    assert_eq!((there.address.as_str(), there.imap.host.as_str()), ("bob@new.test", "mail.new.test"));
    assert_eq!(there.settings.smtp_auth, SmtpAuth::Same);
    assert_eq!(store.account_password(&there).await.expect("opened").expose(), "another secret");
    assert!(matches!(store.account_password(&before).await, Err(Error::Changed)), "never to the old place");
    let none = store.choices(id).await.expect("read");
    assert!(none.pairs.is_empty() && none.hidden.is_empty() && none.subscribed.is_empty(), "{none:?}");
    assert_eq!(
        store.aliases(id).await.expect("read"),
        std::slice::from_ref(&before.address),
        "the CRM sends on as it did"
    );
    let larger = store.uid_validity(id, &sent, &name("Sent"), 7, NOW).await.expect("told");
    assert!(larger > told);

    let back = store.way_back(id, NOW).await.expect("read").expect("there is one");
    assert_eq!((back.address, back.imap, back.until), (before.address.clone(), before.imap.clone(), until));
    assert_eq!((&back.choices.hidden, &back.choices.pairs), (&choices.hidden, &choices.pairs));
    assert_eq!(store.way_back_password(id).await.expect("opened").expose(), PASSWORD);
    let lost = store.swap_back(id, before.generation, until, NOW).await;
    assert!(matches!(lost, Err(Error::Changed)), "who read it before the swap");
    store.swap_back(id, there.generation, until, NOW).await.expect("back");
    let again = read(&store, id).await;
    assert_eq!(again.epoch, Epoch(before.epoch.0 + 2));
    assert_eq!((again.address.clone(), again.imap.clone()), (before.address.clone(), before.imap));
    assert_eq!(again.settings, before.settings);
    assert_eq!(store.account_password(&again).await.expect("opened").expose(), PASSWORD);
    assert_eq!(store.smtp_password(&again).await.expect("opened").expose(), "relay password");
    assert_eq!(store.folder_map(id).await.expect("read"), [chosen]);
    let again = store.choices(id).await.expect("read");
    assert_eq!((again.hidden, again.subscribed), (choices.hidden, choices.subscribed));
    let largest = store.uid_validity(id, &sent, &name("INBOX.Outbox"), 7, NOW).await.expect("told");
    assert!(largest > larger);
    let forth = store.way_back(id, NOW).await.expect("read").expect("there is one");
    assert_eq!(forth.address.as_str(), "bob@new.test", "and it can be undone, too");
}

#[tokio::test]
async fn a_way_back_ends_with_its_time_and_with_its_account() {
    let root = tempfile::tempdir().expect("a directory");
    let left = async |store: &Store, id| store.way_back_password(id).await.is_ok();
    let store = open(root.path()).await;
    let id = one_account(&store).await;
    let until = NOW + 86_400;
    let swap = async |store: &Store| {
        let at = read(store, id).await.generation;
        store.swap_account(id, at, &elsewhere("alice@example.test"), until, NOW).await.expect("swapped");
    };
    swap(&store).await;
    assert!(store.way_back(id, until - 1).await.expect("read").is_some());
    assert!(store.way_back(id, until).await.expect("read").is_none());
    let at = read(&store, id).await.generation;
    assert!(matches!(store.swap_back(id, at, until + 1, until).await, Err(Error::Missing(_))));
    assert_eq!(read(&store, id).await.generation, at, "what fails changes nothing");
    // The secrets go at the next start.
    store.close().await;
    let store = Store::open(root.path(), None, until - 1).await.expect("a store");
    assert!(left(&store, id).await);
    store.close().await;
    let store = Store::open(root.path(), None, until).await.expect("a store");
    assert!(!left(&store, id).await);
    swap(&store).await;
    store.remove_account(id, NOW).await.expect("removed");
    assert!(!left(&store, id).await);
}

#[tokio::test]
async fn a_swap_takes_no_address_of_another_account() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let id = one_account(&store).await;
    let bob = store.add_account(&account(admin(&store).await, "bob@new.test"), NOW).await.expect("added");
    let before = read(&store, id).await;
    let swap = async || {
        let new = elsewhere("Bob@new.test");
        store.swap_account(id, before.generation, &new, NOW + 1, NOW).await
    };
    assert!(matches!(swap().await, Err(Error::AddressTaken(_))));
    let after = read(&store, id).await;
    assert_eq!(
        (after.generation, after.epoch, after.address),
        (before.generation, before.epoch, before.address.clone())
    );
    assert!(store.way_back(id, NOW).await.expect("read").is_none());
    // One that was removed has no use for it any more.
    store.remove_account(bob, NOW).await.expect("removed");
    swap().await.expect("swapped");
    assert_eq!(read(&store, id).await.address.as_str(), "Bob@new.test");
}
