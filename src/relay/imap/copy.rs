//! A CRM's own copy of what it sends: an APPEND to the Sent mailbox of an account whose Sent copies the bridge sees to.
//! RFC 3501 section 6.3.11, RFC 4315.
//!
//! Its octets go to the disk and not to the provider, so that it and what was sent are one message there, whichever comes
//! first and wherever the provider is. It is never said to be stored before it is committed.

use super::{
    Session, answers,
    client::ClientReading,
    dispatch::{Command, Ready},
};
use crate::{
    failure::{Failure, Misbehaviour},
    model::Role,
    relay::{Answer, Care, Commitment, Committed, DraftId, Outbox, Request, RequestId, draft::Draft},
    rules::namespace::Route,
    wire::imap::{
        command::{Append, Arguments, Verb},
        framer::Literal,
    },
};

/// Octets of flags that are kept with a copy; no CRM writes more than two flags.
pub(crate) const COPY_FLAGS_MAX: usize = 512;

/// A copy that is under way.
pub(super) struct Copying {
    tag: Vec<u8>,
    route: Route,
    how: Commitment,
    draft: Draft,
    stage: Stage,
}

enum Stage {
    /// Its octets come.
    Coming,
    /// All of them came; its commitment, once that is asked for.
    Whole(Option<RequestId>),
    /// It stands at the provider under this UIDVALIDITY and UID, and what to tell of the first is asked for.
    Filed(RequestId, u32, u32),
}

impl Copying {
    /// Whether the client's octets wait.
    pub(super) fn rests(&self) -> bool {
        !self.is_coming() || self.draft.is_brimful()
    }

    /// Whether its octets are still to come.
    pub(super) fn is_coming(&self) -> bool {
        matches!(self.stage, Stage::Coming)
    }

    /// Of its APPEND, which is not answered yet.
    pub(super) fn tag(&self) -> &[u8] {
        &self.tag
    }
}

impl Session {
    /// Whether this command gives a copy that the bridge keeps: it needs no lane then.
    pub(super) fn gives_copy(&self, command: &Command) -> bool {
        let (Some(message), Arguments::Mailbox(mailbox)) = (&command.message, &command.arguments) else { return false };
        // An empty message is the way to give an APPEND up: the provider says what it says to that.
        let is_kept = self.care != Care::Nothing && command.head.verb == Verb::Append && message.octets > 0;
        let Some(signed) = self.signed.as_ref().filter(|_| is_kept) else { return false };
        let route = command.value(mailbox).and_then(|local| signed.namespace.resolve(&local));
        route.is_some_and(|route| self.is_sent(&route))
    }

    fn is_sent(&self, route: &Route) -> bool {
        let entries = self.signed.as_ref().into_iter().flat_map(|signed| signed.namespace.entries());
        let mut sent = entries.filter(|entry| entry.role == Some(Role::Sent));
        sent.any(|entry| entry.remote() == Some(&route.remote))
    }

    /// Begins to take a copy.
    pub(super) fn take_copy(
        &mut self,
        command: &Command,
        message: Literal,
        route: Route,
        out: &mut Outbox,
    ) -> Result<(), Failure> {
        let Some(how) = command.append.as_ref().and_then(|append| how(append, &command.octets)) else {
            return self.refuse(command, &Failure::ClientMisbehaved(Misbehaviour::Syntax), out);
        };
        self.drafts = self.drafts.wrapping_add(1);
        let draft = Draft::new(DraftId(self.drafts), true);
        if message.synchronising {
            // Never a bare `+`: laminas and Webklex look for the blank.
            out.client().extend_from_slice(b"+ Ready\r\n");
        }
        let copying = Copying { tag: command.tag().to_vec(), route, how, draft, stage: Stage::Coming };
        self.reading = ClientReading::Copy(Box::new(copying));
        Ok(())
    }

    pub(super) fn copy_octets(&mut self, mut copying: Box<Copying>, octets: &[u8], out: &mut Outbox) {
        copying.draft.take(octets, out);
        self.reading = ClientReading::Copy(copying);
    }

    /// All of it came: commits it, once the disk has it.
    pub(super) fn commit_copy(&mut self, mut copying: Box<Copying>, out: &mut Outbox) {
        let asked = copying.draft.commit(copying.route.account, copying.how.clone(), out);
        copying.stage = Stage::Whole(asked);
        self.reading = ClientReading::Copy(copying);
    }

    /// Takes an answer that is about a copy; any other is given back.
    pub(super) fn copy_answered(&mut self, id: RequestId, answer: Answer, out: &mut Outbox) -> Option<Answer> {
        let copying = match std::mem::replace(&mut self.reading, ClientReading::Command) {
            ClientReading::Copy(copying) => copying,
            reading => {
                self.reading = reading;
                // Of one that was given up.
                let is_late = matches!(answer, Answer::Spooled(_) | Answer::Committed(_) | Answer::Settled);
                return (!is_late).then_some(answer);
            }
        };
        match (answer, &copying.stage) {
            (Answer::Spooled(spooled), _) => self.copy_spooled(copying, id, spooled, out),
            (Answer::Committed(committed), Stage::Whole(Some(asked))) if *asked == id => match committed {
                Ok(Committed::Filed(upstream, uid)) => self.copy_filed(copying, upstream, uid, out),
                Ok(Committed::Kept | Committed::Queued(_) | Committed::SentBefore | Committed::UnderWay) => {
                    self.copy_kept(&copying, None);
                }
                Err(failure) => self.copy_lost(*copying, &failure, out),
            },
            (Answer::Validity(told), Stage::Filed(asked, upstream, uid)) if *asked == id => {
                let (upstream, uid) = (*upstream, *uid);
                if let Ok(told) = &told {
                    self.told.insert(copying.route.local.clone(), (upstream, *told));
                }
                self.copy_kept(&copying, told.ok().map(|told| (told, uid)));
            }
            (answer, _) => {
                self.reading = ClientReading::Copy(copying);
                return Some(answer);
            }
        }
        None
    }

    fn copy_spooled(
        &mut self,
        mut copying: Box<Copying>,
        id: RequestId,
        spooled: Result<(), Failure>,
        out: &mut Outbox,
    ) {
        match (copying.draft.spooled(id, out), spooled) {
            (true, Err(failure)) => self.copy_lost(*copying, &failure, out),
            (true, Ok(())) if matches!(copying.stage, Stage::Whole(None)) => self.commit_copy(copying, out),
            _ => self.reading = ClientReading::Copy(copying),
        }
    }

    /// It stands at the provider: under the number that the client knows that mailbox by.
    fn copy_filed(&mut self, mut copying: Box<Copying>, upstream: u32, uid: u32, out: &mut Outbox) {
        let known = self.told.get(&copying.route.local).filter(|(known, _)| *known == upstream);
        if let Some((_, told)) = known {
            let told = *told;
            return self.copy_kept(&copying, Some((told, uid)));
        }
        let Route { account, local, remote } = copying.route.clone();
        let asked = out.ask(Request::Validity { account, local, remote, upstream });
        copying.stage = Stage::Filed(asked, upstream, uid);
        self.reading = ClientReading::Copy(copying);
    }

    /// It is committed, or stands in Sent already.
    fn copy_kept(&mut self, copying: &Copying, place: Option<(u32, u32)>) {
        let code = place.map(|(uid_validity, uid)| format!("APPENDUID {uid_validity} {uid}"));
        let mut line = Vec::new();
        answers::say(&copying.tag, "OK", code.as_deref(), b"APPEND completed", &mut line);
        self.ready = Some(Ready::Answer(line));
    }

    /// It could not be kept: the client hears so behind its last octet.
    fn copy_lost(&mut self, copying: Copying, failure: &Failure, out: &mut Outbox) {
        let (is_coming, line) = (copying.is_coming(), answers::failure_line(&copying.tag, failure));
        copying.draft.drop(out);
        if is_coming {
            self.reading = ClientReading::Discard { reply: line };
        } else {
            self.ready = Some(Ready::Answer(line));
        }
    }
}

/// Of what kind a copy is to be; None where its date is none.
fn how(append: &Append, octets: &[u8]) -> Option<Commitment> {
    let date = append.date.as_ref().map(|date| date.value(octets));
    let date = match date {
        Some(date) if !is_date_time(&date) => return None,
        date => date.and_then(|date| String::from_utf8(date.into_owned()).ok()),
    };
    let flags = append.flags.clone().and_then(|flags| octets.get(flags)).unwrap_or_default();
    let (flags, seen) = kept_flags(flags);
    Some(Commitment::Copy { flags, seen, date })
}

/// The flags that an APPEND can carry, without `\Seen`, and whether that is one of them. `\Recent` and what a provider
/// could take for a fault are left out.
fn kept_flags(written: &[u8]) -> (String, bool) {
    const SYSTEM: [&str; 4] = ["\\answered", "\\flagged", "\\deleted", "\\draft"];
    let inner = written.strip_prefix(b"(").and_then(|flags| flags.strip_suffix(b")")).unwrap_or_default();
    let (mut kept, mut seen) = (String::new(), false);
    for flag in inner.split(|octet| *octet == b' ').filter_map(|flag| std::str::from_utf8(flag).ok()) {
        let is_keyword =
            !flag.is_empty() && flag.bytes().all(|octet| octet.is_ascii_graphic() && !b"(){%*\"\\]".contains(&octet));
        if flag.eq_ignore_ascii_case("\\seen") {
            seen = true;
        } else if (is_keyword || SYSTEM.contains(&&*flag.to_ascii_lowercase()))
            && kept.len() + flag.len() < COPY_FLAGS_MAX
        {
            kept.push_str(if kept.is_empty() { "" } else { " " });
            kept.push_str(flag);
        }
    }
    (kept, seen)
}

/// RFC 3501 section 9: `" 4-Mar-2024 05:06:07 +0100"`, without its quotes.
fn is_date_time(text: &[u8]) -> bool {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    const FORM: &[u8] = b"d0-mmm-0000 00:00:00 s0000";
    let fits = |(form, octet): (&u8, &u8)| match form {
        b'd' => octet.is_ascii_digit() || *octet == b' ',
        b'0' => octet.is_ascii_digit(),
        b'm' => octet.is_ascii_alphabetic(),
        b's' => matches!(octet, b'+' | b'-'),
        _ => form == octet,
    };
    let month = text.get(3..6).map(<[u8]>::to_ascii_lowercase).unwrap_or_default();
    let is_month = MONTHS.iter().any(|name| name.as_bytes() == month);
    text.len() == FORM.len() && is_month && FORM.iter().zip(text).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::imap::command;

    fn read(line: &str) -> Option<Commitment> {
        let octets = line.as_bytes();
        let head = command::head(octets).expect("a head");
        let announced = octets.len() - octets.iter().rposition(|octet| *octet == b'{').expect("a literal");
        how(&command::append(&head, octets, announced).expect("an APPEND").expect("a message"), octets)
    }

    fn copy(flags: &str, seen: bool, date: Option<&str>) -> Option<Commitment> {
        Some(Commitment::Copy { flags: flags.to_owned(), seen, date: date.map(str::to_owned) })
    }

    #[test]
    fn flags_and_date_are_kept_as_they_were_written() {
        assert_eq!(read("a APPEND Sent {3}"), copy("", false, None));
        assert_eq!(read("a APPEND Sent () {3}"), copy("", false, None));
        assert_eq!(
            read("a APPEND Sent (\\SEEN $Forwarded \\Flagged \\Recent \\New) {3}"),
            copy("$Forwarded \\Flagged", true, None)
        );
        let date = " 4-Mar-2024 05:06:07 +0100";
        assert_eq!(read(&format!("a APPEND Sent (\\Seen) \"{date}\" {{3}}")), copy("", true, Some(date)));
        let many = format!("a APPEND Sent ({} \\Seen) {{3}}", "keyword ".repeat(500).trim());
        assert!(
            matches!(read(&many), Some(Commitment::Copy { flags, seen: true, .. }) if flags.len() <= COPY_FLAGS_MAX)
        );
    }

    #[test]
    fn a_date_that_is_none_is_a_fault() {
        for date in [
            "",
            "4-Mar-2024 05:06:07 +0100",
            "14-Abc-2024 05:06:07 +0100",
            "14-Mar-2024 05:06:07 0100",
            "14-Mar-2024 05:06:07 +01000",
        ] {
            assert_eq!(read(&format!("a APPEND Sent \"{date}\" {{3}}")), None, "{date}");
        }
        assert!(is_date_time(b"14-mar-2024 05:06:07 -0330"));
    }
}
