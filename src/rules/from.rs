//! Whether a message may say that it is from whom it says, and what is made of its From field (rule R25).
//!
//! Pure. It must not pass what it cannot read, but where nothing is looked at ([`FromPolicy::Keep`]).

use crate::{
    model::{Address, FromPolicy},
    wire::mailbox::{mailboxes, written},
};

/// What an account may send as, and under which name.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    pub policy: FromPolicy,
    /// The one to write first; never empty.
    pub senders: &'a [Address],
    /// Empty: none.
    pub display_name: &'a str,
}

/// What becomes of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It passes, octet by octet.
    Passes,
    /// This takes its place, with its CR LF.
    Becomes(Vec<u8>),
    Refused(Why),
}

/// Why a message is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// An address that is none of the account's.
    Foreign(String),
    /// More than one From field (RFC 5322 section 3.6 allows one).
    Several,
    /// No list of addresses, or one that programs read in different ways.
    Unreadable,
}

impl Identity<'_> {
    /// What becomes of a From field, with its CR LF; `before` is how many the message had already.
    #[must_use]
    pub fn judge(&self, field: &[u8], before: u32) -> Judged {
        if self.policy == FromPolicy::Keep {
            return Judged::Passes;
        }
        if before > 0 {
            return Judged::Refused(Why::Several);
        }
        let value = field.split(|octet| *octet == b':').next().map_or(0, <[u8]>::len);
        let found = mailboxes(field.get(value + 1..).unwrap_or_default()).unwrap_or_default();
        let forced = self.policy == FromPolicy::Force;
        if found.is_empty() {
            return if forced { self.own() } else { Judged::Refused(Why::Unreadable) };
        }
        if let Some(foreign) = found.iter().find(|mailbox| self.known(&mailbox.address).is_none()) {
            let shown = || String::from_utf8_lossy(&foreign.address).into_owned();
            return if forced { self.own() } else { Judged::Refused(Why::Foreign(shown())) };
        }
        let [mailbox] = found.as_slice() else { return Judged::Passes };
        let names = match self.policy {
            FromPolicy::Keep | FromPolicy::Check => false,
            FromPolicy::AddName => !mailbox.named,
            FromPolicy::Force => true,
        };
        match self.known(&mailbox.address) {
            Some(address) if names && !self.display_name.is_empty() => self.field(address),
            _ => Judged::Passes,
        }
    }

    /// What a message without From gets; None: nothing.
    #[must_use]
    pub fn missing(&self) -> Option<Vec<u8>> {
        match (self.policy, self.own()) {
            (FromPolicy::Force, Judged::Becomes(field)) => Some(field),
            _ => None,
        }
    }

    fn known(&self, address: &[u8]) -> Option<&Address> {
        self.senders.iter().find(|sender| sender.as_str().as_bytes().eq_ignore_ascii_case(address))
    }

    fn own(&self) -> Judged {
        self.senders.first().map_or(Judged::Refused(Why::Unreadable), |address| self.field(address))
    }

    fn field(&self, address: &Address) -> Judged {
        let mut field = b"From: ".to_vec();
        field.extend_from_slice(&written(self.display_name, address.as_str()));
        field.extend_from_slice(b"\r\n");
        Judged::Becomes(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).expect("an address")
    }

    fn judge(policy: FromPolicy, value: &str) -> Judged {
        let senders = ["alice@firm.test", "sales@firm.test"].map(address);
        Identity { policy, senders: &senders, display_name: "Alice Martin" }
            .judge(format!("From: {value}\r\n").as_bytes(), 0)
    }

    fn becomes(text: &str) -> Judged {
        Judged::Becomes(format!("From: {text}\r\n").into_bytes())
    }

    #[test]
    fn own_addresses_pass_and_foreign_ones_are_named() {
        for policy in [FromPolicy::Check, FromPolicy::AddName] {
            assert_eq!(judge(policy, "Sales <SALES@firm.test>"), Judged::Passes);
            assert_eq!(judge(policy, "a@b.test (x)"), Judged::Refused(Why::Foreign("a@b.test".to_owned())));
            // One of several is enough.
            assert_eq!(
                judge(policy, "alice@firm.test, x@firm.test"),
                Judged::Refused(Why::Foreign("x@firm.test".to_owned()))
            );
            for odd in ["", "alice", "alice@firm.test <x@firm.test>", "<alice@firm.test> x@firm.test", "g:;"] {
                assert_eq!(judge(policy, odd), Judged::Refused(Why::Unreadable), "{odd}");
            }
        }
        assert_eq!(judge(FromPolicy::Keep, "whatever"), Judged::Passes);
    }

    #[test]
    fn a_name_is_added_where_there_is_none() {
        assert_eq!(judge(FromPolicy::Check, "alice@firm.test"), Judged::Passes);
        assert_eq!(judge(FromPolicy::AddName, "<Sales@firm.test>"), becomes("Alice Martin <sales@firm.test>"));
        assert_eq!(judge(FromPolicy::AddName, "A <alice@firm.test>"), Judged::Passes);
        assert_eq!(judge(FromPolicy::AddName, "alice@firm.test, sales@firm.test"), Judged::Passes);
    }

    #[test]
    fn a_forced_field_is_the_accounts() {
        assert_eq!(judge(FromPolicy::Force, "The CRM <sales@firm.test>"), becomes("Alice Martin <sales@firm.test>"));
        for other in ["crm@localhost", "crm", "", "a@b.test, alice@firm.test"] {
            assert_eq!(judge(FromPolicy::Force, other), becomes("Alice Martin <alice@firm.test>"), "{other}");
        }
        let senders = [address("alice@firm.test")];
        let identity = |policy| Identity { policy, senders: &senders, display_name: "" };
        assert_eq!(identity(FromPolicy::Force).missing(), Some(b"From: alice@firm.test\r\n".to_vec()));
        assert_eq!(identity(FromPolicy::Force).judge(b"from : X <alice@firm.test>\r\n", 0), Judged::Passes);
        for policy in [FromPolicy::Check, FromPolicy::AddName, FromPolicy::Force] {
            assert_eq!(identity(policy).judge(b"From: alice@firm.test\r\n", 1), Judged::Refused(Why::Several));
        }
        assert_eq!(identity(FromPolicy::Check).missing(), None);
    }
}
