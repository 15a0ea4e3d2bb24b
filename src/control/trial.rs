//! Trials: signing in to a provider's services before something is stored, or to see whether it still works.

use super::{Error, Refused, Service, account::DEADLINES};
use crate::{
    failure::{Failure, Unreachable},
    model::{Certificates, Endpoint},
    oauth::broker::{Broker, Holder},
    relay::{LaneUse, opening::SignIn},
    store::{Account, Settings, Store},
    upstream::{self, Opened, Refusal, Step, Target, Wanted},
};
use std::net::SocketAddr;

/// One service that is signed in to.
pub(super) struct Trial<'a> {
    pub(super) service: Service,
    pub(super) endpoint: &'a Endpoint,
    pub(super) certificates: &'a Certificates,
    pub(super) with: With<'a>,
}

/// With what.
pub(super) enum With<'a> {
    Given(SignIn),
    /// What is stored of this account, at its own endpoints.
    Stored(&'a Account),
}

/// Told of each step that worked, as it happens.
pub type Report<'a> = &'a (dyn Fn(Service, Step) + Sync);

/// How a person's trial is made.
#[derive(Clone, Copy)]
pub struct Manner<'a> {
    pub own: &'a OwnListeners,
    pub report: Report<'a>,
}

/// The bridge's own listeners, at none of which a provider is: where they are, and under which keys of the configuration.
#[derive(Clone, Default)]
pub struct OwnListeners {
    addresses: Vec<SocketAddr>,
    /// Of each address, the key.
    keys: Vec<&'static str>,
}

impl OwnListeners {
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The key of the listener that this failure is about.
    pub(super) fn key_of(&self, failure: &Failure) -> Option<&'static str> {
        let Failure::ProviderUnreachable(Unreachable::Ourselves { listener }) = failure else { return None };
        self.addresses.iter().zip(&self.keys).find(|(address, _)| *address == listener).map(|(_, key)| *key)
    }
}

impl FromIterator<(SocketAddr, &'static str)> for OwnListeners {
    fn from_iter<T: IntoIterator<Item = (SocketAddr, &'static str)>>(listeners: T) -> Self {
        let (addresses, keys) = listeners.into_iter().unzip();
        Self { addresses, keys }
    }
}

/// What has come of both services; None of one that was not tried.
pub(super) struct Tried {
    pub(super) imap: Option<Result<Opened, Refused>>,
    pub(super) smtp: Option<Result<Opened, Refused>>,
}

impl Tried {
    /// What did not let us in.
    pub(super) fn refused(self) -> Vec<Refused> {
        [self.imap, self.smtp].into_iter().flatten().filter_map(Result::err).collect()
    }
}

/// Signs in to both services at once.
///
/// # Errors
/// [`Error::NoHttp`].
pub(super) async fn both(
    store: &Store,
    imap: Option<Trial<'_>>,
    smtp: Option<Trial<'_>>,
    manner: Manner<'_>,
) -> Result<Tried, Error> {
    // One for both: two would show the same refresh token at once, and a strict provider ends the grant.
    let broker = Broker::new(store.clone(), upstream::exchange().map_err(|_| Error::NoHttp)?, Holder::Command);
    let (imap, smtp) = tokio::join!(one(store, &broker, imap, manner), one(store, &broker, smtp, manner));
    // The process may end now: a renewal that is cut could lose a refresh token.
    broker.settle().await;
    Ok(Tried { imap, smtp })
}

async fn one(
    store: &Store,
    broker: &Broker,
    trial: Option<Trial<'_>>,
    manner: Manner<'_>,
) -> Option<Result<Opened, Refused>> {
    let trial = trial?;
    let (service, endpoint) = (trial.service, trial.endpoint);
    let opened = open(store, broker, trial, manner).await;
    Some(opened.map_err(|refusal| Refused::by(service, endpoint, refusal, manner.own)))
}

async fn open(store: &Store, broker: &Broker, trial: Trial<'_>, manner: Manner<'_>) -> Result<Opened, Refusal> {
    let lane_use = match trial.service {
        Service::Imap => LaneUse::Imap,
        Service::Smtp => LaneUse::Submission,
    };
    let own = manner.own.addresses();
    let steps = &mut |step| (manner.report)(trial.service, step);
    match trial.with {
        With::Given(sign_in) => {
            let target = Target { endpoint: trial.endpoint.clone(), certificates: trial.certificates.clone() };
            upstream::open(&target, lane_use, sign_in, own, DEADLINES, steps).await
        }
        With::Stored(account) => {
            let wanted = Wanted { account, purpose: lane_use, reads_folders: true, passed: None, own };
            upstream::open_stored(store, broker, wanted, DEADLINES, steps).await
        }
    }
}

/// Whether a service is used at all: one that is switched off need not let us in.
pub(super) fn is_on(settings: &Settings, service: Service) -> bool {
    match service {
        Service::Imap => settings.receives,
        Service::Smtp => settings.sends,
    }
}
