//! Accounts that the CRM's own access token opens, in the store: it is said of them, never guessed from what is not there.

use crate::store::raw;
use passerelle::{
    failure::Failure,
    model::{AccountId, Address, Certificates, Endpoint, Login, Secret, Security, UserFormat},
    oauth::{
        TokenEndpoint,
        flow::{Client, Means, Proof},
    },
    profile::GENERIC,
    relay::{Credentials, LaneUse},
    store::{self, ADMIN, Changes, Credential, NewAccount, NewGrant, NewLogin, NewPlace, Settings, Store},
};
use std::path::Path;

const NOW: i64 = 1_800_000_000;
const UNTIL: i64 = NOW + 86_400;

async fn open(state: &Path) -> Store {
    Store::open(state, None, NOW).await.expect("a store")
}

fn password() -> Credential {
    Credential::Password(Secret::new("a password of the provider".to_owned()))
}

fn grant() -> Credential {
    let client = Client {
        token_endpoint: TokenEndpoint::parse("https://oauth2.example.test/token").expect("an endpoint"),
        id: "client-1".to_owned(),
        proof: Proof::Nothing,
        scope: "mail".to_owned(),
    };
    let means = Means::Refresh(Secret::new("a refresh token".to_owned()));
    Credential::Grant(NewGrant { client, registration: None, means, old_tokens_stay_valid: false })
}

fn endpoint() -> Endpoint {
    Endpoint::parse("mail.example.test", Security::Tls, 993).expect("an endpoint")
}

async fn add(store: &Store, address: &str, credential: Credential) -> AccountId {
    let new = NewAccount {
        owner: store.user(ADMIN).await.expect("read").expect("there is one").id,
        address: Address::parse(address).expect("an address"),
        imap: endpoint(),
        smtp: endpoint(),
        certificates: Certificates::Verify,
        sign_in_name: address.to_owned(),
        credential,
        settings: Settings::default(),
        smtp_password: None,
        aliases: Vec::new(),
        checked_at: None,
    };
    store.add_account(&new, NOW).await.expect("added")
}

async fn read(store: &Store, id: AccountId) -> store::Account {
    store.account(id).await.expect("read").expect("there")
}

async fn swap(store: &Store, id: AccountId, credential: Credential) {
    let account = read(store, id).await;
    let new = NewPlace {
        address: account.address.clone(),
        provider: "generic".to_owned(),
        imap: endpoint(),
        smtp: endpoint(),
        certificates: Certificates::Verify,
        user_format: UserFormat::Address,
        sign_in_name: account.address.to_string(),
        credential,
        folder_map: Vec::new(),
        hidden: Vec::new(),
    };
    store.swap_account(id, account.generation, &new, UNTIL, NOW).await.expect("swapped");
}

/// Of the account, and of where it can go back to.
async fn opened_by_clients(store: &Store, id: AccountId) -> (bool, Option<bool>) {
    let back = store.way_back(id, NOW).await.expect("read");
    (read(store, id).await.by_client_token, back.map(|back| back.by_client_token))
}

#[tokio::test]
async fn a_store_of_before_says_what_was_taken_for_so() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let mut accounts = Vec::new();
    for (name, first, then, is) in [
        ("password", password(), None, (false, None)),
        ("grant", grant(), None, (false, None)),
        ("client", Credential::OfClient, None, (true, None)),
        ("client-password", Credential::OfClient, Some(password()), (false, Some(true))),
        ("client-grant", Credential::OfClient, Some(grant()), (false, Some(true))),
        ("grant-client", grant(), Some(Credential::OfClient), (true, Some(false))),
        ("password-client", password(), Some(Credential::OfClient), (true, Some(false))),
        ("password-grant", password(), Some(grant()), (false, Some(false))),
    ] {
        let id = add(&store, &format!("{name}@example.test"), first).await;
        if let Some(then) = then {
            swap(&store, id, then).await;
        }
        assert_eq!(opened_by_clients(&store, id).await, is, "{name}");
        accounts.push((name, id, is));
    }
    let removed = add(&store, "removed@example.test", Credential::OfClient).await;
    store.remove_account(removed, NOW).await.expect("removed");
    store.close().await;

    // As it was before the column, with all that came later.
    raw(
        root.path(),
        "ALTER TABLE accounts DROP COLUMN by_client_token; ALTER TABLE swaps DROP COLUMN by_client_token;
         DELETE FROM _sqlx_migrations WHERE version = 10",
    )
    .await;
    let store = open(root.path()).await;
    for (name, id, is) in accounts {
        assert_eq!(opened_by_clients(&store, id).await, is, "{name}");
    }
    // Whoever comes back is what is said of it now.
    let again = add(&store, "removed@example.test", password()).await;
    assert_eq!((again, opened_by_clients(&store, again).await), (removed, (false, None)));
}

#[tokio::test]
async fn each_change_of_the_credential_says_it_anew() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let id = add(&store, "alice@example.test", password()).await;
    for (credential, is) in [
        (Some(Credential::OfClient), true),
        (None, true),
        (Some(grant()), false),
        (Some(Credential::OfClient), true),
        (Some(password()), false),
        (None, false),
    ] {
        let changes = Changes { credential, display_name: Some("Alice".to_owned()), ..Changes::default() };
        store.change_account(id, &changes).await.expect("changed");
        assert_eq!(read(&store, id).await.by_client_token, is);
    }
    swap(&store, id, Credential::OfClient).await;
    let there = read(&store, id).await;
    assert!(there.by_client_token);
    let back = store.swap_back(id, there.generation, UNTIL, NOW).await.expect("back");
    assert_eq!(opened_by_clients(&store, id).await, (false, Some(true)));
    store.swap_back(id, back, UNTIL, NOW).await.expect("there again");
    assert_eq!(opened_by_clients(&store, id).await, (true, Some(false)));
}

#[tokio::test]
async fn a_secret_that_is_missing_lets_no_token_in() {
    let root = tempfile::tempdir().expect("a directory");
    let store = open(root.path()).await;
    let id = add(&store, "alice@example.test", password()).await;
    let name = Login::parse("alice@example.test").expect("a login");
    let login = NewLogin {
        user: read(&store, id).await.owner,
        account: id,
        name: name.clone(),
        label: String::new(),
        profile: GENERIC.to_owned(),
        password: store::password::generate().expect("a password"),
    };
    store.add_login(&login, NOW).await.expect("added");
    let token = Credentials::Token {
        login: name,
        token: Secret::new(b"ya29.a-token-of-anybody".to_vec()),
        bare: false,
        purpose: LaneUse::Imap,
    };
    raw(root.path(), "UPDATE accounts SET sealed_password = NULL").await;
    assert!(!read(&store, id).await.by_client_token);
    assert!(matches!(store.verdict(&token).await, Err(Failure::LoginRefused)));

    // The same is let in, for the provider to judge, where it was said.
    let changes = Changes { credential: Some(Credential::OfClient), ..Changes::default() };
    store.change_account(id, &changes).await.expect("changed");
    let (admission, _) = store.verdict(&token).await.expect("admitted");
    assert!(admission.by_client_token);
}
