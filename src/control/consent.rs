//! Signing in at the provider's own page (RFC 6749 section 4.1, PKCE always): a person is sent there with a state that is
//! drawn at random, and the one answer to it makes the account, or makes it good again.
//!
//! Where the answer comes in is the console's matter, or the command line's where it is pasted. A person's grant is stored
//! before the mail servers are asked, unless it would take the place of one that is good.

mod links;
mod order;

pub use links::Links;
pub use order::{Ask, Mailbox, Order, Stands, ask, expected};

use super::{
    Error, Manner, OwnListeners, account,
    settings::{self, Wish},
};
use crate::{
    model::{Address, Secret, quoted},
    oauth::{
        TokenEndpoint,
        flow::{
            Means, Question, Reason, Trouble,
            consent::{self, Asked, Denial, NotDiscovered, NotReturned, Returned},
            scope,
        },
    },
    profile, provider,
    store::{
        Credential, NewGrant, Store,
        consent::{Answered, Bound, Consent, NewConsent, Octets, Sent, draw},
    },
    upstream,
};
use serde::{Deserialize, Serialize};

/// From when a person is sent until the answer (rule R27): long enough for a second factor.
pub const STATE_SECONDS: u32 = 600;
/// A link may wait in somebody's mail for a day.
pub const LINK_SECONDS: u32 = 24 * 60 * 60;

/// Why a sign-in in the browser comes to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the provider does not take the code that it gave: {0}")]
    Code(Reason),
    #[error("the provider gave no permission: {0}")]
    Denied(Denial),
    #[error("there is such an account already, and it keeps its settings: {0}")]
    Exists(Address),
    #[error("no client is registered at this provider: {0}")]
    NoClient(String),
    /// Its token would be of the old place, and shown at the new.
    #[error("the place of the account or its user has changed since this sign-in was asked for: {0}")]
    Moved(Address),
    #[error("it is not known where this provider asks for consent: {0}")]
    NoPage(String),
    #[error("the provider gave no refresh token: an access token alone ends within the hour")]
    NoRefreshToken,
    #[error("{issuer}: {reason}")]
    NotDiscovered { issuer: TokenEndpoint, reason: NotDiscovered },
    #[error(transparent)]
    NotReturned(#[from] NotReturned),
    #[error("the answer does not come from the provider that was asked")]
    OtherIssuer,
    #[error("somebody else signed in than {wanted}: {found}")]
    OtherPerson { wanted: String, found: String },
    #[error(
        "this sign-in is not known: it was answered already, is older than ten minutes, or began in another browser or \
         for another address"
    )]
    Unknown,
}

impl Refusal {
    /// What mends it, for people.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Code(_) => "begin anew: a code is good once, and for some minutes",
            Self::Denied(_) => "begin anew and give the permission; `passerelle provider show NAME` says what is asked for",
            Self::Exists(_) => {
                "sign it in with its address alone; `passerelle account set` changes settings, `passerelle account swap` \
                 the provider"
            }
            Self::NoClient(_) => {
                "`passerelle provider register NAME` says how; or name a client with `--client-id ID`, its secret on standard \
                 input with `--client-secret-stdin`"
            }
            Self::Moved(address) => {
                let address = quoted(address.as_str());
                return format!(
                    "begin anew with `passerelle account sign-in {address}`, or send its owner a new link: `passerelle account \
                     sign-in {address} --link`"
                );
            }
            Self::NoPage(_) => "name the provider with `--provider NAME`, or its authorization server with `--issuer URL`",
            Self::NoRefreshToken => {
                "Google wants `access_type=offline` and `prompt=consent`, Microsoft and others the scope `offline_access`: \
                 put it into the provider's file or behind --scope; then sign in again"
            }
            Self::NotDiscovered { .. } => "check the address behind --issuer: the provider's documentation says it",
            Self::NotReturned(_) => "copy the whole address from the browser's bar after the sign-in, even if its page does not load",
            Self::OtherIssuer => "begin anew; if it happens again, somebody may stand between",
            Self::OtherPerson { .. } => {
                "sign in as the one who was asked for; if somebody else may open this mailbox, begin with \
                 `--as THAT-ADDRESS`"
            }
            Self::Unknown => "begin anew with `passerelle account sign-in ADDRESS`",
        }
        .to_owned()
    }
}

/// A person's one-time link: its number, what stands in it, and until when it is good.
pub struct Invitation {
    pub id: i64,
    pub ticket: Secret<String>,
    pub expires_at: i64,
}

/// Makes a one-time link for this order.
///
/// # Errors
/// If the store fails.
pub async fn invite(store: &Store, order: &Order, seconds: u32, now: i64) -> Result<Invitation, Error> {
    let (ticket, expires_at) = (draw(Octets::Sixteen)?, now + i64::from(seconds));
    let text = order.sealable()?;
    let (address, place) = (&order.address, order.place.as_str());
    let new = NewConsent { address, place, order: &text, ticket: Some(&ticket), expires_at };
    Ok(Invitation { id: store.begin_consent(&new, now).await?, ticket, expires_at })
}

/// The order of a one-time link, if its account is still where it was.
///
/// # Errors
/// [`Refusal::Unknown`], [`Refusal::Moved`], or if the store fails.
pub async fn invited(store: &Store, ticket: &Secret<String>, now: i64) -> Result<(Consent, Order), Error> {
    let consent = store.consent_by_ticket(ticket, now).await?.ok_or(Refusal::Unknown)?;
    let order = Order::read(&consent.order)?;
    order.still_stands(store).await?;
    Ok((consent, order))
}

/// Where a person is to go, and with what the browser that goes there is known again.
pub struct Sending {
    pub address: String,
    pub state: Secret<String>,
    pub cookie: Option<Secret<String>>,
}

/// Sends the person of a link to the provider, with a browser that we answer.
///
/// # Errors
/// If the store fails.
pub async fn send(store: &Store, consent: &Consent, order: &Order, now: i64) -> Result<Sending, Error> {
    send_by(store, consent.id, order, Some(draw(Octets::Sixteen)?), now).await
}

/// Begins a sign-in that has no link: its answer is pasted by the administrator.
///
/// # Errors
/// If the store fails.
pub async fn begin(store: &Store, order: &Order, now: i64) -> Result<Sending, Error> {
    let text = order.sealable()?;
    let (address, place) = (&order.address, order.place.as_str());
    let new = NewConsent { address, place, order: &text, ticket: None, expires_at: now };
    let id = store.begin_consent(&new, now).await?;
    send_by(store, id, order, None, now).await
}

async fn send_by(
    store: &Store,
    id: i64,
    order: &Order,
    cookie: Option<Secret<String>>,
    now: i64,
) -> Result<Sending, Error> {
    let (state, verifier) = (draw(Octets::Sixteen)?, draw(Octets::ThirtyTwo)?);
    let asked = Asked {
        page: &order.page,
        parameters: &order.parameters,
        client: &order.client_id,
        scope: &order.asked_scope(),
        redirect: &order.redirect,
        login_hint: &order.person,
        state: &state,
        verifier: &verifier,
    };
    let address = consent::address(&asked);
    let expires_at = now + i64::from(STATE_SECONDS);
    store.send_consent(id, &Sent { state: &state, cookie: cookie.as_ref(), verifier: &verifier, expires_at }).await?;
    Ok(Sending { address, state, cookie })
}

/// The tables that an account's settings are read by, and where no provider is.
#[derive(Clone)]
pub struct Tables {
    pub providers: provider::Table,
    pub profiles: profile::Table,
    pub own: OwnListeners,
}

/// What a sign-in has come to.
#[derive(Clone, Debug)]
pub struct Done {
    pub address: Address,
    /// Whether the account is new, and for which CRM; it has no login yet.
    pub added_for: Option<String>,
}

/// Takes the answer that came back at this path: the account is stored, or good again.
///
/// # Errors
/// Whatever stands in the way. Then nothing is stored but, where the sign-in is known, that it came to nothing; and, with
/// [`Error::Kept`], the grant.
pub async fn answer(
    store: &Store,
    tables: &Tables,
    returned: Returned,
    at: &str,
    bound: Bound<'_>,
    now: i64,
) -> Result<Done, Error> {
    let answered = store.answer_consent(&returned.state, at, bound, now).await?.ok_or(Refusal::Unknown)?;
    let id = answered.consent.id;
    let done = finish(store, tables, answered, returned, now).await;
    let outcome = match &done {
        Ok(_) => String::new(),
        Err(error) => serde_json::to_string(&Told { error: error.to_string(), hint: error.hint() }).unwrap_or_default(),
    };
    store.end_consent(id, &outcome).await?;
    done
}

/// What went wrong, for whoever waits elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    pub error: String,
    pub hint: Option<String>,
}

/// What became of a sign-in. None: it is under way.
///
/// # Errors
/// If the store fails.
pub async fn outcome(store: &Store, id: i64) -> Result<Option<Result<(), Told>>, Error> {
    let text = store.consent_outcome(id).await?;
    Ok(text.map(|text| match text.as_str() {
        "" => Ok(()),
        text => Err(serde_json::from_str(text).unwrap_or_else(|_| Told { error: text.to_owned(), hint: None })),
    }))
}

async fn finish(
    store: &Store,
    tables: &Tables,
    answered: Answered,
    returned: Returned,
    now: i64,
) -> Result<Done, Error> {
    let mut order = Order::read(&answered.consent.order)?;
    if !order.is_from(returned.issuer.as_deref()) {
        return Err(Refusal::OtherIssuer.into());
    }
    let code = returned.answer.map_err(Refusal::Denied)?;
    order.still_stands(store).await?;
    let grant = redeem(store, &order, &code, &answered.verifier).await?;
    let stands = order.stands()?.cloned();
    let mailbox = order.mailbox.take();
    let done = keep(store, tables, &order.address, grant, (stands, mailbox), now).await;
    // Also where the mail servers refuse it: the grant is kept then.
    if matches!(done, Ok(_) | Err(Error::Kept { .. })) {
        // The sign-in is good without: whoever is next is told whom it takes.
        if let Err(error) = order.keep_person(store).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "who has signed in is not kept");
        }
    }
    done
}

/// The grant goes to its account: one that is there, or one that is added.
async fn keep(
    store: &Store,
    tables: &Tables,
    address: &Address,
    grant: NewGrant,
    (stands, mailbox): (Option<Stands>, Option<Mailbox>),
    now: i64,
) -> Result<Done, Error> {
    let (address, credential) = (address.clone(), Credential::Grant(grant));
    let manner = Manner { own: &tables.own, report: &|_, _| {} };
    let Some(mailbox) = mailbox else {
        let wish = Wish { stands, credential: Some(credential), consented: true, ..Wish::default() };
        settings::set(store, &tables.providers, &address, wish, false, manner, now).await?;
        return Ok(Done { address, added_for: None });
    };
    let crm = super::crm::named(&tables.profiles, &mailbox.crm)?.clone();
    let added_for = Some(crm.name.clone());
    account::add_without_login(store, mailbox.draft(address.clone(), credential, crm), manner, now).await?;
    Ok(Done { address, added_for })
}

/// The code becomes a grant, if it is for all that was asked for, and of whom it was asked.
async fn redeem(
    store: &Store,
    order: &Order,
    code: &Secret<String>,
    verifier: &Secret<String>,
) -> Result<NewGrant, Error> {
    let (client, registration) = order.client(store).await?;
    let exchange = upstream::exchange().map_err(|_| Error::NoHttp)?;
    let question = Question::Code { code, verifier, redirect: &order.redirect };
    let redeemed = exchange.redeem(&client, &question).await;
    let endpoint = client.token_endpoint.clone();
    let (tokens, persons) = redeemed.map_err(|trouble| match trouble {
        Trouble::Consent(reason) => Refusal::Code(reason).into(),
        trouble => Error::Grant { endpoint: endpoint.clone(), trouble },
    })?;
    if !persons.is_empty() && !persons.contains(&order.person) {
        return Err(Refusal::OtherPerson { wanted: order.person.clone(), found: persons.join(", ") }.into());
    }
    let missing = scope::missing(&client.scope, tokens.scope.as_deref());
    if !missing.is_empty() {
        let scopes = missing.into_iter().map(str::to_owned).collect();
        return Err(Error::ScopeMissing { endpoint, scopes });
    }
    let refresh = tokens.refresh.ok_or(Refusal::NoRefreshToken)?;
    let old_tokens_stay_valid = order.old_tokens_stay_valid;
    Ok(NewGrant { client, registration, means: Means::Refresh(refresh), old_tokens_stay_valid })
}
