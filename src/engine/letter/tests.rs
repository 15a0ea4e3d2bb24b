//! What is read of letters: their structure, envelopes and parts, and what searches find in them.

use super::*;
use crate::wire::imap::token::Cursor;
use std::fmt::Write;

fn structure(octets: &[u8]) -> String {
    let mut out = Vec::new();
    Read::new(octets).write_structure(false, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn envelope(octets: &[u8]) -> String {
    let mut out = Vec::new();
    Read::new(octets).write_envelope(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn section(octets: &[u8], section: &str) -> Option<String> {
    let text = format!("{section}]");
    let section = Section::read(&mut Cursor::new(text.as_bytes()), text.as_bytes()).expect("a section");
    Read::new(octets).section(&section).map(|octets| String::from_utf8_lossy(&octets).into_owned())
}

const NESTED: &[u8] = b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=\"o\"\r\n\r\npreamble\r\n--o\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\r\none\r\n--o\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\
    Content-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\n\r\ntwo\r\n--i\r\nContent-Type: text/html\r\n\r\n\
    <p>\r\n--i--\r\n\r\n--o--\r\n";

#[test]
fn parts_are_numbered_through_messages_in_messages() {
    assert_eq!(
        structure(NESTED),
        "((\"text\" \"plain\" (\"charset\" \"utf-8\") NIL NIL \"7bit\" 3 0)\
         (\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 123 (NIL \"inner\" NIL NIL NIL NIL NIL NIL NIL NIL) \
         ((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0)\
         (\"text\" \"html\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0) \"alternative\") 11) \"mixed\")"
    );
    let read = |name: &str| section(NESTED, name);
    assert_eq!(read("1").as_deref(), Some("one"));
    assert_eq!(read("2.1").as_deref(), Some("two"));
    assert_eq!(read("2.2.MIME").as_deref(), Some("Content-Type: text/html\r\n\r\n"));
    assert_eq!(read("2.HEADER.FIELDS (subject)").as_deref(), Some("Subject: inner\r\n\r\n"));
    assert_eq!(read("HEADER.FIELDS.NOT (Content-Type)").as_deref(), Some("Subject: outer\r\n\r\n"));
    for absent in ["3", "1.1", "1.HEADER", "2.1.1", "0", "2.3"] {
        assert_eq!(read(absent), None, "{absent}");
    }
    assert_eq!(section(b"A: b\r\n\r\nbody", "1").as_deref(), Some("body"));
    assert_eq!(section(b"A: b\r\n\r\nbody", "HEADER").as_deref(), Some("A: b\r\n\r\n"));
}

#[test]
fn envelopes_are_told_undecoded() {
    let letter = b"Date: Mon, 4 Mar 2024 05:06:07 +0100\r\nSubject: =?UTF-8?Q?=C3=A9t=C3=A9?=\r\n twice\r\n\
        From: =?UTF-8?Q?L=C3=A9a?= <lea@x.test>\r\nTo: Team: a@x.test, \"B \\\"b\\\"\" <b@x.test>;\r\n\
        Cc: nobody\r\nMessage-ID: <1@x.test>\r\n\r\n";
    assert_eq!(
        envelope(letter),
        "(\"Mon, 4 Mar 2024 05:06:07 +0100\" \"=?UTF-8?Q?=C3=A9t=C3=A9?= twice\" \
         ((\"=?UTF-8?Q?L=C3=A9a?=\" NIL \"lea\" \"x.test\")) ((\"=?UTF-8?Q?L=C3=A9a?=\" NIL \"lea\" \"x.test\")) \
         ((\"=?UTF-8?Q?L=C3=A9a?=\" NIL \"lea\" \"x.test\")) \
         ((NIL NIL \"Team\" NIL)(NIL NIL \"a\" \"x.test\")(\"B \\\"b\\\"\" NIL \"b\" \"x.test\")(NIL NIL NIL NIL)) \
         ((NIL NIL \"nobody\" \"MISSING_DOMAIN\")) NIL NIL \"<1@x.test>\")"
    );
}

#[test]
fn what_claims_too_much_is_one_opaque_part() {
    let mut deep = String::new();
    for level in 0..300 {
        write!(deep, "Content-Type: multipart/mixed; boundary=b{level}x\r\n\r\n--b{level}x\r\n").expect("a string");
    }
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000);
    let wide = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\nx\r\n".repeat(100_000));
    let header = "A: b\r\n".repeat(1_000_000);
    let no_end = "Content-Type: multipart/mixed; boundary=x\r\n\r\n";
    for bomb in [&deep, &messages, &wide, &header, no_end] {
        let told = structure(bomb.as_bytes());
        assert!(told.len() < 300_000 && told.starts_with('('), "{}", told.len());
        assert!(!Read::new(bomb.as_bytes()).holds("not there"));
    }
    assert_eq!(structure(wide.as_bytes()).matches("octet-stream").count(), 1);
    assert_eq!(structure(messages.as_bytes()).matches("rfc822").count(), DEPTH_MAX);
}

#[test]
fn only_a_line_of_its_own_is_a_delimiter() {
    let body = "--ab\r\n\r\none --a\r\n--a \t\r\n\r\ntwo\r\n--abc\r\n--a\n\nthree\n--a--\r\n--a\r\n\r\nfour";
    let letter = format!("Content-Type: multipart/mixed; boundary=\"a\"\r\n\r\n--a\r\n\r\nzero\r\n{body}");
    let read = |name: &str| section(letter.as_bytes(), name);
    assert_eq!(read("1").as_deref(), Some("zero\r\n--ab\r\n\r\none --a"));
    assert_eq!(read("2").as_deref(), Some("two\r\n--abc"));
    assert_eq!(read("3").as_deref(), Some("three"));
    assert_eq!(read("4"), None, "what stands behind the end");
}

#[test]
fn searches_look_through_encodings() {
    let letter = "Subject: =?UTF-8?Q?=C3=89t=C3=A9?=\r\nDate: Mon, 4 Mar 2024 23:30:00 -0800\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=ISO-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n";
    let read = Read::new(letter.as_bytes());
    assert!(read.field_holds(b"subject", "été") && read.body_holds("grüße") && read.holds("grüße"));
    assert!(!read.field_holds(b"Subject", "hiver") && read.field_holds(b"Subject", "") && !read.field_holds(b"X", ""));
    // The day is the writer's own, whatever the zone.
    assert_eq!(read.day_sent(), Some(19_786));
    assert_eq!(Read::new(b"").day_sent(), None);
}
