//! The swap: an account goes to another mailbox, and back, while its CRMs keep login, password, ports and folder names.
//!
//! First the new place is signed in to and its folders are matched, and nothing is changed; then, when a person has seen
//! what becomes of the folders, all is switched in one commit.

use super::{
    Error, Refused, Service, account,
    folder::{self, readable},
    tokens,
    trial::{self, Manner, OwnListeners, Trial, Tried, With},
};
use crate::{
    model::{Address, Certificates, Endpoint, FolderTable, LocalName, RemoteName, Role, SmtpAuth, UserFormat},
    relay::opening::SignIn,
    rules::{
        counterpart::{self, Known, Plan},
        namespace::{Choices, Namespace, Naming},
    },
    store::{Account, Credential, Error as StoreError, Mapping, NewPlace, Origin, Store, WayBack},
};
use serde::Serialize;

const DAY: i64 = 86_400;
/// For how many days an account can go back: long enough for the first month's end in a firm.
pub const BACK_DAYS: u32 = 30;

/// Where a person wants an account to go.
pub struct Draft {
    /// None: the address stays.
    pub address: Option<Address>,
    /// A name of the provider table.
    pub provider: String,
    pub imap: Endpoint,
    pub smtp: Endpoint,
    pub certificates: Certificates,
    pub user_format: UserFormat,
    pub sign_in_name: String,
    pub credential: Credential,
    /// What mends a refused sign-in there.
    pub advice: Option<String>,
}

/// A swap that would work: the new place lets us in. Nothing is changed yet.
pub struct Prepared {
    account: Account,
    to: To,
    pub folders: Folders,
    /// Whether the refresh token that was given is of no use any more: what came in its place is kept by the switch alone.
    pub spent: bool,
}

enum To {
    New(Box<NewPlace>),
    Back(Box<WayBack>),
}

/// What becomes of the folders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Folders {
    /// What CRMs know, and the mailbox that it will be.
    pub known: Vec<Moved>,
    /// What they will see beside it.
    pub fresh: Vec<Moved>,
    /// Whether the old place was asked. If it does not answer, only folders that CRMs have opened are known.
    pub complete: bool,
    /// Whether the new place was asked. If nothing is stored to sign in with there, nothing is known of its folders: they are
    /// what they were when the account left it.
    pub asked: bool,
}

/// A folder of the CRM, and its mailbox at the new place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    pub local: String,
    pub role: Option<Role>,
    /// Null: there is none.
    pub remote: Option<String>,
}

/// A swap that is done.
#[derive(Clone, Debug, Serialize)]
pub struct Switched {
    pub address: Address,
    pub provider: String,
    pub imap: Endpoint,
    pub smtp: Endpoint,
    /// Until when it can be undone, in Unix seconds.
    pub back_until: i64,
    pub warnings: Vec<&'static str>,
}

/// Signs in to both services of the new place and matches its folders with those of the old, called as `naming` has them.
///
/// # Errors
/// If the new address is another account's, a service does not let us in, or the store fails; as [`Error::Spent`] where the
/// refresh token that was given was spent for that.
pub async fn prepare(
    store: &Store,
    account: Account,
    mut draft: Draft,
    naming: &Naming,
    manner: Manner<'_>,
) -> Result<Prepared, Error> {
    tokens::fit(&draft.certificates, tokens::shows_tokens(&draft.credential))?;
    let new = draft.address.take().unwrap_or_else(|| account.address.clone());
    if let Some(other) = store.account_by_address(&new).await?.filter(|other| other.id != account.id) {
        return Err(StoreError::AddressTaken(other.address).into());
    }
    let first = tokens::first_sign_in(&draft.sign_in_name, &mut draft.credential).await?;
    let sign_in = first.sign_in.clone();
    let goal = Goal {
        endpoints: [&draft.imap, &draft.smtp],
        certificates: &draft.certificates,
        sign_ins: [sign_in.clone(), sign_in],
        advice: draft.advice.as_deref(),
    };
    let (known, table) = tokio::join!(known(store, &account, manner.own), goal.folders(store, &account, manner));
    let lost = |error| first.lost(error);
    let (before, table) = (known.map_err(lost)?, table.map_err(lost)?);
    let hidden = counterpart::hidden(account.id, &before.choices.hidden, &before.table, &table);
    let plan = counterpart::plan(account.id, &before.known, &table, &hidden);
    let pair = |(local, remote)| Mapping { local, remote, origin: Origin::User };
    let new = NewPlace {
        address: new,
        provider: draft.provider,
        imap: draft.imap,
        smtp: draft.smtp,
        certificates: draft.certificates,
        user_format: draft.user_format,
        sign_in_name: draft.sign_in_name,
        credential: draft.credential,
        folder_map: plan.pairs.iter().cloned().map(pair).collect(),
        hidden: hidden.into_iter().collect(),
    };
    let folders = folders(&plan, before.complete, naming);
    Ok(Prepared { account, to: To::New(Box::new(new)), folders, spent: first.spent })
}

/// Signs in to both services of where the account was before its last swap, but where the CRM's own token opened it.
/// Folders are called as `naming` has them.
///
/// # Errors
/// [`Error::NoWayBack`]; or if a service does not let us in, or the store fails.
pub async fn prepare_back(
    store: &Store,
    account: Account,
    naming: &Naming,
    manner: Manner<'_>,
    now: i64,
) -> Result<Prepared, Error> {
    let back = store.way_back(account.id, now).await?.ok_or_else(|| Error::NoWayBack(account.address.clone()))?;
    if back.by_client_token {
        tokens::fit(&back.certificates, true)?;
        let folders = Folders { known: Vec::new(), fresh: Vec::new(), complete: false, asked: false };
        return Ok(Prepared { account, to: To::Back(Box::new(back)), folders, spent: false });
    }
    tokens::fit(&back.certificates, store.way_back_grant(account.id).await?.is_some())?;
    let own = match tokens::sign_in_before(store, &account, &back.sign_in_name).await? {
        Some(own) => own,
        None => {
            let password = store.way_back_password(account.id).await?;
            SignIn::Password { user: back.sign_in_name.as_str().into(), password }
        }
    };
    let submission = match &back.smtp_auth {
        SmtpAuth::Same => own.clone(),
        SmtpAuth::None => SignIn::Nobody,
        SmtpAuth::Delegate(user) => own.as_user(user),
        SmtpAuth::Separate(user) => {
            let password = store.way_back_smtp_password(account.id).await?;
            SignIn::Password { user: user.as_str().into(), password }
        }
    };
    tokens::is_unchanged(store, &account).await?;
    let goal = Goal {
        endpoints: [&back.imap, &back.smtp],
        certificates: &back.certificates,
        sign_ins: [own, submission],
        advice: None,
    };
    let (known, table) = tokio::join!(known(store, &account, manner.own), goal.folders(store, &account, manner));
    let (before, table) = (known?, table?);
    let plan = counterpart::with(account.id, &before.known, &table, &back.choices);
    let folders = folders(&plan, before.complete, naming);
    Ok(Prepared { account, to: To::Back(Box::new(back)), folders, spent: false })
}

/// Switches, in one commit: of two at once one wins. CRMs that are signed in end at a boundary and come back by
/// themselves; every folder tells them a larger UIDVALIDITY.
///
/// # Errors
/// [`StoreError::Changed`] if the account is not what it was when the swap was prepared, or if the store fails. Then
/// nothing is changed.
pub async fn switch(store: &Store, prepared: Prepared, days: u32, now: i64) -> Result<Switched, Error> {
    let Prepared { account, to, .. } = prepared;
    let until = now.saturating_add(i64::from(days) * DAY);
    match to {
        To::New(new) => store.swap_account(account.id, account.generation, &new, until, now).await?,
        To::Back(_) => store.swap_back(account.id, account.generation, until, now).await?,
    };
    let account = store.account(account.id).await?.ok_or(StoreError::Missing("the account"))?;
    Ok(Switched {
        warnings: account::warnings(&account),
        address: account.address,
        provider: account.settings.provider,
        imap: account.imap,
        smtp: account.smtp,
        back_until: until,
    })
}

impl Prepared {
    /// The account as it is.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The services to which it goes.
    #[must_use]
    pub fn services(&self) -> [&Endpoint; 2] {
        match &self.to {
            To::New(new) => [&new.imap, &new.smtp],
            To::Back(back) => [&back.imap, &back.smtp],
        }
    }
}

/// A place that is to let us in.
struct Goal<'a> {
    /// IMAP and submission.
    endpoints: [&'a Endpoint; 2],
    certificates: &'a Certificates,
    sign_ins: [SignIn; 2],
    advice: Option<&'a str>,
}

impl Goal<'_> {
    /// The folders there, if each service that is not switched off lets us in.
    async fn folders(self, store: &Store, account: &Account, manner: Manner<'_>) -> Result<FolderTable, Error> {
        let Self { endpoints: [imap, smtp], certificates, sign_ins: [own, submission], advice } = self;
        let of = |service, endpoint, sign_in| {
            let trial = Trial { service, endpoint, certificates, with: With::Given(sign_in) };
            trial::is_on(&account.settings, service).then_some(trial)
        };
        let (imap, smtp) = (of(Service::Imap, imap, own), of(Service::Smtp, smtp, submission));
        match trial::both(store, imap, smtp, manner).await? {
            Tried { imap: Some(Ok(imap)), smtp: None | Some(Ok(_)) } => Ok(folder::table(imap)),
            Tried { imap: None, smtp: None | Some(Ok(_)) } => Ok(FolderTable::default()),
            tried => {
                let advised = |refused| Refused { advice: advice.map(str::to_owned), ..refused };
                Err(Error::Refused(tried.refused().into_iter().map(advised).collect()))
            }
        }
    }
}

/// The folders before the swap.
struct Before {
    known: Vec<Known>,
    choices: Choices,
    table: FolderTable,
    complete: bool,
}

/// What CRMs know of the account's folders. A provider that one leaves may be gone already: then it is what numbers were
/// told for.
async fn known(store: &Store, account: &Account, own: &OwnListeners) -> Result<Before, Error> {
    let choices = store.choices(account.id).await?;
    if !account.settings.receives {
        return Ok(Before { known: Vec::new(), choices, table: FolderTable::default(), complete: true });
    }
    let (endpoint, certificates) = (&account.imap, &account.certificates);
    let trial = Trial { service: Service::Imap, endpoint, certificates, with: With::Stored(account) };
    if let Some(Ok(opened)) = trial::both(store, Some(trial), None, Manner { own, report: &|_, _| {} }).await?.imap {
        let table = folder::table(opened);
        let namespace = Namespace::new(account.id, &table, &choices, &Naming::default());
        return Ok(Before { known: counterpart::known(&namespace, &table), choices, table, complete: true });
    }
    let told = store.told_names(account.id).await?;
    let table = counterpart::guessed(choices.hidden.iter().chain(told.iter().map(|(_, remote)| remote)));
    Ok(Before {
        known: told.into_iter().map(|(local, _)| remembered(local)).collect(),
        choices,
        table,
        complete: false,
    })
}

fn remembered(local: LocalName) -> Known {
    let role = Role::ALL.into_iter().find(|role| LocalName::of_role(*role) == local);
    Known { path: Vec::new(), role, local }
}

fn folders(plan: &Plan, complete: bool, naming: &Naming) -> Folders {
    let moved = |local: &LocalName, role, remote: Option<&RemoteName>| Moved {
        local: readable(naming.spell(local).as_bytes()),
        role,
        remote: remote.map(|remote| readable(remote.as_bytes())),
    };
    let known = plan.counterparts.iter().map(|known| moved(&known.local, known.role, known.remote.as_ref()));
    let fresh = plan.fresh.iter().map(|(local, remote)| moved(local, None, Some(remote)));
    Folders { known: known.collect(), fresh: fresh.collect(), complete, asked: true }
}
