//! The pages themselves, and the one cookie. Whatever is filled in is escaped here.

pub(super) use super::words::Say;
use super::{guard::pages_policy, kind, words::Language};
use crate::{
    control::{
        self,
        consent::{Done, Order, STATE_SECONDS, Sending},
    },
    model::Secret,
};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use std::borrow::Cow;

const STYLE: &str = "body{font:1.1em/1.5 sans-serif;max-width:36em;margin:3em auto;padding:0 1em}\
button{font:inherit;padding:.4em 1em}input{font:inherit;width:100%;box-sizing:border-box;margin:.5em 0}\
.detail{color:#555;font-size:.9em;overflow-wrap:anywhere}\n";
/// Where the answer comes back, and nowhere else.
const COOKIE_PATH: &str = "/oauth/callback/";

/// A page in the making.
pub(super) struct Page(Language);

impl Page {
    pub(super) fn new(headers: &HeaderMap) -> Self {
        Self(Language::of(headers))
    }

    fn say(&self, say: Say) -> &'static str {
        say.in_language(self.0)
    }

    fn say_of(&self, say: Say, of: &str) -> String {
        self.say(say).replacen("{}", &escaped(of), 1)
    }

    pub(super) fn home(&self) -> Response {
        self.page(StatusCode::OK, &format!("<p>{}</p>", self.say(Say::Home)))
    }

    pub(super) fn start(&self, ticket: &str, order: &Order) -> Response {
        let (ticket, label) = (escaped(ticket), &order.label);
        let body = format!(
            "<p>{}</p>\n<form method=\"post\" action=\"/sign-in/{ticket}\"><button>{}</button></form>\n\
             <form method=\"post\" action=\"/sign-in/{ticket}/answer\"><p class=\"detail\"><label for=\"address\">{}</label>\
             <input id=\"address\" name=\"address\" autocomplete=\"off\"><button>{}</button></p></form>",
            self.say_of(Say::Start, order.address.as_str()),
            self.say_of(Say::Begin, label),
            self.say(Say::Paste),
            self.say(Say::PasteButton),
        );
        let mut response = self.page(StatusCode::OK, &body);
        // Some browsers hold where a form leads against where it may be sent.
        let policy =
            pages_policy::USUAL.replace("form-action 'self'", &format!("form-action 'self' {}", order.page.origin()));
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        response
    }

    pub(super) fn done(&self, done: &Done) -> Response {
        let words = self.say_of(Say::Done, done.address.as_str());
        self.page(StatusCode::OK, &format!("<p>{words}</p>\n<p>{}</p>", self.say(Say::Close)))
    }

    pub(super) fn failed(&self, error: &control::Error) -> Response {
        let (status, say) = kind(error);
        let detail = match say {
            // Those say it all, or are for the log alone.
            Say::Moved | Say::Unknown | Say::NotReturned => String::new(),
            Say::Fault => {
                tracing::error!(%error, "a page cannot be shown");
                String::new()
            }
            _ => format!("\n<p class=\"detail\" lang=\"en\">{}</p>", escaped(&error.to_string())),
        };
        self.page(status, &format!("<p>{}</p>{detail}", self.say(say)))
    }

    pub(super) fn error(&self, status: StatusCode, say: Say) -> Response {
        self.page(status, &format!("<p>{}</p>", self.say(say)))
    }

    fn page(&self, status: StatusCode, body: &str) -> Response {
        let code = self.0.code();
        let text = format!(
            "<!DOCTYPE html>\n<html lang=\"{code}\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\">\
             <title>Passerelle</title><link rel=\"stylesheet\" href=\"/style.css\"></head>\n<body><h1>Passerelle</h1>\n{body}\n\
             </body></html>\n"
        );
        let mut response = of_type("text/html; charset=utf-8", text);
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(code));
        response
    }
}

pub(super) fn style() -> Response {
    of_type("text/css; charset=utf-8", STYLE.to_owned())
}

fn of_type(kind: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// To the provider, with the cookie by which the browser is known when it comes back. It comes from the provider's site
/// then: a strict cookie would stay away (rule R27).
pub(super) fn away(sending: &Sending, secure: bool) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    if let Ok(address) = HeaderValue::from_str(&sending.address) {
        headers.insert(header::LOCATION, address);
    }
    let cookie = sending
        .cookie
        .as_ref()
        .and_then(|cookie| set_cookie(&cookie_name(&sending.state), cookie.expose(), STATE_SECONDS, secure));
    if let Some(cookie) = cookie {
        headers.insert(header::SET_COOKIE, cookie);
    }
    response
}

pub(super) fn cookie_gone(state: &Secret<String>, secure: bool) -> Option<HeaderValue> {
    set_cookie(&cookie_name(state), "", 0, secure)
}

fn set_cookie(name: &str, value: &str, seconds: u32, secure: bool) -> Option<HeaderValue> {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Max-Age={seconds}; Path={COOKIE_PATH}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&text).ok()
}

/// Each state has a cookie of its own: one browser may have two sign-ins under way.
fn cookie_name(state: &Secret<String>) -> String {
    let letters = state.expose().chars().filter(|letter| letter.is_ascii_alphanumeric() || "-_".contains(*letter));
    format!("sign-in-{}", letters.take(8).collect::<String>())
}

pub(super) fn cookie_of(headers: &HeaderMap, state: &Secret<String>) -> Option<Secret<String>> {
    let name = cookie_name(state);
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    cookies.find(|(found, _)| *found == name).map(|(_, value)| Secret::new(value.to_owned()))
}

/// For text and for attributes in double quotes.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return text.into();
    }
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_is_no_markup() {
        assert_eq!(escaped("<b a=\"x\">&'"), "&lt;b a=&quot;x&quot;&gt;&amp;&#39;");
        let page = Page::new(&HeaderMap::new());
        assert_eq!(page.say_of(Say::Done, "<script>{}"), "&lt;script&gt;{} is connected.");
    }

    #[test]
    fn r27_the_cookie_is_lax_short_lived_and_the_states_own() {
        let state = Secret::new("abcdefghijkl".to_owned());
        let sending = Sending {
            address: "https://id.test/".to_owned(),
            state: state.clone(),
            cookie: Some(Secret::new("v".to_owned())),
        };
        let response = away(&sending, true);
        assert_eq!(
            response.headers()["set-cookie"],
            "sign-in-abcdefgh=v; Max-Age=600; Path=/oauth/callback/; HttpOnly; SameSite=Lax; Secure"
        );
        let mut headers = HeaderMap::new();
        headers.append("cookie", HeaderValue::from_static("other=1; sign-in-abcdefgh=v"));
        assert_eq!(cookie_of(&headers, &state).expect("there").expose(), "v");
        assert!(cookie_of(&headers, &Secret::new("abcdefgX".to_owned())).is_none());
    }
}
