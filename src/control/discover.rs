//! Finds out where the mail of an address is: by the provider table, then by one way after the other until both services
//! are known. Nobody is told a password, and a host that is neither the domain's own nor in the table is for a person to
//! confirm.

mod hunt;

use super::{Error, OwnListeners};
use crate::{
    discovery::{HostTemplate, SignInName, Step, WebTemplate},
    model::{Address, Certificates, Endpoint, Host},
    provider::{Password, Table},
    upstream::discovery::{Asker, Asking},
};
pub(crate) use hunt::ELSEWHERE_MAX;

use hunt::Hunt;
use serde::{Serialize, Serializer};
use std::{fmt, time::Duration};
use tokio::time::timeout;

/// Where it is looked, as the configuration has it.
#[derive(Clone, Debug)]
pub struct Terms {
    /// In this order.
    pub steps: Vec<Step>,
    pub autoconfig: Vec<WebTemplate>,
    pub autodiscover: Vec<WebTemplate>,
    pub imap: Vec<HostTemplate>,
    pub smtp: Vec<HostTemplate>,
    pub asking: Asking,
    /// For all.
    pub whole: Duration,
    /// Whose certificates are believed where usual names are tried.
    pub certificates: Certificates,
}

/// How something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The provider table has the domain.
    Table,
    Step(Step),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => f.pad("table"),
            Self::Step(step) => step.fmt(f),
        }
    }
}

impl Serialize for By {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One question, and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    pub by: By,
    /// The domain, name, web address or host.
    pub asked: String,
    pub answer: String,
    /// Whether it told something of use.
    pub found: bool,
}

/// Told of each as it happens.
pub type Report<'a> = &'a (dyn Fn(&Tried) + Sync);

/// A service that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Located {
    #[serde(flatten)]
    pub endpoint: Endpoint,
    pub by: By,
}

/// Where the mail of an address is.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// A name of the provider table.
    pub provider: String,
    pub label: String,
    pub imap: Located,
    pub smtp: Located,
    #[serde(serialize_with = "name")]
    pub user: SignInName,
    /// Whether a password opens the mailbox; else access tokens alone.
    pub password: bool,
    /// Hosts that are neither the domain's own nor in the provider table: nobody but a person can say that they are right.
    pub outside: Vec<Host>,
    /// Providers that the same records lead to.
    pub others: Vec<String>,
}

fn name<S: Serializer>(user: &SignInName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&user.name)
}

/// What has come of it.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub address: Address,
    pub tried: Vec<Tried>,
    /// Null: not both services are known.
    pub found: Option<Found>,
}

/// Looks where the mail of this address is.
///
/// # Errors
/// [`Error::NoHttp`]. That nothing is found is none.
pub async fn find(
    table: &Table,
    terms: &Terms,
    address: &Address,
    own: &OwnListeners,
    report: Report<'_>,
) -> Result<Outcome, Error> {
    let asker = Asker::new(&terms.asking).map_err(|_| Error::NoHttp)?;
    let mut hunt = Hunt::new(table, terms, address, asker, (own, report));
    if timeout(terms.whole, hunt.run()).await.is_err() {
        hunt.out_of_time();
    }
    Ok(hunt.outcome())
}

impl Found {
    /// How the mailbox is signed in to at such a provider.
    fn takes_passwords(table: &Table, provider: &str, said: bool) -> bool {
        match table.named(provider) {
            Some(known) if provider != crate::provider::GENERIC => known.sign_in.password != Password::None,
            _ => said,
        }
    }
}
