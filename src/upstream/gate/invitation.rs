//! Where the owner of a mailbox must sign in again, its CRM is told the link to do so. Who makes links is not known here.

use super::Gates;
use crate::{
    failure::Failure,
    model::{AccountId, SignInLink},
};
use std::{future::Future, pin::Pin, sync::Arc};

/// What comes of asking for a link.
pub type Invitation<'a> = Pin<Box<dyn Future<Output = Option<SignInLink>> + Send + 'a>>;

/// Makes links by which owners sign in again.
pub trait Inviter: Send + Sync {
    /// A link for this account; None where there cannot be one.
    fn invite(&self, id: AccountId) -> Invitation<'_>;
}

impl Gates {
    /// From now on links come from here; once.
    pub fn invite_by(&self, inviter: Arc<dyn Inviter>) {
        let _ = self.inviter.set(inviter);
    }

    /// The same, with a link for whom the provider wants to sign in again. Only a session that was let in to the account
    /// may ask.
    ///
    /// # Errors
    /// As it was.
    pub async fn invited<T>(&self, id: AccountId, outcome: Result<T, Failure>) -> Result<T, Failure> {
        match (outcome, self.inviter.get()) {
            (Err(Failure::ConsentNeeded(None)), Some(inviter)) => Err(Failure::ConsentNeeded(inviter.invite(id).await)),
            (outcome, _) => outcome,
        }
    }
}
