//! The links that CRMs are told when the owner of a mailbox must sign in again: one for each account, made when it is first
//! told, and told again for as long as it is good.

use super::{Ask, LINK_SECONDS, Stands, ask, invite};
use crate::{
    control::{Error, provider::named},
    model::{AccountId, Secret, SignInLink},
    provider::Table,
    store::{Store, unix_now},
    upstream::{Invitation, Inviter},
};
use dashmap::DashMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Makes the links, and remembers them.
pub struct Links {
    store: Store,
    providers: Table,
    /// Where browsers reach the console: scheme and host.
    base: String,
    made: DashMap<AccountId, Arc<Mutex<Option<Made>>>>,
}

struct Made {
    /// Where the account was: elsewhere it is good for nothing.
    stands: Stands,
    ticket: Secret<String>,
    link: SignInLink,
    /// Whoever reads it shall have some hours.
    told_until: i64,
}

impl Links {
    #[must_use]
    pub fn new(store: Store, providers: Table, base: String) -> Self {
        Self { store, providers, base, made: DashMap::new() }
    }

    async fn link(&self, id: AccountId) -> Result<Option<SignInLink>, Error> {
        let made = self.made.entry(id).or_default().clone();
        let mut made = made.lock().await;
        let now = unix_now();
        // Nobody could be told it.
        if !SignInLink::fits(&self.base) {
            return Ok(None);
        }
        let Some(account) = self.store.account(id).await? else { return Ok(None) };
        let stands = Stands::of(&account);
        if let Some(Made { stands: then, ticket, link, told_until }) = &*made
            && now < *told_until
            && *then == stands
            // One that was used is not good any more, whatever came of it.
            && self.store.consent_by_ticket(ticket, now).await?.is_some()
        {
            return Ok(Some(link.clone()));
        }
        let asked = Ask {
            address: &account.address,
            person: None,
            provider: named(&self.providers, &account.settings.provider)?,
            issuer: None,
            client: None,
            tenant: None,
            scope: None,
            base: &self.base,
            mailbox: None,
        };
        let order = ask(&self.store, asked).await?;
        let invitation = invite(&self.store, &order, LINK_SECONDS, now).await?;
        let link = SignInLink::of(&self.base, invitation.ticket.expose());
        *made = link.clone().map(|link| Made {
            stands,
            ticket: invitation.ticket,
            link,
            told_until: now.saturating_add(i64::from(LINK_SECONDS) / 2),
        });
        Ok(link)
    }
}

impl Inviter for Links {
    fn invite(&self, id: AccountId) -> Invitation<'_> {
        Box::pin(async move {
            let link = self.link(id).await;
            // Most often a provider whose page of consent is not known: the CRM's words name the administrator then.
            link.inspect_err(|error| {
                tracing::warn!(account = id.0, error = error as &dyn std::error::Error, "no link to sign in again");
            })
            .ok()
            .flatten()
        })
    }
}
