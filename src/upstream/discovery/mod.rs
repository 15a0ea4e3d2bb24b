//! Asks names, web servers and mail servers where the mail of a domain is.
//!
//! Whoever is asked may be anybody: each question has a deadline, each answer a cap. No credential is at hand here, nothing
//! goes out in clear but questions to a name server, and no address of a private network is dialled unless that is wished.

mod greeting;
mod names;
mod web;

use crate::{
    discovery::{ANSWER_MAX, Nonsense, Record},
    failure::Failure,
    model::{Certificates, Endpoint, Host},
    relay::LaneUse,
};
pub(crate) use names::RECORDS_MAX;
pub(crate) use web::REDIRECTS_MAX;

use names::Names;
use std::{net::SocketAddr, time::Duration};
use tokio::time::timeout;
use web::Web;

/// Who is asked, and how long for.
#[derive(Clone, Debug)]
pub struct Asking {
    /// A name server in the place of the system's.
    pub resolver: Option<SocketAddr>,
    /// Whether what is found may be in a private network, or on this machine.
    pub private_addresses: bool,
    /// For one question and its answer.
    pub question: Duration,
}

/// Why there is no answer that could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    #[error("its certificate is not believed")]
    Certificate,
    #[error("{0}")]
    Mail(Failure),
    #[error("there is none")]
    None,
    #[error("no name server answers")]
    NoNameServer,
    #[error("the connection was lost")]
    Lost,
    #[error("it leads to an address that is no host's: {0}")]
    NoHost(String),
    #[error("it leads on without https, which is not followed")]
    NotHttps,
    /// A host that is not the domain's own is not told an address.
    #[error("{0} is outside the domain, and was not asked")]
    Outside(Host),
    #[error("it leads to a private network, which discovery.private-addresses does not allow")]
    Private,
    #[error("the connection was refused")]
    Refused,
    #[error("it leads on again and again")]
    Redirects,
    #[error("status {0}")]
    Status(u16),
    #[error("no answer in time")]
    TimedOut,
    #[error("{}", Nonsense::TooLong)]
    TooLong,
    #[error("the name is not known")]
    Unknown,
}

/// Asks.
#[derive(Clone)]
pub struct Asker {
    names: Names,
    web: Web,
    question: Duration,
}

/// No HTTP client can be made.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client can be made")]
pub struct AskerUnusable;

impl Asker {
    /// # Errors
    /// If no client can be made, which is a fault of the build.
    pub fn new(asking: &Asking) -> Result<Self, AskerUnusable> {
        let names = Names::new(asking);
        Ok(Self { web: Web::new(names.clone())?, names, question: asking.question })
    }

    /// The hosts that take in mail for a domain, the first to be tried first.
    ///
    /// # Errors
    /// [`Silence`].
    pub async fn mx(&self, domain: &str) -> Result<Vec<String>, Silence> {
        self.within(self.names.mx(domain)).await
    }

    /// The records of a service.
    ///
    /// # Errors
    /// [`Silence`].
    pub async fn srv(&self, name: &str) -> Result<Vec<Record>, Silence> {
        self.within(self.names.srv(name)).await
    }

    /// What a host is another name of.
    ///
    /// # Errors
    /// [`Silence`].
    pub async fn alias(&self, host: &str) -> Result<String, Silence> {
        self.within(self.names.alias(host)).await
    }

    /// What stands at a web address; with a question, what is answered to it.
    ///
    /// # Errors
    /// [`Silence`].
    pub async fn web(&self, url: &str, question: Option<&str>, domain: &str) -> Result<Vec<u8>, Silence> {
        self.within(self.web.ask(url, question, domain)).await
    }

    /// That a mail server greets there, and shows a certificate that is believed.
    ///
    /// # Errors
    /// [`Silence`].
    pub async fn greeting(
        &self,
        endpoint: &Endpoint,
        purpose: LaneUse,
        certificates: &Certificates,
        own: &[SocketAddr],
    ) -> Result<(), Silence> {
        self.within(greeting::of(&self.names, endpoint, purpose, (certificates, own), self.question)).await
    }

    async fn within<T>(&self, asked: impl Future<Output = Result<T, Silence>>) -> Result<T, Silence> {
        timeout(self.question, asked).await.unwrap_or(Err(Silence::TimedOut))
    }
}
