//! Trials: signing in to a provider's services before something is stored, or to see whether it still works.

use super::{Refused, Service, account::DEADLINE};
use crate::{
    failure::Failure,
    model::{Certificates, Endpoint, SmtpAuth},
    relay::{LaneUse, opening::SignIn},
    store::{Account, Settings, Store},
    upstream::{self, Opened, Refusal, Step, Target},
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
    /// What is stored of this account.
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
pub(super) async fn both(store: &Store, imap: Option<Trial<'_>>, smtp: Option<Trial<'_>>, report: Report<'_>) -> Tried {
    let (imap, smtp) = tokio::join!(one(store, imap, report), one(store, smtp, report));
    Tried { imap, smtp }
}

async fn one(store: &Store, trial: Option<Trial<'_>>, report: Report<'_>) -> Option<Result<Opened, Refused>> {
    let trial = trial?;
    let (service, endpoint) = (trial.service, trial.endpoint);
    Some(open(store, trial, report).await.map_err(|refusal| Refused::by(service, endpoint, refusal)))
}

async fn open(store: &Store, trial: Trial<'_>, report: Report<'_>) -> Result<Opened, Refusal> {
    let lane_use = match trial.service {
        Service::Imap => LaneUse::Imap,
        Service::Smtp => LaneUse::Submission,
    };
    let sign_in = match trial.with {
        With::Given(sign_in) => sign_in,
        With::Stored(account) => stored(store, account, trial.service).await?,
    };
    let target = Target { endpoint: trial.endpoint.clone(), certificates: trial.certificates.clone() };
    let steps = &mut |step| report(trial.service, step);
    upstream::open(&target, lane_use, sign_in, DEADLINE, steps).await
}

async fn stored(store: &Store, account: &Account, service: Service) -> Result<SignIn, Failure> {
    let user = account.sign_in_name.as_str();
    let (user, password) = match (service, &account.settings.smtp_auth) {
        (Service::Smtp, SmtpAuth::None) => return Ok(SignIn::Nobody),
        (Service::Smtp, SmtpAuth::Separate(user)) => (user.as_str(), store.smtp_password(account).await),
        (Service::Imap, _) | (Service::Smtp, SmtpAuth::Same) => (user, store.account_password(account).await),
    };
    let password = password.map_err(|error| Failure::from(&error))?;
    Ok(SignIn::Password { user: user.into(), password })
}

/// Whether a service is used at all: one that is switched off need not let us in.
pub(super) fn is_on(settings: &Settings, service: Service) -> bool {
    match service {
        Service::Imap => settings.receives,
        Service::Smtp => settings.sends,
    }
}
