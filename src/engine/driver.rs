//! Brings a stream, an engine and a source together. Here is the clock, and every wait has an end.
#![allow(clippy::disallowed_methods, reason = "the driver tells the time to machines that have none")]

use super::{
    machine::{Engine, Manner, Step},
    source::{Answer, Credentials, Refusal, Request, Source, perform},
};
use std::{
    future::Future,
    io,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// Octets read at once.
const READ: usize = 16 * 1024;
/// A client that says nothing before login, and after it (RFC 3501 section 5.4).
const SILENT_BEFORE_LOGIN: Duration = Duration::from_secs(60);
const SILENT: Duration = Duration::from_secs(30 * 60);
/// A client that takes nothing.
const STUCK: Duration = Duration::from_secs(60);

/// Serves one connection to its end. `sources` judges credentials and gives the mail behind them.
///
/// # Errors
/// If the stream breaks, or nothing moves on it for too long.
pub async fn serve<S, T, F>(mut stream: T, manner: Manner, sources: impl Fn(Credentials) -> F) -> io::Result<()>
where
    S: Source,
    T: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Option<S>>,
{
    let mut out = Vec::new();
    let mut engine = Engine::new(manner, &mut out);
    let mut source: Option<S> = None;
    let mut read = vec![0; READ];
    let mut input = Vec::new();
    let mut heard = Instant::now();
    let mut step = Step::More;
    loop {
        if !out.is_empty() {
            timeout(STUCK, async {
                stream.write_all(&out).await?;
                stream.flush().await
            })
            .await??;
            out.clear();
        }
        step = match step {
            Step::Done => return timeout(STUCK, stream.shutdown()).await?,
            Step::Flush => engine.resume(&mut out),
            Step::Ask(Request::SignIn(credentials)) => {
                source = sources(credentials).await;
                engine.verdict(source.is_some(), &mut out)
            }
            Step::Ask(request) => {
                let answer = match &source {
                    Some(source) => perform(source, request, now()).await,
                    None => Answer::Refused(Refusal::Unavailable),
                };
                engine.answer(answer, &mut out)
            }
            Step::More | Step::Idle if !input.is_empty() => {
                let mut rest = &input[..];
                let next = engine.input(&mut rest, &mut out);
                let taken = input.len() - rest.len();
                input.drain(..taken);
                next
            }
            Step::More | Step::Idle => {
                let silent = if engine.is_signed_in() { SILENT } else { SILENT_BEFORE_LOGIN };
                let patience = source.as_ref().filter(|_| matches!(step, Step::Idle)).map(Source::patience);
                let waits = patience.unwrap_or(silent).min(silent.saturating_sub(heard.elapsed()));
                match timeout(waits, stream.read(&mut read)).await {
                    Ok(length) => {
                        let length = length?;
                        if length == 0 {
                            return Ok(());
                        }
                        input.extend_from_slice(&read[..length]);
                        heard = Instant::now();
                        Step::More
                    }
                    Err(_) if heard.elapsed() < silent => engine.look(&mut out),
                    Err(elapsed) => return Err(elapsed.into()),
                }
            }
        };
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
