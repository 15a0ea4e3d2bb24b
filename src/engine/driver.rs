//! Brings streams, machines and sources together. Here is the clock, and every wait has an end.
#![allow(clippy::disallowed_methods, reason = "the driver tells the time to machines that have none")]

use super::{
    machine::{Engine, Manner, Step},
    sink::{Envelope, Sink, SinkStep},
    source::{Answer, Credentials, Refusal, Request, Source, perform},
    tokens,
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
        write(&mut stream, &mut out).await?;
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
                        input.extend_from_slice(read.get(..length).unwrap_or_default());
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

/// Serves one submission connection to its end. `judge` says who is let in, `deliver` keeps what they send, or says with
/// which reply it does not.
///
/// # Errors
/// As [`serve`].
pub async fn serve_sink<W, T, F>(
    mut stream: T,
    mut sink: Sink,
    mut out: Vec<u8>,
    judge: impl Fn(Credentials) -> F,
    deliver: impl Fn(&W, Envelope, i64) -> Result<(), &'static str>,
) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Option<W>>,
{
    let mut who: Option<W> = None;
    let mut read = vec![0; READ];
    let mut input = Vec::new();
    let mut step = SinkStep::More;
    loop {
        write(&mut stream, &mut out).await?;
        step = match step {
            SinkStep::Done => return timeout(STUCK, stream.shutdown()).await?,
            SinkStep::Judge(credentials) => {
                who = judge(credentials).await;
                sink.verdict(who.is_some(), &mut out)
            }
            SinkStep::Deliver(envelope) => {
                let kept =
                    who.as_ref().map_or(Err("451 4.3.0 nobody is signed in"), |who| deliver(who, envelope, now()));
                sink.delivered(kept, &mut out)
            }
            SinkStep::More if !input.is_empty() => {
                let mut rest = &input[..];
                let next = sink.input(&mut rest, &mut out);
                let taken = input.len() - rest.len();
                input.drain(..taken);
                next
            }
            SinkStep::More => {
                let length =
                    timeout(if who.is_some() { SILENT } else { SILENT_BEFORE_LOGIN }, stream.read(&mut read)).await??;
                if length == 0 {
                    return Ok(());
                }
                input.extend_from_slice(read.get(..length).unwrap_or_default());
                SinkStep::More
            }
        };
    }
}

/// Answers the one request of a connection to a token endpoint. `answer` takes a form and the time.
///
/// # Errors
/// As [`serve`].
pub async fn serve_tokens(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl FnOnce(&[u8], i64) -> (u16, String),
) -> io::Result<()> {
    let mut input = Vec::new();
    let mut part = vec![0; READ];
    let form = loop {
        match tokens::read(&input) {
            tokens::Read::Form(form) => break Some(form),
            tokens::Read::Bad => break None,
            tokens::Read::More => {
                let length = timeout(SILENT_BEFORE_LOGIN, stream.read(&mut part)).await??;
                if length == 0 {
                    return Ok(());
                }
                input.extend_from_slice(part.get(..length).unwrap_or_default());
            }
        }
    };
    let (status, body) = form.map_or((400, r#"{"error":"invalid_request"}"#.to_owned()), |form| answer(&form, now()));
    write(&mut stream, &mut tokens::write(status, &body)).await?;
    timeout(STUCK, stream.shutdown()).await?
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), out: &mut Vec<u8>) -> io::Result<()> {
    if !out.is_empty() {
        timeout(STUCK, async {
            stream.write_all(out).await?;
            stream.flush().await
        })
        .await??;
        out.clear();
    }
    Ok(())
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
