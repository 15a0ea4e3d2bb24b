//! The failure table (design: failures): each failure, where a client can hear of it, and what it hears, as a golden file.
//!
//! No failure can be left out: the lists here are made together with a match over the very names that they hold, so that
//! a new variant does not compile until it stands in its list, and not until it has a row. `hostile_failures` provokes
//! each cell.

use passerelle::{
    failure::{Cap, Failure, LostTransaction, Misbehaviour, Rule, SmtpMoment, Unreachable},
    model::SignInLink,
};
use std::{fmt::Write as _, fs, path::Path};

const GOLDEN: &str = "tests/golden/failures.txt";

/// Where a client hears of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cell {
    /// In a tagged answer.
    Imap,
    /// Unasked, before the connection closes.
    ImapBye,
    Auth,
    Command,
    /// In answer to what waited for a lane that is gone.
    Midway,
    Closing,
}

/// What stands in the table for a failure.
pub(crate) enum Row {
    /// Each of these cells is provoked.
    Heard(&'static [Cell]),
    /// These are there, and nobody can provoke them so far.
    Later(&'static [Cell], &'static str),
    /// No client can hear of it, and why.
    Nobody(&'static str),
}

/// All values of an enum whose variants hold nothing. One that is not in the list does not compile.
macro_rules! every {
    ($type:ident: $($variant:ident)*) => {{
        const fn is_listed(value: $type) {
            match value {
                $($type::$variant => (),)*
            }
        }
        [$($type::$variant),*].map(|value| {
            is_listed(value);
            value
        })
    }};
}

/// All failures, from a list of values for each variant. One that is not in the list does not compile.
macro_rules! every_failure {
    ($($variant:ident $(($values:expr))?,)*) => {{
        const fn is_listed(failure: &Failure) {
            match failure {
                $(Failure::$variant { .. } => (),)*
            }
        }
        let mut all: Vec<Failure> = Vec::new();
        $(every_failure!(@add all $variant $(($values))?);)*
        all.iter().for_each(is_listed);
        all
    }};
    (@add $all:ident $variant:ident) => { $all.push(Failure::$variant) };
    (@add $all:ident $variant:ident ($values:expr)) => { $all.extend($values.map(Failure::$variant)) };
}

fn every_misbehaviour() -> impl Iterator<Item = Misbehaviour> {
    every!(Misbehaviour: BareLineEnd Http LineTooLong LiteralSize LiteralTooLarge Nul StarttlsInjection Syntax
        TooManyBadCommands TooManyLines TooManyMailboxes TooSlow Unasked Validity WrongState)
    .into_iter()
}

/// Each failure once. What is told alike, whatever became of the provider or of us, is one.
pub(crate) fn all() -> Vec<Failure> {
    every_failure! {
        Busy(every!(Cap: Connections Lanes Logins Queue Rate Sessions Tokens)),
        ClientMisbehaved(every_misbehaviour()),
        ConsentNeeded([None, SignInLink::new("https://mail.firm.test/sign-in/A-TICKET")]),
        Denied(every!(Rule: FromSeveral FromUnreadable Receiving Rights Sender Sending)),
        Internal(["a place in the code"]),
        LoginRefused,
        OurDiskFull,
        ProviderMisbehaved([Misbehaviour::Syntax]),
        ProviderUnreachable([Unreachable::Refused]),
        SignInRefused,
    }
}

/// Where it can be heard. No arm for "the others": a new failure is to be thought of.
fn row(failure: &Failure) -> Row {
    use Cell::{Auth, Closing, Command, Imap, ImapBye, Midway};
    use Row::{Heard, Later, Nobody};
    match failure {
        Failure::Busy(Cap::Connections | Cap::Logins) => Heard(&[ImapBye, Closing]),
        Failure::Busy(Cap::Lanes) => Heard(&[Imap, ImapBye, Auth, Command]),
        Failure::Busy(Cap::Queue) => Later(&[Command], "provoked with the queue"),
        // Messages alone wait for their turn.
        Failure::Busy(Cap::Rate) => Heard(&[Command]),
        Failure::Busy(Cap::Sessions | Cap::Tokens) => Heard(&[Imap, Auth]),
        Failure::ClientMisbehaved(misbehaviour) => match misbehaviour {
            Misbehaviour::BareLineEnd
            | Misbehaviour::Http
            | Misbehaviour::LineTooLong
            | Misbehaviour::TooManyBadCommands
            | Misbehaviour::TooSlow => Heard(&[ImapBye, Closing]),
            Misbehaviour::LiteralSize => Heard(&[ImapBye]),
            Misbehaviour::LiteralTooLarge => Heard(&[Imap, ImapBye]),
            Misbehaviour::Nul => Heard(&[Closing]),
            Misbehaviour::Syntax => Heard(&[Imap, ImapBye, Command, Closing]),
            // SMTP has words of its own for each command that is out of order.
            Misbehaviour::WrongState => Heard(&[Imap]),
            Misbehaviour::StarttlsInjection => Nobody("clients are offered no STARTTLS"),
            Misbehaviour::TooManyLines
            | Misbehaviour::TooManyMailboxes
            | Misbehaviour::Unasked
            | Misbehaviour::Validity => Nobody("only providers answer"),
        },
        Failure::ConsentNeeded(_) | Failure::SignInRefused => Heard(&[Imap, ImapBye, Auth, Command]),
        Failure::Denied(Rule::Receiving) => Heard(&[Imap]),
        Failure::Denied(Rule::Rights) => Nobody("every login has all rights so far"),
        Failure::Denied(Rule::FromSeveral | Rule::FromUnreadable) => Heard(&[Command]),
        // With the address behind a colon.
        Failure::Denied(Rule::Sender) => Heard(&[Command]),
        Failure::Denied(Rule::Sending) => Heard(&[Auth]),
        Failure::Internal(_) => Heard(&[Imap, ImapBye, Auth, Command, Closing]),
        Failure::LoginRefused => Heard(&[Imap, Auth]),
        Failure::OurDiskFull => Later(&[Imap, Command], "provoked with the spool"),
        Failure::ProviderMisbehaved(_) => Heard(&[Imap, ImapBye, Auth, Command, Midway]),
        Failure::ProviderUnreachable(_) => Heard(&[Imap, ImapBye, Auth, Command, Midway, Closing]),
    }
}

/// What is heard there.
pub(crate) fn line(failure: &Failure, cell: Cell) -> String {
    let smtp = |moment| {
        let reply = failure.smtp(moment);
        format!("{} {} {}", reply.code, reply.enhanced, reply.text)
    };
    match cell {
        Cell::Imap | Cell::ImapBye => {
            let reply = failure.imap();
            let condition = if cell == Cell::ImapBye { "* BYE" } else { reply.condition };
            let code = reply.code.map(|code| format!("[{code}] ")).unwrap_or_default();
            format!("{condition} {code}{}", reply.text)
        }
        Cell::Auth => smtp(SmtpMoment::Auth),
        Cell::Command => smtp(SmtpMoment::Command),
        Cell::Midway => smtp(SmtpMoment::Midway),
        Cell::Closing => smtp(SmtpMoment::Closing),
    }
}

/// `SignInRefused`, `Busy(Lanes)`. What is told alike, whatever became of the provider, is one row.
pub(crate) fn name(failure: &Failure) -> String {
    match failure {
        Failure::ConsentNeeded(None) => "ConsentNeeded".to_owned(),
        Failure::ConsentNeeded(Some(_)) => "ConsentNeeded, where the console is public".to_owned(),
        Failure::Internal(_) => "Internal".to_owned(),
        Failure::ProviderMisbehaved(_) => "ProviderMisbehaved".to_owned(),
        Failure::ProviderUnreachable(_) => "ProviderUnreachable".to_owned(),
        failure => format!("{failure:?}"),
    }
}

/// What became of a transaction whose lane is gone.
fn all_lost() -> [LostTransaction; 2] {
    every!(LostTransaction: NotSent Uncertain)
}

pub(crate) fn lost_line(lost: LostTransaction) -> String {
    let reply = lost.smtp();
    format!("{} {} {}", reply.code, reply.enhanced, reply.text)
}

pub(crate) fn lost_name(lost: LostTransaction) -> String {
    format!("LostTransaction::{lost:?}")
}

/// All cells that a client must be able to hear.
pub(crate) fn awaited() -> impl Iterator<Item = (String, Cell)> {
    let lost = all_lost().map(|lost| (lost_name(lost), Cell::Midway));
    let cells = all().into_iter().flat_map(|failure| {
        let cells = if let Row::Heard(cells) = row(&failure) { cells } else { &[] };
        cells.iter().map(move |cell| (name(&failure), *cell))
    });
    cells.chain(lost)
}

#[test]
fn the_failure_table_is_as_agreed() {
    let mut text = "# What clients hear of each failure: IMAP by RFC 3501 and 5530, SMTP by RFC 5321, 3463 and 4954.\n\
                    # Where a cell is missing, no client can hear of it there, or hears words of its command.\n"
        .to_owned();
    for failure in all() {
        let (cells, note) = match row(&failure) {
            Row::Heard(cells) => (cells, None),
            Row::Later(cells, note) => (cells, Some(note.to_owned())),
            Row::Nobody(note) => (&[][..], Some(format!("heard by nobody: {note}"))),
        };
        let _ = writeln!(text, "\n{}", name(&failure));
        for cell in cells {
            let _ = writeln!(text, "  {:<10} {}", format!("{cell:?}"), line(&failure, *cell));
        }
        if let Some(note) = note {
            let _ = writeln!(text, "  ({note})");
        }
    }
    for lost in all_lost() {
        let _ = writeln!(text, "\n{}\n  {:<10} {}", lost_name(lost), "Midway", lost_line(lost));
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    let agreed = fs::read_to_string(&golden).unwrap_or_default();
    if agreed != text {
        let now = Path::new(env!("CARGO_TARGET_TMPDIR")).join("failures.txt");
        fs::write(&now, &text).expect("written");
        panic!("the table differs; see: diff {} {}", golden.display(), now.display());
    }
}

#[test]
fn what_is_one_row_is_told_alike() {
    for misbehaviour in every_misbehaviour() {
        let (one, other) =
            (Failure::ProviderMisbehaved(misbehaviour), Failure::ProviderMisbehaved(Misbehaviour::Syntax));
        assert_eq!(one.imap(), other.imap());
        SmtpMoment::ALL.into_iter().for_each(|moment| assert_eq!(one.smtp(moment), other.smtp(moment)));
    }
}

#[test]
fn what_is_not_the_crms_fault_is_transient() {
    for failure in all() {
        let ours = match failure {
            Failure::Busy(_)
            | Failure::ConsentNeeded(_)
            | Failure::Internal(_)
            | Failure::OurDiskFull
            | Failure::ProviderMisbehaved(_)
            | Failure::ProviderUnreachable(_)
            | Failure::SignInRefused => true,
            Failure::ClientMisbehaved(_) | Failure::Denied(_) | Failure::LoginRefused => false,
        };
        if ours {
            for moment in SmtpMoment::ALL {
                assert_eq!(failure.smtp(moment).code / 100, 4, "{failure}");
            }
            assert!(!["AUTHENTICATIONFAILED", "NOPERM"].map(Some).contains(&failure.imap().code), "{failure}");
        }
    }
}

/// Why, a comma, and what to do.
#[test]
fn every_text_is_one_sentence_with_its_remedy() {
    let remedies = [
        "ask ", "close ", "connect ", "copy ", "correct ", "encode ", "end ", "look ", "open ", "say ", "send ",
        "sign in", "tell ", "try ", "use ",
    ];
    for failure in all() {
        let smtp = SmtpMoment::ALL.map(|moment| failure.smtp(moment).text);
        let lost = all_lost().map(|lost| lost.smtp().text);
        for text in smtp.into_iter().chain([failure.imap().text]).chain(lost) {
            assert!(text.is_ascii() && !text.contains(". ") && !text.ends_with('.'), "one sentence: {text}");
            let (_, remedy) = text.split_once(", ").unwrap_or_else(|| panic!("why, and what to do: {text}"));
            let said = remedies.iter().any(|verb| remedy.starts_with(verb) || remedy.contains(&format!(" {verb}")));
            assert!(said, "what to do: {text}");
        }
    }
}
