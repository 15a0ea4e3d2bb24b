//! The rows of accounts: whose, where, how to sign in there, and the two numbers by which caches know their age.
//!
//! A password is sealed to its row before the row is committed, and never part of [`Account`].

use super::{
    Error, Store,
    grant::{self, NewGrant},
    on, person,
    recent::Key,
    settings::{self, ADD_ALIAS, Settings, key},
    swap,
    vault::Place,
};
use crate::model::{
    AccountId, Address, Certificates, Endpoint, Epoch, Generation, Host, Pins, Secret, Security, SmtpAuth, UserId,
};
use std::path::PathBuf;

/// One mailbox at one provider, without its password.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: AccountId,
    pub owner: UserId,
    /// The owner's name.
    pub owner_name: String,
    pub address: Address,
    pub imap: Endpoint,
    pub smtp: Endpoint,
    /// Of both endpoints.
    pub certificates: Certificates,
    /// What the provider calls the user.
    pub sign_in_name: String,
    /// Whether it signs in with access tokens, not with a password.
    pub by_grant: bool,
    /// Whether the grant is lost, and its owner must consent again.
    pub needs_consent: bool,
    /// Whether nothing is kept, and the CRM's own access token opens it.
    pub by_client_token: bool,
    pub settings: Settings,
    pub generation: Generation,
    pub epoch: Epoch,
    pub created_at: i64,
    /// The last sign-in that is known to have worked, in Unix seconds.
    pub checked_at: Option<i64>,
}

/// What the bridge signs in with at the provider.
#[derive(Clone)]
pub enum Credential {
    /// What access tokens are asked for with.
    Grant(NewGrant),
    /// With nothing: the CRM has an access token of its own, and shows it at each login.
    OfClient,
    Password(Secret<String>),
}

/// What is needed to add an account.
#[derive(Clone)]
pub struct NewAccount {
    pub owner: UserId,
    pub address: Address,
    pub imap: Endpoint,
    pub smtp: Endpoint,
    pub certificates: Certificates,
    pub sign_in_name: String,
    pub credential: Credential,
    pub settings: Settings,
    /// For [`SmtpAuth::Separate`].
    pub smtp_password: Option<Secret<String>>,
    pub aliases: Vec<Address>,
    /// When a sign-in worked, if one was tried.
    pub checked_at: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    owner_id: i64,
    owner_name: String,
    address: String,
    sign_in_name: String,
    by_grant: bool,
    needs_consent: bool,
    by_client_token: i64,
    generation: i64,
    epoch: i64,
    created_at: i64,
    checked_at: Option<i64>,
    imap_host: String,
    imap_port: i64,
    imap_security: String,
    imap_certificates: String,
    smtp_host: String,
    smtp_port: i64,
    smtp_security: String,
    #[sqlx(flatten)]
    settings: settings::Row,
}

/// All columns of [`Row`]; `$condition` and what follows comes after WHERE.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT a.id, a.owner_id, u.name AS owner_name, a.address, a.sign_in_name, a.generation, a.epoch,
                a.created_at, a.checked_at, a.provider, a.display_name, a.sender, a.user_format, a.smtp_auth,
                a.smtp_user, a.receives, a.sends, a.unread_scope, a.from_policy, a.sent_copy,
                a.files_sent, a.submission, a.uncertain, a.by_client_token,
                EXISTS (SELECT 1 FROM grants g WHERE g.account_id = a.id) AS by_grant,
                EXISTS (SELECT 1 FROM grants g WHERE g.account_id = a.id AND g.state = 'consent-needed')
                    AS needs_consent,
                i.host AS imap_host, i.port AS imap_port, i.security AS imap_security,
                i.certificates AS imap_certificates,
                s.host AS smtp_host, s.port AS smtp_port, s.security AS smtp_security
            FROM accounts a
            JOIN users u ON u.id = a.owner_id
            JOIN endpoints i ON i.account_id = a.id AND i.service = 'imap'
            JOIN endpoints s ON s.account_id = a.id AND s.service = 'smtp'
            WHERE a.removed_at IS NULL AND ",
            $condition
        )
    };
}

/// An address that was removed before comes back to its old row; the numbers told under it stay valid only for the same
/// user at the same host, else the epoch grows.
const INSERT: &str =
    "INSERT INTO accounts (owner_id, address, address_key, display_name, sign_in_name, created_at, checked_at, provider,
        sender, user_format, smtp_auth, smtp_user, receives, sends, unread_scope, from_policy, sent_copy,
        by_client_token, submission, uncertain)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
    ON CONFLICT (address_key) DO UPDATE SET owner_id = excluded.owner_id, address = excluded.address,
        display_name = excluded.display_name, sign_in_name = excluded.sign_in_name, provider = excluded.provider,
        sender = excluded.sender, user_format = excluded.user_format, smtp_auth = excluded.smtp_auth,
        smtp_user = excluded.smtp_user, receives = excluded.receives, sends = excluded.sends,
        unread_scope = excluded.unread_scope, from_policy = excluded.from_policy,
        sent_copy = excluded.sent_copy, by_client_token = excluded.by_client_token, files_sent = NULL,
        submission = excluded.submission, uncertain = excluded.uncertain,
        created_at = excluded.created_at, checked_at = excluded.checked_at, removed_at = NULL,
        generation = accounts.generation + 1,
        epoch = accounts.epoch + CASE WHEN accounts.sign_in_name = excluded.sign_in_name THEN 0 ELSE 1 END
    WHERE accounts.removed_at IS NOT NULL
    RETURNING id";
const MOVED: &str = "UPDATE accounts SET epoch = epoch + 1 WHERE id = $1 AND EXISTS
    (SELECT 1 FROM endpoints WHERE account_id = $1 AND service = 'imap' AND host <> $2)";
const ENDPOINT: &str = "INSERT INTO endpoints (account_id, service, host, port, security, certificates)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (account_id, service) DO UPDATE SET host = excluded.host, port = excluded.port,
        security = excluded.security, certificates = excluded.certificates";

impl Store {
    /// Adds an account with its sealed password, in one commit.
    ///
    /// # Errors
    /// [`Error::AddressTaken`], or if the store fails.
    pub async fn add_account(&self, new: &NewAccount, now: i64) -> Result<AccountId, Error> {
        let certificates = new.certificates.to_string();
        let settings = &new.settings;
        let smtp_user = match &settings.smtp_auth {
            SmtpAuth::Separate(user) | SmtpAuth::Delegate(user) => user.as_str(),
            SmtpAuth::Same | SmtpAuth::None => "",
        };
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let id: Option<i64> = sqlx::query_scalar(INSERT)
                .bind(new.owner.0)
                .bind(new.address.as_str())
                .bind(key(&new.address))
                .bind(&settings.display_name)
                .bind(&new.sign_in_name)
                .bind(now)
                .bind(new.checked_at)
                .bind(&settings.provider)
                .bind(settings.sender.as_ref().map_or("", Address::as_str))
                .bind(settings.user_format.to_string())
                .bind(settings.smtp_auth.kind())
                .bind(smtp_user)
                .bind(i64::from(settings.receives))
                .bind(i64::from(settings.sends))
                .bind(settings.unread.to_string())
                .bind(settings.from.to_string())
                .bind(settings.sent_copy.to_string())
                .bind(i64::from(matches!(new.credential, Credential::OfClient)))
                .bind(settings.submission.to_string())
                .bind(settings.uncertain.to_string())
                .fetch_optional(&mut *transaction)
                .await?;
            let id = id.ok_or_else(|| Error::AddressTaken(new.address.clone()))?;
            sqlx::query(MOVED).bind(id).bind(new.imap.host.as_str()).execute(&mut *transaction).await?;
            for (service, endpoint) in [("imap", &new.imap), ("smtp", &new.smtp)] {
                sqlx::query(ENDPOINT)
                    .bind(id)
                    .bind(service)
                    .bind(endpoint.host.as_str())
                    .bind(i64::from(endpoint.port))
                    .bind(endpoint.security.to_string())
                    .bind(&certificates)
                    .execute(&mut *transaction)
                    .await?;
            }
            let sealed = match &new.credential {
                Credential::Grant(grant) => {
                    self.seal_grant(id, grant)?.put(id).execute(&mut *transaction).await?;
                    None
                }
                Credential::OfClient => None,
                Credential::Password(password) => {
                    Some(self.vault.seal(password_place(id), password.expose().as_bytes())?)
                }
            };
            let sealed_smtp = match &new.smtp_password {
                Some(password) => Some(self.vault.seal(smtp_password_place(id), password.expose().as_bytes())?),
                None => None,
            };
            sqlx::query("UPDATE accounts SET sealed_password = $2, sealed_smtp_password = $3 WHERE id = $1")
                .bind(id)
                .bind(sealed)
                .bind(sealed_smtp)
                .execute(&mut *transaction)
                .await?;
            for alias in &new.aliases {
                let add = sqlx::query(ADD_ALIAS).bind(id).bind(alias.as_str()).bind(key(alias));
                add.execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok(AccountId(id))
        })
    }

    /// All accounts, by address.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn accounts(&self) -> Result<Vec<Account>, Error> {
        const ALL: &str = select!("TRUE ORDER BY a.address_key");
        let rows: Vec<Row> = on!(self, pool => sqlx::query_as(ALL).fetch_all(pool).await?);
        rows.into_iter().map(read).collect()
    }

    /// The account of this id, unless it was removed.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn account(&self, id: AccountId) -> Result<Option<Account>, Error> {
        const BY_ID: &str = select!("a.id = $1");
        let read = async {
            let row: Option<Row> = on!(self, pool => sqlx::query_as(BY_ID).bind(id.0).fetch_optional(pool).await?);
            row.map(read).transpose()
        };
        self.recent(Key::Account(id), read).await
    }

    /// The account with this address, compared without case.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn account_by_address(&self, address: &Address) -> Result<Option<Account>, Error> {
        const BY_ADDRESS: &str = select!("a.address_key = $1");
        let row: Option<Row> = on!(self, pool => {
            sqlx::query_as(BY_ADDRESS).bind(key(address)).fetch_optional(pool).await?
        });
        row.map(read).transpose()
    }

    /// Generation and epoch of every account: what caches compare after a change. Removed accounts are not among them.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn generations(&self) -> Result<Vec<(AccountId, Generation, Epoch)>, Error> {
        const ALL: &str = "SELECT id, generation, epoch FROM accounts WHERE removed_at IS NULL";
        let rows: Vec<(i64, i64, i64)> = on!(self, pool => sqlx::query_as(ALL).fetch_all(pool).await?);
        Ok(rows
            .into_iter()
            .map(|(id, generation, epoch)| (AccountId(id), Generation(generation), Epoch(epoch)))
            .collect())
    }

    /// The password with which the bridge signs in at the provider, if the account is still as it was read: the password
    /// of a new place must never go to the old one.
    ///
    /// # Errors
    /// [`Error::Changed`] if it is not, or gone, or has no password; or if the store fails or the secret does not open.
    pub async fn account_password(&self, account: &Account) -> Result<Secret<String>, Error> {
        const SEALED: &str = "SELECT sealed_password FROM accounts
            WHERE id = $1 AND generation = $2 AND removed_at IS NULL";
        self.sealed_text(SEALED, account, password_place(account.id.0), "accounts.sealed_password").await
    }

    /// Opens what `select` finds of an account that is still as it was read.
    pub(super) async fn sealed_text(
        &self,
        select: &'static str,
        account: &Account,
        place: Place,
        column: &'static str,
    ) -> Result<Secret<String>, Error> {
        let sealed: Option<Option<Vec<u8>>> = on!(self, pool => {
            sqlx::query_scalar(select).bind(account.id.0).bind(account.generation.0).fetch_optional(pool).await?
        });
        self.open_text(place, &sealed.flatten().ok_or(Error::Changed)?, column)
    }

    pub(super) fn open_text(&self, place: Place, sealed: &[u8], column: &'static str) -> Result<Secret<String>, Error> {
        let opened = self.vault.open(place, sealed)?;
        let text = std::str::from_utf8(opened.expose()).map_err(|_| Error::Corrupt(column))?;
        Ok(Secret::new(text.to_owned()))
    }

    /// Removes an account: its secrets, logins and folder map are gone, what was told as UIDVALIDITY is kept.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is gone already, or if the store fails.
    pub async fn remove_account(&self, id: AccountId, now: i64) -> Result<(), Error> {
        const REMOVE: &str = "UPDATE accounts SET removed_at = $2, sealed_password = NULL, sealed_smtp_password = NULL,
                generation = generation + 1
            WHERE id = $1 AND removed_at IS NULL";
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let removed = sqlx::query(REMOVE).bind(id.0).bind(now).execute(&mut *transaction).await?;
            if removed.rows_affected() == 0 {
                return Err(Error::Missing("the account"));
            }
            for delete in [
                "DELETE FROM logins WHERE account_id = $1",
                "DELETE FROM folder_map WHERE account_id = $1",
                "DELETE FROM hidden_folders WHERE account_id = $1",
                "DELETE FROM subscriptions WHERE account_id = $1",
                "DELETE FROM account_aliases WHERE account_id = $1",
                // Their files are swept.
                "DELETE FROM sent WHERE account_id = $1",
                grant::FORGET,
                person::FORGET[0],
                person::FORGET[1],
            ]
            .into_iter()
            .chain(swap::FORGET)
            {
                sqlx::query(delete).bind(id.0).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok(())
        })
    }
}

pub(super) fn password_place(account: i64) -> Place {
    Place { table: "accounts", row: account, column: "sealed_password" }
}

pub(super) fn smtp_password_place(account: i64) -> Place {
    Place { table: "accounts", row: account, column: "sealed_smtp_password" }
}

fn read(row: Row) -> Result<Account, Error> {
    Ok(Account {
        id: AccountId(row.id),
        owner: UserId(row.owner_id),
        owner_name: row.owner_name,
        address: Address::parse(&row.address).map_err(|_| Error::Corrupt("accounts.address"))?,
        imap: endpoint(&row.imap_host, row.imap_port, &row.imap_security)?,
        smtp: endpoint(&row.smtp_host, row.smtp_port, &row.smtp_security)?,
        certificates: certificates(&row.imap_certificates)?,
        sign_in_name: row.sign_in_name,
        by_grant: row.by_grant,
        needs_consent: row.needs_consent,
        by_client_token: row.by_client_token != 0,
        settings: settings::read(row.settings)?,
        generation: Generation(row.generation),
        epoch: Epoch(row.epoch),
        created_at: row.created_at,
        checked_at: row.checked_at,
    })
}

pub(super) fn endpoint(host: &str, port: i64, security: &str) -> Result<Endpoint, Error> {
    let security = [Security::Tls, Security::Starttls, Security::None]
        .into_iter()
        .find(|known| known.to_string() == security)
        .ok_or(Error::Corrupt("endpoints.security"))?;
    let host = Host::parse(host).map_err(|_| Error::Corrupt("endpoints.host"))?;
    let port = u16::try_from(port).map_err(|_| Error::Corrupt("endpoints.port"))?;
    Ok(Endpoint { host, port, security })
}

pub(crate) fn certificates(text: &str) -> Result<Certificates, Error> {
    match text {
        "verify" => Ok(Certificates::Verify),
        "accept-any" => Ok(Certificates::AcceptAny),
        _ => text
            .strip_prefix("ca=")
            .map(|file| Certificates::Ca(PathBuf::from(file)))
            .or_else(|| text.strip_prefix("pin=").and_then(|pins| Pins::parse(pins).ok()).map(Certificates::Pin))
            .ok_or(Error::Corrupt("endpoints.certificates")),
    }
}
