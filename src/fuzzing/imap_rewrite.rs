//! Rewriting of one line: with the identity map output is input, with any map the line is framed and read the same but
//! for the name, and imap-codec, where it understands the input, finds the same name and understands the output.

use crate::{
    model::RemoteName,
    rules::imap::{StatusItems, splice},
    wire::{
        IMAP_COMMAND_MAX, IMAP_NESTING,
        imap::{
            command::{self, Arguments, Verb},
            framer::{End, Framer, Piece},
            response::{self, Kind, Response},
            token::{Cursor, Token},
        },
    },
};
use imap_codec::{CommandCodec, ResponseCodec, decode::Decoder};
use imap_types::{
    command::CommandBody,
    mailbox::Mailbox,
    response::{Data, Response as CodecResponse},
};

/// # Panics
/// When the property does not hold.
pub fn imap_rewrite(octets: &[u8]) {
    let Some((length, rest)) = octets.split_first() else { return };
    let (name, rest) = rest.split_at(usize::from(length % 16).min(rest.len()));
    let Ok(name) = RemoteName::parse(name) else { return };
    if let Some(command) = gathered(rest, Framer::client(IMAP_COMMAND_MAX)) {
        rewrite_command(&command, &name, length & 16 != 0);
    }
    if let Some(answer) = gathered(rest, Framer::provider()) {
        read_answer(&answer);
    }
}

/// The first command or response of these octets with its literals, without the last line end.
fn gathered(mut octets: &[u8], mut framer: Framer) -> Option<Vec<u8>> {
    let mut gathered = Vec::new();
    loop {
        match framer.next(&mut octets).ok()?? {
            Piece::Octets(literal) => gathered.extend_from_slice(literal),
            Piece::Line { text, end } | Piece::More { text, end } => {
                gathered.extend_from_slice(text);
                match end {
                    End::Line => return Some(gathered),
                    End::Literal(_) => gathered.extend_from_slice(b"\r\n"),
                    End::Continues => {}
                }
            }
        }
    }
}

/// The mailbox names of a command.
fn names(octets: &[u8]) -> Option<(Verb, Vec<Token>)> {
    let head = command::head(octets).ok()?;
    let tokens = match command::arguments(&head, octets, IMAP_NESTING).ok()? {
        Arguments::Mailbox(mailbox) | Arguments::Status { mailbox, .. } => vec![mailbox],
        Arguments::Rename { from, to } => vec![from, to],
        _ => return None,
    };
    Some((head.verb, tokens))
}

fn rewrite_command(octets: &[u8], name: &RemoteName, plus: bool) {
    let Some((verb, tokens)) = names(octets) else { return };
    let codec = codec_names(octets);
    for (at, token) in tokens.iter().enumerate() {
        let said = token.value(octets);
        assert_eq!(splice(octets, token, &said, plus), octets, "the identity map altered a line");
        let codec_name = codec.as_ref().and_then(|names| names.get(at));
        assert!(codec_name.is_none_or(|name| is_same(name, &said)), "imap-codec reads another name");

        let line = splice(octets, token, name.as_bytes(), plus);
        let again = gathered(&[&line[..], b"\r\n"].concat(), Framer::client(2 * IMAP_COMMAND_MAX));
        assert_eq!(again.as_ref(), Some(&line), "the line is framed anew");
        let (verb_again, tokens_again) = names(&line).expect("the line is read");
        assert_eq!((verb_again, tokens_again.len()), (verb, tokens.len()), "another command");
        for (other, token) in tokens_again.iter().enumerate() {
            let wanted = if other == at { name.as_bytes().into() } else { tokens[other].value(octets) };
            assert_eq!(token.value(&line), wanted, "another name");
        }
        if codec.is_some() {
            let names = codec_names(&line).expect("imap-codec reads the line");
            assert!(names.get(at).is_some_and(|read| is_same(read, name.as_bytes())), "imap-codec reads another name");
        }
    }
}

/// The mailbox names that imap-codec finds; None where it does not understand the command.
fn codec_names(octets: &[u8]) -> Option<Vec<Vec<u8>>> {
    let line = [octets, b"\r\n"].concat();
    let (rest, command) = CommandCodec::default().decode(&line).ok()?;
    assert!(rest.is_empty(), "imap-codec ends the line elsewhere");
    Some(match command.body {
        CommandBody::Select { mailbox }
        | CommandBody::Examine { mailbox }
        | CommandBody::Create { mailbox }
        | CommandBody::Delete { mailbox }
        | CommandBody::Subscribe { mailbox }
        | CommandBody::Unsubscribe { mailbox }
        | CommandBody::Status { mailbox, .. }
        | CommandBody::Copy { mailbox, .. }
        | CommandBody::Move { mailbox, .. } => vec![codec_name(&mailbox)],
        CommandBody::Rename { from, to } => vec![codec_name(&from), codec_name(&to)],
        _ => return None,
    })
}

fn codec_name(mailbox: &Mailbox<'_>) -> Vec<u8> {
    match mailbox {
        Mailbox::Inbox => b"INBOX".to_vec(),
        Mailbox::Other(other) => other.as_ref().to_vec(),
    }
}

fn is_same(codec: &[u8], name: &[u8]) -> bool {
    codec == name || (codec == b"INBOX" && name.eq_ignore_ascii_case(codec))
}

fn read_answer(octets: &[u8]) {
    let line = [octets, b"\r\n"].concat();
    let Ok((rest, CodecResponse::Data(data))) = ResponseCodec::default().decode(&line) else { return };
    if !rest.is_empty() {
        return;
    }
    let Ok(Response::Data { kind, rest, .. }) = response::read(octets) else { panic!("no data for us") };
    match data {
        Data::List { mailbox, .. } | Data::Lsub { mailbox, .. } => {
            assert!(matches!(kind, Kind::List | Kind::Lsub));
            let listed = response::listed(octets, rest).expect("imap-codec reads the line");
            assert!(is_same(&codec_name(&mailbox), &listed.name.value(octets)), "imap-codec reads another name");
        }
        Data::Status { mailbox, .. } => {
            assert_eq!(kind, Kind::Status);
            let mut cursor = Cursor::starting(octets, rest);
            let name = cursor.space().and_then(|()| cursor.astring()).expect("imap-codec reads the line");
            assert!(is_same(&codec_name(&mailbox), &name.value(octets)), "imap-codec reads another name");
            let items = StatusItems::read(cursor.rest()).expect("imap-codec reads the items");
            if let Some(upstream) = items.upstream() {
                let told = items.clone().telling(9);
                assert_eq!(StatusItems::read(&told).and_then(|items| items.upstream()), Some(9));
                assert_eq!(
                    Some(items.telling(upstream)),
                    StatusItems::read(cursor.rest()).map(|items| items.telling(upstream))
                );
            }
        }
        _ => {}
    }
}
