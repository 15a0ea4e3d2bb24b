//! A client's command line, read. It decides nothing: whether a command may come now is the relay's to say.
//!
//! RFC 5321 4.1.1, RFC 1870 (SIZE), RFC 6152 (BODY), RFC 4954 (AUTH).

use crate::wire::line::is_http;
use smtp_proto::Request;

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// The mechanism and the initial response, unread. Never log them.
    Auth {
        mechanism: &'a [u8],
        initial: Option<&'a [u8]>,
    },
    /// BDAT or a like command behind which octets follow that are no commands.
    Chunk,
    Data,
    Ehlo,
    Helo,
    Help,
    /// A request of HTTP: whoever sends it is no mail client (ALPACA, rule R13).
    Http,
    Mail(Result<Path<'a>, PathFault>),
    Noop,
    Quit,
    Rcpt(Result<Path<'a>, PathFault>),
    Rset,
    Starttls,
    /// The verb is known, its arguments are not of its form.
    Syntax,
    /// A verb of some extension that we never offer.
    Unimplemented,
    Unknown,
    Vrfy,
}

/// MAIL or RCPT with its path, and the parameters that we understand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path<'a> {
    /// The client's own octets from the verb to the `>` of the path.
    pub octets: &'a [u8],
    /// The announced size of the message.
    pub size: Option<u64>,
    /// The announced kind of body.
    pub body: Option<BodyKind>,
}

/// What BODY may say (RFC 6152).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    SevenBit,
    EightBitMime,
}

/// Why a MAIL or RCPT line is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// An address with octets above 127, which only SMTPUTF8 may carry (RFC 6531 section 3.5).
    NonAscii,
    /// A parameter that we do not offer.
    Parameter,
    /// Not a path, or a parameter with a value that is none of its.
    Syntax,
}

impl<'a> Path<'a> {
    /// What stands between `<` and `>`: empty for the null reverse-path.
    #[must_use]
    pub fn address(&self) -> &'a [u8] {
        let inside = self.octets.splitn(2, |octet| *octet == b'<').nth(1).unwrap_or_default();
        inside.strip_suffix(b">").unwrap_or_default()
    }
}

impl<'a> Command<'a> {
    /// Reads a line without its end.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Self {
        let (verb, arguments) = split_word(line);
        let upper = verb.to_ascii_uppercase();
        match (&upper[..], arguments) {
            (b"AUTH", _) => auth(arguments),
            (b"BDAT" | b"BURL" | b"XEXCH50", _) => Self::Chunk,
            (b"DATA", b"") => Self::Data,
            (b"EHLO", b"") | (b"HELO", b"") => Self::Syntax,
            (b"EHLO", _) => Self::Ehlo,
            (b"HELO", _) => Self::Helo,
            (b"HELP", _) => Self::Help,
            (b"MAIL", _) => Self::Mail(path(line, true)),
            (b"NOOP", _) => Self::Noop,
            (b"QUIT", b"") => Self::Quit,
            (b"RCPT", _) => Self::Rcpt(path(line, false)),
            (b"RSET", b"") => Self::Rset,
            (b"STARTTLS", b"") => Self::Starttls,
            (b"VRFY", _) => Self::Vrfy,
            (b"DATA" | b"QUIT" | b"RSET" | b"STARTTLS", _) => Self::Syntax,
            (b"ATRN" | b"ETRN" | b"EXPN" | b"LHLO" | b"SAML" | b"SEND" | b"SOML" | b"TURN", _) => Self::Unimplemented,
            _ if is_http(line) => Self::Http,
            _ => Self::Unknown,
        }
    }
}

fn auth(arguments: &[u8]) -> Command<'_> {
    let (mechanism, rest) = split_word(arguments);
    let (initial, more) = split_word(rest);
    if mechanism.is_empty() || !more.is_empty() {
        return Command::Syntax;
    }
    Command::Auth { mechanism, initial: (!initial.is_empty()).then_some(initial) }
}

fn path(line: &[u8], is_mail: bool) -> Result<Path<'_>, PathFault> {
    if !line.is_ascii() {
        return Err(PathFault::NonAscii);
    }
    if line.iter().any(u8::is_ascii_control) {
        return Err(PathFault::Syntax);
    }
    let (octets, mut rest) = end_of_path(line).and_then(|end| line.split_at_checked(end)).ok_or(PathFault::Syntax)?;
    if !rest.is_empty() && !rest.starts_with(b" ") || !is_path(octets, is_mail) {
        return Err(PathFault::Syntax);
    }
    let mut path = Path { octets, size: None, body: None };
    rest = rest.trim_ascii();
    while !rest.is_empty() {
        let (parameter, behind) = split_word(rest);
        if !is_mail {
            return Err(PathFault::Parameter);
        }
        mail_parameter(&mut path, parameter)?;
        rest = behind;
    }
    Ok(path)
}

fn mail_parameter(path: &mut Path<'_>, parameter: &[u8]) -> Result<(), PathFault> {
    let equals = parameter.iter().position(|octet| *octet == b'=').unwrap_or(parameter.len());
    let (keyword, value) = parameter.split_at(equals);
    let value = value.strip_prefix(b"=").unwrap_or_default();
    match keyword.to_ascii_uppercase().as_slice() {
        // Who wrote it is the provider's own knowledge: it is the account that signed in (RFC 4954 section 5).
        b"AUTH" => {}
        b"BODY" if value.eq_ignore_ascii_case(b"7BIT") => path.body = Some(BodyKind::SevenBit),
        b"BODY" if value.eq_ignore_ascii_case(b"8BITMIME") => path.body = Some(BodyKind::EightBitMime),
        b"SIZE" => path.size = Some(number(value).ok_or(PathFault::Syntax)?),
        _ => return Err(PathFault::Parameter),
    }
    Ok(())
}

/// RFC 1870: one to twenty digits.
fn number(octets: &[u8]) -> Option<u64> {
    let digits = (1..=20).contains(&octets.len()) && octets.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(octets).ok().filter(|_| digits)?.parse().ok()
}

/// The offset behind the `>` that ends the path; one in a quoted local part ends nothing (RFC 5321 4.1.2).
fn end_of_path(line: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, octet) in line.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn is_path(octets: &[u8], is_mail: bool) -> bool {
    let line = [octets, b"\r\n"].concat();
    match Request::parse(&mut line.iter()) {
        Ok(Request::Mail { .. }) => is_mail,
        // `<>` is a sender that wants no answer; as a recipient it is nobody.
        Ok(Request::Rcpt { to }) => !is_mail && (!to.address.is_empty() || !octets.ends_with(b"<>")),
        _ => false,
    }
}

/// The first word, and what stands behind the blanks after it.
fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|octet| *octet == b' ').unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    (word, rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(line: &str) -> Result<(&str, Option<u64>, Option<BodyKind>), PathFault> {
        match Command::parse(line.as_bytes()) {
            Command::Mail(path) | Command::Rcpt(path) => {
                path.map(|path| (std::str::from_utf8(path.octets).unwrap_or("?"), path.size, path.body))
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn verbs_are_known_in_any_case_and_blanks_at_the_end_forgiven() {
        assert_eq!(Command::parse(b"eHlO crm.example"), Command::Ehlo);
        assert_eq!(Command::parse(b"DATA "), Command::Data);
        assert_eq!(Command::parse(b"data x"), Command::Syntax);
        assert_eq!(Command::parse(b"STARTTLS x"), Command::Syntax);
        assert_eq!(Command::parse(b"EHLO"), Command::Syntax);
        assert_eq!(Command::parse(b"POST / HTTP/1.1"), Command::Http);
        assert_eq!(Command::parse(b"BDAT 5 LAST"), Command::Chunk);
        assert_eq!(Command::parse(b""), Command::Unknown);
        assert_eq!(Command::parse(b" NOOP"), Command::Unknown);
    }

    #[test]
    fn auth_keeps_its_words_as_they_are() {
        let plain = Command::Auth { mechanism: b"plain", initial: Some(b"AGEAYg==") };
        assert_eq!(Command::parse(b"AUTH plain AGEAYg=="), plain);
        assert_eq!(Command::parse(b"AUTH LOGIN"), Command::Auth { mechanism: b"LOGIN", initial: None });
        assert_eq!(Command::parse(b"AUTH"), Command::Syntax);
        assert_eq!(Command::parse(b"AUTH PLAIN a b"), Command::Syntax);
    }

    #[test]
    fn paths_keep_the_clients_octets() {
        let quoted = "MAIL FROM:<\"a> \\\"b\"@c.test>";
        assert_eq!(mail(quoted), Ok((quoted, None, None)));
        assert_eq!(mail("mail from: <a@b.test>"), Ok(("mail from: <a@b.test>", None, None)));
        assert_eq!(mail("MAIL FROM:<>"), Ok(("MAIL FROM:<>", None, None)));
        assert_eq!(mail("RCPT TO:<Postmaster>"), Ok(("RCPT TO:<Postmaster>", None, None)));
    }

    #[test]
    fn the_address_of_a_path_stands_alone() {
        let address = |line: &'static str| match Command::parse(line.as_bytes()) {
            Command::Mail(Ok(path)) => path.address(),
            command => panic!("{command:?}"),
        };
        assert_eq!(address("MAIL FROM:<a@b.test> SIZE=1"), b"a@b.test");
        assert_eq!(address("mail from: <\"a>\\\"<b\"@c.test>"), b"\"a>\\\"<b\"@c.test");
        assert_eq!(address("MAIL FROM:<>"), b"");
    }

    #[test]
    fn parameters_that_we_offer_are_read_and_others_refused() {
        let line = "MAIL FROM:<a@b.test> SIZE=42 body=8bitmime AUTH=<>";
        assert_eq!(mail(line), Ok(("MAIL FROM:<a@b.test>", Some(42), Some(BodyKind::EightBitMime))));
        for parameter in ["SMTPUTF8", "RET=FULL", "BODY=BINARYMIME", "ENVID=x", "SIZ=1"] {
            assert_eq!(mail(&format!("MAIL FROM:<a@b.test> {parameter}")), Err(PathFault::Parameter), "{parameter}");
        }
        assert_eq!(mail("RCPT TO:<a@b.test> NOTIFY=NEVER"), Err(PathFault::Parameter));
        for value in ["", "x", "-1", "99999999999999999999", "184467440737095516150"] {
            assert_eq!(mail(&format!("MAIL FROM:<a@b.test> SIZE={value}")), Err(PathFault::Syntax), "{value}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let lines = ["MAIL", "MAIL FROM:a@b.test", "MAIL FROM:<a@b.test", "MAIL FROM:<a@b.test>SIZE=1", "RCPT TO:<>"];
        for line in lines.into_iter().chain(["RCPT FROM:<a@b>", "RCPT TO:<a b@c>", "RCPT TO:<a@b\0c>", "RCPT TO:<a>"]) {
            assert_eq!(mail(line), Err(PathFault::Syntax), "{line:?}");
        }
        assert_eq!(mail("RCPT TO:<é@b.test>"), Err(PathFault::NonAscii));
    }
}
