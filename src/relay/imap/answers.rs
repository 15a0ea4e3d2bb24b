//! What the bridge says of its own: greeting, status lines, the tree.

use super::{Session, client::ClientReading, dispatch::Ready};
use crate::{
    failure::Failure,
    relay::Outbox,
    rules::{
        capability,
        imap::respell,
        listing::{self, Query},
        namespace::Namespace,
    },
    wire::imap::{Capabilities, command::Verb, token::write_string},
};

impl Session {
    pub(super) fn greet(&self, out: &mut Outbox) {
        let capabilities = capability::before_login(&self.facts.imap_mechanisms());
        out.client().extend_from_slice(format!("* OK [CAPABILITY {capabilities}] Passerelle ready\r\n").as_bytes());
    }

    /// The code spares the client a CAPABILITY of its own.
    pub(super) fn say_signed_in(&self, tag: &[u8], provider: &Capabilities, out: &mut Outbox) {
        let code = format!("CAPABILITY {}", capability::after_login(provider));
        say(tag, "OK", Some(&code), b"Signed in", out.client());
    }

    pub(super) fn say_failure(&self, tag: &[u8], failure: &Failure, out: &mut Outbox) {
        out.client().extend_from_slice(&failure_line(tag, failure));
    }

    pub(super) fn capability(&self, out: &mut Outbox) {
        let words = match &self.signed {
            Some(signed) => capability::after_login(&signed.capabilities),
            None => capability::before_login(&self.facts.imap_mechanisms()),
        };
        out.client().extend_from_slice(format!("* CAPABILITY {words}\r\n").as_bytes());
    }

    /// The last words. Where the client stands between two responses: a tagged NO for each pending command, then BYE;
    /// inside one: nothing, the connection just closes.
    pub(super) fn farewell(&mut self, failure: &Failure, out: &mut Outbox) {
        if self.ended || !self.lane_reading.is_boundary_for_client() {
            return;
        }
        let reply = failure.imap();
        let client = out.client();
        // What is withheld may end inside a line, and the numbers of a session that ends are of no use.
        self.withheld.clear();
        if !matches!(failure, Failure::ClientMisbehaved(_)) {
            for pending in &self.pending {
                let tag = if pending.own { &pending.spelled } else { &pending.tag };
                // Nobody waits for what we ask on our own.
                if tag.is_empty() {
                    continue;
                }
                say(tag, "NO", reply.code, reply.text.as_bytes(), client);
            }
            match &self.ready {
                Some(Ready::Command(command)) => say(command.tag(), "NO", reply.code, reply.text.as_bytes(), client),
                Some(Ready::Refusal(refusal)) => client.extend_from_slice(&refusal.line),
                Some(Ready::Answer(line)) => client.extend_from_slice(line),
                None => {}
            }
            if let ClientReading::Copy(copying) = &self.reading {
                say(copying.tag(), "NO", reply.code, reply.text.as_bytes(), client);
            }
        }
        say(b"*", "BYE", reply.code, reply.text.as_bytes(), client);
    }
}

/// One status line: single blanks, none at the end, never without words.
pub(super) fn say(tag: &[u8], condition: &str, code: Option<&str>, words: &[u8], client: &mut Vec<u8>) {
    client.extend_from_slice(tag);
    client.push(b' ');
    client.extend_from_slice(condition.as_bytes());
    if let Some(code) = code {
        client.extend_from_slice(format!(" [{code}]").as_bytes());
    }
    let mut words = respell(words);
    // imaplib takes `{5}` at the end of a text for a literal, and waits for five octets.
    if let Some(last @ b'}') = words.last_mut() {
        *last = b')';
    }
    client.push(b' ');
    client.extend_from_slice(if words.is_empty() { b"Done" } else { &words });
    client.extend_from_slice(b"\r\n");
}

/// A failure as the answer to one command.
pub(super) fn failure_line(tag: &[u8], failure: &Failure) -> Vec<u8> {
    let reply = failure.imap();
    let mut line = Vec::new();
    say(tag, reply.condition, reply.code, reply.text.as_bytes(), &mut line);
    line
}

/// The answer to LIST, LSUB or XLIST.
pub(super) fn list(namespace: &Namespace, query: &Query<'_>, client: &mut Vec<u8>) {
    let (verb, delimiter) = (query.verb.name(), char::from(namespace.delimiter()));
    for line in listing::answer(namespace, query) {
        client.extend_from_slice(format!("* {verb} ({}) \"{delimiter}\" ", line.attributes.join(" ")).as_bytes());
        write_string(line.name.as_bytes(), false, client);
        if !line.below.is_empty() {
            client.extend_from_slice(format!(" (\"CHILDINFO\" (\"{}\"))", line.below.join("\" \"")).as_bytes());
        }
        client.extend_from_slice(b"\r\n");
    }
}

/// RFC 3501 6.3.8: an empty name asks for the delimiter, and for the root of the reference.
pub(super) fn root(verb: Verb, namespace: &Namespace, client: &mut Vec<u8>) {
    let delimiter = char::from(namespace.delimiter());
    client.extend_from_slice(format!("* {} (\\Noselect) \"{delimiter}\" \"\"\r\n", verb.name()).as_bytes());
}

/// The one namespace that there is (RFC 2342).
pub(super) fn namespace(namespace: &Namespace, client: &mut Vec<u8>) {
    let delimiter = char::from(namespace.delimiter());
    client.extend_from_slice(format!("* NAMESPACE ((\"\" \"{delimiter}\")) NIL NIL\r\n").as_bytes());
}

/// The untagged part of the local commands that say something; LIST and kin apart.
pub(super) fn untagged(verb: Verb, name: &[u8], client: &mut Vec<u8>) {
    match verb {
        Verb::Id => {
            let version = env!("CARGO_PKG_VERSION");
            client
                .extend_from_slice(format!("* ID (\"name\" \"Passerelle\" \"version\" \"{version}\")\r\n").as_bytes());
        }
        Verb::Myrights => {
            client.extend_from_slice(b"* MYRIGHTS ");
            write_string(name, false, client);
            client.extend_from_slice(b" lrswipkxte\r\n");
        }
        _ => {}
    }
}
