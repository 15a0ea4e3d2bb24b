//! Carries one question to a token endpoint: HTTPS, no redirect, 15 s, at most 64 KiB of answer (rule R31).
//!
//! It goes there directly, as the bridge's mail connections do, never through a proxy of the environment. Nothing is
//! logged here, and what reqwest says of a failure is dropped: it could hold the URL's query.

use super::{
    TokenEndpoint, assertion,
    flow::{
        self, BODY_MAX, Client, Means, Nonsense, Proof, Question, Tokens, Trouble,
        consent::{Discovered, NotDiscovered},
    },
};
use crate::failpoint::{Moment, reach};
use crate::{failure::Unreachable, store::unix_now};
use oauth2::HttpRequest;
use reqwest::redirect::Policy;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};
use tokio_rustls::rustls::ClientConfig;

/// For the whole of an exchange; Google and Microsoft take less than a second.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// Asks token endpoints.
#[derive(Clone)]
pub struct Exchange {
    http: reqwest::Client,
    clocks: Arc<Mutex<Clocks>>,
}

/// By how many seconds the clocks of others are ahead of ours.
#[derive(Default)]
struct Clocks {
    /// By scheme, host and port: one that is wrong is not believed for another. At most [`CLOCKS_MAX`].
    of: HashMap<String, i64>,
    /// Of who answered last.
    last: Option<i64>,
}

/// A token endpoint for each provider, and one for each account that names its own.
pub(crate) const CLOCKS_MAX: usize = 256;

impl Exchange {
    /// `tls` says whom to believe: what this machine trusts.
    ///
    /// # Errors
    /// If no client can be made, which is a fault of the build.
    pub fn new(tls: ClientConfig) -> Result<Self, ExchangeUnusable> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .timeout(DEADLINE)
            .user_agent("passerelle")
            .build();
        client.map(|http| Self { http, clocks: Arc::default() }).map_err(|_| ExchangeUnusable)
    }

    /// Asks for an access token.
    ///
    /// # Errors
    /// What became of it. After [`Unreachable::TimedOut`] and [`Unreachable::Lost`] nobody knows whether it was heard.
    pub async fn ask(&self, client: &Client, question: &Question<'_>) -> Result<Tokens, Trouble> {
        let message = |now| flow::message(client, question, assertion::of_client(client, now)?.as_ref());
        self.by_its_clock(client, &client.token_endpoint, message, flow::read).await
    }

    /// Asks with a code; gives also the addresses that its person is known by.
    ///
    /// # Errors
    /// As for [`Exchange::ask`].
    pub async fn redeem(&self, client: &Client, code: &Question<'_>) -> Result<(Tokens, Vec<String>), Trouble> {
        let message = |now| flow::message(client, code, assertion::of_client(client, now)?.as_ref());
        let read = |status, body: &[u8]| Ok((flow::read(status, body)?, flow::consent::identities(body)));
        self.by_its_clock(client, &client.token_endpoint, message, read).await
    }

    /// What an issuer says of itself.
    ///
    /// # Errors
    /// [`NotDiscovered`].
    pub async fn discover(&self, issuer: &TokenEndpoint) -> Result<Discovered, NotDiscovered> {
        let mut why = NotDiscovered::Nothing;
        for address in flow::consent::descriptions(issuer) {
            let request = oauth2::http::Request::get(address).header("accept", "application/json").body(Vec::new());
            let Ok(request) = request else { continue };
            let Ok((200, body)) = self.carry(request).await else { continue };
            match flow::consent::discovered(issuer, &body) {
                Ok(found) => return Ok(found),
                Err(reason) => why = reason,
            }
        }
        Err(why)
    }

    /// Asks with what a grant stands on; `user` is whose mailbox it is, at the provider.
    ///
    /// # Errors
    /// As for [`Exchange::ask`].
    pub async fn ask_by(&self, client: &Client, means: &Means, user: &str) -> Result<Tokens, Trouble> {
        let asked = match means {
            Means::Refresh(token) => return self.ask(client, &Question::Refresh(token)).await,
            Means::Own => self.ask(client, &Question::Own).await,
            Means::Behalf => {
                let message = |now| {
                    let signed = assertion::on_behalf(client, user, now)?;
                    flow::message(client, &Question::Behalf(&signed), None)
                };
                self.by_its_clock(client, &client.token_endpoint, message, |status, body| {
                    unconsented(flow::read(status, body))
                })
                .await
            }
        };
        unconsented(asked)
    }

    /// Carries a question that may hold what was signed: by the clock of who is asked, as far as it is known. An assertion
    /// holds within an hour of it, and a machine's day may be wrong (rule R32). Where the client is refused, and the answer
    /// tells of another clock than was signed by, it is asked once more: a client that is not believed has spent nothing.
    ///
    /// # Errors
    /// As for [`Exchange::ask`].
    pub(crate) async fn by_its_clock<T>(
        &self,
        client: &Client,
        endpoint: &TokenEndpoint,
        message: impl Fn(i64) -> Result<HttpRequest, Trouble>,
        read: impl Fn(u16, &[u8]) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let ahead = self.ahead_of(endpoint);
        let (status, body) = self.carry(message(unix_now().saturating_add(ahead))?).await?;
        let answer = read(status, &body);
        let is_other = self.ahead_of(endpoint).abs_diff(ahead) > assertion::LEEWAY.unsigned_abs();
        if !(is_other && matches!(client.proof, Proof::Key(_)) && matches!(answer, Err(Trouble::Client(_)))) {
            return answer;
        }
        let (status, body) = self.carry(message(self.now_at(endpoint))?).await?;
        read(status, &body)
    }

    /// Now, by the clock of this endpoint as far as it is known, in Unix seconds.
    pub(crate) fn now_at(&self, endpoint: &TokenEndpoint) -> i64 {
        unix_now().saturating_add(self.ahead_of(endpoint))
    }

    /// Where it has said nothing, most others know the time.
    fn ahead_of(&self, endpoint: &TokenEndpoint) -> i64 {
        let clocks = self.clocks();
        clocks.of.get(&endpoint.origin()).copied().or(clocks.last).unwrap_or_default()
    }

    /// By how many seconds the clock of who answered last is ahead of ours, as its `Date` says (RFC 9110 section 6.6.1);
    /// None where nobody has said it.
    #[must_use]
    pub fn ahead(&self) -> Option<i64> {
        self.clocks().last
    }

    fn clocks(&self) -> MutexGuard<'_, Clocks> {
        // A panic elsewhere leaves whole entries here.
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compare_clocks(&self, response: &reqwest::Response) {
        let date = response.headers().get("date").and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let date = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
        if let Some(date) = date.and_then(|date| i64::try_from(date.as_secs()).ok()) {
            let (ahead, origin) = (date.saturating_sub(unix_now()), response.url().origin().ascii_serialization());
            let mut clocks = self.clocks();
            if clocks.of.len() == CLOCKS_MAX && !clocks.of.contains_key(&origin) {
                clocks.of.clear();
            }
            clocks.of.insert(origin, ahead);
            clocks.last = Some(ahead);
        }
    }

    /// One request and its answer, read up to [`BODY_MAX`].
    ///
    /// # Errors
    /// As for [`Exchange::ask`].
    pub(crate) async fn carry(&self, request: HttpRequest) -> Result<(u16, zeroize::Zeroizing<Vec<u8>>), Trouble> {
        let request =
            reqwest::Request::try_from(request).map_err(|_| Trouble::Unreachable(Unreachable::NameUnknown))?;
        reach(Moment::BeforeRequest).await;
        let mut response = self.http.execute(request).await.map_err(|error| unreachable(&error))?;
        self.compare_clocks(&response);
        reach(Moment::BeforeAnswer).await;
        let status = response.status().as_u16();
        let mut body = zeroize::Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
            if body.len() + chunk.len() > BODY_MAX {
                return Err(Trouble::Nonsense { status, what: Nonsense::TooLong });
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }
}

/// There is no person to consent again: whoever set the client up must act, and no grant is gone for good.
fn unconsented(asked: Result<Tokens, Trouble>) -> Result<Tokens, Trouble> {
    asked.map_err(|trouble| match trouble {
        Trouble::Consent(reason) => Trouble::Client(reason),
        trouble => trouble,
    })
}

/// No HTTP client can be made.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client can be made")]
pub struct ExchangeUnusable;

fn unreachable(error: &reqwest::Error) -> Trouble {
    Trouble::Unreachable(match error {
        error if error.is_timeout() => Unreachable::TimedOut,
        error if error.is_connect() => Unreachable::Refused,
        _ => Unreachable::Lost,
    })
}
