//! Back-offs that are in force: what a running bridge does not ask a provider for a while, and why.
//!
//! For people, who are told by `doctor`. They are in memory alone, as a bridge that starts again begins without them, and
//! nothing is begun or ended here.

use super::{Gate, Gates, attempt::service};
use crate::{
    failure::Failure,
    model::{AccountId, LoginId},
    oauth::broker::{Paused, Waits},
    relay::LaneUse,
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, sync::PoisonError, time::Duration};

/// A pause of one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackOff {
    /// The account's number.
    pub account: i64,
    /// `imap`, `smtp`, or `token`, as of refusals that are kept.
    pub service: String,
    pub cause: Cause,
    /// The number of the login whose tokens they are; None: it is of the whole account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<i64>,
    /// How long it lasts yet, rounded up.
    pub seconds: u64,
    /// What the provider said, for the account's owner; of a token endpoint words of ours. Cut to `SAID_MAX`.
    pub words: String,
}

/// Why nobody is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The provider refuses the account's credentials.
    Refused,
    /// It is busy, counts too much of us, or asks for a pause.
    SentAway,
    /// Tokens of clients that nobody has seen yet were refused, or sent away.
    ClientTokens,
    /// The token endpoint has trouble of its own, or cannot be reached.
    NoToken,
    /// The token endpoint refuses the registered client.
    ClientRefused,
    /// The bridge itself could not read or keep what it must.
    Ourselves,
}

/// Letters of what a provider said that are told of one.
pub(crate) const SAID_MAX: usize = 160;

impl BackOff {
    fn of(account: AccountId, service: &str, cause: Cause, left: Duration, words: &str) -> Self {
        Self {
            account: account.0,
            service: service.to_owned(),
            cause,
            login: None,
            seconds: left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0)),
            words: words.chars().take(SAID_MAX).collect(),
        }
    }
}

impl Gates {
    /// All that are in force.
    #[must_use]
    pub fn back_offs(&self) -> Vec<BackOff> {
        let gates: Vec<_> = self.gates.iter().map(|entry| (*entry.key(), entry.value().clone())).collect();
        let mut all: Vec<_> = gates.iter().flat_map(|(id, gate)| gate.back_offs(*id)).collect();
        let is_over = |paused: &Paused| {
            // The trouble of an older credential is none of the new one's, even before that is asked with.
            self.gates.get(&paused.id).is_some_and(|gate| gate.is_beyond(paused.generation))
        };
        all.extend(self.broker.pauses().iter().filter(|paused| !is_over(paused)).map(of_broker));
        all
    }
}

fn of_broker(paused: &Paused) -> BackOff {
    let cause = match paused.waits {
        Waits::Endpoint => Cause::NoToken,
        Waits::Operator => Cause::ClientRefused,
        Waits::Ourselves => Cause::Ourselves,
    };
    BackOff::of(paused.id, "token", cause, paused.left, &paused.after)
}

impl Gate {
    fn back_offs(&self, id: AccountId) -> Vec<BackOff> {
        let logins: Vec<(LoginId, Arc<_>)> = {
            let all = self.tokens_of.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().map(|(login, tokens)| (*login, tokens.clone())).collect()
        };
        let mut all = Vec::new();
        for purpose in [LaneUse::Imap, LaneUse::Submission] {
            all.extend(self.attempts.paused(purpose).map(|(left, last, words)| {
                let cause = if last == Failure::SignInRefused { Cause::Refused } else { Cause::SentAway };
                BackOff::of(id, service(purpose), cause, left, &words)
            }));
            let of_tokens = |(left, words): (Duration, String)| {
                BackOff::of(id, service(purpose), Cause::ClientTokens, left, &words)
            };
            all.extend(self.tokens.paused(purpose).map(of_tokens));
            all.extend(logins.iter().filter_map(|(login, tokens)| {
                let of_login = of_tokens(tokens.paused(purpose)?);
                Some(BackOff { login: Some(login.0), ..of_login })
            }));
        }
        all
    }
}
