//! What a panic leaves behind: a line in the log with its place, and a count. Rule R21.
//!
//! A panic is a fault of the bridge. It ends the task that it is in, a session as a rule: its client's connection closes,
//! as do its lanes, and no half of a message is stored or sent. All others go on. The message of a panic is never told: it
//! may be made of what a client or a provider sent.

use std::{
    panic::{self, PanicHookInfo},
    sync::atomic::{AtomicU64, Ordering},
};

/// How a line of the log begins that tells of a panic.
pub const A_FAULT: &str = "a fault of the bridge";

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Tells every panic of this process to the log, and only there.
pub fn to_the_log() {
    panic::set_hook(Box::new(note));
}

/// Panics of this process so far.
#[must_use]
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Runs where the panic is, in the session's span.
fn note(panic: &PanicHookInfo<'_>) {
    let count = COUNT.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(place, count, "{A_FAULT}: what it was in ends, all else goes on; please report the place");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        demo::{self, Card},
        failure::{Failure, SmtpMoment},
        plant::{IN_A_REQUEST, IN_A_SESSION},
    };
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use std::{
        io,
        net::SocketAddr,
        sync::{Arc, Mutex, PoisonError},
        time::Duration,
    };
    use tokio::{
        io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
        net::TcpStream,
        task::LocalSet,
        time::timeout,
    };
    use tracing_subscriber::fmt::MakeWriter;

    /// A log that is kept.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
        }
    }

    impl io::Write for Log {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            io::Write::write(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Log {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// A client in clear.
    struct Client(BufReader<TcpStream>);

    impl Client {
        async fn connect(address: SocketAddr) -> Self {
            let mut client = Self(BufReader::new(TcpStream::connect(address).await.expect("connected")));
            client.line().await;
            client
        }

        async fn line(&mut self) -> String {
            let mut line = String::new();
            let read = timeout(Duration::from_secs(10), self.0.read_line(&mut line)).await;
            read.expect("in time").expect("a line");
            line
        }

        async fn say(&mut self, line: &str) {
            self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.expect("taken");
        }

        /// Says a command and reads to the line that starts so.
        async fn command(&mut self, line: &str, end: &str) {
            self.say(line).await;
            loop {
                let answer = self.line().await;
                if answer.starts_with(end) {
                    return;
                }
                assert!(answer.starts_with("* ") || answer.starts_with("250-"), "{line}: {answer}");
            }
        }

        /// All that comes until the other side closes.
        async fn rest(mut self) -> String {
            let mut rest = Vec::new();
            let _ = timeout(Duration::from_secs(10), self.0.read_to_end(&mut rest)).await.expect("it closes in time");
            String::from_utf8_lossy(&rest).into_owned()
        }
    }

    async fn imap(card: &Card) -> Client {
        let mut client = Client::connect(card.imap).await;
        client.command(&format!("a LOGIN {} {}", card.login, card.password.expose()), "a OK").await;
        client.command("b SELECT INBOX", "b OK").await;
        client
    }

    /// What a session has asked for panics: its client hears that the fault is ours. Of the failure table these cells are
    /// heard here, over sockets, as no other build has such a fault.
    async fn told_of_a_panic_behind_a_session(card: &Card) {
        let fault = Failure::Internal("any");
        let mut imap = Client::connect(card.imap).await;
        imap.say(&format!("a LOGIN {} x", IN_A_REQUEST.words)).await;
        let text = fault.imap().text;
        assert_eq!(imap.rest().await, format!("* BYE [SERVERBUG] {text}\r\n"));
        let mut smtp = Client::connect(card.smtp).await;
        smtp.command("EHLO crm.test", "250 ").await;
        let proof = STANDARD.encode(format!("\0{}\0x", IN_A_REQUEST.words));
        smtp.say(&format!("AUTH PLAIN {proof}")).await;
        assert_eq!(smtp.rest().await, format!("421 4.3.0 {}\r\n", fault.smtp(SmtpMoment::Closing).text));
    }

    #[tokio::test]
    async fn r21_a_planted_panic_ends_its_session_only() {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        // Where there is one subscriber alone, tracing takes that of the thread which comes first to a line of the log for
        // that of all: another test's, which has none.
        let _other = tracing::Dispatch::new(tracing_subscriber::registry());
        // Chained: other tests of this process want their own words when they panic.
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            note(panic);
            before(panic);
        }));
        LocalSet::new()
            .run_until(async {
                let house = demo::play(&mut |_| {}).await.expect("the demo plays");
                let card = &house.card;
                let mut bystander = imap(card).await;
                let counted = count();
                // More often than an account has places for lanes: each must have come back.
                for time in 1..=12 {
                    let mut client = imap(card).await;
                    client.say(&format!("c SEARCH SUBJECT {}", IN_A_SESSION.words)).await;
                    assert_eq!(client.rest().await, "", "no half of an answer");
                    // Other tests of this process may panic as well.
                    assert!(count() >= counted + time);
                    bystander.command("d NOOP", "d OK").await;
                }
                let mut smtp = Client::connect(card.smtp).await;
                smtp.command("EHLO crm.test", "250 ").await;
                smtp.say(&format!("NOOP {}", IN_A_SESSION.words)).await;
                assert_eq!(smtp.rest().await, "");
                told_of_a_panic_behind_a_session(card).await;
                // The account is usable right after.
                imap(card).await.command("e NOOP", "e OK").await;
                bystander.command("f UID SEARCH ALL", "f OK").await;

                let text = log.text();
                let told: Vec<_> = text.lines().filter(|line| line.contains(A_FAULT)).collect();
                assert_eq!(told.len(), 15, "{text}");
                let mut last = counted;
                for line in told {
                    let count = line.rsplit_once("count=").and_then(|(_, count)| count.parse().ok()).expect("a count");
                    assert!(count > last && line.contains("plant.rs:"), "{line}");
                    last = count;
                    assert!(line.contains("session{id=") && line.contains("ERROR"), "{line}");
                }
                assert!(!text.contains("planted"), "what was said is no matter of the log: {text}");
            })
            .await;
    }
}
