//! The links that CRMs are told when the owner of a mailbox must sign in again: one for each account, made when it is first
//! told, and told again for as long as it is good.

use super::{Ask, LINK_SECONDS, Order, ask, invite};
use crate::{
    control::{Error, provider::named},
    model::{AccountId, Secret, SignInLink, SmtpAuth},
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
        if let Some(Made { ticket, link, told_until }) = &*made
            && now < *told_until
            // One that was used is not good any more, whatever came of it.
            && self.store.consent_by_ticket(ticket, now).await?.is_some()
        {
            return Ok(Some(link.clone()));
        }
        let Some(order) = self.order(id).await? else { return Ok(None) };
        let invitation = invite(&self.store, &order, LINK_SECONDS, now).await?;
        let link = SignInLink::new(&format!("{}/sign-in/{}", self.base, invitation.ticket.expose()));
        *made = link.clone().map(|link| Made {
            ticket: invitation.ticket,
            link,
            told_until: now.saturating_add(i64::from(LINK_SECONDS) / 2),
        });
        Ok(link)
    }

    async fn order(&self, id: AccountId) -> Result<Option<Order>, Error> {
        let Some(account) = self.store.account(id).await? else { return Ok(None) };
        let person = match &account.settings.smtp_auth {
            // Of a shared mailbox it is the delegate's grant.
            SmtpAuth::Delegate(user) => Some(user.to_string()),
            SmtpAuth::Same | SmtpAuth::None | SmtpAuth::Separate(_) => None,
        };
        let asked = Ask {
            address: &account.address,
            person,
            provider: named(&self.providers, &account.settings.provider)?,
            issuer: None,
            client: None,
            tenant: None,
            scope: None,
            base: &self.base,
            mailbox: None,
        };
        Ok(Some(ask(&self.store, asked).await?))
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
