//! Accounts: added when the provider has let us in, shown without their secrets, removed with them.

use super::{
    Error, Refused, Service, check,
    folder::{self, FolderRow},
    login::{self, Created, Naming},
    tokens,
    trial::{self, Manner, Trial, Tried, With},
    user,
};
use crate::{
    model::{
        AccountId, Address, Certificates, Endpoint, FromPolicy, Secret, Security, SentCopy, SmtpAuth, Submission,
        Uncertain, UnreadScope, UserFormat,
    },
    profile::Profile,
    relay::opening::SignIn,
    rules::namespace::Choices,
    store::{Account, Credential, Error as StoreError, ForWhom, NewAccount, Settings, StandingRefusal, Store},
    upstream::{Deadlines, HANDSHAKE},
};
use serde::Serialize;
use std::{sync::Arc, time::Duration};

/// For each service from name to signed in. A person waits, and some providers greet slowly on purpose (some seconds).
pub(crate) const DEADLINE: Duration = Duration::from_secs(45);
/// The same with what stalls at the door.
pub(super) const DEADLINES: Deadlines = Deadlines { whole: DEADLINE, handshake: HANDSHAKE };

/// Said wherever an account is shown that believes any certificate.
const ACCEPT_ANY: &str = "any certificate is accepted: whoever stands between this machine and the provider can read \
                          the password and all mail";
/// Said wherever an account is shown that signs in without TLS.
const IN_CLEAR: &str = "the connection to the provider is not encrypted: whoever stands between can read the password \
                        and all mail";

/// Said wherever an account is shown whose mail cannot be queued as it wants.
const NOT_QUEUED: &str = "its mail is not queued but sent directly: the bridge has nothing of its own to sign in with, only \
                          the CRM's access token opens this account";

/// What a person says of an account.
pub struct Draft {
    pub address: Address,
    /// The owner's name; none for the user whom the first start made.
    pub owner: Option<String>,
    pub imap: Endpoint,
    pub smtp: Endpoint,
    pub certificates: Certificates,
    pub sign_in_name: String,
    pub credential: Credential,
    /// Whether a person has just signed in for it, at the provider: that cannot be asked for again.
    pub consented: bool,
    pub settings: Settings,
    /// For [`SmtpAuth::Separate`].
    pub smtp_password: Option<Secret<String>>,
    pub aliases: Vec<Address>,
    /// What mends a refused sign-in at this provider.
    pub advice: Option<String>,
    /// Of the first login.
    pub crm: Arc<Profile>,
}

/// An account that was just added.
pub struct Added {
    pub account: Account,
    pub login: Created,
    /// As CRMs see them; None if no sign-in was tried.
    pub folders: Option<Vec<FolderRow>>,
}

/// A grant as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct ShownGrant {
    pub token_endpoint: String,
    pub client_id: String,
    /// Who has agreed: its owner (`consent`), or an administrator for the whole tenant or domain.
    #[serde(rename = "for")]
    pub for_whom: ForWhom,
    /// `good`, or `consent-needed`.
    pub state: &'static str,
}

/// An account as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    pub address: Address,
    pub owner: String,
    /// A name of the provider table.
    pub provider: String,
    pub imap: Endpoint,
    pub smtp: Endpoint,
    pub certificates: String,
    pub user: String,
    /// How access tokens are had; null for an account that signs in by password, or that the CRM's own token opens.
    pub grant: Option<ShownGrant>,
    /// Whether nothing is stored to sign in with, and the CRM's own access token opens it.
    pub crm_token: bool,
    pub user_format: UserFormat,
    pub smtp_auth: SmtpAuth,
    pub display_name: String,
    /// What is sent as where the CRM says nothing else.
    pub sender: Address,
    pub aliases: Vec<Address>,
    pub from: FromPolicy,
    pub sent_copy: SentCopy,
    pub submission: Submission,
    /// Of what is queued.
    pub uncertain: Uncertain,
    pub receives: bool,
    pub sends: bool,
    pub unread: UnreadScope,
    pub created_at: i64,
    /// When a sign-in is known to have worked.
    pub checked_at: Option<i64>,
    /// What a running bridge was refused, and still is.
    pub refused: Vec<StandingRefusal>,
    pub warnings: Vec<&'static str>,
    pub logins: Vec<login::Shown>,
}

/// Signs in to both services at once (but one that is switched off) and, if they let us in, stores the account with a first
/// login. Each step that worked is reported as it happens.
///
/// # Errors
/// If the address is taken, a service does not let us in, or the store fails. Then nothing is stored, but for
/// [`Error::Kept`].
pub async fn add(store: &Store, draft: Draft, manner: Manner<'_>, now: i64) -> Result<Added, Error> {
    let admitted = admit(store, &draft, manner, now).await?;
    let Admitted { account, folders, once } = admitted;
    match login::add(store, &account, &Naming::Address, &draft.crm, now).await {
        Ok(login) => Ok(Added { account, login, folders: Some(folders) }),
        Err(error) if once => Err(Error::Kept { address: account.address, why: Box::new(error) }),
        Err(error) => without_login(store, &account, error, now).await,
    }
}

/// The same without a login: whoever stands before the provider's page may be another than who sets up the CRM.
///
/// # Errors
/// As for [`add`].
pub(super) async fn add_without_login(store: &Store, draft: Draft, manner: Manner<'_>, now: i64) -> Result<(), Error> {
    admit(store, &draft, manner, now).await?;
    Ok(())
}

/// An account that the provider lets in.
struct Admitted {
    account: Account,
    folders: Vec<FolderRow>,
    /// Whether what opens it cannot be given twice.
    once: bool,
}

/// Stores the account when the provider has let us in. What cannot be given twice is stored before its mail servers are
/// asked: they may refuse, and the process may end.
async fn admit(store: &Store, draft: &Draft, manner: Manner<'_>, now: i64) -> Result<Admitted, Error> {
    tokens::fit(&draft.certificates, tokens::shows_tokens(&draft.credential))?;
    free(store, &draft.address).await?;
    user::named(store, draft.owner.as_deref()).await?;
    let mut credential = draft.credential.clone();
    let first = tokens::first_sign_in(&draft.sign_in_name, &mut credential).await?;
    let once = draft.consented || first.spent;
    if !once {
        let folders = prove(store, draft, &first.sign_in, manner).await?;
        let account = place(store, draft, credential, Some(now), now).await?;
        return Ok(Admitted { account, folders, once });
    }
    let account = place(store, draft, credential, None, now).await.map_err(|error| first.lost(error))?;
    let kept = |error| Error::Kept { address: draft.address.clone(), why: Box::new(error) };
    let folders = prove(store, draft, &first.sign_in, manner).await.map_err(kept)?;
    check::keep(store, account.id, account.generation, now).await?;
    Ok(Admitted { account: Account { checked_at: Some(now), ..account }, folders, once })
}

/// That the provider's mail servers let us in; gives the folders.
async fn prove(store: &Store, draft: &Draft, given: &SignIn, manner: Manner<'_>) -> Result<Vec<FolderRow>, Error> {
    let of = |service, endpoint| {
        let with = With::Given(sign_in(draft, given, service));
        let trial = Trial { service, endpoint, certificates: &draft.certificates, with };
        trial::is_on(&draft.settings, service).then_some(trial)
    };
    let (imap, smtp) = (of(Service::Imap, &draft.imap), of(Service::Smtp, &draft.smtp));
    let tried = trial::both(store, imap, smtp, manner).await?;
    match tried {
        Tried { imap: Some(Ok(imap)), smtp: None | Some(Ok(_)) } => {
            // The account has no choices of its own yet.
            Ok(folder::rows(AccountId(0), &folder::table(imap), &Choices::default(), draft.crm.naming()))
        }
        Tried { imap: None, smtp: None | Some(Ok(_)) } => Ok(Vec::new()),
        tried => {
            let advised = |refused| Refused { advice: draft.advice.clone(), ..refused };
            Err(Error::Refused(tried.refused().into_iter().map(advised).collect()))
        }
    }
}

/// Stores the account without asking the provider.
///
/// # Errors
/// If the address is taken, it would show tokens to anybody, or the store fails.
pub async fn add_unchecked(store: &Store, draft: Draft, now: i64) -> Result<Added, Error> {
    tokens::fit(&draft.certificates, tokens::shows_tokens(&draft.credential))?;
    let account = place(store, &draft, draft.credential.clone(), None, now).await?;
    match login::add(store, &account, &Naming::Address, &draft.crm, now).await {
        Ok(login) => Ok(Added { account, login, folders: None }),
        Err(error) => without_login(store, &account, error, now).await,
    }
}

/// All accounts, by address.
///
/// # Errors
/// If the store fails.
pub async fn list(store: &Store) -> Result<Vec<Shown>, Error> {
    let mut shown = Vec::new();
    for account in store.accounts().await? {
        shown.push(show_one(store, account).await?);
    }
    Ok(shown)
}

/// One account.
///
/// # Errors
/// If there is none with this address or the store fails.
pub async fn show(store: &Store, address: &Address) -> Result<Shown, Error> {
    let account = by_address(store, address).await?;
    show_one(store, account).await
}

/// Removes an account, its password and its logins.
///
/// # Errors
/// If there is none with this address or the store fails.
pub async fn remove(store: &Store, address: &Address, now: i64) -> Result<(), Error> {
    let account = by_address(store, address).await?;
    Ok(store.remove_account(account.id, now).await?)
}

/// The account with this address.
///
/// # Errors
/// [`Error::NoAccount`], or if the store fails.
pub async fn by_address(store: &Store, address: &Address) -> Result<Account, Error> {
    store.account_by_address(address).await?.ok_or_else(|| Error::NoAccount(address.clone()))
}

/// The account with this address, or the only one there is.
///
/// # Errors
/// If there is none or it is not clear which, or if the store fails.
pub async fn named(store: &Store, address: Option<&Address>) -> Result<Account, Error> {
    if let Some(address) = address {
        return by_address(store, address).await;
    }
    let mut accounts = store.accounts().await?;
    match (accounts.pop(), accounts.is_empty()) {
        (None, _) => Err(Error::NoAccountYet),
        (Some(only), true) => Ok(only),
        (Some(_), false) => Err(Error::AccountNotNamed),
    }
}

/// A provider is not bothered for an account that could not be stored.
async fn free(store: &Store, address: &Address) -> Result<(), Error> {
    match store.account_by_address(address).await? {
        Some(account) => Err(StoreError::AddressTaken(account.address).into()),
        None => Ok(()),
    }
}

fn sign_in(draft: &Draft, given: &SignIn, service: Service) -> SignIn {
    match (service, &draft.settings.smtp_auth, &draft.smtp_password) {
        (Service::Smtp, SmtpAuth::None, _) => SignIn::Nobody,
        (Service::Smtp, SmtpAuth::Separate(user), Some(password)) => {
            SignIn::Password { user: user.as_str().into(), password: password.clone() }
        }
        (Service::Smtp, SmtpAuth::Delegate(user), _) => given.as_user(user),
        _ => given.clone(),
    }
}

/// Another account's login may have its name: an account without a login is of no use to anyone.
async fn without_login(store: &Store, account: &Account, error: Error, now: i64) -> Result<Added, Error> {
    store.remove_account(account.id, now).await?;
    Err(error)
}

async fn place(
    store: &Store,
    draft: &Draft,
    credential: Credential,
    checked_at: Option<i64>,
    now: i64,
) -> Result<Account, Error> {
    let owner = user::named(store, draft.owner.as_deref()).await?;
    let new = NewAccount {
        owner: owner.id,
        address: draft.address.clone(),
        imap: draft.imap.clone(),
        smtp: draft.smtp.clone(),
        certificates: draft.certificates.clone(),
        sign_in_name: draft.sign_in_name.clone(),
        credential,
        settings: draft.settings.clone(),
        smtp_password: draft.smtp_password.clone(),
        aliases: draft.aliases.clone(),
        checked_at,
    };
    let id = store.add_account(&new, now).await?;
    Ok(store.account(id).await?.ok_or(StoreError::Missing("the account"))?)
}

async fn show_one(store: &Store, account: Account) -> Result<Shown, Error> {
    let logins = login::list(store, &account).await?;
    let grant = store.grant_summary(account.id).await?.map(|grant| ShownGrant {
        token_endpoint: grant.token_endpoint,
        client_id: grant.client_id,
        for_whom: grant.for_whom,
        state: grant.state.name(),
    });
    let aliases = store.aliases(account.id).await?;
    let refused = store.refusals(account.id).await?;
    let warnings = warnings(&account);
    let settings = account.settings;
    Ok(Shown {
        refused,
        warnings,
        sender: settings.sender.unwrap_or_else(|| account.address.clone()),
        address: account.address,
        owner: account.owner_name,
        provider: settings.provider,
        imap: account.imap,
        smtp: account.smtp,
        certificates: account.certificates.to_string(),
        user: account.sign_in_name,
        grant,
        crm_token: account.by_client_token,
        user_format: settings.user_format,
        smtp_auth: settings.smtp_auth,
        display_name: settings.display_name,
        aliases,
        from: settings.from,
        sent_copy: settings.sent_copy,
        submission: settings.submission,
        uncertain: settings.uncertain,
        receives: settings.receives,
        sends: settings.sends,
        unread: settings.unread,
        created_at: account.created_at,
        checked_at: account.checked_at,
        logins,
    })
}

/// What whoever sees the account must know of it.
#[must_use]
pub fn warnings(account: &Account) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    if account.certificates == Certificates::AcceptAny {
        warnings.push(ACCEPT_ANY);
    }
    if account.settings.submission == Submission::Queued && account.by_client_token {
        warnings.push(NOT_QUEUED);
    }
    if [&account.imap, &account.smtp].iter().any(|endpoint| endpoint.security == Security::None) {
        warnings.push(IN_CLEAR);
    }
    warnings
}
