//! Command lines of an SMTP client: framing does not depend on cuts, and what is read of a line is a part of it that can
//! go on alone: one line, read again the same.

use super::cuts_and_rest;
use crate::{
    failure::Misbehaviour,
    wire::{
        line::LineFramer,
        pieces,
        smtp::{BodyKind, Command, Path, PathFault},
    },
};

/// Low enough to be reached.
const CAP: usize = 300;

/// # Panics
/// When the property does not hold.
pub fn smtp_line(octets: &[u8]) {
    let (cuts, octets) = cuts_and_rest(octets);
    let (lines, failed) = frame(octets, &[]);
    let (lines_cut, failed_cut) = frame(octets, &cuts);
    // A line may be refused for two reasons, of which the one that is seen first is told.
    assert!(lines == lines_cut && failed.is_some() == failed_cut.is_some(), "cuts matter");
    for line in &lines {
        assert!(line.len() <= CAP && !line.iter().any(|octet| matches!(octet, b'\r' | b'\n')), "no line");
        read(line);
    }
}

fn frame(octets: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, Option<Misbehaviour>) {
    let (mut framer, mut lines) = (LineFramer::default(), Vec::new());
    for mut piece in pieces(octets, cuts) {
        while !piece.is_empty() {
            match framer.take(&mut piece, CAP) {
                Ok(true) => lines.push(framer.line().to_vec()),
                Ok(false) => {}
                Err(misbehaviour) => return (lines, Some(misbehaviour)),
            }
        }
    }
    (lines, None)
}

fn read(line: &[u8]) {
    let command = Command::parse(line);
    // A word alone is no request of HTTP, and one with blanks is: whatever it is, it is refused.
    if !matches!(command, Command::Mail(Err(_)) | Command::Rcpt(Err(_)) | Command::Unknown) {
        assert_eq!(Command::parse(&[line, b"  "].concat()), command, "blanks at the end change it");
    }
    match command {
        Command::Auth { mechanism, initial } => {
            for word in [Some(mechanism), initial].into_iter().flatten() {
                assert!(!word.is_empty() && !word.contains(&b' '), "no word");
            }
        }
        Command::Mail(Ok(path)) => path_goes_on(line, &path, true),
        Command::Rcpt(Ok(path)) => path_goes_on(line, &path, false),
        Command::Mail(Err(fault)) | Command::Rcpt(Err(fault)) => {
            assert_eq!(fault == PathFault::NonAscii, !line.is_ascii(), "another fault");
        }
        _ => {}
    }
}

/// What the relay would send: the client's own octets, and parameters spelt anew.
fn path_goes_on(line: &[u8], path: &Path<'_>, is_mail: bool) {
    assert!(line.starts_with(path.octets), "octets were altered");
    assert!(path.octets.iter().all(|octet| (b' '..=b'~').contains(octet)), "octets that end or hide a line");
    assert!(path.octets.ends_with(b">") && is_one_path(path.octets), "more than a path");
    let mut again = path.octets.to_vec();
    if let Some(size) = path.size {
        again.extend_from_slice(format!(" SIZE={size}").as_bytes());
    }
    match path.body {
        Some(BodyKind::SevenBit) => again.extend_from_slice(b" BODY=7BIT"),
        Some(BodyKind::EightBitMime) => again.extend_from_slice(b" BODY=8BITMIME"),
        None => {}
    }
    let read = match Command::parse(&again) {
        Command::Mail(read) if is_mail => read,
        Command::Rcpt(read) if !is_mail => read,
        _ => panic!("another command"),
    };
    assert_eq!(read.as_ref(), Ok(path), "read is not what was written");
}

/// The first `>` outside quotes is the last octet: behind it would be parameters.
fn is_one_path(octets: &[u8]) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    let end = octets.iter().position(|octet| {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' => return !quoted,
            _ => {}
        }
        false
    });
    end == Some(octets.len() - 1)
}
