//! What the bridge signs in with: which mechanism carries it, and how it is kept out of a provider's words.

use crate::{
    failure::Failure,
    model::Secret,
    wire::sasl::{
        Unsendable,
        bearer::{Bearer, BearerMechanism},
        write_login, write_plain,
    },
};
use std::ops::Range;
use zeroize::Zeroizing;

/// How the bridge signs in at the provider.
#[derive(Clone)]
pub enum SignIn {
    /// With an OAuth access token.
    Bearer { user: Box<str>, token: Secret<String> },
    /// Not at all: to a submission service that knows this machine. No IMAP server opens a mailbox for nobody.
    Nobody,
    /// With the password that the provider knows.
    Password { user: Box<str>, password: Secret<String> },
}

impl SignIn {
    /// The same as another user.
    #[must_use]
    pub fn as_user(&self, user: &str) -> Self {
        match self {
            Self::Bearer { token, .. } => Self::Bearer { user: user.into(), token: token.clone() },
            Self::Nobody => Self::Nobody,
            Self::Password { password, .. } => Self::Password { user: user.into(), password: password.clone() },
        }
    }
}

/// How an IMAP opening ends that has come to where it would sign in, and is nobody's.
pub const NOBODY_AT_THE_DOOR: Failure = Failure::Internal("an IMAP opening without a credential");

/// What stands in the place of a secret.
const HIDDEN: &str = "[hidden]";
/// Where words are cut, so may be a secret at their end: this much of it is hidden too.
const CUT_MIN: usize = 4;
/// This much of a response in base64, in which the user's first letters stand, is enough to know it by, however it was cut.
const RESPONSE_START: usize = 8;

impl SignIn {
    /// The mechanism for a token among those that `offers` knows: Microsoft has the first alone, and all others both.
    pub(super) fn bearer_mechanism(offers: impl Fn(&str) -> bool) -> Option<BearerMechanism> {
        [BearerMechanism::Xoauth2, BearerMechanism::OauthBearer].into_iter().find(|known| offers(known.name()))
    }

    /// Words of the provider without the secret: servers echo the line that they refuse, and words are logged.
    pub(super) fn hide(&self, words: &str) -> String {
        let secret = match self {
            Self::Bearer { token, .. } => token.expose(),
            Self::Nobody => return words.to_owned(),
            Self::Password { password, .. } => password.expose(),
        };
        let mut hidden = words.to_owned();
        for response in self.responses().into_iter().flatten() {
            hidden = hide_response(hidden, response.expose());
        }
        let quoted = Zeroizing::new(secret.replace('\\', "\\\\").replace('"', "\\\""));
        let login = write_login(secret.as_bytes()).ok();
        for form in [Some(quoted.as_str()), Some(secret), login.as_ref().map(|login| login.expose().as_str())] {
            hidden = hide_form(hidden, form.unwrap_or_default());
        }
        hidden
    }

    /// What may have gone out, in base64, of the mechanisms that say user and secret in one.
    fn responses(&self) -> [Result<Secret<String>, Unsendable>; 2] {
        match self {
            Self::Bearer { user, token } => {
                let bearer = Bearer { user: user.to_string(), token: token.clone() };
                [BearerMechanism::Xoauth2, BearerMechanism::OauthBearer].map(|mechanism| mechanism.write(&bearer))
            }
            Self::Nobody => [Err(Unsendable), Err(Unsendable)],
            Self::Password { user, password } => {
                [write_plain(user.as_bytes(), password.expose().as_bytes()), Err(Unsendable)]
            }
        }
    }
}

/// From where it begins to the next blank.
fn hide_response(mut words: String, response: &str) -> String {
    let start = response.get(..RESPONSE_START).unwrap_or(response);
    while let Some(Range { start: at, .. }) = find(&words, start) {
        let rest = words.get(at..).unwrap_or_default();
        let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
        words.replace_range(at..at + length, HIDDEN);
    }
    words
}

fn hide_form(mut words: String, form: &str) -> String {
    if form.is_empty() {
        return words;
    }
    let mut done = 0;
    while let Some(found) = words.get(done..).and_then(|rest| find(rest, form)) {
        words.replace_range(done + found.start..done + found.end, HIDDEN);
        done += found.start + HIDDEN.len();
    }
    let is_start = |rest: &str| rest.len() >= CUT_MIN && begins(form, rest).is_some();
    let cut = starts(&words).find(|at| words.get(*at..).is_some_and(is_start));
    if let Some(at) = cut {
        words.replace_range(at.., HIDDEN);
    }
    words
}

/// Where `form` stands, in any case: some servers raise the line that they echo, accented letters too.
fn find(words: &str, form: &str) -> Option<Range<usize>> {
    starts(words).find_map(|at| Some(at..at + begins(words.get(at..)?, form)?))
}

/// How many octets of `words` say `form`, with which they begin in any case.
fn begins(words: &str, form: &str) -> Option<usize> {
    let mut wanted = form.chars().flat_map(char::to_lowercase).peekable();
    let mut octets = 0;
    for char in words.chars() {
        if wanted.peek().is_none() {
            break;
        }
        if char.to_lowercase().any(|lower| wanted.next().is_some_and(|wanted| wanted != lower)) {
            return None;
        }
        octets += char.len_utf8();
    }
    wanted.peek().is_none().then_some(octets)
}

fn starts(words: &str) -> impl Iterator<Item = usize> {
    words.char_indices().map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_a_provider_tells_the_password() {
        let hide = |password: &str, words: &str| {
            let password = Secret::new(password.to_owned());
            SignIn::Password { user: "alice".into(), password }.hide(words)
        };
        for (password, words, hidden) in [
            ("hunter2", "Unknown: LOGIN alice hunter2", "Unknown: LOGIN alice [hidden]"),
            ("hunter2", "no HUNTER2, no hunter2hunter2.", "no [hidden], no [hidden][hidden]."),
            ("a \"b\\", "x \"a \\\"b\\\\\" and a \"b\\ y", "x \"[hidden]\" and [hidden] y"),
            ("hunter2", "no AUTH PLAIN AGFsaWNlAGh1bnRlcjI=, sorry", "no AUTH PLAIN [hidden] sorry"),
            ("hunter2", "no AUTH PLAIN AGFsaWNlAGh1", "no AUTH PLAIN [hidden]"),
            ("hunter2", "<aHVudGVyMg==>", "<[hidden]>"),
            ("hunter2", "cut: aHVudG", "cut: [hidden]"),
            ("hunter2", "cut: hunte", "cut: [hidden]"),
            ("[hidden]", "[hidden]", "[hidden]"),
            ("mot de passe é", "échec: mot de passe é, é", "échec: [hidden], é"),
            ("mot de passe é", "ÉCHEC: MOT DE PASSE É, É", "ÉCHEC: [hidden], É"),
            ("clé d'été", "cut: CLÉ D'É", "cut: [hidden]"),
            ("kilo", "\u{212a}ILO stands for 1,000, ki", "[hidden] stands for 1,000, ki"),
            ("passwort", "wrong password", "wrong password"),
            ("", "wrong password", "wrong password"),
        ] {
            assert_eq!(hide(password, words), hidden, "{password}: {words}");
        }
    }

    #[test]
    fn no_word_of_a_provider_tells_the_token() {
        let token = "ya29.vF9dft4q";
        let hide =
            |words: &str| SignIn::Bearer { user: "alice".into(), token: Secret::new(token.to_owned()) }.hide(words);
        for (words, hidden) in [
            ("bad ya29.vF9dft4q", "bad [hidden]"),
            ("bad user=alice auth=Bearer YA29.VF9DFT4Q", "bad user=alice auth=Bearer [hidden]"),
            ("bad eWEyOS52RjlkZnQ0cQ==", "bad [hidden]"),
            ("AUTHENTICATE XOAUTH2 dXNlcj1hbGljZQFhdXRoPUJlYXJlciB5YTI5 no", "AUTHENTICATE XOAUTH2 [hidden] no"),
            ("AUTH OAUTHBEARER bixhPWFsaWNlLAFhdXRoPUJlYXJlciB5YTI5", "AUTH OAUTHBEARER [hidden]"),
            ("cut: ya29.vF9", "cut: [hidden]"),
            ("nothing here", "nothing here"),
        ] {
            assert_eq!(hide(words), hidden, "{words}");
        }
    }

    #[test]
    fn xoauth2_comes_first_and_oauthbearer_if_it_alone_is_offered() {
        let chosen = |offered: &[&str]| SignIn::bearer_mechanism(|name| offered.contains(&name));
        assert_eq!(chosen(&["OAUTHBEARER", "PLAIN", "XOAUTH2"]), Some(BearerMechanism::Xoauth2));
        assert_eq!(chosen(&["PLAIN", "OAUTHBEARER"]), Some(BearerMechanism::OauthBearer));
        assert_eq!(chosen(&["PLAIN", "LOGIN"]), None);
    }
}
