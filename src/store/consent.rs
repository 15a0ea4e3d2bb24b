//! The rows of sign-ins that are under way, from the question until its one answer (rule R27).
//!
//! What a browser shows is kept as a hash alone, and taken away in the statement that finds it: of two answers with one
//! state, one finds nothing. The order is sealed and not read here.

use super::{Error, Store, on, vault::Place};
use crate::model::{Address, Secret};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest,
    rand::{SecureRandom as _, SystemRandom},
};

/// A sign-in that is about to be asked for.
pub struct NewConsent<'a> {
    pub address: &'a Address,
    /// The path where its answer comes back.
    pub place: &'a str,
    pub order: &'a Secret<String>,
    /// Of its one-time link, where it has one.
    pub ticket: Option<&'a Secret<String>>,
    /// When the link ends.
    pub expires_at: i64,
}

/// What tells that an answer belongs to the question.
pub struct Sent<'a> {
    pub state: &'a Secret<String>,
    /// Of the browser, where one was sent by us.
    pub cookie: Option<&'a Secret<String>>,
    pub verifier: &'a Secret<String>,
    pub expires_at: i64,
}

/// To what an answer is bound beside its state.
#[derive(Clone, Copy)]
pub enum Bound<'a> {
    /// To the browser that was sent.
    Cookie(&'a str),
    /// To whoever has the one-time link.
    Ticket(&'a Secret<String>),
    /// To the administrator, who asked for this address.
    Address(&'a Address),
}

/// A sign-in that is under way.
pub struct Consent {
    pub id: i64,
    pub order: Secret<String>,
}

/// One whose answer has come: no other answer finds it any more.
pub struct Answered {
    pub consent: Consent,
    pub verifier: Secret<String>,
}

const ORDER: &str = "sealed_order";
const VERIFIER: &str = "sealed_verifier";
/// Who asks what became of it does so within this.
const KEPT: i64 = 24 * 60 * 60;
/// Of one address: a link for each that has it, and what was tried of late. A CRM that asks each minute is told a link anew
/// whenever one comes to nothing, and whoever has it may end as many.
const CONSENTS_MAX: i64 = 16;

const FORGET: &str = "DELETE FROM consents WHERE expires_at < $1 AND state_expires_at < $1";
/// What has ended goes before what is still good, and the oldest first.
const FORGET_MOST: &str = "DELETE FROM consents WHERE address = $1 AND id NOT IN (SELECT id FROM consents
    WHERE address = $1 ORDER BY CASE WHEN outcome IS NULL THEN 0 ELSE 1 END, id DESC LIMIT $2)";
/// The row comes first, as what is sealed is sealed to its number.
const PLACE: &str = "INSERT INTO consents (address, place, sealed_order, ticket_hash, expires_at)
    VALUES ($1, $2, $3, $4, $5) RETURNING id";
const FILL: &str = "UPDATE consents SET sealed_order = $2 WHERE id = $1";
const BY_TICKET: &str = "SELECT id, sealed_order FROM consents
    WHERE ticket_hash = $1 AND expires_at > $2 AND outcome IS NULL";
const SEND: &str = "UPDATE consents SET state_hash = $2, cookie_hash = $3, sealed_verifier = $4, state_expires_at = $5
    WHERE id = $1 AND outcome IS NULL";
/// The condition that binds follows. What was bound ends with it.
macro_rules! answer {
    ($bound:literal) => {
        concat!(
            "UPDATE consents SET state_hash = NULL, ticket_hash = NULL, cookie_hash = NULL
            WHERE state_hash = $1 AND place = $2 AND state_expires_at > $3 AND outcome IS NULL AND ",
            $bound,
            " RETURNING id, sealed_order, sealed_verifier"
        )
    };
}
const END: &str = "UPDATE consents SET outcome = $2, state_hash = NULL, ticket_hash = NULL WHERE id = $1";

/// So many random octets, as text.
///
/// # Errors
/// If the system gives none.
pub fn draw(octets: Octets) -> Result<Secret<String>, Error> {
    let mut random = zeroize::Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *random).map_err(|_| Error::Randomness)?;
    let wanted = match octets {
        Octets::Sixteen => random.get(..16),
        Octets::ThirtyTwo => random.get(..),
    };
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(wanted.unwrap_or_default())))
}

/// How much randomness.
#[derive(Clone, Copy)]
pub enum Octets {
    /// 128 bits: a state, a cookie, a link.
    Sixteen,
    /// 256 bits: a verifier (RFC 7636 section 4.1).
    ThirtyTwo,
}

/// What is drawn at random is hard to guess, so that a fast hash is enough.
fn hash(text: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec()
}

impl Store {
    /// Keeps a sign-in that is about to be asked for; gives its number. Those that ended long ago are forgotten, and of
    /// this address all but some.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn begin_consent(&self, new: &NewConsent<'_>, now: i64) -> Result<i64, Error> {
        let ticket = new.ticket.map(|ticket| hash(ticket.expose()));
        let address = new.address.as_str().to_lowercase();
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            sqlx::query(FORGET).bind(now - KEPT).execute(&mut *transaction).await?;
            let id: i64 = sqlx::query_scalar(PLACE)
                .bind(&address)
                .bind(new.place)
                .bind(Vec::new())
                .bind(ticket)
                .bind(new.expires_at)
                .fetch_one(&mut *transaction)
                .await?;
            let sealed = self.vault.seal(place(id, ORDER), new.order.expose().as_bytes())?;
            sqlx::query(FILL).bind(id).bind(sealed).execute(&mut *transaction).await?;
            sqlx::query(FORGET_MOST).bind(&address).bind(CONSENTS_MAX).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(id)
        })
    }

    /// The sign-in of a one-time link.
    ///
    /// # Errors
    /// If the store fails or the order does not open.
    pub async fn consent_by_ticket(&self, ticket: &Secret<String>, now: i64) -> Result<Option<Consent>, Error> {
        let row: Option<(i64, Vec<u8>)> = on!(self, pool => {
            sqlx::query_as(BY_TICKET).bind(hash(ticket.expose())).bind(now).fetch_optional(pool).await?
        });
        row.map(|(id, sealed)| Ok(Consent { id, order: self.open_text(place(id, ORDER), &sealed, ORDER)? })).transpose()
    }

    /// A person is sent: what was sent before for the same sign-in ends.
    ///
    /// # Errors
    /// [`Error::Missing`] if it has ended, or if the store fails.
    pub async fn send_consent(&self, id: i64, sent: &Sent<'_>) -> Result<(), Error> {
        let verifier = self.vault.seal(place(id, VERIFIER), sent.verifier.expose().as_bytes())?;
        let done = on!(self, pool => {
            sqlx::query(SEND)
                .bind(id)
                .bind(hash(sent.state.expose()))
                .bind(sent.cookie.map(|cookie| hash(cookie.expose())))
                .bind(verifier)
                .bind(sent.expires_at)
                .execute(pool)
                .await?
                .rows_affected()
        });
        if done == 1 { Ok(()) } else { Err(Error::Missing("the sign-in")) }
    }

    /// The sign-in whose answer this is; it can be found this once. None: there is none of this state at this place, it is
    /// too old, or it is bound to another.
    ///
    /// # Errors
    /// If the store fails or what is sealed does not open.
    pub async fn answer_consent(
        &self,
        state: &Secret<String>,
        at: &str,
        bound: Bound<'_>,
        now: i64,
    ) -> Result<Option<Answered>, Error> {
        let (answer, to): (&'static str, Vec<u8>) = match bound {
            Bound::Cookie(cookie) => (answer!("cookie_hash = $4"), hash(cookie)),
            Bound::Ticket(ticket) => (answer!("ticket_hash = $4"), hash(ticket.expose())),
            Bound::Address(address) => {
                (answer!("CAST(address AS BLOB) = $4"), address.as_str().to_lowercase().into_bytes())
            }
        };
        let row: Option<(i64, Vec<u8>, Option<Vec<u8>>)> = on!(self, pool => {
            sqlx::query_as(answer).bind(hash(state.expose())).bind(at).bind(now).bind(to).fetch_optional(pool).await?
        });
        let Some((id, order, Some(verifier))) = row else { return Ok(None) };
        Ok(Some(Answered {
            consent: Consent { id, order: self.open_text(place(id, ORDER), &order, ORDER)? },
            verifier: self.open_text(place(id, VERIFIER), &verifier, VERIFIER)?,
        }))
    }

    /// It has ended: with nothing to say, or with what went wrong.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn end_consent(&self, id: i64, outcome: &str) -> Result<(), Error> {
        on!(self, pool => sqlx::query(END).bind(id).bind(outcome).execute(pool).await?);
        Ok(())
    }

    /// What became of it. None: it is under way.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn consent_outcome(&self, id: i64) -> Result<Option<String>, Error> {
        const OUTCOME: &str = "SELECT outcome FROM consents WHERE id = $1";
        let outcome = on!(self, pool => sqlx::query_scalar(OUTCOME).bind(id).fetch_optional(pool).await?);
        outcome.ok_or(Error::Missing("the sign-in"))
    }
}

fn place(id: i64, column: &'static str) -> Place {
    Place { table: "consents", row: id, column }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    async fn begin(store: &Store, address: &str, ticket: &str) -> i64 {
        let (order, ticket) = (Secret::new("an order".to_owned()), Secret::new(ticket.to_owned()));
        let address = Address::parse(address).expect("an address");
        let (place, expires_at) = ("/oauth/callback/firm", NOW + KEPT);
        let new = NewConsent { address: &address, place, order: &order, ticket: Some(&ticket), expires_at };
        store.begin_consent(&new, NOW).await.expect("begun")
    }

    async fn rows(store: &Store) -> i64 {
        on!(store, pool => sqlx::query_scalar("SELECT COUNT(*) FROM consents").fetch_one(pool).await.expect("counted"))
    }

    #[tokio::test]
    async fn sign_ins_of_one_address_that_come_to_nothing_take_no_room_and_no_link() {
        let root = tempfile::tempdir().expect("a directory");
        let store = Store::open(root.path(), None, NOW).await.expect("a store");
        begin(&store, "bob@example.org", "of-bob").await;
        begin(&store, "Alice@example.org", "first").await;
        for number in 0..100 {
            let id = begin(&store, "alice@example.org", &number.to_string()).await;
            store.end_consent(id, "declined").await.expect("ended");
            assert_eq!(store.consent_outcome(id).await.expect("the newest is there").as_deref(), Some("declined"));
        }
        assert_eq!(rows(&store).await, CONSENTS_MAX + 1);
        let is_good = async |ticket: &str| {
            let found = store.consent_by_ticket(&Secret::new(ticket.to_owned()), NOW).await;
            found.expect("read").is_some()
        };
        assert!(is_good("first").await && is_good("of-bob").await, "nobody ends another's");
        for number in 0..CONSENTS_MAX {
            begin(&store, "alice@example.org", &format!("link-{number}")).await;
        }
        assert!(!is_good("first").await && is_good("link-0").await, "the oldest goes");
        assert_eq!(rows(&store).await, CONSENTS_MAX + 1);
    }
}
