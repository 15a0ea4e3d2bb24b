//! Opens lanes of stored accounts: with the stored password, or with an access token of the broker's.
//!
//! A provider that does not take the token is tried once more with a fresh one, never a third time (rule R26).

#![allow(clippy::disallowed_methods, reason = "one deadline for tokens and both tries is told by the clock")]

use super::{
    Opened, Refusal, Step, Target,
    open::{Deadlines, Order, carry_out},
    passed::Passed,
    tls,
};
use crate::{
    failure::{Failure, Unreachable},
    model::{Certificates, Security, SmtpAuth},
    oauth::{
        broker::{Access, Broker},
        exchange::{Exchange, ExchangeUnusable},
    },
    relay::{LaneUse, opening::SignIn},
    store::{Account, Store},
};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// What asks token endpoints, believing whom this machine believes.
///
/// # Errors
/// If no HTTP client can be made, which is a fault of the build.
pub fn exchange() -> Result<Exchange, ExchangeUnusable> {
    Exchange::new(tls::machine())
}

/// What is wanted of an account's lane.
pub struct Wanted<'a> {
    pub account: &'a Account,
    pub purpose: LaneUse,
    pub reads_folders: bool,
    /// The client's own token, where that alone opens the account.
    pub passed: Option<&'a Passed>,
    /// The bridge's own listeners, which are no provider.
    pub own: &'a [SocketAddr],
}

/// Said where an account that a client's token opens is to be opened without one.
const NO_TOKEN: &str = "nothing is stored to sign in with: the CRM's own access token alone opens this account";
/// Said where a client's token would be shown in clear, or would not be what is judged.
const NOT_SHOWN: &str = "the CRM's own access token is shown over TLS alone, and to a service that signs in by it";

/// Opens a lane of a stored account. `deadlines` are for the whole with its tokens.
///
/// # Errors
/// What went wrong, with the provider's words where it said some.
pub async fn open_stored(
    store: &Store,
    broker: &Broker,
    wanted: Wanted<'_>,
    deadlines: Deadlines,
    steps: &mut (dyn FnMut(Step) + Send),
) -> Result<Opened, Refusal> {
    let began = Instant::now();
    let left = || deadlines.whole.saturating_sub(began.elapsed());
    let rest = || Deadlines { whole: left(), ..deadlines };
    let account = wanted.account;
    if account.by_client_token || wanted.passed.is_some() {
        let sign_in = by_client_token(&wanted).map_err(|words| Refusal { words: Some(words.into()), ..REFUSED })?;
        // Another would have to come from the client: nothing is tried again.
        return wanted.carry_out(sign_in, rest(), steps).await;
    }
    if let Some(sign_in) = without_token(store, account, wanted.purpose).await? {
        return wanted.carry_out(sign_in, rest(), steps).await;
    }
    let service = match wanted.purpose {
        LaneUse::Imap => "imap",
        LaneUse::Submission => "smtp",
    };
    let user = user(&wanted);
    let bearer = |access: &Access| SignIn::Bearer { user: user.into(), token: access.token.clone() };
    let mut access = within(left(), broker.token(account.id, account.generation)).await?;
    let mut opened = wanted.carry_out(bearer(&access), rest(), steps).await;
    if opened.as_ref().is_err_and(|refusal| refusal.token_refused) {
        match within(left(), broker.instead_of(&access, service, account.id, account.generation)).await {
            Ok(fresh) => {
                access = fresh;
                opened = wanted.carry_out(bearer(&access), rest(), steps).await;
            }
            // The provider's own words say more than ours.
            Err(Failure::SignInRefused) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    if opened.is_ok() {
        broker.worked(&access, service, account.id).await;
    }
    opened
}

const REFUSED: Refusal = Refusal { failure: Failure::SignInRefused, words: None, token_refused: false };

/// Whom a token is for.
fn user<'a>(wanted: &Wanted<'a>) -> &'a str {
    match (wanted.purpose, &wanted.account.settings.smtp_auth) {
        (LaneUse::Submission, SmtpAuth::Delegate(user)) => user.as_str(),
        _ => wanted.account.sign_in_name.as_str(),
    }
}

/// Whether a client's token may be shown to this service of its account: a service that takes another's password, or
/// nobody's, would let in whoever shows any token.
pub(super) fn judges_tokens(account: &Account, purpose: LaneUse) -> bool {
    let (endpoint, judges) = match (purpose, &account.settings.smtp_auth) {
        (LaneUse::Imap, _) => (&account.imap, true),
        (LaneUse::Submission, SmtpAuth::Same | SmtpAuth::Delegate(_)) => (&account.smtp, true),
        (LaneUse::Submission, SmtpAuth::None | SmtpAuth::Separate(_)) => (&account.smtp, false),
    };
    account.by_client_token && judges && endpoint.security != Security::None
}

/// With the client's token, and with nothing else.
fn by_client_token(wanted: &Wanted<'_>) -> Result<SignIn, &'static str> {
    let passed = wanted.passed.ok_or(NO_TOKEN)?;
    if !judges_tokens(wanted.account, wanted.purpose) {
        return Err(NOT_SHOWN);
    }
    Ok(SignIn::Bearer { user: user(wanted).into(), token: passed.token.as_ref().clone() })
}

/// With what the account signs in to this service; none: with a token.
async fn without_token(store: &Store, account: &Account, purpose: LaneUse) -> Result<Option<SignIn>, Failure> {
    let user = account.sign_in_name.as_str();
    let (user, password) = match (purpose, &account.settings.smtp_auth) {
        (LaneUse::Submission, SmtpAuth::None) => return Ok(Some(SignIn::Nobody)),
        (LaneUse::Submission, SmtpAuth::Separate(user)) => (user.as_str(), store.smtp_password(account).await),
        (LaneUse::Imap, _) | (LaneUse::Submission, SmtpAuth::Same | SmtpAuth::Delegate(_)) if account.by_grant => {
            return Ok(None);
        }
        (LaneUse::Submission, SmtpAuth::Delegate(user)) => (user.as_str(), store.account_password(account).await),
        (LaneUse::Imap, _) | (LaneUse::Submission, SmtpAuth::Same) => (user, store.account_password(account).await),
    };
    let password = password.map_err(|error| said(&error, "a stored password cannot be opened"))?;
    Ok(Some(SignIn::Password { user: user.into(), password }))
}

impl Wanted<'_> {
    async fn carry_out(
        &self,
        sign_in: SignIn,
        deadlines: Deadlines,
        steps: &mut (dyn FnMut(Step) + Send),
    ) -> Result<Opened, Refusal> {
        let endpoint = match self.purpose {
            LaneUse::Imap => self.account.imap.clone(),
            LaneUse::Submission => self.account.smtp.clone(),
        };
        // An account from before this was refused: its tokens are shown to nobody that is not believed.
        let certificates = match (&self.account.certificates, &sign_in) {
            (Certificates::AcceptAny, SignIn::Bearer { .. }) => Certificates::Verify,
            (certificates, _) => certificates.clone(),
        };
        let target = Target { endpoint, certificates };
        let order = Order { purpose: self.purpose, sign_in, reads_folders: self.reads_folders, own: self.own };
        carry_out(&target, order, deadlines, steps).await
    }
}

async fn within<T>(left: Duration, asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(left, asked).await.unwrap_or(Err(Failure::ProviderUnreachable(Unreachable::TimedOut)))
}

fn said(error: &crate::store::Error, what: &'static str) -> Failure {
    tracing::error!(error = error as &dyn std::error::Error, "{what}");
    Failure::from(error)
}
