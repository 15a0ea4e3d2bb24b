//! The accounts of email-oauth2-proxy: its configuration read, its tokens opened with the password that mail programs use
//! there, each account tried and stored as any other is.
//!
//! An account comes over whole or not at all; what does not, is told with its reason. One whose token was spent for a trial
//! that failed is kept: the file has no token of it any more that works. The file is never written. Formats: `emailproxy.py`
//! of 2026-07.

mod fernet;
mod ini;
mod plan;

pub use self::ini::Unreadable;
use self::{
    ini::Ini,
    plan::{Left, Opener, Planned, Server},
};
use super::{
    Error, Manner,
    account::{self, Added, Draft},
    registration,
};
use crate::{
    model::{Address, Certificates, Endpoint, Secret},
    oauth::flow::Proof,
    profile::Profile,
    provider::Table,
    store::{Credential, ForWhom, Settings, Store},
};
use std::sync::Arc;

pub use self::plan::Unopened;
pub(crate) use fernet::{ITERATIONS_MAX, VALUE_MAX};

/// The file's octets: one account has less than 10 KB, tokens included.
pub const FILE_MAX: usize = 1 << 20;

/// A configuration that was read.
pub struct File {
    ini: Ini,
    servers: Vec<Server>,
}

/// How it is carried over.
pub struct Wish<'a> {
    /// Those that mail programs use there; each account is opened by the one that fits.
    pub passwords: &'a [Secret<String>],
    /// Of all providers.
    pub certificates: Certificates,
    /// Of each account's login.
    pub crm: &'a Arc<Profile>,
    /// Nothing is asked and nothing stored.
    pub dry_run: bool,
}

/// What became of one section.
pub struct Outcome {
    /// Its name there.
    pub section: String,
    pub state: State,
}

/// What it was, and what it is.
pub enum State {
    /// An account that is stored, with its login.
    Added(Box<Added>),
    /// An account that would be tried.
    Planned {
        provider: String,
        imap: Endpoint,
        smtp: Endpoint,
        token_endpoint: String,
    },
    /// An account that is stored, unchecked and without a login.
    Kept {
        why: String,
        hint: Option<String>,
    },
    /// There is such an account already, and it stays as it is.
    There,
    /// The client by which the owners of other mailboxes can sign in.
    Registered {
        provider: String,
        client_id: String,
    },
    /// A server: where the bridge takes its place.
    Replaced(String),
    Left {
        why: String,
        hint: Option<String>,
    },
}

impl State {
    fn of(error: &Error) -> Self {
        Self::Left { why: error.to_string(), hint: error.hint() }
    }
}

impl File {
    /// # Errors
    /// [`Unreadable`], with the line.
    pub fn read(text: &str) -> Result<Self, Unreadable> {
        let ini = Ini::parse(text)?;
        let servers = ini.sections().filter_map(|section| Server::read(&ini, section)).collect();
        Ok(Self { ini, servers })
    }

    /// Whether there is anything that a password opens.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        let mut sections = self.ini.sections();
        sections.any(|section| plan::SEALED.iter().any(|option| self.ini.get(section, option).is_some()))
    }
}

/// Carries over what can be, account by account in the order of the file, and tells of every section: also of one that the
/// store fails for, since passwords of those before it are told this once.
pub async fn run(
    store: &Store,
    table: &Table,
    file: &File,
    wish: &Wish<'_>,
    manner: Manner<'_>,
    now: i64,
) -> Vec<Outcome> {
    let way = Way { store, table, file, opener: Opener::new(&file.ini, wish.passwords), wish, manner, now };
    let mut outcomes: Vec<_> = file.servers.iter().map(Server::outcome).collect();
    for section in file.ini.sections().filter(|section| section.contains('@')) {
        let (state, registered) = way.carry(section).await.unwrap_or_else(|error| (State::of(&error), None));
        outcomes.push(Outcome { section: section.to_owned(), state });
        outcomes.extend(registered.map(|state| Outcome { section: section.to_owned(), state }));
    }
    outcomes
}

/// From there to here.
struct Way<'a> {
    store: &'a Store,
    table: &'a Table,
    file: &'a File,
    opener: Opener<'a>,
    wish: &'a Wish<'a>,
    manner: Manner<'a>,
    now: i64,
}

impl Way<'_> {
    /// What becomes of an account, and of its client.
    async fn carry(&self, section: &str) -> Result<(State, Option<State>), Error> {
        let Self { store, table, file, wish, .. } = *self;
        if let Ok(address) = Address::parse(section)
            && store.account_by_address(&address).await?.is_some()
        {
            return Ok((State::There, None));
        }
        let planned = match plan::account(&file.ini, table, &file.servers, &self.opener, section) {
            Ok(planned) => planned,
            Err(Left { why, hint }) => return Ok((State::Left { why, hint }, None)),
        };
        if wish.dry_run {
            let Planned { provider, imap, smtp, grant, .. } = planned;
            let token_endpoint = grant.client.token_endpoint.to_string();
            return Ok((State::Planned { provider, imap, smtp, token_endpoint }, None));
        }
        let client = planned.client();
        let provider = planned.registers.then(|| planned.provider.clone());
        let state = match account::add(store, draft(planned, wish), self.manner, self.now).await {
            Ok(added) => State::Added(Box::new(added)),
            Err(error @ Error::Kept { .. }) => State::Kept { why: error.to_string(), hint: error.hint() },
            Err(error) => return Err(error),
        };
        // The owner of another mailbox can sign in by it from now on, and this one again.
        let registered = match provider {
            Some(provider) => self.register(provider, client).await,
            None => None,
        };
        Ok((state, registered))
    }

    /// None: there is one already, or it cannot be kept; the account is good without.
    async fn register(
        &self,
        provider: String,
        (client_id, proof, tenant): (String, Proof, Option<String>),
    ) -> Option<State> {
        if !matches!(self.store.registration_for_consent(&provider, None, None).await, Ok(None)) {
            return None;
        }
        let given = match proof {
            Proof::Secret(secret) => registration::Given::Secret { id: client_id.clone(), secret },
            Proof::Nothing | Proof::Key(_) => registration::Given::Public(client_id.clone()),
        };
        let draft = registration::Draft { for_whom: ForWhom::Consenting, tenant, domains: Vec::new(), given };
        let at = self.table.named(&provider)?;
        let kept = registration::register(self.store, at, draft, true, self.now).await;
        kept.ok().map(|_| State::Registered { provider, client_id })
    }
}

fn draft(planned: Planned, wish: &Wish<'_>) -> Draft {
    let Planned { address, provider, imap, smtp, grant, advice, .. } = planned;
    Draft {
        owner: None,
        imap,
        smtp,
        certificates: wish.certificates.clone(),
        sign_in_name: address.to_string(),
        credential: Credential::Grant(grant),
        consented: false,
        settings: Settings { provider, ..Settings::default() },
        smtp_password: None,
        aliases: Vec::new(),
        advice,
        crm: wish.crm.clone(),
        address,
    }
}
