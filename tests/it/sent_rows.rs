//! The rows of Sent copies: which message a copy is of, what outlives an outcome, and who looks at what when.

use crate::store::one_account;
use passerelle::{
    model::AccountId,
    relay::Outcome,
    rules::likeness::Likeness,
    store::{Copy, Joined, Letter, Sending, SentPlace, Spooled, Store},
};
use std::path::Path;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 24 * 3600;

async fn open(state: &Path) -> (Store, AccountId) {
    let store = Store::open(state, None, NOW).await.expect("a store");
    let account = one_account(&store).await;
    (store, account)
}

fn likeness(id: &str, subject: &str, dated: i64) -> Likeness {
    Likeness { message_id: Some(id.to_owned()), dated: Some(dated), alike: Some(format!("a\nb\n{subject}")) }
}

fn spooled(file: &str) -> Spooled {
    Spooled { file: file.to_owned(), octets: 10 }
}

fn letter(id: &str, to: &str, file: &str) -> Letter {
    let likeness = likeness(id, "one", NOW);
    Letter { likeness, recipients: Some(to.to_owned()), spooled: Some(spooled(file)), content: None, files: false }
}

fn copy(likeness: Likeness, file: &str) -> Copy {
    Copy {
        likeness,
        spooled: spooled(file),
        content: file.as_bytes().to_vec(),
        flags: String::new(),
        seen: true,
        date: None,
        files: false,
    }
}

async fn mark(store: &Store, account: AccountId, letter: &Letter) -> Joined {
    store.mark_sent(account, letter, NOW, NOW + 660).await.expect("marked")
}

async fn give(store: &Store, account: AccountId, copy: &Copy) -> Joined {
    store.give_copy(account, copy, NOW, None).await.expect("given")
}

#[tokio::test]
async fn a_copy_is_of_the_message_whose_id_it_has_or_that_is_alike() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    let one = mark(&store, account, &letter("one", "b", "1")).await;
    let two = mark(&store, account, &letter("two", "b", "2")).await;
    // By its Message-ID, however alike the other is; what the CRM gave takes the place of what was sent.
    let given = give(&store, account, &copy(likeness("two", "one", NOW), "2b")).await;
    assert_eq!((given.id, given.spare.as_deref()), (two.id, None));
    let message = store.sent_message(two.id).await.expect("read").expect("there");
    assert_eq!((message.spooled, message.fallback), (Some(spooled("2b")), Some(spooled("2"))));
    // Under another, and some minutes apart: to the one that has no copy yet.
    let given = give(&store, account, &copy(likeness("other", "one", NOW + 300), "1b")).await;
    assert_eq!((given.id, given.spare.as_deref()), (one.id, None));
    let message = store.sent_message(one.id).await.expect("read").expect("there");
    assert_eq!(message.copy_id.as_deref(), Some("other"), "both are looked for");
    // A third of the same words is a message of its own; so is one of another subject or day.
    for (number, alone) in
        [likeness("c", "one", NOW), likeness("d", "two", NOW), likeness("e", "one", NOW - DAY)].into_iter().enumerate()
    {
        let given = give(&store, account, &copy(alone, &format!("alone{number}"))).await;
        assert!(![one.id, two.id].contains(&given.id) && given.spare.is_none(), "{number}");
        let message = store.sent_message(given.id).await.expect("read").expect("there");
        assert_eq!(message.sending, Sending::None);
    }
    // Given twice it is looked for once more: it may have been taken away meanwhile. Another version is another message.
    for (file, alone) in [("2b", false), ("2c", true)] {
        let again = give(&store, account, &copy(likeness("two", "one", NOW), file)).await;
        let message = store.sent_message(again.id).await.expect("read").expect("there");
        assert!(again.id != two.id && message.alone == alone, "{file}: {message:?}");
    }
}

#[tokio::test]
async fn a_copy_that_came_first_is_joined_and_outlives_a_refusal() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    let given = give(&store, account, &copy(likeness("one", "one", NOW), "crm")).await;
    let marked = mark(&store, account, &letter("one", "b", "sent")).await;
    assert_eq!((marked.id, marked.spare.as_deref()), (given.id, Some("sent")));
    assert!(store.settle_sent(marked.id, Outcome::Refused, Some(NOW)).await.expect("settled").is_empty());
    let message = store.sent_message(marked.id).await.expect("read").expect("the CRM was told that it is kept");
    assert_eq!((message.sending, message.spooled), (Sending::None, Some(spooled("crm"))));
    // Without a copy of the CRM's a refused message leaves nothing.
    let other = Letter { likeness: likeness("two", "two", NOW), ..letter("two", "b", "2") };
    let other = mark(&store, account, &other).await;
    let spare = store.settle_sent(other.id, Outcome::Refused, Some(NOW)).await.expect("settled");
    assert_eq!((spare, store.sent_message(other.id).await.expect("read")), (vec!["2".to_owned()], None));
}

#[tokio::test]
async fn what_is_filed_takes_no_second_copy() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    let sent = mark(&store, account, &letter("one", "b", "1")).await;
    let place = SentPlace { uid_validity: 7, uid: 9 };
    let spare = store.filed_sent(sent.id, Some(place), true, NOW, NOW + 60).await.expect("filed");
    assert_eq!(spare, ["1"]);
    let given = give(&store, account, &copy(likeness("one", "one", NOW), "late")).await;
    assert_eq!((given.id, given.filed, given.place), (sent.id, true, Some(place)));
    assert_eq!(given.spare.as_deref(), Some("late"));
    assert!(store.spooled_files().await.expect("read").is_empty());
}

#[tokio::test]
async fn r40_a_retry_is_known_by_its_id_and_its_recipients_for_a_day() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    let sent = mark(&store, account, &letter("one", "b", "1")).await;
    let known = async |letter: Letter, at| store.uncertain_sent(account, &letter, at).await.expect("read").len();
    assert_eq!(known(letter("one", "b", ""), NOW).await, 0, "it is under way");
    store.settle_sent(sent.id, Outcome::Unknown, Some(NOW + 5)).await.expect("settled");
    assert_eq!(known(letter("one", "b", ""), NOW + DAY).await, 1);
    assert_eq!(known(letter("one", "b", ""), NOW + DAY + 1).await, 0);
    assert_eq!(known(letter("one", "c", ""), NOW).await, 0, "to another it is another message");
    assert_eq!(known(Letter { recipients: None, ..letter("one", "b", "") }, NOW).await, 0);
    assert_eq!(known(letter("two", "b", ""), NOW).await, 0);
    store.settle_sent(sent.id, Outcome::Accepted, Some(NOW)).await.expect("settled");
    assert_eq!(known(letter("one", "b", ""), NOW).await, 0, "its outcome is known after all");
}

#[tokio::test]
async fn r40_a_client_that_has_not_heard_is_known_for_a_day_by_the_same_message() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    let with = |content: &[u8]| Letter { content: Some(content.to_vec()), ..letter("one", "b", "1") };
    let unheard = async |letter: Letter, at| store.untold_sent(account, &letter, at).await.expect("read");
    let sent = mark(&store, account, &with(b"x")).await;
    assert_eq!(unheard(with(b"x"), NOW).await, None, "nobody knows yet whether it is sent");
    store.settle_sent(sent.id, Outcome::Accepted, Some(NOW)).await.expect("settled");
    assert_eq!(unheard(with(b"x"), NOW + DAY).await, Some(sent.id));
    assert_eq!(unheard(with(b"x"), NOW + DAY + 1).await, None);
    assert_eq!(unheard(with(b"y"), NOW).await, None);
    // Where the octets are not kept, the others decide.
    assert_eq!(unheard(letter("one", "b", ""), NOW).await, Some(sent.id));
    for other in [letter("one", "c", ""), letter("two", "b", ""), Letter { recipients: None, ..letter("one", "b", "") }]
    {
        assert_eq!(unheard(other, NOW).await, None);
    }
    store.told_sent(sent.id).await.expect("told");
    assert_eq!(unheard(with(b"x"), NOW).await, None);
}

#[tokio::test]
async fn r41_one_bridge_has_what_is_due_and_the_next_takes_over() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    let sent = mark(&store, account, &letter("one", "b", "1")).await;
    assert_eq!(store.due_sent(NOW, 9).await.expect("read"), (Vec::new(), Some(NOW + 660)));
    store.settle_sent(sent.id, Outcome::Accepted, Some(NOW)).await.expect("settled");
    assert_eq!(store.due_sent(NOW, 9).await.expect("read").0, [(account, sent.id)]);
    let claim =
        async |now| store.claim_sent(sent.id, now, now + 100).await.expect("claimed").map(|message| message.sending);
    assert_eq!((claim(NOW).await, claim(NOW).await), (Some(Sending::Accepted), None));
    assert_eq!(store.due_sent(NOW, 9).await.expect("read"), (Vec::new(), Some(NOW + 100)));
    // The bridge that had it was killed.
    let other = mark(&store, account, &letter("two", "b", "2")).await;
    assert_eq!(store.doubt_sent(NOW + 5).await.expect("taken over"), 1);
    assert_eq!(claim(NOW).await, Some(Sending::Accepted));
    let doubted = store.sent_message(other.id).await.expect("read").expect("there");
    assert_eq!(doubted.sending, Sending::Uncertain);
    assert_eq!(store.unfiled_sent(account).await.expect("read"), (2, Some(NOW)));
    // Put off, it is not to be had before its time.
    store.postpone_sent(sent.id, Some(NOW + 50), None).await.expect("put off");
    assert_eq!((claim(NOW + 49).await, claim(NOW + 50).await), (None, Some(Sending::Accepted)));
}

#[tokio::test]
async fn no_account_keeps_the_others_waiting() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    for number in 0..40 {
        let id = format!("id{number}");
        let letter = Letter { likeness: likeness(&id, &id, NOW), ..letter(&id, "b", &id) };
        let sent = mark(&store, account, &letter).await;
        store.settle_sent(sent.id, Outcome::Accepted, Some(NOW)).await.expect("settled");
    }
    assert_eq!(store.due_sent(NOW, 256).await.expect("read").0.len(), 16);
    store.postpone_all_sent(account, NOW, NOW + 60).await.expect("put off");
    assert_eq!(store.due_sent(NOW, 256).await.expect("read"), (Vec::new(), Some(NOW + 60)));
}

#[tokio::test]
async fn what_a_provider_refuses_is_tried_in_another_way_while_there_is_one() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, account) = open(root.path()).await;
    let sent = mark(&store, account, &letter("one", "b", "sent")).await;
    let copy = Copy { flags: "$Odd".to_owned(), ..copy(likeness("one", "one", NOW), "crm") };
    give(&store, account, &copy).await;
    let now = async || store.sent_message(sent.id).await.expect("read").expect("there");
    let refused = async || store.refused_sent(&now().await, NOW).await.expect("noted");
    assert_eq!(refused().await, (true, None));
    assert!(now().await.plain);
    assert_eq!(refused().await, (true, Some("crm".to_owned())), "what was sent is filed in its place");
    let message = now().await;
    assert_eq!((message.spooled, message.fallback, &*message.flags), (Some(spooled("sent")), None, ""));
    assert_eq!(refused().await, (false, None));
}
