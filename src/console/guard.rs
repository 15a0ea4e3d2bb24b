//! What stands before every page: who may ask, how, and what each answer carries (rule R36).

use super::{
    Shared,
    pages::{Page, Say},
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};

/// Names under which this machine is reached. By any other, a page of somebody else's could read ours (DNS rebinding).
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Refuses what no browser of ours asks, and sees to the headers of every answer.
pub(super) async fn guard(State(console): Shared, request: Request, next: Next) -> Response {
    let page = Page::new(request.headers());
    let known = |host: &str| HERE.contains(&host) || console.public_host.as_deref() == Some(host);
    let host = host(request.headers());
    let mut response = if !host.as_deref().is_some_and(known) {
        page.error(StatusCode::MISDIRECTED_REQUEST, Say::OtherHost)
    } else if ![Method::GET, Method::POST].contains(request.method()) {
        page.error(StatusCode::METHOD_NOT_ALLOWED, Say::NotFound)
    } else if request.method() == Method::POST && !is_own(request.headers()) {
        page.error(StatusCode::FORBIDDEN, Say::OtherSite)
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::VARY, "Accept-Language"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(pages_policy::USUAL));
    response
}

pub(super) mod pages_policy {
    /// No script, no frame, nothing of anywhere else.
    pub(in crate::console) const USUAL: &str =
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
}

/// The one host that is asked, without its port: a tunnel may bring another.
fn host(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (all.next(), all.next()) else { return None };
    let host = host.to_str().ok()?.to_ascii_lowercase();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name.to_owned(),
        _ => host,
    };
    Some(name)
}

/// Whether a form is sent by a page of ours. The link in its address is a secret already; this is a second bolt. Pages
/// that send no referrer have `null` for an origin.
fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => ["same-origin", "none"].contains(&site),
        (None, None | Some("null")) => true,
        (None, Some(origin)) => {
            let of = origin.split_once("://").map(|(_, host)| host);
            of.is_some() && of == text("host")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_host_is_one_name_without_its_port() {
        assert_eq!(host(&headers(&[("host", "LOCALHOST:1180")])).as_deref(), Some("localhost"));
        assert_eq!(host(&headers(&[("host", "[::1]:1180")])).as_deref(), Some("[::1]"));
        assert_eq!(host(&headers(&[("host", "[::1]")])).as_deref(), Some("[::1]"));
        assert_eq!(host(&headers(&[("host", "localhost.evil.test")])).as_deref(), Some("localhost.evil.test"));
        assert_eq!(host(&headers(&[])), None);
        assert_eq!(host(&headers(&[("host", "localhost"), ("host", "evil.test")])), None);
    }

    #[test]
    fn r36_a_form_of_another_site_is_refused() {
        for (own, sent) in [
            (true, vec![]),
            (true, vec![("sec-fetch-site", "same-origin"), ("origin", "null")]),
            (true, vec![("host", "localhost:1"), ("origin", "http://localhost:1")]),
            (true, vec![("origin", "null")]),
            (false, vec![("sec-fetch-site", "cross-site"), ("origin", "null")]),
            (false, vec![("sec-fetch-site", "same-site")]),
            (false, vec![("host", "localhost:1"), ("origin", "http://localhost:2")]),
            (false, vec![("host", "localhost:1"), ("origin", "https://evil.test")]),
            (false, vec![("origin", "")]),
        ] {
            assert_eq!(is_own(&headers(&sent)), own, "{sent:?}");
        }
    }
}
