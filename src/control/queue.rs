//! What people see of the queue, and do to it. A running bridge sees each change within a second.

use super::{Error, account::by_address};
use crate::{
    model::{AccountId, Address},
    store::{QueueState, Queued, RecipientState, SPOOL_DIRECTORY, Store},
};
use serde::Serialize;
use std::{collections::HashMap, io, path::Path};

/// A queued message, as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    pub id: i64,
    /// Null: the account was removed.
    pub account: Option<Address>,
    pub state: QueueState,
    /// A bridge is at it now.
    pub in_hand: bool,
    /// Of the envelope; empty: the null reverse-path.
    pub sender: String,
    pub message_id: Option<String>,
    pub octets: u64,
    pub began_at: i64,
    pub expires_at: i64,
    /// When it is tried next; null: a person decides.
    pub due_at: Option<i64>,
    pub tries: u32,
    /// Why the last try came to nothing.
    pub words: String,
    pub recipients: Vec<ShownRecipient>,
}

/// One of its recipients.
#[derive(Clone, Debug, Serialize)]
pub struct ShownRecipient {
    pub address: String,
    pub state: RecipientState,
    /// The last reply to it.
    pub words: String,
}

/// All that is queued, of an account or of all.
///
/// # Errors
/// If there is no such account, or the store fails.
pub async fn list(store: &Store, address: Option<&Address>, now: i64) -> Result<Vec<Shown>, Error> {
    let account = match address {
        Some(address) => Some(by_address(store, address).await?.id),
        None => None,
    };
    let names = names(store).await?;
    Ok(store.all_queued(account).await?.into_iter().map(|queued| shown(queued, &names, now)).collect())
}

/// One message.
///
/// # Errors
/// [`Error::NotQueued`], or if the store fails.
pub async fn show(store: &Store, id: i64, now: i64) -> Result<Shown, Error> {
    let queued = store.queued(id).await?.filter(|queued| queued.state != QueueState::Done);
    Ok(shown(queued.ok_or(Error::NotQueued(id))?, &names(store).await?, now))
}

/// Has one tried now, or all that wait; one of unknown outcome alone, by its number. How many.
///
/// # Errors
/// [`Error::NotQueued`], [`Error::InHand`], or if the store fails.
pub async fn retry(store: &Store, id: Option<i64>, now: i64) -> Result<u64, Error> {
    let retried = store.retry_queued(id, now).await?;
    if let Some(id) = id.filter(|_| retried == 0) {
        show(store, id, now).await?;
        return Err(Error::InHand(id));
    }
    Ok(retried)
}

/// Takes one out, whatever was to become of it. What it was.
///
/// # Errors
/// [`Error::NotQueued`], [`Error::InHand`], or if the store fails.
pub async fn remove(store: &Store, state: &Path, id: i64, now: i64) -> Result<Shown, Error> {
    let removed = show(store, id, now).await?;
    let spare = store.remove_queued(id, now).await.map_err(|error| match error {
        crate::store::Error::Missing(_) => Error::InHand(id),
        error => error.into(),
    })?;
    for file in spare {
        let path = state.join(SPOOL_DIRECTORY).join(file);
        match std::fs::remove_file(&path) {
            // What stays behind is swept by a running bridge.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "a file of the spool cannot be removed");
            }
            _ => {}
        }
    }
    Ok(removed)
}

async fn names(store: &Store) -> Result<HashMap<AccountId, Address>, Error> {
    Ok(store.accounts().await?.into_iter().map(|account| (account.id, account.address)).collect())
}

fn shown(queued: Queued, names: &HashMap<AccountId, Address>, now: i64) -> Shown {
    let recipient =
        |one: crate::store::Recipient| ShownRecipient { address: one.address, state: one.state, words: one.words };
    Shown {
        id: queued.id,
        account: names.get(&queued.account).cloned(),
        state: queued.state,
        in_hand: queued.claimed_until > now,
        sender: queued.sender,
        message_id: queued.message_id,
        octets: queued.spooled.map_or(0, |spooled| spooled.octets),
        began_at: queued.began_at,
        expires_at: queued.expires_at,
        due_at: queued.due_at,
        tries: queued.tries,
        words: queued.words,
        recipients: queued.recipients.into_iter().map(recipient).collect(),
    }
}
