//! What the client is told of a provider's status lines and STATUS answers: codes and numbers as the house tells them,
//! words that hold no name of the provider's.

use super::{Asked, Session, VALIDITY_CHANGES_MAX};
use crate::{
    failure::{Failure, Misbehaviour},
    model::{RemoteName, UnreadScope},
    relay::{Outbox, Request},
    rules::{
        imap::{StatusItems, ToldCode, tells_name, told_code},
        namespace::Route,
    },
    wire::imap::{
        command::Verb,
        response::{Code, Condition, Status},
        token::Cursor,
    },
};
use std::borrow::Cow;

impl Session {
    /// The code as the client gets it. Outer None: the response waits for the UIDVALIDITY to tell, and comes again.
    ///
    /// # Errors
    /// As for [`Session::uid_validity`].
    pub(super) fn code(
        &mut self,
        octets: &[u8],
        code: Option<Code<'_>>,
        route: Option<&Route>,
        out: &mut Outbox,
    ) -> Result<Option<Option<String>>, Failure> {
        let Some(code) = code else { return Ok(Some(None)) };
        Ok(match (told_code(code), route) {
            (ToldCode::Pass(text), _) => Some(Some(text)),
            (ToldCode::Validity { name, upstream, behind }, Some(route)) => {
                let told = self.uid_validity(route, upstream, octets, out)?;
                told.map(|told| Some(format!("{name} {told}{behind}")))
            }
            _ => Some(None),
        })
    }

    /// What UIDVALIDITY to tell; None while it is asked for, with the response that waits.
    ///
    /// # Errors
    /// [`Misbehaviour::Validity`] of a provider that changes it without end: each change costs a commit, and the client
    /// would fetch all its mail anew.
    fn uid_validity(
        &mut self,
        route: &Route,
        upstream: u32,
        response: &[u8],
        out: &mut Outbox,
    ) -> Result<Option<u32>, Failure> {
        match self.told.get(&route.local) {
            Some((known, told)) if *known == upstream => return Ok(Some(*told)),
            Some(_) if self.validity_changes >= VALIDITY_CHANGES_MAX => {
                return Err(Failure::ProviderMisbehaved(Misbehaviour::Validity));
            }
            Some(_) => self.validity_changes += 1,
            None => {}
        }
        let request = Request::Validity {
            account: route.account,
            local: route.local.clone(),
            remote: route.remote.clone(),
            upstream,
        };
        let local = route.local.clone();
        self.ask(request, Asked::Validity { local, upstream, response: response.to_vec() }, out);
        Ok(None)
    }

    /// The answer to a STATUS: the name as its command spelt it, UIDVALIDITY as the house tells it.
    pub(super) fn status_data(&mut self, octets: &[u8], rest: usize, out: &mut Outbox) -> Result<(), Failure> {
        let mut cursor = Cursor::starting(octets, rest);
        let name = cursor.space().and_then(|()| cursor.astring()).map_err(Failure::ProviderMisbehaved)?;
        let items = cursor.rest();
        let named = name.value(octets);
        let asked = self.pending.iter().find(|pending| {
            pending.verb == Verb::Status && pending.route.as_ref().is_some_and(|route| is_same(&route.remote, &named))
        });
        // Nobody asked: the name would be one that the client does not know.
        let Some(pending) = asked else { return Ok(()) };
        let (spelled, route) = (pending.spelled.clone(), pending.route.clone());
        // What is no list of numbers could tell a name, or a UIDVALIDITY that is not ours.
        let (Some(mut items), Some(route)) = (StatusItems::read(items), route) else { return Ok(()) };
        if self.unread == UnreadScope::Inbox && !route.local.is_inbox() {
            items = items.with_unseen(0);
        }
        let told = match items.upstream() {
            Some(upstream) => self.uid_validity(&route, upstream, octets, out)?,
            None => Some(0),
        };
        let Some(told) = told else { return Ok(()) };
        let line = [b"* STATUS ", &spelled[..], b" ", &items.telling(told), b"\r\n"].concat();
        self.sink(line.len(), out).extend_from_slice(&line);
        Ok(())
    }

    /// The provider's words, unless they hold the name of a mailbox that the client knows under another.
    pub(super) fn words<'a>(&self, status: &Status<'a>) -> Cow<'a, [u8]> {
        let routes = self.pending.iter().flat_map(|pending| [&pending.route, &pending.target]).flatten();
        let tells = routes
            .chain(self.selected.as_ref().map(|selected| &selected.route))
            .any(|route| tells_name(status.words, route));
        if tells || status.words.is_empty() {
            let words: &[u8] = match status.condition {
                Condition::Ok => b"Done",
                _ => b"The mail provider refuses this",
            };
            return Cow::Borrowed(words);
        }
        Cow::Borrowed(status.words)
    }
}

fn is_same(remote: &RemoteName, named: &[u8]) -> bool {
    remote.as_bytes() == named || (remote.is_inbox() && named.eq_ignore_ascii_case(b"INBOX"))
}
