//! Trials: signing in to a provider's services before something is stored, or to see whether it still works.

use super::{Error, Refused, Service, account::DEADLINES};
use crate::{
    model::{Certificates, Endpoint},
    oauth::broker::{Broker, Holder},
    relay::{LaneUse, opening::SignIn},
    store::{Account, Settings, Store},
    upstream::{self, Opened, Refusal, Step, Target, Wanted},
};

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
    report: Report<'_>,
) -> Result<Tried, Error> {
    // One for both: two would show the same refresh token at once, and a strict provider ends the grant.
    let broker = Broker::new(store.clone(), upstream::exchange().map_err(|_| Error::NoHttp)?, Holder::Command);
    let (imap, smtp) = tokio::join!(one(store, &broker, imap, report), one(store, &broker, smtp, report));
    // The process may end now: a renewal that is cut could lose a refresh token.
    broker.settle().await;
    Ok(Tried { imap, smtp })
}

async fn one(
    store: &Store,
    broker: &Broker,
    trial: Option<Trial<'_>>,
    report: Report<'_>,
) -> Option<Result<Opened, Refused>> {
    let trial = trial?;
    let (service, endpoint) = (trial.service, trial.endpoint);
    Some(open(store, broker, trial, report).await.map_err(|refusal| Refused::by(service, endpoint, refusal)))
}

async fn open(store: &Store, broker: &Broker, trial: Trial<'_>, report: Report<'_>) -> Result<Opened, Refusal> {
    let lane_use = match trial.service {
        Service::Imap => LaneUse::Imap,
        Service::Smtp => LaneUse::Submission,
    };
    let steps = &mut |step| report(trial.service, step);
    match trial.with {
        With::Given(sign_in) => {
            let target = Target { endpoint: trial.endpoint.clone(), certificates: trial.certificates.clone() };
            upstream::open(&target, lane_use, sign_in, DEADLINES, steps).await
        }
        With::Stored(account) => {
            let wanted = Wanted { account, purpose: lane_use, reads_folders: true, own: &[] };
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
