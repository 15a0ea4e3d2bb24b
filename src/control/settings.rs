//! The settings of an account, changed: what changes how we sign in is tried before it is stored.

use super::{
    Error, Service,
    account::by_address,
    check,
    consent::{self, Stands},
    provider::{self, Whereabouts},
    tokens,
    trial::{self, Manner, Trial, With},
};
use crate::{
    model::{
        Address, Certificates, FromPolicy, Secret, SentCopy, SmtpAuth, Submission, Uncertain, UnreadScope, UserFormat,
    },
    provider::Table,
    relay::opening::SignIn,
    store::{Account, Changes, Credential, GrantState, Store},
};

/// What a person wants changed; what he does not speak of stays.
#[derive(Default)]
pub struct Wish {
    /// Only if the account is still there.
    pub stands: Option<Stands>,
    pub provider: Option<String>,
    pub imap: Whereabouts,
    pub smtp: Whereabouts,
    pub certificates: Option<Certificates>,
    pub display_name: Option<String>,
    /// The account's own address is as good as none.
    pub sender: Option<Address>,
    pub from: Option<FromPolicy>,
    pub sent_copy: Option<SentCopy>,
    pub submission: Option<Submission>,
    pub uncertain: Option<Uncertain>,
    pub add_aliases: Vec<Address>,
    pub remove_aliases: Vec<Address>,
    pub user: Option<User>,
    pub credential: Option<Credential>,
    /// Whether a person has just signed in for it, at the provider: that cannot be asked for again.
    pub consented: bool,
    pub smtp_auth: Option<SmtpAuth>,
    /// For [`SmtpAuth::Separate`].
    pub smtp_password: Option<Secret<String>>,
    pub receives: Option<bool>,
    pub sends: Option<bool>,
    pub unread: Option<UnreadScope>,
}

/// As whom the bridge signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    Format(UserFormat),
    Name(String),
}

impl User {
    /// The format that is kept, and the name.
    #[must_use]
    pub fn of(self, address: &Address) -> (UserFormat, String) {
        match self {
            Self::Name(name) => (UserFormat::Manual, name),
            Self::Format(UserFormat::MailboxName) => (UserFormat::MailboxName, address.local_part().to_owned()),
            Self::Format(_) => (UserFormat::Address, address.to_string()),
        }
    }
}

/// Changes an account, after a sign-in to the services that the change concerns, unless `unchecked`. Says whether there was
/// a sign-in. Logins, folder map and shares stay as they are.
///
/// # Errors
/// If there is no such account or provider, nothing is to be changed, a service does not let us in, the account was
/// changed meanwhile, or the store fails. Then nothing is changed, but for [`Error::Kept`].
pub async fn set(
    store: &Store,
    table: &Table,
    address: &Address,
    wish: Wish,
    unchecked: bool,
    manner: Manner<'_>,
    now: i64,
) -> Result<bool, Error> {
    let account = by_address(store, address).await?;
    if wish.stands.as_ref().is_some_and(|stands| *stands != Stands::of(&account)) {
        return Err(consent::Refusal::Moved(account.address).into());
    }
    let consented = wish.consented;
    let mut changes = changes(table, &account, wish)?;
    if changes.is_empty() {
        return Err(Error::NothingToChange);
    }
    let certificates = changes.certificates.as_ref().unwrap_or(&account.certificates);
    let shows = changes.credential.as_ref().map(tokens::shows_tokens);
    tokens::fit(certificates, shows.unwrap_or(account.by_grant || account.by_client_token))?;
    // Of an account that the client's token opens, there is nothing to sign in with.
    let next = changes.credential.as_ref().map(|credential| matches!(credential, Credential::OfClient));
    let unchecked = unchecked || next.unwrap_or(account.by_client_token);
    // Words fit any place; what signs in fits the one that was looked at.
    changes.of = changes.of_sign_in().then_some(account.generation);
    if unchecked {
        store.change_account(account.id, &changes).await?;
        return Ok(false);
    }
    let next = changed(&account, &changes);
    let first = match &mut changes.credential {
        Some(credential) => Some(tokens::first_sign_in(&next.sign_in_name, credential).await?),
        None => None,
    };
    let trial = Change { table, next, given: first.as_ref().map(|first| &first.sign_in) };
    let once = consented || first.as_ref().is_some_and(|first| first.spent);
    if once && loses_nothing(store, &account, &changes).await? {
        // The mail servers may refuse, and the process may end.
        let generation = store.change_account(account.id, &changes).await?;
        let kept = |error| Error::Kept { address: account.address.clone(), why: Box::new(error) };
        let tried = trial.prove(store, &changes, manner).await.map_err(kept)?;
        if tried {
            check::keep(store, account.id, generation, now).await?;
        }
        return Ok(tried);
    }
    let changed = async {
        let tried = trial.prove(store, &changes, manner).await?;
        let changes = Changes { checked_at: tried.then_some(now), ..changes.clone() };
        store.change_account(account.id, &changes).await?;
        Ok(tried)
    };
    changed.await.map_err(|error| match &first {
        Some(first) => first.lost(error),
        None => error,
    })
}

/// Whether the new credential takes the place of a grant that is gone, and is all that changes: what does not work may then
/// as well be stored.
async fn loses_nothing(store: &Store, account: &Account, changes: &Changes) -> Result<bool, Error> {
    let others = Changes { credential: None, ..changes.clone() };
    if others.of_sign_in() || changes.provider.is_some() {
        return Ok(false);
    }
    let grant = store.grant_summary(account.id).await?;
    Ok(grant.is_some_and(|grant| grant.state == GrantState::ConsentNeeded))
}

fn changes(table: &Table, account: &Account, wish: Wish) -> Result<Changes, Error> {
    if let Some(name) = &wish.provider {
        provider::named(table, name)?;
    }
    Ok(Changes {
        of: None,
        imap: provider::changed(&account.imap, Service::Imap, &wish.imap),
        smtp: provider::changed(&account.smtp, Service::Smtp, &wish.smtp),
        certificates: wish.certificates,
        provider: wish.provider,
        display_name: wish.display_name,
        sender: wish.sender.map(|sender| Some(sender).filter(|sender| *sender != account.address)),
        from: wish.from,
        sent_copy: wish.sent_copy,
        submission: wish.submission,
        uncertain: wish.uncertain,
        add_aliases: wish.add_aliases,
        remove_aliases: wish.remove_aliases,
        user: wish.user.map(|user| user.of(&account.address)),
        credential: wish.credential,
        smtp_auth: wish.smtp_auth,
        smtp_password: wish.smtp_password,
        receives: wish.receives,
        sends: wish.sends,
        unread: wish.unread,
        checked_at: None,
    })
}

/// A change that is to be tried.
struct Change<'a> {
    table: &'a Table,
    /// As it will be.
    next: Account,
    /// With what is given anew.
    given: Option<&'a SignIn>,
}

impl Change<'_> {
    /// Signs in to the services that the changes concern. False: to none.
    async fn prove(&self, store: &Store, changes: &Changes, manner: Manner<'_>) -> Result<bool, Error> {
        let next = &self.next;
        let concerns_both = changes.certificates.is_some();
        let concerns_user = changes.user.is_some() || changes.credential.is_some();
        let same = matches!(next.settings.smtp_auth, SmtpAuth::Same | SmtpAuth::Delegate(_));
        let auth = changes.smtp_auth.is_some() || changes.smtp_password.is_some();
        let imap = concerns_both || concerns_user || changes.imap.is_some();
        let smtp = concerns_both || (concerns_user && same) || auth || changes.smtp.is_some();
        let of = |service, concerned, endpoint| {
            let with = sign_in(next, changes, self.given, service);
            let trial = Trial { service, endpoint, certificates: &next.certificates, with };
            (concerned && trial::is_on(&next.settings, service)).then_some(trial)
        };
        let (imap, smtp) = (of(Service::Imap, imap, &next.imap), of(Service::Smtp, smtp, &next.smtp));
        let any = imap.is_some() || smtp.is_some();
        let mut refused = trial::both(store, imap, smtp, manner).await?.refused();
        if refused.is_empty() {
            return Ok(any);
        }
        for refused in &mut refused {
            refused.advice = provider::advice(self.table, &next.settings.provider);
        }
        Err(Error::Refused(refused))
    }
}

/// The account as the changes make it, as far as a sign-in sees them.
fn changed(account: &Account, changes: &Changes) -> Account {
    let mut next = account.clone();
    let settings = &mut next.settings;
    settings.smtp_auth = changes.smtp_auth.clone().unwrap_or_else(|| settings.smtp_auth.clone());
    settings.provider = changes.provider.clone().unwrap_or_else(|| settings.provider.clone());
    settings.receives = changes.receives.unwrap_or(settings.receives);
    settings.sends = changes.sends.unwrap_or(settings.sends);
    next.imap = changes.imap.clone().unwrap_or(next.imap);
    next.smtp = changes.smtp.clone().unwrap_or(next.smtp);
    next.certificates = changes.certificates.clone().unwrap_or(next.certificates);
    if let Some((_, name)) = &changes.user {
        next.sign_in_name.clone_from(name);
    }
    next
}

/// With what is given anew, else with what is stored.
fn sign_in<'a>(next: &'a Account, changes: &Changes, given: Option<&SignIn>, service: Service) -> With<'a> {
    match (service, &next.settings.smtp_auth, &changes.smtp_password, given) {
        (Service::Smtp, SmtpAuth::None, ..) => With::Given(SignIn::Nobody),
        (Service::Smtp, SmtpAuth::Separate(user), Some(given), _) => {
            With::Given(SignIn::Password { user: user.as_str().into(), password: given.clone() })
        }
        (Service::Imap, _, _, Some(given)) | (Service::Smtp, SmtpAuth::Same, _, Some(given)) => {
            With::Given(given.clone())
        }
        (Service::Smtp, SmtpAuth::Delegate(user), _, Some(given)) => With::Given(given.as_user(user)),
        _ => With::Stored(next),
    }
}
