//! Which capabilities a client is offered: closed lists, so that nothing is promised that the bridge would cut.

use crate::wire::imap::Capabilities;

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

/// The list before login. On a clear port no `AUTH=` is listed, though AUTHENTICATE works: PHP's IMAP library reports a
/// security problem otherwise, and vtiger takes that for an error (crm.md fact 1).
#[must_use]
pub fn before_login(secured: bool) -> String {
    let mut words = OWN.to_vec();
    if secured {
        words.extend(["AUTH=PLAIN", "AUTH=LOGIN"]);
    }
    words.join(" ")
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
    fn clear_ports_list_no_mechanism() {
        assert!(!before_login(false).contains("AUTH="));
        assert!(before_login(true).ends_with("AUTH=PLAIN AUTH=LOGIN"));
    }
}
