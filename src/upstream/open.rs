//! Drives an opening: dial, TLS, greeting to signed in, with a deadline for the whole.

use super::{Stream, Target, dial::dial, tls};
use crate::{
    failure::{Failure, Misbehaviour, Unreachable},
    model::{FolderTable, Security},
    relay::{
        LaneUse,
        opening::{self, Milestone, Opening, OpeningStep, SignIn, imap::ImapOpening, smtp::SmtpOpening},
    },
    wire::{imap::Capabilities, smtp::Extensions},
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

/// Progress of an opening, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Resolved(Vec<IpAddr>),
    Connected(SocketAddr),
    /// `verified`: the certificate was believed for a reason, not because any is.
    TlsEstablished {
        version: &'static str,
        verified: bool,
    },
    Greeted,
    SignedIn,
    /// How many mailboxes there are.
    FoldersRead(usize),
}

/// A signed-in connection.
pub struct Opened {
    pub facts: OpenedFacts,
    pub stream: Stream,
    /// Octets of the provider that were read with the last answer and belong to the lane.
    pub(super) rest: Vec<u8>,
}

/// What is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenedFacts {
    /// `folders` where they were asked for.
    Imap {
        capabilities: Capabilities,
        folders: Option<FolderTable>,
    },
    Smtp {
        extensions: Extensions,
    },
}

/// Why there is no lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub failure: Failure,
    /// The provider's own words, for the account's owner; never for the CRM.
    pub words: Option<String>,
    /// The provider does not take this access token: a fresh one may do.
    pub token_refused: bool,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { failure, words: None, token_refused: false }
    }
}

/// How long an opening takes at most.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// In all.
    pub whole: Duration,
    /// The greeting, and a TLS handshake, each: who stalls there must not cost what a whole opening may take.
    pub handshake: Duration,
}

/// The usual [`Deadlines::handshake`]: a few round trips, even by satellite, and a host that is slow to greet.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// How a session names itself in EHLO. Providers want a domain name or address literal and hold it against nothing when
/// the client signs in.
const EHLO_NAME: &str = "localhost";
/// One read of an opening.
pub(crate) const CHUNK: usize = 8 * 1024;

/// Dials, secures and signs in; of IMAP the folder table is read too. `own` are the bridge's listeners, which are no
/// provider.
///
/// # Errors
/// What went wrong, with the provider's words where it said some.
pub async fn open(
    target: &Target,
    purpose: LaneUse,
    sign_in: SignIn,
    own: &[SocketAddr],
    deadlines: Deadlines,
    steps: &mut (dyn FnMut(Step) + Send),
) -> Result<Opened, Refusal> {
    let order = Order { purpose, sign_in, reads_folders: true, own };
    carry_out(target, order, deadlines, steps).await
}

/// What is wanted of an opening.
pub(super) struct Order<'a> {
    pub(super) purpose: LaneUse,
    pub(super) sign_in: SignIn,
    pub(super) reads_folders: bool,
    /// The bridge's own listeners, which are no provider.
    pub(super) own: &'a [SocketAddr],
}

pub(super) async fn carry_out(
    target: &Target,
    order: Order<'_>,
    deadlines: Deadlines,
    steps: &mut (dyn FnMut(Step) + Send),
) -> Result<Opened, Refusal> {
    match timeout(deadlines.whole, connect_and_open(target, order, deadlines.handshake, steps)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::ProviderUnreachable(Unreachable::TimedOut).into()),
    }
}

async fn connect_and_open(
    target: &Target,
    order: Order<'_>,
    handshake: Duration,
    steps: &mut (dyn FnMut(Step) + Send),
) -> Result<Opened, Refusal> {
    let stream = dial(&target.endpoint, order.own, steps).await?;
    open_over(stream, target, order, handshake, steps).await
}

/// The same over a connection that stands.
pub(super) async fn open_over(
    stream: TcpStream,
    target: &Target,
    order: Order<'_>,
    handshake: Duration,
    steps: &mut (dyn FnMut(Step) + Send),
) -> Result<Opened, Refusal> {
    let security = target.endpoint.security;
    let mut stream: Stream = Box::new(stream);
    if security == Security::Tls {
        stream = secure(stream, target, handshake, steps).await?;
    }
    let door = Door { target, handshake };
    match order.purpose {
        LaneUse::Imap => {
            let opening = ImapOpening::new(security, order.sign_in, order.reads_folders);
            drive(stream, opening, &door, steps).await
        }
        LaneUse::Submission => {
            let opening = SmtpOpening::new(security, EHLO_NAME, order.sign_in);
            drive(stream, opening, &door, steps).await
        }
    }
}

/// Whom an opening talks to, and how long he may take to greet or to shake hands.
struct Door<'a> {
    target: &'a Target,
    handshake: Duration,
}

async fn secure(
    stream: Stream,
    target: &Target,
    handshake: Duration,
    steps: &mut (dyn FnMut(Step) + Send),
) -> Result<Stream, Failure> {
    let connecting = tls::connect(stream, &target.endpoint.host, &target.certificates);
    let connected = timeout(handshake, connecting).await;
    let (stream, version) = connected.unwrap_or(Err(Failure::ProviderUnreachable(Unreachable::TimedOut)))?;
    let verified = target.certificates != crate::model::Certificates::AcceptAny;
    steps(Step::TlsEstablished { version, verified });
    Ok(stream)
}

async fn drive(
    mut stream: Stream,
    mut opening: impl Opening,
    door: &Door<'_>,
    steps: &mut (dyn FnMut(Step) + Send),
) -> Result<Opened, Refusal> {
    let mut buffer = vec![0; CHUNK];
    let mut greeting = std::pin::pin!(sleep(door.handshake));
    let mut greeted = false;
    loop {
        let read = tokio::select! {
            biased;
            read = stream.read(&mut buffer) => read.unwrap_or(0),
            () = &mut greeting, if !greeted => {
                return Err(refusal(&opening, Failure::ProviderUnreachable(Unreachable::TimedOut)));
            }
        };
        if read == 0 {
            return Err(refusal(&opening, Failure::ProviderUnreachable(Unreachable::Lost)));
        }
        let mut input = buffer.get(..read).unwrap_or_default();
        let mut todo = Vec::new();
        let taken = opening.input(&mut input, &mut todo);
        taken.map_err(|failure| refusal(&opening, failure))?;
        greeted |= todo.iter().any(|step| matches!(step, OpeningStep::Progress(Milestone::Greeted)));
        match steps_of(todo, stream, &mut opening, door, steps).await? {
            Carried::On(next) => stream = next,
            Carried::Out(opened, stream) => return Ok(Opened { facts: facts(opened), stream, rest: input.to_vec() }),
        }
    }
}

fn refusal(opening: &impl Opening, failure: Failure) -> Refusal {
    Refusal { failure, words: opening.provider_words().map(str::to_owned), token_refused: opening.token_refused() }
}

enum Carried {
    On(Stream),
    Out(opening::Opened, Stream),
}

async fn steps_of(
    todo: Vec<OpeningStep>,
    mut stream: Stream,
    opening: &mut impl Opening,
    door: &Door<'_>,
    steps: &mut (dyn FnMut(Step) + Send),
) -> Result<Carried, Refusal> {
    let lost = |_| Refusal::from(Failure::ProviderUnreachable(Unreachable::Lost));
    let mut todo = std::collections::VecDeque::from(todo);
    while let Some(step) = todo.pop_front() {
        match step {
            OpeningStep::Write(octets) => {
                stream.write_all(octets.expose()).await.map_err(lost)?;
                stream.flush().await.map_err(lost)?;
            }
            // Whatever followed in clear was in the same read, and has ended the opening already.
            OpeningStep::StartTls if todo.is_empty() => {
                stream = secure(stream, door.target, door.handshake, steps).await?;
                let mut next = Vec::new();
                opening.tls_established(&mut next)?;
                todo.extend(next);
            }
            OpeningStep::StartTls => {
                return Err(Failure::ProviderMisbehaved(Misbehaviour::StarttlsInjection).into());
            }
            OpeningStep::Progress(Milestone::Greeted) => steps(Step::Greeted),
            OpeningStep::Progress(Milestone::SignedIn) => steps(Step::SignedIn),
            OpeningStep::Progress(Milestone::TlsUpgraded | Milestone::FoldersRead) => {}
            OpeningStep::Opened(opened) => {
                if let opening::Opened::Imap { folders: Some(table), .. } = &opened {
                    steps(Step::FoldersRead(table.folders.len()));
                }
                return Ok(Carried::Out(opened, stream));
            }
        }
    }
    Ok(Carried::On(stream))
}

fn facts(opened: opening::Opened) -> OpenedFacts {
    match opened {
        opening::Opened::Imap { capabilities, folders } => OpenedFacts::Imap { capabilities, folders },
        opening::Opened::Smtp { extensions } => OpenedFacts::Smtp { extensions },
    }
}
