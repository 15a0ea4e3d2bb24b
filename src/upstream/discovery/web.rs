//! Web servers: one question over https, led on three times at most, and 64 KiB of answer.
//!
//! A question holds the address of a person: it is told to hosts of the address's own domain alone, wherever those lead.
//! What reqwest says of a failure is dropped: it could hold the address of a person.

use super::{ANSWER_MAX, AskerUnusable, Silence, names::Names};
use crate::{
    discovery::{host, is_within},
    model::Host,
    upstream::tls,
};
use reqwest::{Client, Url, redirect::Policy};
use std::{error::Error as _, io, sync::Arc};
use tokio_rustls::rustls;

/// From one web address to the next.
pub(crate) const REDIRECTS_MAX: usize = 3;

#[derive(Clone)]
pub(super) struct Web(Client);

impl Web {
    pub(super) fn new(names: Names) -> Result<Self, AskerUnusable> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls::machine())
            .dns_resolver(Arc::new(names))
            .https_only(true)
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .user_agent("passerelle")
            .build();
        client.map(Self).map_err(|_| AskerUnusable)
    }

    pub(super) async fn ask(&self, url: &str, question: Option<&str>, domain: &str) -> Result<Vec<u8>, Silence> {
        let mut url = Url::parse(url).map_err(|_| Silence::Unknown)?;
        for _ in 0..=REDIRECTS_MAX {
            let at = safe(&url, domain)?;
            if question.is_some() && !is_within(&at, domain) {
                return Err(Silence::Outside(at));
            }
            let request = match question {
                Some(question) => {
                    let request = self.0.post(url.clone()).header("content-type", "text/xml; charset=utf-8");
                    request.body(question.to_owned())
                }
                None => self.0.get(url.clone()),
            };
            let response = request.header("accept", "text/xml, application/xml").send().await;
            let response = response.map_err(|error| silence(&error))?;
            match response.status().as_u16() {
                200 => return body(response).await,
                301 | 302 | 303 | 307 | 308 => {
                    let to = response.headers().get("location").and_then(|to| to.to_str().ok());
                    url = to.and_then(|to| url.join(to).ok()).ok_or(Silence::Lost)?;
                }
                status => return Err(Silence::Status(status)),
            }
        }
        Err(Silence::Redirects)
    }
}

/// By name and over https: a number would pass by what is asked of names.
fn safe(url: &Url, domain: &str) -> Result<Host, Silence> {
    if url.scheme() != "https" {
        return Err(Silence::NotHttps);
    }
    let name = url.host_str().unwrap_or_default();
    let plain = url.username().is_empty() && url.password().is_none();
    host(name, domain).filter(|_| plain).ok_or_else(|| Silence::NoHost(name.to_owned()))
}

async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, Silence> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| silence(&error))? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err(Silence::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn silence(error: &reqwest::Error) -> Silence {
    match error.source().and_then(reason) {
        Some(silence) => silence,
        None if error.is_timeout() => Silence::TimedOut,
        None => Silence::Lost,
    }
}

/// What an error or one of its causes says. An I/O error hides what it holds from its own causes.
fn reason(error: &(dyn std::error::Error + 'static)) -> Option<Silence> {
    if let Some(silence) = error.downcast_ref::<Silence>() {
        return Some(silence.clone());
    }
    if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
        return Some(Silence::Certificate);
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            return Some(Silence::Refused);
        }
        if let Some(found) = error.get_ref().and_then(|held| reason(held)) {
            return Some(found);
        }
    }
    error.source().and_then(reason)
}
