//! The rows of queued messages: what outlives a crash, who delivers which when, and what becomes of a Sent copy with them.

use crate::store::one_account;
use passerelle::{
    model::AccountId,
    relay::Envelope,
    rules::likeness::Likeness,
    store::{
        Copy, Enqueued, Error, Letter, QueueState, Queued, Recipient, RecipientState, Sending, Spooled, Store, Told,
        ToldSent,
    },
};
use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};
use std::path::Path;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 24 * 3600;

async fn open(state: &Path) -> (Store, AccountId) {
    let store = Store::open(state, None, NOW).await.expect("a store");
    let account = one_account(&store).await;
    (store, account)
}

fn spooled(file: &str) -> Spooled {
    Spooled { file: file.to_owned(), octets: 10 }
}

async fn enqueue(store: &Store, account: AccountId, id: &str, file: &str, now: i64) -> Enqueued {
    try_enqueue(store, account, id, file, now).await.expect("queued")
}

async fn try_enqueue(store: &Store, account: AccountId, id: &str, file: &str, now: i64) -> Result<Enqueued, Error> {
    let recipients = vec!["bob@x.test".to_owned(), "ann@x.test".to_owned()];
    let likeness = Likeness { message_id: Some(id.to_owned()), dated: Some(NOW), alike: None };
    let letter = Letter {
        likeness,
        recipients: Some(recipients.join("\n")),
        spooled: Some(spooled(file)),
        content: None,
        files: false,
    };
    let envelope = Envelope { sender: "alice@x.test".to_owned(), body: None, recipients };
    store.enqueue(account, &letter, &envelope, true, now, now + DAY).await
}

async fn claim(store: &Store, id: i64, now: i64) -> Queued {
    store.claim_queued(id, now, now + 100).await.expect("claimed").expect("due")
}

fn told(message: &Queued, states: [RecipientState; 2], state: QueueState, due: Option<i64>) -> Told {
    let recipients = message.recipients.iter().zip(states);
    let recipients = recipients.map(|(one, state)| Recipient { state, words: "said".to_owned(), ..one.clone() });
    Told {
        recipients: recipients.collect(),
        state,
        due,
        claimed_until: 0,
        claim: Some(message.claimed_until),
        tries: 1,
        reports: 0,
        words: "why".to_owned(),
        advised: false,
        sent: None,
    }
}

#[tokio::test]
async fn a_retry_is_known_until_its_client_has_heard() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    let first = enqueue(&store, account, "one", "1", NOW).await;
    let again = enqueue(&store, account, "one", "2", NOW + 5).await;
    assert_eq!((again.id, again.spare.as_deref()), (first.id, Some("2")));
    assert_ne!(enqueue(&store, account, "other", "3", NOW).await.id, first.id);
    // Delivered meanwhile, it is still known; and no more from when its client has heard of it.
    let message = claim(&store, first.id, NOW).await;
    let done = told(&message, [RecipientState::Accepted; 2], QueueState::Done, None);
    assert_eq!(store.tell_queued(first.id, &done, NOW).await.expect("told"), ["1"]);
    assert_eq!(enqueue(&store, account, "one", "4", NOW + 9).await.id, first.id);
    store.told_queued(first.id).await.expect("told");
    assert_eq!(store.queued(first.id).await.expect("read"), None);
    let fresh = enqueue(&store, account, "one", "5", NOW + 9).await;
    assert!(fresh.id != first.id && fresh.spare.is_none());
    let files = store.spooled_files().await.expect("read");
    assert_eq!(files, ["3", "5"].map(str::to_owned).into());
}

#[tokio::test]
async fn what_is_queued_counts_in_the_accounts_share_of_the_spool() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    for number in 1..=3 {
        enqueue(&store, account, &format!("of {number}"), &number.to_string(), NOW).await;
        assert_eq!(store.spooled_octets(account).await.expect("a sum"), number * 10);
    }
    let others = AccountId(account.0 + 1);
    assert_eq!(store.spooled_octets(others).await.expect("a sum"), 0);
}

#[tokio::test]
async fn a_copy_of_the_crms_joins_before_and_while_it_waits() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    let give = async |id: &str, file: &str| {
        let likeness = Likeness { message_id: Some(id.to_owned()), dated: Some(NOW), alike: None };
        let copy = Copy {
            likeness,
            spooled: spooled(file),
            content: Vec::new(),
            flags: String::new(),
            seen: true,
            date: None,
            files: false,
        };
        store.give_copy(account, &copy, NOW, Some(NOW)).await.expect("given")
    };
    let before = give("one", "crm1").await;
    let one = enqueue(&store, account, "one", "1", NOW).await;
    let two = enqueue(&store, account, "two", "2", NOW).await;
    let during = give("two", "crm2").await;
    let sent = |message: Queued| message.sent.expect("a copy is seen to");
    let (one, two) = (claim(&store, one.id, NOW).await, claim(&store, two.id, NOW).await);
    assert_eq!((sent(one.clone()), sent(two.clone())), (before.id, during.id));
    // Nothing is filed before it is sent.
    assert_eq!(store.due_sent(NOW + DAY, 9).await.expect("read"), (Vec::new(), None));
    // Then the CRM's own stands there, and a link of ours is spare.
    for (message, ours, crms) in [(&one, "link1", "crm1"), (&two, "link2", "crm2")] {
        let mut told = told(message, [RecipientState::Accepted; 2], QueueState::Done, None);
        let id = sent(message.clone());
        told.sent = Some(ToldSent { id, accepted: true, file: Some(spooled(ours)), due: Some(NOW + 1) });
        let spare = store.tell_queued(message.id, &told, NOW + 1).await.expect("told");
        assert!(spare.contains(&ours.to_owned()), "{spare:?}");
        let copy = store.sent_message(id).await.expect("read").expect("there");
        assert_eq!((copy.sending, copy.spooled, copy.began_at), (Sending::Accepted, Some(spooled(crms)), NOW + 1));
    }
}

#[tokio::test]
async fn what_is_removed_takes_its_copy_along_but_for_the_crms_own() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    let one = enqueue(&store, account, "one", "1", NOW).await;
    let message = claim(&store, one.id, NOW).await;
    assert!(store.remove_queued(one.id, NOW).await.is_err(), "it is in hand");
    let waits = told(&message, [RecipientState::Waiting; 2], QueueState::Waiting, Some(NOW + 60));
    store.tell_queued(one.id, &waits, NOW).await.expect("told");
    assert_eq!(store.remove_queued(one.id, NOW).await.expect("removed"), ["1"]);
    assert_eq!(store.sent_message(message.sent.expect("a copy")).await.expect("read"), None);
    assert_eq!(store.queued(one.id).await.expect("read"), None);
}

#[tokio::test]
async fn what_is_in_doubt_is_sent_again_by_its_number_alone() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    let one = enqueue(&store, account, "one", "1", NOW).await;
    let message = claim(&store, one.id, NOW).await;
    let doubt = [RecipientState::Uncertain, RecipientState::Accepted];
    store.tell_queued(one.id, &told(&message, doubt, QueueState::Uncertain, None), NOW).await.expect("told");
    assert_eq!(store.due_queued(NOW + DAY, 9).await.expect("read"), (Vec::new(), None));
    assert_eq!(store.retry_queued(None, NOW).await.expect("retried"), 0);
    assert_eq!(store.retry_queued(Some(one.id), NOW).await.expect("retried"), 1);
    let states: Vec<_> = claim(&store, one.id, NOW).await.recipients.iter().map(|one| one.state).collect();
    assert_eq!(states, [RecipientState::Waiting, RecipientState::Accepted]);
}

#[tokio::test]
async fn the_next_bridge_takes_over_and_an_advised_pause_holds_for_all() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    let [one, two] = [("one", "1"), ("two", "2")].map(|(id, file)| enqueue(&store, account, id, file, NOW));
    let (one, two) = (one.await, two.await);
    let message = claim(&store, one.id, NOW).await;
    assert_eq!(store.claim_queued(one.id, NOW, NOW + 100).await.expect("read"), None);
    let mut marked = told(&message, [RecipientState::Offered; 2], QueueState::Marked, message.due_at);
    marked.claimed_until = NOW + 100;
    store.tell_queued(one.id, &marked, NOW).await.expect("told");
    // Each account has so many at a time.
    assert_eq!(store.due_queued(NOW, 1).await.expect("read").0, [(account, two.id)]);
    assert_eq!(store.marked_queued().await.expect("taken over"), [one.id]);
    // The provider wants us to wait.
    let message = claim(&store, two.id, NOW).await;
    let mut waits = told(&message, [RecipientState::Waiting; 2], QueueState::Waiting, Some(NOW + 300));
    waits.advised = true;
    store.tell_queued(two.id, &waits, NOW).await.expect("told");
    let three = enqueue(&store, account, "three", "3", NOW + 1).await;
    let waits = store.queued(three.id).await.expect("read").expect("there");
    assert_eq!(waits.due_at, Some(NOW + 300));
    store.retry_queued(Some(two.id), NOW + 2).await.expect("retried");
    let four = enqueue(&store, account, "four", "4", NOW + 3).await;
    assert_eq!(store.queued(four.id).await.expect("read").expect("there").due_at, Some(NOW + 3));
}

#[tokio::test]
async fn who_has_lost_a_claim_keeps_nothing_but_an_answer() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    let one = enqueue(&store, account, "one", "1", NOW).await;
    let lost = claim(&store, one.id, NOW).await;
    let others = claim(&store, one.id, NOW + 100).await;
    let mut marked = told(&lost, [RecipientState::Offered; 2], QueueState::Marked, lost.due_at);
    marked.claimed_until = NOW + 300;
    assert!(matches!(store.tell_queued(one.id, &marked, NOW + 101).await, Err(Error::Missing(_))));
    assert_eq!(store.queued(one.id).await.expect("read"), Some(others));
    // What the provider has said is so.
    let mut done = told(&lost, [RecipientState::Accepted; 2], QueueState::Done, None);
    done.claim = None;
    assert_eq!(store.tell_queued(one.id, &done, NOW + 101).await.expect("told"), ["1"]);
    assert_eq!(store.tell_queued(one.id + 1, &done, NOW + 101).await.expect("told"), Vec::<String>::new());
}

#[tokio::test]
async fn an_account_has_so_many_recipients_in_the_queue() {
    const MANY: &str = "WITH RECURSIVE numbers (n) AS (SELECT 3 UNION ALL SELECT n + 1 FROM numbers WHERE n < 99997)
        INSERT INTO queue_recipients (queue_id, position, address, state) SELECT 1, n, 'x@x.test', 'waiting' FROM numbers";
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    enqueue(&store, account, "one", "1", NOW).await;
    let mut rows = SqliteConnectOptions::new().filename(root.path().join("passerelle.db"));
    rows = rows.busy_timeout(std::time::Duration::from_secs(20));
    sqlx::query(MANY).execute(&mut rows.connect().await.expect("the store")).await.expect("filled");
    // 99,997 recipients, and two with each message.
    let two = enqueue(&store, account, "two", "2", NOW).await;
    assert!(matches!(try_enqueue(&store, account, "three", "3", NOW).await, Err(Error::QueueFull)));
    assert_eq!(enqueue(&store, account, "two", "4", NOW).await.id, two.id, "a retry is no other message");
    let message = claim(&store, 1, NOW).await;
    store
        .tell_queued(1, &told(&message, [RecipientState::Accepted; 2], QueueState::Done, None), NOW)
        .await
        .expect("told");
    enqueue(&store, account, "three", "3", NOW).await;
}

#[tokio::test]
async fn what_is_done_is_looked_at_when_its_day_is_over() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    let one = enqueue(&store, account, "one", "1", NOW).await;
    let two = enqueue(&store, account, "two", "2", NOW + 50).await;
    assert_eq!(store.due_queued(NOW, 9).await.expect("read"), (vec![(account, one.id)], Some(NOW + 50)));
    let message = claim(&store, one.id, NOW).await;
    assert_eq!(store.due_queued(NOW, 9).await.expect("read"), (Vec::new(), Some(NOW + 50)));
    assert_eq!(store.due_queued(NOW + 60, 9).await.expect("read"), (vec![(account, two.id)], Some(NOW + 100)));
    let done = told(&message, [RecipientState::Accepted; 2], QueueState::Done, None);
    store.tell_queued(one.id, &done, NOW + 60).await.expect("told");
    assert_eq!(store.due_queued(NOW + 60, 9).await.expect("read"), (vec![(account, two.id)], Some(NOW + DAY)));
    // The least tried first.
    let both = vec![(account, two.id), (account, one.id)];
    assert_eq!(store.due_queued(NOW + DAY, 9).await.expect("read"), (both, None));
}
