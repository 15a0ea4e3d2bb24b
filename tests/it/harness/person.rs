//! A person with a browser that has no window: it keeps cookies, follows where it is sent, and fills in the forms of the
//! authorization server of the lab.

use super::leash::PATIENCE;
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
};

/// How often a browser lets itself be sent on.
const HOPS: usize = 20;

#[derive(Default)]
pub(crate) struct Person {
    /// By host, without its port, as browsers keep them; then by name: value and path.
    cookies: BTreeMap<String, BTreeMap<String, (String, String)>>,
    pub(crate) language: &'static str,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// The value of the first `name="…"` in the page.
    fn attribute(&self, name: &str) -> Option<String> {
        let (_, rest) = self.body.split_once(&format!("{name}=\""))?;
        Some(rest.split('"').next()?.replace("&amp;", "&"))
    }
}

impl Person {
    pub(crate) fn get(&mut self, url: &str) -> Reply {
        self.ask("GET", url, "", None)
    }

    pub(crate) fn post(&mut self, url: &str, form: &str) -> Reply {
        self.ask("POST", url, "Content-Type: application/x-www-form-urlencoded\r\n", Some(form))
    }

    /// Any request; `more` are whole lines of its head.
    pub(crate) fn ask(&mut self, method: &str, url: &str, more: &str, body: Option<&str>) -> Reply {
        let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("not an address of the lab: {url}"));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = authority.rsplit_once(':').expect("a port");
        let path = format!("/{path}");
        let host_line = if more.contains("Host:") { String::new() } else { format!("Host: {authority}\r\n") };
        let mut head = format!("{method} {path} HTTP/1.1\r\n{host_line}Connection: close\r\n{more}");
        let cookies: Vec<_> = self.cookies.get(host).into_iter().flatten().collect();
        let cookies: Vec<_> = cookies
            .iter()
            .filter(|(_, (_, of))| path.starts_with(of.as_str()))
            .map(|(name, (value, _))| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            head.push_str(&format!("Cookie: {}\r\n", cookies.join("; ")));
        }
        if !self.language.is_empty() {
            head.push_str(&format!("Accept-Language: {}\r\n", self.language));
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        let to = if host == "localhost" { "127.0.0.1" } else { host };
        let reply = send(&format!("{}:{port}", to), &format!("{head}\r\n{}", body.unwrap_or_default()));
        self.keep(host, &reply);
        reply
    }

    fn keep(&mut self, host: &str, reply: &Reply) {
        let lines = reply.head.lines().filter_map(|line| line.split_once(':'));
        let jar = self.cookies.entry(host.to_owned()).or_default();
        for (_, cookie) in lines.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")) {
            let mut parts = cookie.trim().split("; ");
            let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            let path = parts.find_map(|part| part.strip_prefix("path=").or(part.strip_prefix("Path=")));
            let gone = cookie.contains("Max-Age=0;") || value.is_empty();
            if gone {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), (value.to_owned(), path.unwrap_or("/").to_owned()));
            }
        }
    }

    /// Presses the button of the bridge's page; where that leads.
    pub(crate) fn begin(&mut self, link: &str) -> String {
        let page = self.get(link);
        assert_eq!(page.status, 200, "{page:?}");
        let action = page.attribute("action").expect("a form");
        let base = link.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let sent = self.post(&format!("{base}{action}"), "");
        assert_eq!(sent.status, 303, "{sent:?}");
        sent.header("location").expect("an address").to_owned()
    }

    /// Signs in at the provider as this one and consents; where the browser is sent at the end, which it does not ask.
    pub(crate) fn consents(&mut self, address: &str, account: &str) -> String {
        self.at_provider(address, account, false)
    }

    /// Declines.
    pub(crate) fn declines(&mut self, address: &str, account: &str) -> String {
        self.at_provider(address, account, true)
    }

    fn at_provider(&mut self, address: &str, account: &str, declines: bool) -> String {
        let base = address.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let mut reply = self.get(address);
        for _ in 0..HOPS {
            if let Some(location) = reply.header("location") {
                let next = if location.starts_with('/') { format!("{base}{location}") } else { location.to_owned() };
                if !next.starts_with(&base) {
                    return next;
                }
                reply = self.get(&next);
                continue;
            }
            assert_eq!(reply.status, 200, "{reply:?}");
            let action = reply.attribute("action").unwrap_or_else(|| panic!("no form: {reply:?}"));
            let prompt = reply.attribute("name=\"prompt\" value").expect("a prompt");
            reply = if declines {
                self.get(&format!("{action}/abort"))
            } else {
                self.post(&action, &format!("prompt={prompt}&login={account}&password=x"))
            };
        }
        panic!("sent on for ever: {reply:?}");
    }
}

/// One request on a connection of its own.
fn send(to: &str, request: &str) -> Reply {
    let mut stream = TcpStream::connect(to).unwrap_or_else(|error| panic!("nobody listens at {to}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    // A server may have answered before it has read all.
    let _ = stream.write_all(request.as_bytes());
    let mut octets = Vec::new();
    let _ = stream.read_to_end(&mut octets);
    let text = String::from_utf8_lossy(&octets).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}
