//! Commands on the tree of mailboxes: what they ask of it, and what the bridge keeps of it where the provider does not.
//!
//! It decides what a name may become; which names there are is the namespace's to say.

use super::{
    Asked, Pending, Session, answers,
    dispatch::{Command, spelled},
};
use crate::{
    failure::Failure,
    model::UnreadScope,
    relay::{Keep, Outbox, Request},
    rules::{
        imap::splice,
        listing,
        namespace::{Namespace, Route},
    },
    wire::imap::{
        command::{Arguments, ListQuery, Verb},
        response::Status,
        token::Token,
    },
};
use std::sync::Arc;

/// Steps of one LIST: some tenth of a second. A pattern of ten octets over 10,000 names of 100 takes a third of it.
pub(crate) const LIST_COST_MAX: u64 = 32 * 1024 * 1024;

impl Command {
    /// Whether this is the question for the delimiter (RFC 3501 6.3.8), which the extended forms do not have.
    pub(super) fn asks_for_root(&self, query: &ListQuery) -> bool {
        query.extended.is_none() && query.patterns.iter().all(|pattern| pattern.value(&self.octets).is_empty())
    }

    /// The patterns, the reference before each.
    pub(super) fn patterns(&self, query: &ListQuery) -> Vec<Vec<u8>> {
        let reference = query.reference.value(&self.octets);
        query.patterns.iter().map(|pattern| [&reference[..], &pattern.value(&self.octets)].concat()).collect()
    }
}

impl Session {
    /// Whether a LIST would hold up other sessions.
    pub(super) fn is_costly(&self, command: &Command) -> bool {
        match (&command.arguments, &self.signed) {
            (Arguments::List(query), Some(signed)) => {
                listing::cost(&signed.namespace, &command.patterns(query)) > LIST_COST_MAX
            }
            _ => false,
        }
    }

    /// Whether this STATUS asks for nothing but what is told to be none: unread messages count in INBOX alone.
    pub(super) fn answers_unseen(&self, command: &Command) -> bool {
        match &command.arguments {
            Arguments::Status { mailbox, unseen_alone: true } if self.unread == UnreadScope::Inbox => {
                command.value(mailbox).is_some_and(|local| !local.is_inbox())
            }
            _ => false,
        }
    }

    pub(super) fn resolve_status(&self, command: &Command) -> Option<Route> {
        let Arguments::Status { mailbox, .. } = &command.arguments else { return None };
        self.signed.as_ref()?.namespace.resolve(&command.value(mailbox)?)
    }

    /// Answers it without the provider.
    pub(super) fn unseen(&mut self, command: Command, out: &mut Outbox) -> Result<(), Failure> {
        let Arguments::Status { mailbox, .. } = &command.arguments else { return Ok(()) };
        if self.resolve_status(&command).is_none() {
            return if command.fresh { self.refuse_name(&command, out) } else { self.refresh(command, out) };
        }
        let line = [b"* STATUS ", &spelled(&command, mailbox)[..], b" (UNSEEN 0)\r\n"].concat();
        out.client().extend_from_slice(&line);
        answers::say(command.tag(), "OK", None, b"STATUS completed", out.client());
        Ok(())
    }

    /// A mailbox with a role, or one that a person mapped, keeps its name: the map would point to what is gone, and the
    /// other programs of the account would file into nothing. It can be deleted; what is made under its name has its
    /// place again.
    pub(super) fn rename(
        &mut self,
        command: Command,
        from: &Token,
        to: &Token,
        out: &mut Outbox,
    ) -> Result<(), Failure> {
        let Some(signed) = &self.signed else { return Err(Failure::Internal("a command before login")) };
        let source = command.value(from).and_then(|local| signed.namespace.resolve(&local));
        let target = command.value(to).and_then(|local| signed.namespace.route_of_new(&local));
        let bound = source.as_ref().is_some_and(|source| signed.namespace.is_bound(&source.remote));
        match (source, target) {
            (Some(_), _) if bound => {
                self.refuse_with(&command, "CANNOT", b"This folder has its place in the folder map", out)
            }
            (Some(source), Some(target)) => {
                // The later span first: the earlier one stays where it is.
                let octets = splice(&command.octets, to, target.remote.as_bytes(), self.plus());
                self.forward(Command { octets, ..command }, Some((from, source)), out)?;
                if let Some(pending) = self.pending.back_mut() {
                    pending.target = Some(target);
                }
                Ok(())
            }
            (Some(_), None) if command.fresh => {
                self.refuse_with(&command, "CANNOT", b"No folder can have this name here", out)
            }
            _ if command.fresh => self.refuse_name(&command, out),
            _ => self.refresh(command, out),
        }
    }

    pub(super) fn provider_subscribes(&self) -> bool {
        self.signed.as_ref().is_some_and(|signed| signed.namespace.provider_subscribes())
    }

    /// SUBSCRIBE or UNSUBSCRIBE where the provider keeps no subscriptions.
    pub(super) fn subscribe(&mut self, tag: &[u8], verb: Verb, route: Route, out: &mut Outbox) {
        let keep = Keep::Subscription(route.remote, Some(verb == Verb::Subscribe));
        self.keep(keep, tag.to_vec(), verb, out);
    }

    /// What the bridge has to keep when a command of the client ended so, before it says how.
    pub(super) fn to_keep(&self, pending: &Pending, ok: bool, status: &Status<'_>) -> Option<Keep> {
        let namespace = &self.signed.as_ref()?.namespace;
        let made = match pending.verb {
            Verb::Create => pending.route.as_ref(),
            Verb::Rename => pending.target.as_ref(),
            _ => None,
        };
        if let Some(route) = made.filter(|_| ok) {
            return Some(Keep::Role(namespace.role_of_new(route)?, route.remote.clone()));
        }
        let remote = match pending.verb {
            Verb::Subscribe | Verb::Unsubscribe => &pending.route.as_ref()?.remote,
            _ => return None,
        };
        if ok {
            let own = namespace.has_own_subscription(remote);
            return own.then(|| Keep::Subscription(remote.clone(), None));
        }
        // The provider will not have it, though there is such a mailbox: a client that cannot subscribe shows nothing.
        let nonexistent = status.code.is_some_and(|code| {
            [&b"NONEXISTENT"[..], b"TRYCREATE"].iter().any(|name| code.name.eq_ignore_ascii_case(name))
        });
        let kept = !nonexistent && namespace.local(remote).is_some();
        kept.then(|| Keep::Subscription(remote.clone(), Some(pending.verb == Verb::Subscribe)))
    }

    pub(super) fn keep(&mut self, keep: Keep, tag: Vec<u8>, verb: Verb, out: &mut Outbox) {
        if let Some(signed) = &self.signed {
            let request = Request::Keep(signed.namespace.account(), keep);
            self.ask(request, Asked::Kept { tag, verb }, out);
        }
    }

    /// It is kept, or not. A mailbox that was made is there all the same.
    pub(super) fn kept(
        &mut self,
        tag: &[u8],
        verb: Verb,
        kept: Result<Option<Arc<Namespace>>, Failure>,
        out: &mut Outbox,
    ) {
        match (kept, &mut self.signed) {
            (Ok(Some(namespace)), Some(signed)) => signed.namespace = namespace,
            (Err(failure), _) if matches!(verb, Verb::Subscribe | Verb::Unsubscribe) => {
                return self.say_failure(tag, &failure, out);
            }
            _ => {}
        }
        answers::say(tag, "OK", None, format!("{} completed", verb.name()).as_bytes(), out.client());
    }
}
