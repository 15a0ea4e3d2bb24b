//! What is done with a whole command of a client that has signed in.

use super::{
    Asked, ClientReading, Numbers, PENDING_MAX, Pending, Session, answers, refusal::Refusal, writer::goes_in_parts,
};
use crate::{
    failure::{Failure, Misbehaviour},
    model::LocalName,
    relay::{HIGH_WATER, Outbox, Request, folders::FolderReading},
    rules::{imap::splice, listing, namespace::Route},
    wire::imap::{
        command::{Append, Arguments, Head, Verb},
        framer::Literal,
        token::{Form, Token, write_string},
    },
};

/// What waits for its turn.
pub(super) enum Ready {
    Command(Command),
    Refusal(Refusal),
    /// The answer to a command that was carried out meanwhile.
    Answer(Vec<u8>),
}

/// A whole command; of an APPEND, its front.
pub(super) struct Command {
    pub(super) head: Head,
    /// As on the wire, without the last CR LF.
    pub(super) octets: Vec<u8>,
    pub(super) arguments: Arguments,
    /// The message that an APPEND announces.
    pub(super) message: Option<Literal>,
    /// What else an APPEND says.
    pub(super) append: Option<Box<Append>>,
    /// The folder table was looked at anew for it.
    pub(super) fresh: bool,
    /// It, or what the bridge asks for it, was sent to a lane that was lost before it answered.
    pub(super) repeated: bool,
}

impl Command {
    pub(super) fn new(head: Head, octets: Vec<u8>, arguments: Arguments) -> Self {
        Self { head, octets, arguments, message: None, append: None, fresh: false, repeated: false }
    }

    pub(super) fn append(head: Head, octets: Vec<u8>, append: Append, message: Literal) -> Self {
        let mailbox = Arguments::Mailbox(append.mailbox.clone());
        Self { message: Some(message), append: Some(Box::new(append)), ..Self::new(head, octets, mailbox) }
    }

    pub(super) fn tag(&self) -> &[u8] {
        self.octets.get(self.head.tag.clone()).unwrap_or_default()
    }

    /// Whether the answer needs the folder table; `LIST "" ""` asks for the delimiter alone.
    fn lists_mailboxes(&self) -> bool {
        matches!(&self.arguments, Arguments::List(query) if !self.asks_for_root(query))
    }

    pub(super) fn value(&self, token: &Token) -> Option<LocalName> {
        LocalName::parse(&token.value(&self.octets)).ok()
    }
}

/// When a command may run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// When nothing is pending; what follows waits for it.
    Exclusive,
    /// At once.
    Forwarded,
    /// When nothing is pending; answered by the bridge.
    Local,
}

fn turn(verb: Verb) -> Turn {
    match verb {
        Verb::Capability | Verb::Id | Verb::List | Verb::Logout | Verb::Lsub | Verb::Myrights | Verb::Namespace => {
            Turn::Local
        }
        Verb::Authenticate | Verb::Login | Verb::Starttls | Verb::Xlist => Turn::Local,
        Verb::Close | Verb::Create | Verb::Delete | Verb::Examine | Verb::Rename | Verb::Select => Turn::Exclusive,
        Verb::Idle | Verb::Subscribe | Verb::Unselect | Verb::Unsubscribe => Turn::Exclusive,
        Verb::Append | Verb::Check | Verb::Copy | Verb::Expunge | Verb::Fetch | Verb::Move | Verb::Noop => {
            Turn::Forwarded
        }
        Verb::Search | Verb::Sort | Verb::Status | Verb::Store | Verb::Thread => Turn::Forwarded,
    }
}

impl Session {
    /// Runs a command or refuses it, if its turn has come, else keeps it.
    pub(super) fn dispatch(&mut self, ready: Ready, out: &mut Outbox) -> Result<(), Failure> {
        match ready {
            Ready::Refusal(refusal) if self.is_idle() => self.refused(refusal, out),
            Ready::Answer(line) if self.is_idle() => {
                out.client().extend_from_slice(&line);
                Ok(())
            }
            // Looked at as soon as the command is there: later the tag may be free, and two answers alike.
            Ready::Command(command) if self.pending.iter().any(|pending| pending.tag == command.tag()) => {
                self.refuse(&command, &Failure::ClientMisbehaved(Misbehaviour::WrongState), out)
            }
            Ready::Command(command) if self.may_run(&command) => {
                if self.is_possible(&command) && self.needs_lane(&command) && !self.has_lane() {
                    self.ready = Some(Ready::Command(command));
                    self.ask_for_lane(Asked::Lane, out);
                    return Ok(());
                }
                self.run(command, out)
            }
            ready => {
                self.ready = Some(ready);
                Ok(())
            }
        }
    }

    fn may_run(&self, command: &Command) -> bool {
        if self.answers_unseen(command) || self.gives_copy(command) {
            return self.is_idle();
        }
        let exclusive = self.pending.iter().any(|pending| turn(pending.verb) == Turn::Exclusive);
        match turn(command.head.verb) {
            Turn::Exclusive | Turn::Local => self.is_idle(),
            Turn::Forwarded if command.head.verb == Verb::Noop && self.selected.is_none() => self.is_idle(),
            Turn::Forwarded => !exclusive && self.pending.len() < PENDING_MAX && self.writer.octets() < HIGH_WATER,
        }
    }

    /// Whether this command needs a lane before it runs.
    fn needs_lane(&self, command: &Command) -> bool {
        match command.head.verb {
            Verb::Capability | Verb::Id | Verb::Logout | Verb::Namespace => false,
            Verb::Append if self.gives_copy(command) => false,
            Verb::Status if self.answers_unseen(command) => self.resolve_status(command).is_none(),
            // The table may be known well enough; else a lane is asked for when it is to be read.
            Verb::Idle | Verb::List | Verb::Lsub | Verb::Myrights | Verb::Noop | Verb::Xlist => self.selected.is_some(),
            _ => true,
        }
    }

    fn run(&mut self, command: Command, out: &mut Outbox) -> Result<(), Failure> {
        let verb = command.head.verb;
        if !self.is_possible(&command) {
            return self.refuse(&command, &Failure::ClientMisbehaved(Misbehaviour::WrongState), out);
        }
        match verb {
            Verb::List | Verb::Lsub | Verb::Xlist if self.is_costly(&command) => {
                self.refuse_with(&command, "LIMIT", b"This pattern has too many wildcards", out)
            }
            Verb::List | Verb::Lsub | Verb::Xlist if !command.fresh && command.lists_mailboxes() => {
                self.refresh(command, out)
            }
            Verb::Logout => {
                self.logout(command.tag(), out);
                Ok(())
            }
            Verb::Noop if self.selected.is_some() => self.forward(command, None, out),
            Verb::Capability | Verb::Id | Verb::List | Verb::Lsub | Verb::Namespace | Verb::Noop | Verb::Xlist => {
                self.local(&command, out);
                Ok(())
            }
            Verb::Unselect => self.unselect(command, out),
            Verb::Idle => {
                self.idle(command.tag(), out);
                Ok(())
            }
            Verb::Status if self.answers_unseen(&command) => self.unseen(command, out),
            _ => match command.arguments.clone() {
                Arguments::Mailbox(mailbox) | Arguments::Status { mailbox, .. } => {
                    self.with_mailbox(command, &mailbox, out)
                }
                Arguments::Rename { from, to } => self.rename(command, &from, &to, out),
                _ => self.forward(command, None, out),
            },
        }
    }

    /// Whether the state and what the provider offers allow the command. What is not offered gets BAD from us.
    fn is_possible(&self, command: &Command) -> bool {
        let has = |word: &str| self.signed.as_ref().is_some_and(|signed| signed.capabilities.has(word));
        let selected = self.selected.is_some();
        match command.head.verb {
            Verb::Authenticate | Verb::Login | Verb::Starttls => false,
            Verb::Check | Verb::Close | Verb::Copy | Verb::Fetch | Verb::Search | Verb::Store | Verb::Unselect => {
                selected
            }
            Verb::Expunge => selected && (!command.head.uid || has("UIDPLUS")),
            Verb::Move => selected && has("MOVE"),
            Verb::Sort => selected && has("SORT"),
            Verb::Thread => {
                selected && ["THREAD=REFERENCES", "THREAD=REFS", "THREAD=ORDEREDSUBJECT"].into_iter().any(has)
            }
            _ => true,
        }
    }

    /// Answers a command without the provider.
    pub(super) fn local(&mut self, command: &Command, out: &mut Outbox) {
        let verb = command.head.verb;
        match (&command.arguments, &self.signed) {
            (Arguments::List(query), Some(signed)) => {
                if command.asks_for_root(query) {
                    answers::root(verb, &signed.namespace, out.client());
                } else {
                    let patterns = command.patterns(query);
                    let query = listing::Query { verb, patterns: &patterns, extended: query.extended };
                    answers::list(&signed.namespace, &query, out.client());
                }
            }
            (_, Some(signed)) if verb == Verb::Namespace => answers::namespace(&signed.namespace, out.client()),
            _ if verb == Verb::Capability => self.capability(out),
            _ => answers::untagged(verb, b"", out.client()),
        }
        answers::say(command.tag(), "OK", None, format!("{} completed", verb.name()).as_bytes(), out.client());
    }

    pub(super) fn logout(&mut self, tag: &[u8], out: &mut Outbox) {
        self.release(out);
        answers::say(b"*", "BYE", None, b"Passerelle says goodbye", out.client());
        answers::say(tag, "OK", None, b"LOGOUT completed", out.client());
        self.ended = true;
    }

    fn with_mailbox(&mut self, command: Command, mailbox: &Token, out: &mut Outbox) -> Result<(), Failure> {
        let verb = command.head.verb;
        let local = command.value(mailbox);
        let route = local.as_ref().and_then(|local| self.route(verb, local));
        let route = route.or_else(|| self.route_of_unknown(&command, local.as_ref()?));
        let Some(route) = route else {
            // What the table does not have may have been made since, by another program.
            return if command.fresh { self.refuse_name(&command, out) } else { self.refresh(command, out) };
        };
        if matches!(verb, Verb::Subscribe | Verb::Unsubscribe) && !self.provider_subscribes() {
            self.subscribe(command.tag(), verb, route, out);
            return Ok(());
        }
        if verb == Verb::Myrights {
            let name = mailbox.value(&command.octets);
            answers::untagged(verb, &name, out.client());
            answers::say(command.tag(), "OK", None, b"MYRIGHTS completed", out.client());
            return Ok(());
        }
        match command.message {
            Some(message) if message.octets > self.facts.message_max => {
                self.refuse_with(&command, "TOOBIG", b"The message is larger than allowed", out)
            }
            Some(message) if self.gives_copy(&command) => self.take_copy(&command, message, route, out),
            Some(message) => self.forward_append(&command, mailbox, message, route, out),
            None => self.forward(command, Some((mailbox, route)), out),
        }
    }

    /// The route of a name: of an existing mailbox, or for the verbs that need none, of one that could exist.
    fn route(&self, verb: Verb, local: &LocalName) -> Option<Route> {
        let namespace = &self.signed.as_ref()?.namespace;
        match verb {
            Verb::Create => namespace.resolve(local).or_else(|| namespace.route_of_new(local)),
            Verb::Unsubscribe => namespace.resolve(local).or_else(|| namespace.resolve_gone(local)),
            _ => namespace.resolve(local),
        }
    }

    /// The provider judges whether to forget a subscription to what is not there: Cyrus renames it with the mailbox, and
    /// says OK to a client that then unsubscribes from the old name.
    fn route_of_unknown(&self, command: &Command, local: &LocalName) -> Option<Route> {
        let asks = command.head.verb == Verb::Unsubscribe && command.fresh && self.provider_subscribes();
        self.signed.as_ref().filter(|_| asks)?.namespace.route_of_new(local)
    }

    /// Looks at the folder table anew, then runs the command again.
    pub(super) fn refresh(&mut self, command: Command, out: &mut Outbox) -> Result<(), Failure> {
        if !self.is_idle() {
            self.ready = Some(Ready::Command(command));
            return Ok(());
        }
        let Some(signed) = &self.signed else { return Err(Failure::Internal("a command before login")) };
        let account = signed.namespace.account();
        self.ready = Some(Ready::Command(Command { fresh: true, ..command }));
        self.ask(Request::Folders(account), Asked::Folders, out);
        Ok(())
    }

    /// Nobody has read the table lately: read it over this session's lane.
    pub(super) fn read_folders(&mut self, out: &mut Outbox) -> Result<(), Failure> {
        let Some(signed) = &self.signed else { return Err(Failure::Internal("a reading before login")) };
        let (reading, lines) = FolderReading::begin(&signed.capabilities);
        self.to_lane(&lines, out);
        self.folders = Some(reading);
        Ok(())
    }

    pub(super) fn plus(&self) -> bool {
        self.signed.as_ref().is_some_and(|signed| signed.capabilities.has("LITERAL+"))
    }

    /// Sends a command to the lane, its mailbox name in the provider's words.
    pub(super) fn forward(
        &mut self,
        command: Command,
        named: Option<(&Token, Route)>,
        out: &mut Outbox,
    ) -> Result<(), Failure> {
        let plus = self.plus();
        let octets = match &named {
            Some((token, route)) => splice(&command.octets, token, route.remote.as_bytes(), plus),
            None => command.octets.clone(),
        };
        let spelled = named.as_ref().map(|(token, _)| spelled(&command, token)).unwrap_or_default();
        let route = named.map(|(_, route)| route);
        let Some(signed) = &self.signed else { return Err(Failure::Internal("a command before login")) };
        if matches!(command.head.verb, Verb::Select | Verb::Examine) {
            self.selected = None;
            self.opening = Numbers::default();
        }
        self.writer.command(command.tag(), &octets, &signed.capabilities);
        self.flush_writer(out);
        // Only what is pending alone is ever repeated: many would be held for nothing.
        let alone = self.pending.is_empty() && !command.repeated;
        let harmless = alone && matches!(command.head.verb, Verb::Examine | Verb::Select | Verb::Status);
        let pending = Pending { route, spelled, ..Pending::of(command.tag(), command.head.verb) };
        self.pending.push_back(Pending { again: harmless.then(|| Box::new(command)), ..pending });
        Ok(())
    }

    fn forward_append(
        &mut self,
        command: &Command,
        mailbox: &Token,
        message: Literal,
        route: Route,
        out: &mut Outbox,
    ) -> Result<(), Failure> {
        let octets = splice(&command.octets, mailbox, route.remote.as_bytes(), self.plus());
        let Some(signed) = &self.signed else { return Err(Failure::Internal("a command before login")) };
        // Commands before it, and the name of its mailbox, may still wait for a `+` of theirs: then the message waits too,
        // or its octets would go first, as a name and commands.
        let behind = !self.writer.is_empty() || goes_in_parts(&octets, &signed.capabilities);
        let waits = behind || message.synchronising || !signed.capabilities.takes_non_synchronising(message.octets);
        self.writer.append(command.tag(), &octets, waits, &signed.capabilities);
        self.flush_writer(out);
        let tag = command.tag().to_vec();
        self.reading =
            if waits { ClientReading::AwaitingGoAhead { tag, message } } else { ClientReading::Message { tag } };
        self.pending.push_back(Pending { route: Some(route), ..Pending::of(command.tag(), Verb::Append) });
        Ok(())
    }

    /// UNSELECT is offered whatever the provider has: where it lacks it, INBOX is opened read-only and closed, which
    /// expunges nothing.
    fn unselect(&mut self, command: Command, out: &mut Outbox) -> Result<(), Failure> {
        let Some(signed) = &self.signed else { return Err(Failure::Internal("a command before login")) };
        if signed.capabilities.has("UNSELECT") {
            return self.forward(command, None, out);
        }
        self.to_lane(b"PSRLe EXAMINE INBOX\r\n", out);
        self.selected = None;
        let spelled = command.tag().to_vec();
        self.pending.push_back(Pending { own: true, spelled, ..Pending::of(b"PSRLe", Verb::Examine) });
        Ok(())
    }

    /// A command of ours ended. CLOSE goes out only when INBOX is surely open read-only: where EXAMINE was refused the
    /// old mailbox may still be selected, and CLOSE would expunge it.
    pub(super) fn own_ended(&mut self, ended: Pending, ok: bool, out: &mut Outbox) -> Result<(), Failure> {
        match ended.verb {
            Verb::Select => return self.reselected(ok, out),
            Verb::Idle | Verb::Noop => self.idle_command_ended(ended.verb, ok, out),
            Verb::Fetch => self.idle_upstream(out),
            Verb::Examine if ok => {
                self.to_lane(b"PSRLc CLOSE\r\n", out);
                let spelled = ended.spelled;
                self.pending.push_back(Pending { own: true, spelled, ..Pending::of(b"PSRLc", Verb::Unselect) });
            }
            _ => answers::say(&ended.spelled, "OK", None, b"UNSELECT completed", out.client()),
        }
        Ok(())
    }

    pub(super) fn to_lane(&self, octets: &[u8], out: &mut Outbox) {
        if let Some(lane) = self.signed.as_ref().and_then(|signed| signed.lane) {
            out.lane(lane).extend_from_slice(octets);
        }
    }

    pub(super) fn flush_writer(&mut self, out: &mut Outbox) {
        if let Some(lane) = self.signed.as_ref().and_then(|signed| signed.lane) {
            self.writer.flush(out.lane(lane));
        }
    }
}

impl Pending {
    pub(super) fn of(tag: &[u8], verb: Verb) -> Self {
        Self { tag: tag.to_vec(), verb, route: None, target: None, spelled: Vec::new(), own: false, again: None }
    }
}

/// A name as an answer can echo it: what was sent as a literal is quoted.
pub(super) fn spelled(command: &Command, token: &Token) -> Vec<u8> {
    if token.form != Form::Literal {
        return command.octets.get(token.span.clone()).unwrap_or_default().to_vec();
    }
    let mut name = Vec::new();
    write_string(&token.value(&command.octets), false, &mut name);
    name
}
