//! Which capabilities a client is offered: closed lists, so that nothing is promised that the bridge would cut.

use crate::wire::{imap::Capabilities, sasl::Mechanism};

/// Offered whatever the provider has: the bridge does them itself.
const OWN: [&str; 10] = [
    "IMAP4rev1",
    "LITERAL+",
    "SASL-IR",
    "ID",
    "NAMESPACE",
    "UNSELECT",
    "CHILDREN",
    "SPECIAL-USE",
    "LIST-EXTENDED",
    "IDLE",
];

/// Offered when the provider has it; commands and answers pass as they are, names and UIDVALIDITY rewritten.
const SHARED: [&str; 9] = [
    "UIDPLUS",
    "MOVE",
    "SORT",
    "THREAD=REFERENCES",
    "THREAD=REFS",
    "THREAD=ORDEREDSUBJECT",
    "ESEARCH",
    "BINARY",
    "WITHIN",
];

/// The list before login, with the mechanisms of the listener's CRM profile. AUTHENTICATE works with some that are not
/// listed: PHP's IMAP library reports a security problem where a clear port lists AUTH=PLAIN, and vtiger takes that for an
/// error (crm.md fact 1).
#[must_use]
pub fn before_login(mechanisms: &[Mechanism]) -> String {
    let listed = mechanisms.iter().map(|mechanism| format!(" AUTH={}", mechanism.name()));
    std::iter::once(OWN.join(" ")).chain(listed).collect()
}

/// The list after login.
#[must_use]
pub fn after_login(provider: &Capabilities) -> String {
    let shared = SHARED.into_iter().filter(|word| provider.has(word));
    OWN.into_iter().chain(shared).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::imap::response::capabilities;

    #[test]
    fn nothing_is_offered_that_is_in_no_list() {
        let dovecot = capabilities(
            b"IMAP4rev1 SORT THREAD=REFS MOVE CONDSTORE QRESYNC ESEARCH NOTIFY COMPRESS=DEFLATE X-GM-EXT-1 QUOTA",
        );
        assert_eq!(
            after_login(&dovecot),
            "IMAP4rev1 LITERAL+ SASL-IR ID NAMESPACE UNSELECT CHILDREN SPECIAL-USE LIST-EXTENDED IDLE MOVE SORT THREAD=REFS ESEARCH"
        );
    }

    #[test]
    fn what_the_profile_says_is_listed() {
        assert_eq!(before_login(&[]), OWN.join(" "));
        let listed = before_login(&[Mechanism::CramMd5, Mechanism::Plain]);
        assert_eq!(listed, OWN.join(" ") + " AUTH=CRAM-MD5 AUTH=PLAIN");
    }
}
