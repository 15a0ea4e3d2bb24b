//! The openings, IMAP's and SMTP's, against a provider that says anything.
//!
//! Where STARTTLS is wanted nothing but what asks for it goes out before it (R3), and what was said before it is forgotten
//! (R5); each write is whole lines, and there are few of them whatever the provider says; its words never hold the secret
//! that it echoes; steps come in their order, the last is the last; and cuts within one read do not matter.

use crate::{
    failure::Failure,
    model::{Secret, Security},
    relay::opening::{Milestone, Opened, Opening, OpeningStep, SignIn, imap::ImapOpening, smtp::SmtpOpening},
};

const SECRETS: [&str; 3] = ["psrl-SECRET-9f3a", "psrl \"S\\CRET", "psrl-sécret"];
/// The longest opening: capabilities, STARTTLS, capabilities, three for the sign-in, capabilities, folders; and one spare.
const WRITES_MAX: usize = 9;
/// What asks for TLS, and what must come before.
const BEFORE_TLS: [&[u8]; 4] = [b"PSRL CAPABILITY\r\n", b"PSRL STARTTLS\r\n", b"EHLO bridge.test\r\n", b"STARTTLS\r\n"];
/// What no provider offers, to be told before TLS.
const MARK: &str = "XBEFORE";

/// # Panics
/// When the property does not hold.
pub fn opening(octets: &[u8]) {
    let Some((flags, mut rest)) = octets.split_first() else { return };
    let mut reads = Vec::new();
    while let Some((length, behind)) = rest.split_first() {
        let (read, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        reads.push(read);
        rest = behind;
    }
    let whole = Run::new(*flags).play(&reads, usize::MAX);
    let cut = Run::new(*flags).play(&reads, 1);
    assert!(whole == cut, "cuts matter");
}

/// A driver without sockets.
struct Run {
    opening: Box<dyn Opening>,
    secret: Option<String>,
    /// TLS is wanted and not there.
    clear: bool,
    handshake: bool,
    milestone: Option<Milestone>,
    writes: usize,
    told: Told,
    /// What the provider said in clear, and after.
    heard: [Vec<u8>; 2],
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    written: Vec<u8>,
    opened: Option<Opened>,
    failed: bool,
}

impl Run {
    fn new(flags: u8) -> Self {
        let security = [Security::None, Security::Tls, Security::Starttls, Security::Starttls][usize::from(flags & 3)];
        let user = "alice".into();
        let (sign_in, secret) = match flags >> 4 & 3 {
            0 => (SignIn::Bearer { user, token: Secret::new(SECRETS[0].to_owned()) }, Some(SECRETS[0])),
            1 => (SignIn::Nobody, None),
            _ => {
                let secret = SECRETS[usize::from(flags >> 2 & 3) % 3];
                (SignIn::Password { user, password: Secret::new(secret.to_owned()) }, Some(secret))
            }
        };
        let opening: Box<dyn Opening> = if flags & 128 == 0 {
            Box::new(ImapOpening::new(security, sign_in, flags & 64 == 0))
        } else {
            Box::new(SmtpOpening::new(security, "bridge.test", sign_in))
        };
        Self {
            opening,
            secret: secret.map(str::to_lowercase),
            clear: security == Security::Starttls,
            handshake: false,
            milestone: None,
            writes: 0,
            told: Told::default(),
            heard: Default::default(),
        }
    }

    /// `cut` is the most octets that are handed over at once; a handshake comes when all of a read is taken.
    fn play(mut self, reads: &[&[u8]], cut: usize) -> Told {
        for read in reads {
            for piece in read.chunks(cut) {
                let mut input = piece;
                let mut steps = Vec::new();
                self.heard[usize::from(!self.clear)].extend_from_slice(piece);
                let result = self.opening.input(&mut input, &mut steps);
                self.take(steps, result);
                if self.told.failed || self.told.opened.is_some() {
                    self.check();
                    return self.told;
                }
                assert!(input.is_empty(), "octets are left");
            }
            if std::mem::take(&mut self.handshake) {
                self.clear = false;
                let mut steps = Vec::new();
                let result = self.opening.tls_established(&mut steps);
                self.take(steps, result);
            }
        }
        self.check();
        self.told
    }

    fn take(&mut self, steps: Vec<OpeningStep>, result: Result<(), Failure>) {
        for step in steps {
            assert!(self.told.opened.is_none(), "a step behind the last");
            match step {
                OpeningStep::Write(octets) => self.written(octets.expose()),
                OpeningStep::StartTls => {
                    assert!(self.clear && !self.handshake, "a handshake that nobody wants");
                    self.handshake = true;
                }
                OpeningStep::Progress(milestone) => {
                    assert!(self.milestone < Some(milestone), "progress backwards");
                    self.milestone = Some(milestone);
                }
                OpeningStep::Opened(opened) => self.opened(opened),
            }
        }
        self.told.failed = result.is_err();
    }

    fn written(&mut self, octets: &[u8]) {
        assert!(!self.clear || BEFORE_TLS.contains(&octets), "{:?} in clear", String::from_utf8_lossy(octets));
        assert!(!self.handshake, "words into a handshake");
        assert!(octets.ends_with(b"\r\n") && octets.len() < 200, "no line");
        for pair in octets.windows(2) {
            assert!((pair[0] == b'\r') == (pair[1] == b'\n'), "a bare line end");
        }
        self.writes += 1;
        assert!(self.writes <= WRITES_MAX, "it goes on and on");
        self.told.written.extend_from_slice(octets);
    }

    fn opened(&mut self, opened: Opened) {
        assert!(!self.clear, "opened in clear");
        let told = |at: usize, word: &str| {
            self.heard[at].windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
        };
        for (word, known) in match &opened {
            Opened::Imap { capabilities, .. } => [(MARK, capabilities.has(MARK)), ("IDLE", capabilities.has("IDLE"))],
            Opened::Smtp { extensions } => [("PIPELINING", extensions.pipelining), ("SIZE", extensions.size.is_some())],
        } {
            assert!(!known || told(1, word), "what was said in clear is remembered");
        }
        self.told.opened = Some(opened);
    }

    fn check(&self) {
        let words = self.opening.provider_words().unwrap_or_default();
        let tells = self.secret.as_ref().is_some_and(|secret| words.to_lowercase().contains(secret));
        assert!(!tells, "the secret is in the provider's words: {words}");
        assert!(!words.contains(char::is_control) && words.len() < 8_000, "no words for people: {words:?}");
        assert!(self.told.failed || !self.opening.token_refused(), "a token refused that is not");
    }
}
