//! Dialogues with the machine of the engine over a memory source that answers at once.

use crate::{
    engine::{
        machine::Manner,
        memory::Memory,
        source::Flags,
        still::{NOW, Session, held_back_at_most},
    },
    model::{RemoteName, Role},
};

fn mailbox() -> Memory {
    let memory = Memory::new(b'/', 6);
    memory.add(b"[Gmail]", None, true);
    memory.add(b"[Gmail]/Messages envoy&AOk-s", Some(Role::Sent), false);
    let inbox = RemoteName::parse(b"INBOX").expect("a name");
    for (number, flags) in [(1, &[][..]), (2, &["\\Seen", "important"])] {
        let letter = format!("From: a{number}@x.test\r\nSubject: letter {number}\r\n\r\nBody {number}\r\n");
        let flags = flags.iter().map(|flag| Box::from(*flag)).collect::<Flags>();
        memory.deliver(&inbox, letter.as_bytes(), flags, NOW).expect("there is room");
    }
    memory
}

fn session(memory: &Memory) -> Session {
    let mut session = Session::new(Manner::gmail("test"), memory);
    session.says(b"a LOGIN alice secret\r\n");
    session
}

/// What is said to these lines.
fn says(session: &mut Session, lines: &str) -> String {
    session.said.clear();
    session.says(lines.replace('\n', "\r\n").as_bytes());
    String::from_utf8_lossy(&session.said).replace("\r\n", "\n")
}

#[test]
fn a_password_or_a_token_opens_it_and_nothing_else_does() {
    let memory = mailbox();
    let mut session = Session::new(Manner::gmail("test"), &memory);
    assert!(says(&mut session, "").is_empty());
    assert_eq!(says(&mut session, "a SELECT INBOX\n"), "a BAD sign in first\n");
    assert!(says(&mut session, "b LOGIN alice wrong\n").starts_with("b NO [AUTHENTICATIONFAILED]"));
    // user=a ^A auth=Bearer wrong ^A ^A
    let challenged = says(&mut session, "c AUTHENTICATE XOAUTH2 dXNlcj1hAWF1dGg9QmVhcmVyIHdyb25nAQE=\n");
    assert!(challenged.starts_with("+ eyJzdGF0dXMiOiI0MDAi"), "{challenged}");
    assert!(says(&mut session, "\n").starts_with("c NO [AUTHENTICATIONFAILED]"));
    assert_eq!(says(&mut session, "d AUTHENTICATE XOAUTH2\n"), "+ \n");
    assert!(says(&mut session, "dXNlcj1hAWF1dGg9QmVhcmVyIHQBAQ==\n").starts_with("d OK [CAPABILITY IMAP4rev1 SASL-IR"));
    assert_eq!(says(&mut session, "e LOGIN alice secret\n"), "e BAD already signed in\n");
}

#[test]
fn wrong_passwords_and_bad_commands_come_to_an_end() {
    let memory = mailbox();
    for line in ["a LOGIN alice wrong\n", "a NONSENSE\n"] {
        let mut session = Session::new(Manner::gmail("test"), &memory);
        let said = says(&mut session, &line.repeat(30));
        assert!(said.contains("* BYE") && session.ended, "{said}");
        assert!(said.lines().count() < 14, "{said}");
    }
}

#[test]
fn the_tree() {
    let memory = mailbox();
    let mut alice = session(&memory);
    let listed = says(&mut alice, "b LIST \"\" *\n");
    assert_eq!(
        listed,
        "* LIST (\\HasNoChildren) \"/\" \"INBOX\"\n\
         * LIST (\\HasChildren \\Noselect) \"/\" \"[Gmail]\"\n\
         * LIST (\\HasNoChildren \\Sent) \"/\" \"[Gmail]/Messages envoy&AOk-s\"\nb OK LIST\n"
    );
    assert!(says(&mut alice, "c LIST \"\" \"\"\n").starts_with("* LIST (\\Noselect) \"/\" \"\"\n"));
    assert!(says(&mut alice, "d SELECT [Gmail]\n").contains("d NO [NONEXISTENT]"));
    assert!(says(&mut alice, "e CREATE a/b/c\nf LIST \"\" a/%\n").contains("\"a/b\""));
    assert!(says(&mut alice, "g CREATE a/b\n").starts_with("g NO [ALREADYEXISTS]"));
    assert!(says(&mut alice, "h RENAME a z\ni LIST \"\" z*\n").contains("\"z/b/c\""));
    assert!(says(&mut alice, "j DELETE z\nk LIST \"\" z\n").contains("(\\HasChildren \\Noselect) \"/\" \"z\""));
    assert!(says(&mut alice, "l SUBSCRIBE z/b\nm LSUB \"\" z/%\n").contains("* LSUB () \"/\" \"z/b\""));
    assert!(says(&mut alice, "n LSUB \"\" %\n").contains("* LSUB (\\Noselect) \"/\" \"z\""));
    assert!(says(&mut alice, "o NAMESPACE\n").starts_with("* NAMESPACE ((\"\" \"/\")) NIL NIL\n"));
    let mut ovh = Session::new(Manner::ovh("test"), &Memory::new(b'.', 1));
    let said = says(&mut ovh, "a LOGIN a b\nb CREATE Sent\nc CREATE INBOX.Sent\n");
    assert!(said.contains("b NO [CANNOT]") && said.contains("c OK"), "{said}");
}

#[test]
fn a_mailbox_is_selected_and_read() {
    let memory = mailbox();
    let mut alice = session(&memory);
    assert_eq!(
        says(&mut alice, "b SELECT inbox\n"),
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft important)\n\
         * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft important \\*)] flags that stay\n\
         * 2 EXISTS\n* 2 RECENT\n* OK [UNSEEN 1] first unseen\n* OK [UIDVALIDITY 7] UIDs valid\n\
         * OK [UIDNEXT 3] next UID\nb OK [READ-WRITE] selected\n"
    );
    assert_eq!(
        says(&mut alice, "c UID FETCH 2 (FLAGS INTERNALDATE RFC822.SIZE)\n"),
        "* 2 FETCH (UID 2 FLAGS (\\Seen \\Recent important) INTERNALDATE \"04-Mar-2024 04:06:07 +0000\" \
         RFC822.SIZE 46)\nc OK fetched\n"
    );
    assert_eq!(
        says(&mut alice, "d FETCH 2 BODY.PEEK[TEXT]<2.3>\n"),
        "* 2 FETCH (BODY[TEXT]<2> {3}\ndy )\nd OK fetched\n"
    );
    // Reading marks as seen, and says so.
    assert_eq!(
        says(&mut alice, "e FETCH 1 BODY[1]\nf FETCH 1 BODY[1]\n"),
        "* 1 FETCH (FLAGS (\\Seen \\Recent) BODY[1] {8}\nBody 1\n)\ne OK fetched\n\
         * 1 FETCH (BODY[1] {8}\nBody 1\n)\nf OK fetched\n"
    );
    assert!(says(&mut alice, "g FETCH 1 (NOTHING)\nh FETCH 1 (FLAGS\n").matches("BAD").count() == 2);
}

#[test]
fn what_one_connection_does_another_is_told() {
    let memory = mailbox();
    let (mut alice, mut other) = (session(&memory), session(&memory));
    says(&mut alice, "b SELECT INBOX\n");
    says(&mut other, "b SELECT INBOX\nc IDLE\n");
    let placed = says(&mut alice, "c APPEND INBOX (\\Flagged) {6+}\nA: b\n\n");
    assert_eq!(placed, "* 3 EXISTS\n* 3 RECENT\nc OK [APPENDUID 7 3] stored\n");
    other.said.clear();
    other.looks();
    assert_eq!(String::from_utf8_lossy(&other.said), "* 3 EXISTS\r\n* 0 RECENT\r\n");
    let moved = says(&mut alice, "d UID MOVE 1,3 \"[Gmail]/Messages envoy&AOk-s\"\n");
    assert_eq!(moved, "* OK [COPYUID 9 1,3 1:2] moved\n* 1 EXPUNGE\n* 2 EXPUNGE\nd OK moved\n");
    assert_eq!(says(&mut other, "DONE\n"), "* 1 EXPUNGE\n* 2 EXPUNGE\nc OK IDLE terminated\n");
    assert!(says(&mut alice, "e COPY 1 nowhere\n").starts_with("e NO [TRYCREATE]"));
    let gone = says(&mut alice, "f STORE 1 +FLAGS.SILENT (\\Deleted)\ng EXPUNGE\n");
    assert_eq!(gone, "f OK stored\n* 1 EXPUNGE\ng OK expunged\n");
}

#[test]
fn searches_find_what_they_name() {
    let memory = mailbox();
    let mut alice = session(&memory);
    says(&mut alice, "b SELECT INBOX\n");
    for (keys, found) in [
        ("ALL", " 1 2"),
        ("UNSEEN", " 1"),
        ("NOT UNSEEN", " 2"),
        ("SUBJECT \"Letter 2\"", " 2"),
        ("OR FROM a1@ BODY \"body 2\"", " 1 2"),
        ("KEYWORD IMPORTANT", " 2"),
        ("2:1 UID 1", " 1"),
        ("SINCE 4-Mar-2024 BEFORE 5-Mar-2024", " 1 2"),
        ("ON 3-Mar-2024", ""),
        ("LARGER 100", ""),
        ("HEADER Subject \"\"", " 1 2"),
        ("CHARSET UTF-8 TEXT {1+}\n2", " 2"),
        ("(SEEN (ALL))", " 2"),
    ] {
        let said = says(&mut alice, &format!("c SEARCH {keys}\n"));
        assert_eq!(said, format!("* SEARCH{found}\nc OK searched\n"), "{keys}");
    }
    assert!(says(&mut alice, "c SEARCH CHARSET X-NONE ALL\n").starts_with("c NO [BADCHARSET"));
    for bad in ["", " NOPE", " OR ALL", &format!(" {}ALL", "NOT ".repeat(200)), " SINCE yesterday"] {
        assert!(says(&mut alice, &format!("c SEARCH{bad}\n")).starts_with("c BAD"), "{bad}");
    }
}

#[test]
fn literals_come_when_they_may() {
    let memory = mailbox();
    let mut alice = Session::new(Manner { message_max: 10_000, ..Manner::gmail("test") }, &memory);
    says(&mut alice, "a LOGIN {1+}\nx {1+}\ny\n");
    assert_eq!(says(&mut alice, "b APPEND INBOX {3}\n"), "+ go ahead\n");
    assert!(says(&mut alice, "abc\n").contains("b OK [APPENDUID 7 3]"));
    // A refused one that waits leaves no octets behind; one that comes unasked is read and thrown away.
    assert!(says(&mut alice, "c APPEND INBOX {10001}\nd NOOP\n").contains("c NO [TOOBIG]"));
    let unasked = format!("e APPEND INBOX {{5000+}}\n{}\nf NOOP\n", "x".repeat(5000));
    assert_eq!(says(&mut alice, &unasked), "e BAD [TOOBIG] only 4096 octets may come unasked\nf OK done\n");
    assert!(says(&mut alice, "g APPEND INBOX {1+}\nx{1+}\ny\n").contains("* BYE"));
    let mut flood = session(&memory);
    assert!(says(&mut flood, &format!("a {}\n", "x".repeat(70_000))).starts_with("* BYE a line is too long"));
}

#[test]
fn a_large_fetch_holds_back_one_item_at_a_time() {
    let memory = mailbox();
    let inbox = RemoteName::parse(b"INBOX").expect("a name");
    let letter = [b"A: b\r\n\r\n".to_vec(), vec![b'x'; 300_000]].concat();
    for _ in 0..20 {
        memory.deliver(&inbox, &letter, Flags::new(), NOW).expect("there is room");
    }
    let mut alice = session(&memory);
    says(&mut alice, "b SELECT INBOX\n");
    let items = "BODY.PEEK[] BODY.PEEK[TEXT] RFC822.HEADER BODY.PEEK[1] BODY.PEEK[TEXT]<1.299999> FLAGS";
    let said = says(&mut alice, &format!("c FETCH 1:* ({items})\nd NOOP\n"));
    assert!(said.ends_with("c OK fetched\nd OK done\n") && said.len() > 20 * 4 * 300_000);
    assert!(alice.most < held_back_at_most(letter.len()) / 4, "{} octets were held back", alice.most);
}
