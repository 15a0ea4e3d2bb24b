//! What is chosen for an account beside where it is, and the one statement that changes any of it.
//!
//! A change of the provider, of how the bridge signs in, or of what a login may do, grows the generation: lanes and
//! sessions of the old one end. No change here ever grows the epoch (design section 2).

use super::{
    Error, Store,
    account::{Account, Credential, password_place, smtp_password_place},
    grant::FORGET as FORGET_GRANT,
    on,
    recent::Key,
};
use crate::{
    model::{
        AccountId, Address, Certificates, Endpoint, FromPolicy, Generation, Secret, SentCopy, SmtpAuth, Submission,
        Uncertain, UnreadScope, UserFormat,
    },
    provider,
};
use std::sync::Arc;

/// The settings of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A name of the provider table.
    pub provider: String,
    pub display_name: String,
    /// What to send as; none: the account's address.
    pub sender: Option<Address>,
    pub from: FromPolicy,
    pub sent_copy: SentCopy,
    pub submission: Submission,
    /// Of what is queued.
    pub uncertain: Uncertain,
    /// Whether the provider files what is sent, where that was seen; of no meaning where its table knows.
    pub files_sent: Option<bool>,
    pub user_format: UserFormat,
    pub smtp_auth: SmtpAuth,
    /// Whether CRMs may read.
    pub receives: bool,
    /// Whether CRMs may send.
    pub sends: bool,
    pub unread: UnreadScope,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            provider: provider::GENERIC.to_owned(),
            display_name: String::new(),
            sender: None,
            from: FromPolicy::default(),
            sent_copy: SentCopy::default(),
            submission: Submission::default(),
            uncertain: Uncertain::default(),
            files_sent: None,
            user_format: UserFormat::default(),
            smtp_auth: SmtpAuth::default(),
            receives: true,
            sends: true,
            unread: UnreadScope::default(),
        }
    }
}

/// What is to be changed of an account; what is None stays.
#[derive(Clone, Default)]
pub struct Changes {
    /// Only if the account is still of this generation: a credential that was proven at one place goes to no other.
    pub of: Option<Generation>,
    pub imap: Option<Endpoint>,
    pub smtp: Option<Endpoint>,
    /// Of both endpoints.
    pub certificates: Option<Certificates>,
    pub provider: Option<String>,
    pub display_name: Option<String>,
    /// `Some(None)`: the account's address again.
    pub sender: Option<Option<Address>>,
    pub from: Option<FromPolicy>,
    pub sent_copy: Option<SentCopy>,
    pub submission: Option<Submission>,
    pub uncertain: Option<Uncertain>,
    pub add_aliases: Vec<Address>,
    pub remove_aliases: Vec<Address>,
    /// How the user's name at the provider comes about, and the name.
    pub user: Option<(UserFormat, String)>,
    pub credential: Option<Credential>,
    pub smtp_auth: Option<SmtpAuth>,
    /// For [`SmtpAuth::Separate`].
    pub smtp_password: Option<Secret<String>>,
    pub receives: Option<bool>,
    pub sends: Option<bool>,
    pub unread: Option<UnreadScope>,
    /// When a sign-in with what these changes make of the account worked.
    pub checked_at: Option<i64>,
}

impl Changes {
    /// Whether the bridge will sign in otherwise than before.
    #[must_use]
    pub fn of_sign_in(&self) -> bool {
        let endpoints = self.imap.is_some() || self.smtp.is_some() || self.certificates.is_some();
        let passwords = self.credential.is_some() || self.smtp_password.is_some();
        endpoints || passwords || self.user.is_some() || self.smtp_auth.is_some()
    }

    /// Whether nothing is to be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let words = self.provider.is_none() && self.display_name.is_none() && self.unread.is_none();
        let words = words && self.sent_copy.is_none() && self.uncertain.is_none();
        words && !self.of_sign_in() && !self.of_rights() && self.checked_at.is_none()
    }

    /// Whether a login will be allowed more or less than before.
    fn of_rights(&self) -> bool {
        let aliases = !self.add_aliases.is_empty() || !self.remove_aliases.is_empty();
        let from = self.sender.is_some() || self.from.is_some();
        self.receives.is_some() || self.sends.is_some() || self.submission.is_some() || from || aliases
    }
}

/// `$1` is the account. An unproven change of the sign-in forgets when the old one was proven.
const UPDATE: &str = "UPDATE accounts SET provider = COALESCE($2, provider), display_name = COALESCE($3, display_name),
        sender = COALESCE($4, sender), user_format = COALESCE($5, user_format),
        sign_in_name = COALESCE($6, sign_in_name), smtp_auth = COALESCE($7, smtp_auth),
        smtp_user = COALESCE($8, smtp_user), receives = COALESCE($9, receives), sends = COALESCE($10, sends),
        unread_scope = COALESCE($11, unread_scope), sealed_password = COALESCE($12, sealed_password),
        sealed_smtp_password = COALESCE($13, sealed_smtp_password),
        checked_at = CASE WHEN $14 = 1 THEN $15 ELSE COALESCE($15, checked_at) END,
        generation = generation + $16, from_policy = COALESCE($18, from_policy),
        sent_copy = COALESCE($19, sent_copy),
        files_sent = CASE WHEN $20 = 1 THEN NULL ELSE files_sent END,
        by_client_token = COALESCE($21, by_client_token),
        submission = COALESCE($22, submission), uncertain = COALESCE($23, uncertain)
    WHERE id = $1 AND removed_at IS NULL AND generation = COALESCE($17, generation) RETURNING generation";
/// A password of its own is kept no longer than it is used.
const FORGET: &str = "UPDATE accounts SET sealed_smtp_password = NULL,
        smtp_user = CASE WHEN smtp_auth = 'delegate' THEN smtp_user ELSE '' END
    WHERE id = $1 AND smtp_auth <> 'separate'";
/// An account has one credential.
const FORGET_PASSWORD: &str = "UPDATE accounts SET sealed_password = NULL WHERE id = $1";
const ENDPOINT: &str =
    "UPDATE endpoints SET host = $3, port = $4, security = $5 WHERE account_id = $1 AND service = $2";
const CERTIFICATES: &str = "UPDATE endpoints SET certificates = $2 WHERE account_id = $1";
pub(super) const ADD_ALIAS: &str = "INSERT INTO account_aliases (account_id, address, address_key) VALUES ($1, $2, $3)
    ON CONFLICT (account_id, address_key) DO UPDATE SET address = excluded.address";
const REMOVE_ALIAS: &str = "DELETE FROM account_aliases WHERE account_id = $1 AND address_key = $2";

impl Store {
    /// Changes an account, in one commit, and gives its generation.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is gone; where a generation is asked for, [`Error::Changed`] if it is gone or of another;
    /// or if the store fails.
    pub async fn change_account(&self, id: AccountId, changes: &Changes) -> Result<Generation, Error> {
        let seal = |place, secret: &Option<Secret<String>>| match secret {
            Some(secret) => self.vault.seal(place, secret.expose().as_bytes()).map(Some),
            None => Ok(None),
        };
        let (password, grant) = match &changes.credential {
            Some(Credential::Grant(grant)) => (None, Some(self.seal_grant(id.0, grant)?)),
            Some(Credential::Password(password)) => (Some(password.clone()), None),
            Some(Credential::OfClient) | None => (None, None),
        };
        let other = changes.credential.is_some();
        let password = seal(password_place(id.0), &password)?;
        let smtp_password = seal(smtp_password_place(id.0), &changes.smtp_password)?;
        let smtp_user = changes.smtp_auth.as_ref().map(|auth| match auth {
            SmtpAuth::Separate(user) | SmtpAuth::Delegate(user) => user.as_str(),
            SmtpAuth::Same | SmtpAuth::None => "",
        });
        let sender = changes.sender.as_ref().map(|sender| sender.as_ref().map_or("", Address::as_str));
        let grows = changes.of_sign_in() || changes.of_rights() || changes.provider.is_some();
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let generation: Option<i64> = sqlx::query_scalar(UPDATE)
                .bind(id.0)
                .bind(changes.provider.as_deref())
                .bind(changes.display_name.as_deref())
                .bind(sender)
                .bind(changes.user.as_ref().map(|(format, _)| format.to_string()))
                .bind(changes.user.as_ref().map(|(_, name)| name.as_str()))
                .bind(changes.smtp_auth.as_ref().map(SmtpAuth::kind))
                .bind(smtp_user)
                .bind(changes.receives.map(i64::from))
                .bind(changes.sends.map(i64::from))
                .bind(changes.unread.map(|unread| unread.to_string()))
                .bind(password)
                .bind(smtp_password)
                .bind(i64::from(changes.of_sign_in()))
                .bind(changes.checked_at)
                .bind(i64::from(grows))
                .bind(changes.of.map(|generation| generation.0))
                .bind(changes.from.map(|policy| policy.to_string()))
                .bind(changes.sent_copy.map(|copy| copy.to_string()))
                .bind(i64::from(changes.provider.is_some() || changes.imap.is_some() || changes.smtp.is_some()))
                .bind(changes.credential.as_ref().map(|credential| i64::from(matches!(credential, Credential::OfClient))))
                .bind(changes.submission.map(|submission| submission.to_string()))
                .bind(changes.uncertain.map(|uncertain| uncertain.to_string()))
                .fetch_optional(&mut *transaction)
                .await?;
            let missing = || if changes.of.is_some() { Error::Changed } else { Error::Missing("the account") };
            let generation = generation.ok_or_else(missing)?;
            sqlx::query(FORGET).bind(id.0).execute(&mut *transaction).await?;
            match &grant {
                Some(grant) => {
                    grant.put(id.0).execute(&mut *transaction).await?;
                    sqlx::query(FORGET_PASSWORD).bind(id.0).execute(&mut *transaction).await?;
                }
                None if other => {
                    sqlx::query(FORGET_GRANT).bind(id.0).execute(&mut *transaction).await?;
                    if matches!(changes.credential, Some(Credential::OfClient)) {
                        sqlx::query(FORGET_PASSWORD).bind(id.0).execute(&mut *transaction).await?;
                    }
                }
                None => {}
            }
            for (service, endpoint) in [("imap", &changes.imap), ("smtp", &changes.smtp)] {
                let Some(endpoint) = endpoint else { continue };
                sqlx::query(ENDPOINT)
                    .bind(id.0)
                    .bind(service)
                    .bind(endpoint.host.as_str())
                    .bind(i64::from(endpoint.port))
                    .bind(endpoint.security.to_string())
                    .execute(&mut *transaction)
                    .await?;
            }
            if let Some(certificates) = &changes.certificates {
                let text = certificates.to_string();
                sqlx::query(CERTIFICATES).bind(id.0).bind(text).execute(&mut *transaction).await?;
            }
            for alias in &changes.remove_aliases {
                sqlx::query(REMOVE_ALIAS).bind(id.0).bind(key(alias)).execute(&mut *transaction).await?;
            }
            for alias in &changes.add_aliases {
                let add = sqlx::query(ADD_ALIAS).bind(id.0).bind(alias.as_str()).bind(key(alias));
                add.execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok(Generation(generation))
        })
    }

    /// The password for submission alone, where the account has one and is still as it was read.
    ///
    /// # Errors
    /// [`Error::Changed`] if it is not, or gone, or has none; or if the store fails or the secret does not open.
    pub async fn smtp_password(&self, account: &Account) -> Result<Secret<String>, Error> {
        const SEALED: &str = "SELECT sealed_smtp_password FROM accounts
            WHERE id = $1 AND generation = $2 AND removed_at IS NULL";
        self.sealed_text(SEALED, account, smtp_password_place(account.id.0), "accounts.sealed_smtp_password").await
    }

    /// What an account may send as beside its address and its sender address, in order.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn aliases(&self, id: AccountId) -> Result<Vec<Address>, Error> {
        const ALL: &str = "SELECT address FROM account_aliases WHERE account_id = $1 ORDER BY address_key";
        let rows: Vec<String> = on!(self, pool => sqlx::query_scalar(ALL).bind(id.0).fetch_all(pool).await?);
        let read = |text: String| Address::parse(&text).map_err(|_| Error::Corrupt("account_aliases.address"));
        rows.into_iter().map(read).collect()
    }

    /// All that an account may send as: the sender address first, then the account's own, then the others.
    pub(super) async fn senders(
        &self,
        id: AccountId,
        sender: Option<Address>,
        address: &Address,
    ) -> Result<Arc<[Address]>, Error> {
        // Those alone are kept that are read here: who asks may have read the others before a change.
        let read = async { Ok(Some(Arc::<[Address]>::from(self.aliases(id).await?))) };
        let aliases: Arc<[Address]> = self.recent(Key::Aliases(id), read).await?.unwrap_or_default();
        let mut senders: Vec<Address> = Vec::new();
        for one in sender.into_iter().chain([address.clone()]).chain(aliases.iter().cloned()) {
            if !senders.contains(&one) {
                senders.push(one);
            }
        }
        Ok(senders.into())
    }
}

/// The form of an address that compares.
pub(super) fn key(address: &Address) -> String {
    address.as_str().to_ascii_lowercase()
}

/// The columns of [`Settings`].
#[derive(sqlx::FromRow)]
pub(super) struct Row {
    provider: String,
    display_name: String,
    sender: String,
    from_policy: String,
    sent_copy: String,
    submission: String,
    uncertain: String,
    files_sent: Option<String>,
    user_format: String,
    smtp_auth: String,
    smtp_user: String,
    receives: i64,
    sends: i64,
    unread_scope: String,
}

pub(super) fn read(row: Row) -> Result<Settings, Error> {
    Ok(Settings {
        provider: row.provider,
        display_name: row.display_name,
        sender: sender(&row.sender)?,
        from: from_policy(&row.from_policy)?,
        sent_copy: sent_copy(&row.sent_copy)?,
        submission: submission(&row.submission)?,
        uncertain: uncertain(&row.uncertain)?,
        files_sent: row.files_sent.as_deref().map(|word| word == "yes"),
        user_format: user_format(&row.user_format)?,
        smtp_auth: smtp_auth(&row.smtp_auth, row.smtp_user)?,
        receives: row.receives != 0,
        sends: row.sends != 0,
        unread: unread(&row.unread_scope)?,
    })
}

pub(super) fn smtp_auth(kind: &str, user: String) -> Result<SmtpAuth, Error> {
    let kinds = [SmtpAuth::Same, SmtpAuth::None, SmtpAuth::Delegate(user.clone()), SmtpAuth::Separate(user)];
    kinds.into_iter().find(|auth| auth.kind() == kind).ok_or(Error::Corrupt("accounts.smtp_auth"))
}

pub(super) fn user_format(text: &str) -> Result<UserFormat, Error> {
    let known = UserFormat::ALL.into_iter().find(|format| format.to_string() == text);
    known.ok_or(Error::Corrupt("accounts.user_format"))
}

pub(super) fn sender(text: &str) -> Result<Option<Address>, Error> {
    match text {
        "" => Ok(None),
        text => Address::parse(text).map(Some).map_err(|_| Error::Corrupt("accounts.sender")),
    }
}

pub(super) fn from_policy(text: &str) -> Result<FromPolicy, Error> {
    let known = FromPolicy::ALL.into_iter().find(|policy| policy.to_string() == text);
    known.ok_or(Error::Corrupt("accounts.from_policy"))
}

pub(super) fn sent_copy(text: &str) -> Result<SentCopy, Error> {
    let known = SentCopy::ALL.into_iter().find(|copy| copy.to_string() == text);
    known.ok_or(Error::Corrupt("accounts.sent_copy"))
}

pub(super) fn submission(text: &str) -> Result<Submission, Error> {
    let known = Submission::ALL.into_iter().find(|submission| submission.to_string() == text);
    known.ok_or(Error::Corrupt("accounts.submission"))
}

fn uncertain(text: &str) -> Result<Uncertain, Error> {
    let known = Uncertain::ALL.into_iter().find(|uncertain| uncertain.to_string() == text);
    known.ok_or(Error::Corrupt("accounts.uncertain"))
}

pub(super) fn unread(text: &str) -> Result<UnreadScope, Error> {
    let known = UnreadScope::ALL.into_iter().find(|scope| scope.to_string() == text);
    known.ok_or(Error::Corrupt("accounts.unread_scope"))
}
