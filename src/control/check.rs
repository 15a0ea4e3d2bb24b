//! Whether an account's provider still lets us in, asked now.

use super::{
    Error, Refused, Service,
    account::by_address,
    provider,
    trial::{self, Manner, Trial, With},
};
use crate::{
    model::{AccountId, Address, Endpoint, Generation},
    provider::Table,
    store::{Account, Changes, Error as StoreError, Store},
    upstream::{Opened, OpenedFacts},
};
use serde::Serialize;

/// What has come of a check.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    pub address: Address,
    /// When a sign-in is known to have worked: now, if it did.
    pub checked_at: Option<i64>,
    pub imap: Outcome,
    pub smtp: Outcome,
}

/// Of one service.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub endpoint: Endpoint,
    /// `ok`, `refused`; `off` where the service is switched off, `client-token` where only the CRM could sign in: neither was
    /// tried.
    pub state: &'static str,
    /// Why it was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
    /// How many folders there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folders: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Said of an account that only its CRM can sign in to.
pub(super) const CLIENT_TOKEN: &str =
    "the sign-in was not tried: the access token that opens this account is the CRM's own, and is not kept";

/// Signs in to the services of an account that are switched on. If all let us in, that is kept. What refused us is given
/// beside.
///
/// # Errors
/// If there is no such account or the store fails.
pub async fn check(
    store: &Store,
    table: &Table,
    address: &Address,
    manner: Manner<'_>,
    now: i64,
) -> Result<(Checked, Vec<Refused>), Error> {
    let account = by_address(store, address).await?;
    let of = |service, endpoint| {
        let trial = Trial { service, endpoint, certificates: &account.certificates, with: With::Stored(&account) };
        (trial::is_on(&account.settings, service) && !account.by_client_token).then_some(trial)
    };
    let mut tried =
        trial::both(store, of(Service::Imap, &account.imap), of(Service::Smtp, &account.smtp), manner).await?;
    let advice = provider::advice(table, &account.settings.provider);
    for refused in [&mut tried.imap, &mut tried.smtp].into_iter().flatten().filter_map(|tried| tried.as_mut().err()) {
        refused.advice = advice.clone();
        refused.account = Some(account.address.clone());
    }
    // A running bridge waits no longer for what works again.
    for (service, tried) in [("imap", &tried.imap), ("smtp", &tried.smtp)] {
        if matches!(tried, Some(Ok(_))) {
            store.clear_refusal(account.id, service).await?;
        }
    }
    let (imap, smtp) = (
        outcome(&account, Service::Imap, &account.imap, tried.imap.as_ref()),
        outcome(&account, Service::Smtp, &account.smtp, tried.smtp.as_ref()),
    );
    let any = tried.imap.is_some() || tried.smtp.is_some();
    let refused = tried.refused();
    let mut checked_at = account.checked_at;
    if any && refused.is_empty() {
        checked_at = Some(now);
        keep(store, account.id, account.generation, now).await?;
    }
    Ok((Checked { address: account.address, checked_at, imap, smtp }, refused))
}

/// That a sign-in worked now, of an account that is still of this generation.
pub(super) async fn keep(store: &Store, id: AccountId, of: Generation, now: i64) -> Result<(), Error> {
    let changes = Changes { of: Some(of), checked_at: Some(now), ..Changes::default() };
    match store.change_account(id, &changes).await {
        // What it is now was not checked.
        Ok(_) | Err(StoreError::Changed) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn outcome(
    account: &Account,
    service: Service,
    endpoint: &Endpoint,
    tried: Option<&Result<Opened, Refused>>,
) -> Outcome {
    let outcome =
        |state| Outcome { endpoint: endpoint.clone(), state, why: None, folders: None, error: None, hint: None };
    match tried {
        None if !trial::is_on(&account.settings, service) => outcome("off"),
        // Nothing else is left untried.
        None => Outcome { why: Some(CLIENT_TOKEN), ..outcome("client-token") },
        Some(Ok(opened)) => {
            let folders = match &opened.facts {
                OpenedFacts::Imap { folders, .. } => folders.as_ref().map(|table| table.folders.len()),
                OpenedFacts::Smtp { .. } => None,
            };
            Outcome { folders, ..outcome("ok") }
        }
        Some(Err(refused)) => Outcome { error: Some(refused.to_string()), hint: refused.hint(), ..outcome("refused") },
    }
}
