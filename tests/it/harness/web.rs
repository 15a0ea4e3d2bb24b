//! A web server whose pages a test writes, over TLS or in clear.

use super::{certificates::Signed, provider::Provider};

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) enum Page {
    /// Status 200, and this.
    Body(String),
    /// Only a status.
    Status(u16),
    /// Led on to this address.
    Location(String),
    /// A head, and then octets without an end.
    Endless,
    /// An octet a second.
    Drip,
    /// A connection that says nothing.
    Silent,
    /// What is no HTTP.
    Nonsense,
}

pub(crate) struct Web(Provider);

impl Web {
    /// Answers each request by its method, host without port, and path with query; 404 where it is none.
    pub(crate) fn start(
        certificate: Option<&Signed>,
        pages: impl Fn(&str, &str, &str) -> Option<Page> + Send + Sync + 'static,
    ) -> Self {
        Self(Provider::start(certificate, move |visit| {
            let first = visit.line()?;
            let (mut host, mut length) = (String::new(), 0);
            loop {
                let line = visit.line()?;
                match line.split_once(": ") {
                    Some((name, value)) if name.eq_ignore_ascii_case("host") => {
                        host = value.split(':').next().unwrap_or_default().to_owned();
                    }
                    Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                        length = value.parse().ok()?;
                    }
                    Some(_) => {}
                    None => break,
                }
            }
            visit.octets(length)?;
            let mut words = first.split(' ');
            let (method, path) = (words.next()?, words.next()?);
            let head = |status: u16, more: &str| format!("HTTP/1.1 {status} Any\r\nConnection: close\r\n{more}\r\n");
            match pages(method, &host, path).unwrap_or(Page::Status(404)) {
                Page::Body(body) => {
                    visit.send((head(200, &format!("Content-Length: {}\r\n", body.len())) + &body).as_bytes())?;
                }
                Page::Status(status) => visit.send(head(status, "Content-Length: 0\r\n").as_bytes())?,
                Page::Location(to) => {
                    visit.send(head(302, &format!("Location: {to}\r\nContent-Length: 0\r\n")).as_bytes())?;
                }
                Page::Endless => {
                    visit.send(head(200, "").as_bytes())?;
                    loop {
                        visit.send(&[b' '; 4096])?;
                    }
                }
                Page::Drip => {
                    visit.send(head(200, "").as_bytes())?;
                    loop {
                        visit.send(b"<")?;
                        std::thread::sleep(std::time::Duration::from_secs(1));
                    }
                }
                Page::Silent => {
                    visit.line()?;
                }
                Page::Nonsense => visit.send(b"\0\xff\r\n220 not the web\r\n")?,
            }
            visit.hang_up()
        }))
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port
    }

    /// The first line of each request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.0.heard().lines().filter(|line| line.ends_with(" HTTP/1.1")).map(str::to_owned).collect()
    }

    /// All that was heard, bodies too.
    pub(crate) fn heard(&self) -> String {
        self.0.heard()
    }

    pub(crate) fn visits(&self) -> u64 {
        self.0.visits()
    }
}
