//! The operator's alarm: the provider refuses the registered client itself, so that no owner's consent helps.
//!
//! It stands in the store, among the refusals of the account, until a token comes; here nobody is asked.

use super::{AccountId, Broker, Desk, Generation, Problem, Tokens, Trouble};
use crate::{oauth::flow::Reason, store::unix_now};

/// The name of token endpoints among the services that refuse an account.
const SERVICE: &str = "token";
/// The name of grants that are gone among them.
const GRANT: &str = "grant";

impl Broker {
    /// Keeps for people why the grant is gone: nobody is asked again who could say it. It stands for as long as these are
    /// the account's credentials.
    pub(super) async fn tell_owner(&self, id: AccountId, generation: Generation, reason: Reason) {
        let kept = self.store.mark_refused(id, generation, GRANT, &reason.to_string(), unix_now()).await;
        if let Err(error) = kept {
            tracing::error!(error = &error as &dyn std::error::Error, "why a grant is gone cannot be kept");
        }
    }

    /// Keeps for people that the client is refused, or no more: once each.
    pub(super) async fn tell_operator(
        &self,
        id: AccountId,
        generation: Generation,
        desk: &Desk,
        asked: &Result<Tokens, Problem>,
    ) {
        let refused = match asked {
            Ok(_) => None,
            Err(Problem::Trouble(Trouble::Client(reason))) => Some(reason),
            // Nothing is known of the client.
            Err(_) => return,
        };
        {
            let held = desk.held();
            if held.generation != generation || held.alarmed == Some(refused.is_some()) {
                return;
            }
        }
        let kept = if let Some(reason) = refused {
            tracing::error!(
                account = id.0,
                %reason,
                hint = "`passerelle doctor ADDRESS` says what its operator must do",
                "the provider refuses the registered client: no mailbox of it gets a token until it is mended"
            );
            self.store.mark_refused(id, generation, SERVICE, &reason.to_string(), unix_now()).await
        } else {
            self.store.clear_refusal(id, SERVICE).await
        };
        match kept {
            Ok(()) => {
                let mut held = desk.held();
                if held.generation == generation {
                    held.alarmed = Some(refused.is_some());
                }
            }
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a refusal cannot be kept"),
        }
    }
}
