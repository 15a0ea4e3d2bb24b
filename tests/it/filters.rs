//! The layouts of providers and the filter before them, without any bridge: what other tests rely on.

use crate::harness::{Dovecot, Filter, GMAIL_TOO_MANY, Lab, Layout, PATIENCE, Program, Wire};
use std::time::Duration;

const ALICE: &str = "alice@crm.test";

struct Shown {
    lab: Lab,
    dovecot: Dovecot,
    filter: Filter,
}

impl Shown {
    fn with(layout: Layout) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot])?;
        let dovecot = Dovecot::start(&lab, layout, &lab.certificates.good, "");
        dovecot.add_user(ALICE, "secret");
        let filter = Filter::before(&lab, &dovecot);
        Some(Self { lab, dovecot, filter })
    }

    fn connect(&self) -> Wire {
        Wire::tls(self.filter.imaps, &self.lab.certificates.ca, "imap.gmail.com")
    }

    fn sign_in(&self) -> Wire {
        let mut wire = self.connect();
        wire.expect("* OK");
        wire.imap_ok("LOGIN alice@crm.test secret");
        wire
    }
}

#[test]
fn gmail_looks_and_refuses_like_gmail() {
    let Some(gmail) = Shown::with(Layout::Gmail) else { return };
    let mut wire = gmail.connect();
    wire.expect("* OK Gimap ready");
    assert!(wire.imap_ok("CAPABILITY").text().contains("AUTH=XOAUTH2 AUTH=PLAIN"));
    assert!(wire.imap("ENABLE CONDSTORE").tagged.starts_with("BAD"));
    let refused = wire.imap("LOGIN alice@crm.test wrong").tagged;
    assert_eq!(refused, "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)");
    let welcome = wire.imap_ok("AUTHENTICATE PLAIN AGFsaWNlQGNybS50ZXN0AHNlY3JldA==");
    assert!(welcome.text().starts_with("* CAPABILITY IMAP4rev1") && welcome.text().contains(" LITERAL- "));
    assert_eq!(welcome.tagged, "OK alice@crm.test authenticated (Success)");

    let listed = wire.imap_ok("LIST \"\" *").text();
    assert_eq!(listed.matches("(\\HasChildren \\Noselect) \"/\" \"[Gmail]\"\n").count(), 1, "{listed}");
    for (flag, name) in [("\\Sent", "Messages envoy&AOk-s"), ("\\Trash", "Corbeille"), ("\\All", "Tous les messages")] {
        let found = listed.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {listed}"));
        assert!(found.contains(flag), "{found}");
    }
    assert!(wire.imap("SELECT \"[Gmail]\"").tagged.starts_with("NO [NONEXISTENT] Unknown Mailbox: [Gmail]"));
    assert!(wire.imap("CREATE \"two  blanks\"").tagged.starts_with("NO [CANNOT] Folder contains excess whitespace"));
    assert!(gmail.filter.refused().len() == 1, "so far only ENABLE: {:?}", gmail.filter.refused());

    assert!(wire.imap("SORT (DATE) UTF-8 ALL").tagged.starts_with("BAD"));
    assert!(wire.imap("SELECT INBOX (QRESYNC (1 1))").tagged.starts_with("BAD"));
    wire.imap_ok("LIST \"\" * RETURN (SPECIAL-USE SUBSCRIBED)");
    assert!(wire.append("INBOX", "(\\Seen)", b"Subject: 1\r\n\r\none\r\n").is_ok());
    literals(&mut wire);
    assert_eq!(gmail.dovecot.count(ALICE, "INBOX"), 2, "the large one was not stored");
}

/// `{n+}` passes up to 4096 octets; above it is refused, and the connection goes on.
fn literals(wire: &mut Wire) {
    for (size, verdict) in [(4096, "OK"), (4097, "BAD")] {
        wire.line(&format!("big APPEND INBOX {{{size}+}}"));
        wire.send_lines(size);
        wire.line("");
        assert!(wire.answer("big").tagged.starts_with(verdict), "{size}");
    }
    wire.imap_ok("SELECT INBOX");
    wire.line("s SEARCH SUBJECT {1}");
    wire.expect("+");
    wire.line("1 BODY {3+}\r\none");
    assert_eq!(wire.answer("s").text(), "* SEARCH 1\n");
}

#[test]
fn microsoft_looks_and_refuses_like_microsoft() {
    let Some(microsoft) = Shown::with(Layout::Microsoft) else { return };
    let mut wire = microsoft.connect();
    let greeting = wire.expect("* OK The Microsoft Exchange IMAP4 service is ready. [");
    assert!(!greeting.contains("CAPABILITY"));
    assert_eq!(wire.imap("LOGIN alice@crm.test wrong").tagged, "NO LOGIN failed.");
    assert_eq!(wire.imap("AUTHENTICATE XOAUTH2 dXNlcj1h").tagged, "NO AUTHENTICATE failed.");
    let welcome = wire.imap_ok("LOGIN alice@crm.test secret");
    assert_eq!((welcome.text().as_str(), welcome.tagged.as_str()), ("", "OK LOGIN completed."));
    assert!(wire.imap_ok("CAPABILITY").text().contains("UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES"));

    let listed = wire.imap_ok("LIST \"\" *").text();
    for line in [
        "\\Sent) \"/\" &AMk-l&AOk-ments envoy&AOk-s\n",
        "\\Trash) \"/\" &AMk-l&AOk-ments supprim&AOk-s\n",
        "\\Junk) \"/\" \"Courrier ind&AOk-sirable\"\n",
        "\"/\" Inbox\n",
    ] {
        assert!(listed.replace('"', "").contains(&line.replace('"', "")), "{line} is not in\n{listed}");
    }
    assert!(listed.contains("Bo&AO4-te d&IBk-envoi"), "{listed}");
    let selected = wire.imap_ok("SELECT Inbox").text();
    assert!(
        selected.contains("PERMANENTFLAGS") && !selected.contains("\\*") && !selected.contains("MODSEQ"),
        "{selected}"
    );
    assert_eq!(wire.imap("SEARCH KEYWORD x").tagged, "BAD Command Argument Error. 11");
    assert!(wire.imap("UID SEARCH CHARSET UTF-8 ALL").tagged.starts_with("NO [BADCHARSET (US-ASCII)]"));
    assert!(microsoft.filter.refused().is_empty(), "{:?}", microsoft.filter.refused());
    assert!(wire.imap("SEARCH RETURN (ALL) ALL").tagged.starts_with("BAD"));
    assert!(wire.imap("LIST (SUBSCRIBED) \"\" *").tagged.starts_with("BAD"));
    assert_eq!(microsoft.filter.refused().len(), 2);
}

#[test]
fn a_session_ends_with_its_time_between_two_responses() {
    let Some(gmail) = Shown::with(Layout::Gmail) else { return };
    let (mut one, mut other) = (gmail.sign_in(), gmail.sign_in());
    one.imap_ok("SELECT INBOX");
    one.line("i IDLE");
    one.expect("+");
    gmail.filter.expire();
    for wire in [&mut one, &mut other] {
        assert_eq!(wire.rest(), b"* BYE Session expired, please login again\r\n");
    }
    gmail.filter.session_length(Duration::from_millis(100));
    let mut short = gmail.sign_in();
    short.set_patience(PATIENCE / 2);
    short.expect("* BYE Session expired");
    gmail.filter.refuse_sign_in(Some(GMAIL_TOO_MANY));
    let mut wire = gmail.connect();
    wire.expect("* OK");
    assert_eq!(wire.imap("LOGIN alice@crm.test secret").tagged, GMAIL_TOO_MANY);
}

#[test]
fn a_token_opens_what_it_is_for() {
    let Some(gmail) = Shown::with(Layout::Gmail) else { return };
    gmail.filter.accept_token(&gmail.dovecot, ALICE, "ya29.good");
    let mut wire = gmail.connect();
    wire.expect("* OK");
    wire.line("x AUTHENTICATE XOAUTH2 dXNlcj1hbGljZUBjcm0udGVzdAFhdXRoPUJlYXJlciB5YTI5LmJhZAEB");
    wire.expect("+ eyJzdGF0dXMiOiI0MDAi");
    wire.line("");
    assert!(wire.answer("x").tagged.starts_with("NO [AUTHENTICATIONFAILED] Invalid credentials"));
    wire.line("y AUTHENTICATE XOAUTH2");
    wire.expect("+ ");
    wire.line("dXNlcj1hbGljZUBjcm0udGVzdAFhdXRoPUJlYXJlciB5YTI5Lmdvb2QBAQ==");
    assert_eq!(wire.answer("y").tagged, "OK alice@crm.test authenticated (Success)");
    wire.imap_ok("SELECT INBOX");
}
