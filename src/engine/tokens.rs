//! A token endpoint: the refresh grant of RFC 6749 section 6 over one HTTP/1.1 request, and the tokens that it gave.
//!
//! Pure: the driver brings time and chance. It is there for a demo and for tests, and knows one client and one grant.

use crate::model::Secret;
use serde_json::json;
use std::collections::VecDeque;

/// A request's octets: a refresh token of 8 KiB fits, escaped.
const REQUEST_MAX: usize = 32 * 1024;
/// Access tokens that are remembered; the oldest goes.
const ACCESS_MAX: usize = 64;

/// One grant, and the access tokens that came of it.
pub struct Grant {
    pub client_id: String,
    /// What is current.
    refresh: Secret<String>,
    /// Whether each use gives another refresh token, and ends this one.
    rotates: bool,
    /// Seconds that an access token works.
    lifetime: i64,
    /// With the second at which each ends.
    access: VecDeque<(Secret<String>, i64)>,
    /// How often a token was asked for, and given.
    pub given: u32,
}

/// A request, or why there is none.
pub enum Read {
    More,
    /// The body of a POST.
    Form(Vec<u8>),
    Bad,
}

impl Grant {
    #[must_use]
    pub fn new(client_id: &str, refresh: Secret<String>, rotates: bool, lifetime: i64) -> Self {
        Self { client_id: client_id.to_owned(), refresh, rotates, lifetime, access: VecDeque::new(), given: 0 }
    }

    /// Whether an access token works now. What is compared is random and of one use in one process.
    #[must_use]
    pub fn admits(&self, token: &str, now: i64) -> bool {
        self.access.iter().any(|(known, end)| known.expose() == token && now < *end)
    }

    /// Ends every access token: what a provider does when its owner changes the password.
    pub fn end_all(&mut self) {
        self.access.clear();
    }

    /// Answers a form: status and JSON. `fresh` gives tokens that nobody can guess.
    pub fn answer(&mut self, form: &[u8], now: i64, fresh: &mut dyn FnMut() -> Secret<String>) -> (u16, String) {
        let refused = |error: &str| (400, json!({ "error": error }).to_string());
        // What would have to be escaped in a form is in no token and no name of ours: it is not undone, and not found.
        let field = |name: &str| {
            let form = std::str::from_utf8(form).unwrap_or_default();
            let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value).unwrap_or_default()
        };
        if field("grant_type") != "refresh_token" {
            return refused("unsupported_grant_type");
        }
        if field("client_id") != self.client_id {
            return refused("invalid_client");
        }
        if field("refresh_token") != self.refresh.expose() {
            return refused("invalid_grant");
        }
        let access = fresh();
        let mut answer = json!({
            "access_token": access.expose(), "token_type": "Bearer", "expires_in": self.lifetime,
        });
        if self.rotates {
            self.refresh = fresh();
            #[expect(clippy::indexing_slicing, reason = "an object of ours gets one more key")]
            let refresh = &mut answer["refresh_token"];
            *refresh = self.refresh.expose().as_str().into();
        }
        self.access.push_back((access, now.saturating_add(self.lifetime)));
        if self.access.len() > ACCESS_MAX {
            self.access.pop_front();
        }
        self.given += 1;
        (200, answer.to_string())
    }
}

/// Looks for a whole request in what was read so far.
#[must_use]
pub fn read(octets: &[u8]) -> Read {
    let Some(head_end) = octets.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if octets.len() > REQUEST_MAX { Read::Bad } else { Read::More };
    };
    let Some(head) = octets.get(..head_end).and_then(|head| std::str::from_utf8(head).ok()) else { return Read::Bad };
    let mut lines = head.split("\r\n");
    if !lines.next().is_some_and(|line| line.starts_with("POST ") && line.ends_with(" HTTP/1.1")) {
        return Read::Bad;
    }
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let Some(length) = length.filter(|length| *length <= REQUEST_MAX) else { return Read::Bad };
    match octets.get(head_end + 4..head_end + 4 + length) {
        Some(body) => Read::Form(body.to_vec()),
        None => Read::More,
    }
}

/// An answer on the wire; one a connection.
#[must_use]
pub fn write(status: u16, body: &str) -> Vec<u8> {
    let reason = if status == 200 { "OK" } else { "Bad Request" };
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(token: &str) -> Vec<u8> {
        format!("grant_type=refresh_token&refresh_token={token}&client_id=demo").into_bytes()
    }

    fn grant(rotates: bool) -> Grant {
        Grant::new("demo", Secret::new("first".to_owned()), rotates, 60)
    }

    #[test]
    fn a_refresh_token_gives_access_tokens_that_end() {
        let mut grant = grant(false);
        let mut number = 0;
        let mut fresh = || {
            number += 1;
            Secret::new(format!("t{number}"))
        };
        let (status, answer) = grant.answer(&form("first"), 100, &mut fresh);
        assert_eq!((status, answer.contains("\"access_token\":\"t1\"")), (200, true), "{answer}");
        assert!(grant.admits("t1", 159) && !grant.admits("t1", 160) && !grant.admits("t2", 100));
        assert_eq!(grant.answer(&form("other"), 100, &mut fresh), (400, r#"{"error":"invalid_grant"}"#.to_owned()));
        assert_eq!(grant.answer(b"grant_type=password", 100, &mut fresh).0, 400);
        assert_eq!(
            grant.answer(&[&form("first")[..], b"x"].concat(), 100, &mut fresh).1,
            r#"{"error":"invalid_client"}"#
        );
        grant.end_all();
        assert!(!grant.admits("t1", 100));
    }

    #[test]
    fn a_spent_token_is_spent() {
        let mut grant = grant(true);
        let mut number = 0;
        let mut fresh = || {
            number += 1;
            Secret::new(format!("t{number}"))
        };
        assert!(grant.answer(&form("first"), 0, &mut fresh).1.contains("\"refresh_token\":\"t2\""));
        assert_eq!(grant.answer(&form("first"), 0, &mut fresh).0, 400);
        assert_eq!(grant.answer(&form("t2"), 0, &mut fresh).0, 200);
        assert_eq!(grant.given, 2);
    }

    #[test]
    fn one_request_is_read_and_no_more() {
        let whole = b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na=b";
        for cut in 0..whole.len() {
            assert!(matches!(read(&whole[..cut]), Read::More), "{cut}");
        }
        assert!(matches!(read(whole), Read::Form(form) if form == b"a=b"));
        for bad in
            ["GET / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", "POST / HTTP/1.1\r\n\r\n"]
        {
            assert!(matches!(read(bad.as_bytes()), Read::Bad), "{bad}");
        }
        assert!(matches!(read(&vec![b'x'; 40_000]), Read::Bad));
    }
}
