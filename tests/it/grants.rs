//! Grants in the store: sealed, changed by who has the current version alone, and gone with their account.

use crate::store::raw;
use passerelle::{
    model::{AccountId, Address, Certificates, Endpoint, Secret, Security, UserFormat},
    oauth::{
        TokenEndpoint,
        flow::{Client, Means, Proof, SigningKey},
    },
    store::{
        ADMIN, Changes, Credential, Error, ForWhom, Grant, GrantState, NewAccount, NewGrant, NewPlace, NewRegistration,
        Settings, Store,
    },
};

const SECRETS: [&str; 4] = ["client-secret-1", "refresh-token-1", "refresh-token-2", "refresh-token-3"];

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn grant(refresh_token: &str) -> NewGrant {
    let client = Client {
        token_endpoint: TokenEndpoint::parse("https://oauth2.example.test/token").expect("an endpoint"),
        id: "client-1".to_owned(),
        proof: Proof::Secret(secret(SECRETS[0])),
        scope: "mail offline_access".to_owned(),
    };
    let means = Means::Refresh(secret(refresh_token));
    NewGrant { client, registration: None, means, old_tokens_stay_valid: true }
}

fn refresh_token(grant: &Grant) -> &Secret<String> {
    let Means::Refresh(token) = &grant.means else { panic!("no refresh token") };
    token
}

/// None for a public client.
fn client_secret(grant: &Grant) -> Option<&str> {
    if let Proof::Secret(secret) = &grant.client.proof { Some(secret.expose()) } else { None }
}

async fn account(store: &Store, credential: Credential) -> NewAccount {
    let endpoint = Endpoint::parse("mail.example.test", Security::Tls, 993).expect("an endpoint");
    NewAccount {
        owner: store.user(ADMIN).await.expect("read").expect("there is one").id,
        address: Address::parse("alice@example.test").expect("an address"),
        imap: endpoint.clone(),
        smtp: endpoint,
        certificates: Certificates::Verify,
        sign_in_name: "alice".to_owned(),
        credential,
        settings: Settings::default(),
        smtp_password: None,
        aliases: Vec::new(),
        checked_at: None,
    }
}

/// None for an account that is gone, too.
async fn grant_of(store: &Store, id: AccountId) -> Result<Option<Grant>, Error> {
    match store.account(id).await? {
        Some(account) => store.grant(id, account.generation).await,
        None => Ok(None),
    }
}

#[tokio::test]
async fn a_grant_is_sealed_and_turned_over_by_its_version() {
    let root = tempfile::tempdir().expect("a directory");
    let store = Store::open(root.path(), None, 0).await.expect("a store");
    let id = store.add_account(&account(&store, Credential::Grant(grant(SECRETS[1]))).await, 0).await.expect("added");
    let kept = grant_of(&store, id).await.expect("read").expect("a grant");
    assert_eq!((kept.client.id.as_str(), kept.client.scope.as_str()), ("client-1", "mail offline_access"));
    assert_eq!(client_secret(&kept), Some(SECRETS[0]));
    assert_eq!((refresh_token(&kept).expose().as_str(), kept.state), (SECRETS[1], GrantState::Good));
    assert!(store.account(id).await.expect("read").expect("there").by_grant);
    let by_grant = store.account(id).await.expect("read").expect("there");
    assert!(matches!(store.account_password(&by_grant).await, Err(Error::Changed)));

    let rotated = store.rotate_grant(id, kept.version, refresh_token(&kept), &secret(SECRETS[2])).await;
    rotated.expect("its version is current");
    let late = store.rotate_grant(id, kept.version, refresh_token(&kept), &secret(SECRETS[3])).await;
    assert!(matches!(late, Err(Error::Contended("grants"))));
    assert!(matches!(store.grant_refused(id, kept.version).await, Err(Error::Contended("grants"))));
    let now = grant_of(&store, id).await.expect("read").expect("a grant");
    assert_eq!(refresh_token(&now).expose(), SECRETS[2]);
    assert_eq!(now.previous.as_ref().map(|token| token.expose().as_str()), Some(SECRETS[1]));

    store.grant_refused(id, now.version).await.expect("its version is current");
    let shown = store.grant_summary(id).await.expect("read").expect("a grant");
    assert_eq!((shown.client_id.as_str(), shown.state.name()), ("client-1", "consent-needed"));
    store.close().await;
    for file in std::fs::read_dir(root.path()).expect("the state").map(|entry| entry.expect("an entry").path()) {
        let Ok(octets) = std::fs::read(&file) else { continue };
        for secret in SECRETS {
            let found = octets.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} stands in {}", file.display());
        }
    }
}

#[tokio::test]
async fn r34_no_sealed_token_opens_in_another_row_or_column() {
    let root = tempfile::tempdir().expect("a directory");
    let store = Store::open(root.path(), None, 0).await.expect("a store");
    let whole = account(&store, Credential::Grant(grant(SECRETS[1]))).await;
    let alice = store.add_account(&whole, 0).await.expect("added");
    let bob = NewAccount { address: Address::parse("bob@example.test").expect("an address"), ..whole };
    let bob = store.add_account(&bob, 0).await.expect("added");
    for id in [alice, bob] {
        let kept = grant_of(&store, id).await.expect("read").expect("a grant");
        let fresh = secret(SECRETS[2]);
        store.rotate_grant(id, kept.version, refresh_token(&kept), &fresh).await.expect("current");
    }
    assert_eq!((alice, bob), (AccountId(1), AccountId(2)));
    raw(root.path(), "CREATE TABLE kept AS SELECT * FROM grants").await;
    // Whose is it, and what for: both are bound to what is sealed.
    for theft in [
        "UPDATE grants SET sealed_refresh_token = (SELECT sealed_refresh_token FROM kept WHERE account_id = 1)
            WHERE account_id = 2",
        "UPDATE grants SET sealed_previous_token = (SELECT sealed_previous_token FROM kept WHERE account_id = 1)
            WHERE account_id = 2",
        "UPDATE grants SET sealed_client_secret = (SELECT sealed_client_secret FROM kept WHERE account_id = 1)
            WHERE account_id = 2",
        "UPDATE grants SET sealed_refresh_token = sealed_previous_token WHERE account_id = 2",
        "UPDATE grants SET sealed_refresh_token = sealed_client_secret WHERE account_id = 2",
    ] {
        raw(root.path(), theft).await;
        assert!(matches!(grant_of(&store, bob).await, Err(Error::Vault(_))), "{theft}");
        assert!(grant_of(&store, alice).await.is_ok_and(|grant| grant.is_some()), "{theft}");
        raw(root.path(), "DELETE FROM grants").await;
        raw(root.path(), "INSERT INTO grants SELECT * FROM kept").await;
        assert!(grant_of(&store, bob).await.is_ok_and(|grant| grant.is_some()), "as it was");
    }

    // Secrets of registered clients are bound in the same way.
    for (whom, id) in [(ForWhom::Consenting, "app"), (ForWhom::Tenant, "daemon")] {
        let registered = store.register(&registration(whom, id, Proof::Secret(secret(SECRETS[0]))), 1).await;
        registered.expect("registered");
    }
    assert!(store.registrations().await.is_ok());
    raw(
        root.path(),
        "UPDATE registrations SET sealed_proof = (SELECT sealed_proof FROM registrations WHERE client_id = 'app')
            WHERE client_id = 'daemon'",
    )
    .await;
    assert!(matches!(store.registration_of_domain("example.test").await, Err(Error::Vault(_))));
    assert!(store.registration_for_consent("microsoft365", None, None).await.is_ok_and(|found| found.is_some()));
}

#[tokio::test]
async fn an_account_has_one_credential() {
    let root = tempfile::tempdir().expect("a directory");
    let store = Store::open(root.path(), None, 0).await.expect("a store");
    let password = || Credential::Password(secret("old password"));
    let id = store.add_account(&account(&store, password()).await, 0).await.expect("added");
    let before = store.account(id).await.expect("read").expect("there").generation;

    let change = |credential| Changes { credential: Some(credential), ..Changes::default() };
    let generation = store.change_account(id, &change(Credential::Grant(grant(SECRETS[1])))).await.expect("changed");
    assert!(generation > before, "lanes of the old credential end");
    assert!(store.account(id).await.expect("read").expect("there").by_grant);
    let by_grant = store.account(id).await.expect("read").expect("there");
    assert!(matches!(store.account_password(&by_grant).await, Err(Error::Changed)));

    // Another grant is a new version, good again: whoever still renews the old one changes nothing.
    let old = grant_of(&store, id).await.expect("read").expect("a grant").version;
    store.grant_refused(id, old).await.expect("current");
    store.change_account(id, &change(Credential::Grant(grant(SECRETS[2])))).await.expect("changed");
    let kept = grant_of(&store, id).await.expect("read").expect("a grant");
    assert_eq!((refresh_token(&kept).expose().as_str(), kept.state), (SECRETS[2], GrantState::Good));
    assert!(kept.previous.is_none() && kept.version > old + 1);

    store.change_account(id, &change(password())).await.expect("changed");
    assert!(grant_of(&store, id).await.expect("read").is_none());
    let by_password = store.account(id).await.expect("read").expect("there");
    assert_eq!(store.account_password(&by_password).await.expect("stored").expose(), "old password");

    store.change_account(id, &change(Credential::Grant(grant(SECRETS[3])))).await.expect("changed");
    store.remove_account(id, 1).await.expect("removed");
    assert!(grant_of(&store, id).await.expect("read").is_none());
}

#[tokio::test]
async fn a_swap_sets_the_grant_aside_and_the_way_back_brings_it_again() {
    let root = tempfile::tempdir().expect("a directory");
    let store = Store::open(root.path(), None, 0).await.expect("a store");
    let id = store.add_account(&account(&store, Credential::Grant(grant(SECRETS[1]))).await, 0).await.expect("added");
    let before = store.account(id).await.expect("read").expect("there");
    let old = grant_of(&store, id).await.expect("read").expect("a grant");
    let place = NewPlace {
        address: before.address.clone(),
        provider: "generic".to_owned(),
        imap: before.imap.clone(),
        smtp: before.smtp.clone(),
        certificates: Certificates::Verify,
        user_format: UserFormat::Manual,
        sign_in_name: "bob".to_owned(),
        credential: Credential::Password(secret("new password")),
        folder_map: Vec::new(),
        hidden: Vec::new(),
    };
    let swapped = store.swap_account(id, before.generation, &place, 100, 0).await.expect("swapped");
    let now = store.account(id).await.expect("read").expect("there");
    assert!(!now.by_grant);
    assert_eq!(store.account_password(&now).await.expect("stored").expose(), "new password");
    // No token of either place is had for the other.
    assert!(store.grant(id, before.generation).await.expect("read").is_none());
    assert!(store.grant(id, swapped).await.expect("read").is_none());

    let aside = store.way_back_grant(id).await.expect("read").expect("set aside");
    assert_eq!((refresh_token(&aside).expose().as_str(), aside.version), (SECRETS[1], old.version));
    store.rotate_way_back_grant(id, aside.version, refresh_token(&aside), &secret(SECRETS[2])).await.expect("current");
    let back = store.swap_back(id, swapped, 100, 0).await.expect("back");
    let kept = store.grant(id, back).await.expect("read").expect("a grant");
    assert_eq!(refresh_token(&kept).expose(), SECRETS[2]);
    assert!(kept.version > old.version + 1, "who still renews the old one changes nothing");
    let now = store.account(id).await.expect("read").expect("there");
    assert!(now.by_grant && matches!(store.account_password(&now).await, Err(Error::Changed)));
    // From one grant to another.
    let place = NewPlace { credential: Credential::Grant(grant(SECRETS[3])), ..place };
    let swapped = store.swap_account(id, back, &place, 100, 0).await.expect("swapped");
    let there = store.grant(id, swapped).await.expect("read").expect("a grant");
    assert_eq!(refresh_token(&there).expose(), SECRETS[3]);
    let aside = store.way_back_grant(id).await.expect("read").expect("set aside");
    assert_eq!(refresh_token(&aside).expose(), SECRETS[2]);
    store.remove_account(id, 1).await.expect("removed");
    assert!(store.way_back_grant(id).await.expect("read").is_none());
}

fn registration(for_whom: ForWhom, client_id: &str, proof: Proof) -> NewRegistration {
    let client = Client { id: client_id.to_owned(), proof, ..grant("unused").client };
    let domains = if for_whom == ForWhom::Consenting { Vec::new() } else { vec!["example.test".to_owned()] };
    NewRegistration { provider: "microsoft365".to_owned(), for_whom, tenant: String::new(), client, domains }
}

#[tokio::test]
async fn grants_follow_the_registration_that_they_name() {
    let root = tempfile::tempdir().expect("a directory");
    let store = Store::open(root.path(), None, 0).await.expect("a store");
    let first = registration(ForWhom::Consenting, "app", Proof::Secret(secret(SECRETS[0])));
    let id = store.register(&first, 1).await.expect("registered");
    let of_it = NewGrant { registration: Some(id), ..grant(SECRETS[1]) };
    let account = store.add_account(&account(&store, Credential::Grant(of_it)).await, 0).await.expect("added");
    let before = store.account(account).await.expect("read").expect("there").generation;

    // A secret that was renewed is given once, and whoever waited is let try again.
    let renewed = registration(ForWhom::Consenting, "app", Proof::Secret(secret(SECRETS[3])));
    assert_eq!(store.register(&renewed, 2).await.expect("registered"), id);
    let kept = grant_of(&store, account).await.expect("read").expect("a grant");
    assert_eq!((client_secret(&kept), refresh_token(&kept).expose().as_str()), (Some(SECRETS[3]), SECRETS[1]));
    assert!(store.account(account).await.expect("read").expect("there").generation > before);
    assert!(!store.unregister(id).await.expect("read"), "an account stands on it");
    store.remove_account(account, 3).await.expect("removed");
    assert!(store.unregister(id).await.expect("read"));
    assert!(store.registration_for_consent("microsoft365", None, None).await.expect("read").is_none());
}

#[tokio::test]
async fn of_two_registrations_at_one_provider_each_mailbox_has_its_own() {
    let root = tempfile::tempdir().expect("a directory");
    let store = Store::open(root.path(), None, 0).await.expect("a store");
    let of_tenant = async |tenant: &str, id: &str| {
        let new = NewRegistration {
            tenant: tenant.to_owned(),
            ..registration(ForWhom::Consenting, id, Proof::Secret(secret(SECRETS[0])))
        };
        store.register(&new, 1).await.expect("registered")
    };
    let first = of_tenant("one-firm", "first").await;
    of_tenant("Second.TEST", "second").await;
    let of_first = NewGrant { registration: Some(first), ..grant(SECRETS[1]) };
    let new = account(&store, Credential::Grant(of_first)).await;
    let mailbox = new.address.clone();
    let id = store.add_account(&new, 0).await.expect("added");
    of_tenant("", "newest").await;
    let found = async |mailbox: Option<&str>, tenant: Option<&str>| {
        let mailbox = mailbox.map(|mailbox| Address::parse(mailbox).expect("an address"));
        let found = store.registration_for_consent("microsoft365", mailbox.as_ref(), tenant).await;
        found.expect("read").expect("there are three").client.id
    };
    assert_eq!(found(Some(mailbox.as_str()), None).await, "first", "of its grant");
    assert_eq!(found(Some(&mailbox.as_str().to_uppercase()), None).await, "first");
    assert_eq!(found(Some(mailbox.as_str()), Some("Second.TEST")).await, "second", "of the tenant that is named");
    assert_eq!(found(Some("bob@second.test"), None).await, "second", "of the domain");
    assert_eq!(found(Some("bob@elsewhere.test"), None).await, "newest");
    assert_eq!(found(None, None).await, "newest");
    store.remove_account(id, 1).await.expect("removed");
    assert_eq!(found(Some(mailbox.as_str()), None).await, "newest", "it has no grant any more");
}

#[tokio::test]
async fn a_registration_of_a_tenant_is_found_by_the_domain() {
    let root = tempfile::tempdir().expect("a directory");
    let store = Store::open(root.path(), None, 0).await.expect("a store");
    let key = SigningKey { pkcs8: secret("a private key"), name: "thumbprint".to_owned() };
    let id = store.register(&registration(ForWhom::Tenant, "daemon", Proof::Key(key)), 1).await.expect("registered");
    let found = store.registration_of_domain("example.test").await.expect("read").expect("there");
    assert_eq!((found.id, found.for_whom, found.client.id.as_str()), (id, ForWhom::Tenant, "daemon"));
    assert!(matches!(&found.client.proof, Proof::Key(key) if key.pkcs8.expose() == "a private key"));
    assert!(store.registration_of_domain("elsewhere.test").await.expect("read").is_none());
    assert!(store.registration_for_consent("microsoft365", None, None).await.expect("read").is_none());

    let own =
        NewGrant { client: found.client, registration: Some(id), means: Means::Own, old_tokens_stay_valid: false };
    let account = store.add_account(&account(&store, Credential::Grant(own)).await, 0).await.expect("added");
    let kept = grant_of(&store, account).await.expect("read").expect("a grant");
    assert!(matches!(kept.means, Means::Own) && matches!(kept.client.proof, Proof::Key(_)));
    store.close().await;
    for file in std::fs::read_dir(root.path()).expect("the state").map(|entry| entry.expect("an entry").path()) {
        let Ok(octets) = std::fs::read(&file) else { continue };
        assert!(!octets.windows(13).any(|window| window == b"a private key"), "in clear in {}", file.display());
    }
}
