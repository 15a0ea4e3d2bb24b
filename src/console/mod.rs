//! The pages of the bridge, for a browser: so far those of a sign-in at a provider. Start, what came back, result.
//!
//! Plain HTTP on loopback, one request a connection, everything capped; no script, nothing kept by the browser but a
//! cookie of ten minutes. It decides nothing: that is `control`'s. It must not show a word of a provider or a browser that
//! is not escaped, and logs no address of a request, which holds codes.

mod guard;
mod pages;
mod words;

use crate::{
    control::{
        self,
        consent::{self, Refusal, Tables},
    },
    model::Secret,
    oauth::flow::consent::{NotReturned, RETURNED_MAX, Returned, pasted, returned},
    store::{Store, consent::Bound, unix_now},
};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode},
    middleware,
    response::Response,
    routing::{get, post},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use oauth2::url::form_urlencoded;
use pages::{Page, Say};
use std::{sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Browsers at once: people who sign in, one page at a time.
pub(crate) const CONNECTIONS: u32 = 32;
/// The head of a request.
pub(crate) const HEAD: Duration = Duration::from_secs(10);
/// A request with its answer: a sign-in tries both services of the provider, at most 45 s each, after two exchanges.
pub(crate) const REQUEST: Duration = Duration::from_secs(120);
/// A form, which is a few kilobytes: whoever sends it slowly keeps a place from others.
pub(crate) const FORM: Duration = Duration::from_secs(10);
/// The head's octets: an address with a code, and cookies.
pub(crate) const HEAD_MAX: usize = 32 * 1024;
/// A form's: a pasted address, each octet of it as `%XX`.
pub(crate) const FORM_MAX: usize = 3 * RETURNED_MAX + 64;
/// Where the system gives no descriptor.
pub(crate) const NO_DESCRIPTOR: Duration = Duration::from_millis(200);

/// A sign-in that is under way when the bridge stops: its two exchanges, and room to commit what came of them.
pub(crate) const SETTLE: Duration = Duration::from_secs(60);

/// What the pages need.
pub struct Console {
    pub store: Store,
    pub tables: Tables,
    /// The host of the public address, beside those of this machine.
    pub public_host: Option<String>,
    /// Whether browsers come by TLS.
    pub secure: bool,
    pub under_way: UnderWay,
}

/// Sign-ins whose code is being exchanged, each for itself: their browsers may be gone.
#[derive(Clone)]
pub struct UnderWay(Arc<Semaphore>);

impl Default for UnderWay {
    /// No more at once than there are browsers.
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CONNECTIONS as usize)))
    }
}

impl UnderWay {
    /// Ends when none is under way: a code is good once, and what came for it is nowhere else. Or when it takes too long.
    pub async fn settle(&self) {
        if timeout(SETTLE, self.0.acquire_many(CONNECTIONS)).await.is_err() {
            tracing::warn!("a sign-in at a provider that does not end is cut");
        }
    }
}

/// Answers browsers until `stop` says so, then waits for those that are being answered.
pub async fn accept(listener: TcpListener, console: Arc<Console>, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS as usize));
    let router = router(console);
    let mut browsers = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        while browsers.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            sleep(NO_DESCRIPTOR).await;
            continue;
        };
        // Who is one too many is closed: a browser tries again.
        if let Ok(place) = places.clone().try_acquire_owned() {
            let (router, stop) = (router.clone(), stop.clone());
            browsers.spawn(async move {
                let _ = timeout(REQUEST, answer_one(stream, router, stop)).await;
                drop(place);
            });
        }
    }
    drop(listener);
    while browsers.join_next().await.is_some() {}
}

/// Browsers open connections on which they ask nothing: those end when the bridge does.
async fn answer_one(stream: TcpStream, router: Router, mut stop: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    // What a browser does wrong is its own matter.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

type Shared = State<Arc<Console>>;

fn router(console: Arc<Console>) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/style.css", get(async || pages::style()))
        .route("/sign-in/{ticket}", get(start).post(go))
        .route("/sign-in/{ticket}/answer", post(paste))
        .route("/oauth/callback/{provider}", get(callback))
        .fallback(|headers: HeaderMap| async move { Page::new(&headers).error(StatusCode::NOT_FOUND, Say::NotFound) })
        .layer(middleware::from_fn_with_state(console.clone(), guard::guard))
        .with_state(console)
}

async fn home(headers: HeaderMap) -> Response {
    Page::new(&headers).home()
}

/// The page of a one-time link. Looking at it does nothing: programs that read mail do so, too.
async fn start(State(console): Shared, Path(ticket): Path<String>, headers: HeaderMap) -> Response {
    let page = Page::new(&headers);
    match consent::invited(&console.store, &Secret::new(ticket.clone()), unix_now()).await {
        Ok((_, order)) => page.start(&ticket, &order),
        Err(error) => page.failed(&error),
    }
}

/// To the provider.
async fn go(State(console): Shared, Path(ticket): Path<String>, headers: HeaderMap) -> Response {
    let page = Page::new(&headers);
    let now = unix_now();
    let sent = async {
        let (known, order) = consent::invited(&console.store, &Secret::new(ticket), now).await?;
        consent::send(&console.store, &known, &order, now).await
    };
    match sent.await {
        Ok(sending) => pages::away(&sending, console.secure),
        Err(error) => page.failed(&error),
    }
}

/// What a person copied from a browser that did not find its way back.
async fn paste(State(console): Shared, Path(ticket): Path<String>, request: Request) -> Response {
    let page = Page::new(request.headers());
    let Ok(read) = timeout(FORM, to_bytes(request.into_body(), FORM_MAX)).await else {
        return page.failed(&Refusal::from(NotReturned).into());
    };
    let Ok(body) = read else {
        return page.error(StatusCode::PAYLOAD_TOO_LARGE, Say::TooLong);
    };
    let address = form_urlencoded::parse(&body).find(|(name, _)| name == "address");
    let Some((_, address)) = address else { return page.failed(&Refusal::from(NotReturned).into()) };
    let read = pasted(&address);
    match read {
        Ok((at, returned)) => answered(console, page, returned, at, To::Ticket(Secret::new(ticket))).await,
        Err(error) => page.failed(&Refusal::from(error).into()),
    }
}

/// What the provider sent a browser back with.
async fn callback(State(console): Shared, request: Request<Body>) -> Response {
    let page = Page::new(request.headers());
    let returned = match returned(request.uri().query().unwrap_or_default()) {
        Ok(returned) => returned,
        Err(error) => return page.failed(&Refusal::from(error).into()),
    };
    let Some(cookie) = pages::cookie_of(request.headers(), &returned.state) else {
        return page.failed(&Refusal::Unknown.into());
    };
    let gone = pages::cookie_gone(&returned.state, console.secure);
    let at = request.uri().path().to_owned();
    let mut response = answered(console, page, returned, at, To::Cookie(cookie)).await;
    // An answer that is none takes nothing away: whoever sends it from elsewhere would end the sign-in.
    if let Some(gone) = gone.filter(|_| response.status() != StatusCode::BAD_REQUEST) {
        response.headers_mut().append("set-cookie", gone);
    }
    response
}

/// To what an answer is bound.
enum To {
    Cookie(Secret<String>),
    Ticket(Secret<String>),
}

async fn answered(console: Arc<Console>, page: Page, returned: Returned, at: String, to: To) -> Response {
    // A task of its own: a browser that goes away must not cut an exchange between the provider and the store.
    let done = tokio::spawn(async move {
        // It is never closed.
        let _under_way = console.under_way.0.clone().acquire_owned().await;
        let bound = match &to {
            To::Cookie(cookie) => Bound::Cookie(cookie.expose()),
            To::Ticket(ticket) => Bound::Ticket(ticket),
        };
        consent::answer(&console.store, &console.tables, returned, &at, bound, unix_now()).await
    });
    match done.await {
        Ok(Ok(done)) => {
            tracing::info!(account = done.address.as_str(), "signed in at the provider");
            page.done(&done)
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "a sign-in at a provider came to nothing");
            page.failed(&error)
        }
        Err(_) => page.error(StatusCode::INTERNAL_SERVER_ERROR, Say::Fault),
    }
}

/// What a browser is told of what stands in the way.
fn kind(error: &control::Error) -> (StatusCode, Say) {
    use control::Error;
    match error {
        Error::Consent(Refusal::Unknown) => (StatusCode::BAD_REQUEST, Say::Unknown),
        Error::Consent(Refusal::NotReturned(_)) => (StatusCode::BAD_REQUEST, Say::NotReturned),
        Error::Consent(Refusal::Denied(_)) => (StatusCode::FORBIDDEN, Say::Denied),
        Error::Consent(Refusal::Moved(_)) => (StatusCode::GONE, Say::Moved),
        Error::Consent(Refusal::OtherPerson { .. }) => (StatusCode::FORBIDDEN, Say::OtherPerson),
        Error::Consent(_) | Error::ScopeMissing { .. } => (StatusCode::FORBIDDEN, Say::Failed),
        Error::Kept { why, .. } => (kind(why).0, Say::Kept),
        Error::Spent(why) => kind(why),
        Error::Grant { .. } | Error::Refused(_) => (StatusCode::BAD_GATEWAY, Say::Failed),
        Error::Store(_) | Error::NoHttp => (StatusCode::INTERNAL_SERVER_ERROR, Say::Fault),
        _ => (StatusCode::CONFLICT, Say::Failed),
    }
}
