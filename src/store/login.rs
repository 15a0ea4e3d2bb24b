//! The rows of logins: the local names and passwords with which CRMs open accounts, and the verdict on them.
//!
//! No password is kept: a keyed HMAC of it, and the sealed state that checks CRAM-MD5. Why a login is refused never shows,
//! neither in words nor in time (rule R23).

use super::{
    Error, Store, on,
    password::{self, CramState},
    recent::Key,
    settings,
    vault::{Place, Vault},
};
use crate::{
    failure::Failure,
    model::{AccountId, Address, Generation, Login, LoginId, Secret, SentCopy, Submission, UserId},
    relay::{Admission, Care, Credentials},
    wire::sasl::bearer::is_token,
};
use std::{collections::HashSet, sync::Arc};

/// A login as it is listed.
#[derive(Clone, Debug)]
pub struct LoginRow {
    pub id: LoginId,
    pub user: UserId,
    pub account: AccountId,
    pub name: Login,
    pub label: String,
    /// The name of its CRM profile.
    pub profile: String,
    pub created_at: i64,
    /// Since when it is refused.
    pub revoked_at: Option<i64>,
}

/// What a verdict holds for: this login while it is in force, and its account while it is of this generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub login: LoginId,
    pub generation: Generation,
}

/// What is needed to add a login.
pub struct NewLogin {
    pub user: UserId,
    pub account: AccountId,
    pub name: Login,
    pub label: String,
    /// The name of its CRM profile.
    pub profile: String,
    pub password: Secret<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    user_id: i64,
    account_id: i64,
    name: String,
    label: String,
    profile: String,
    created_at: i64,
    revoked_at: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Candidate {
    id: i64,
    name: String,
    account_id: i64,
    address: String,
    generation: i64,
    sender: String,
    receives: i64,
    sends: i64,
    unread_scope: String,
    from_policy: String,
    sent_copy: String,
    submission: String,
    display_name: String,
    profile: String,
    password_hmac: Option<Vec<u8>>,
    sealed_cram_state: Option<Vec<u8>>,
    by_client_token: i64,
}

/// What stands for a login where there is none: of row 0, which never exists.
pub(super) struct Nobody {
    password_hmac: Vec<u8>,
    sealed_cram_state: Vec<u8>,
}

impl Nobody {
    pub(super) fn new(vault: &Vault) -> Result<Self, Error> {
        let password = password::generate()?;
        let password = password.expose().as_bytes();
        Ok(Self {
            password_hmac: vault.password_hmac(0, password),
            sealed_cram_state: vault.seal(cram_place(0), &CramState::of(password).to_octets())?,
        })
    }
}

const INSERT: &str = "INSERT INTO logins (user_id, account_id, name, name_key, label, profile, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING id";

impl Store {
    /// Adds a login, in one commit.
    ///
    /// # Errors
    /// [`Error::LoginTaken`], or if the store fails.
    pub async fn add_login(&self, new: &NewLogin, now: i64) -> Result<LoginId, Error> {
        let password = new.password.expose().as_bytes();
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let id: Option<i64> = sqlx::query_scalar(INSERT)
                .bind(new.user.0)
                .bind(new.account.0)
                .bind(new.name.as_str())
                .bind(new.name.key())
                .bind(&new.label)
                .bind(&new.profile)
                .bind(now)
                .fetch_optional(&mut *transaction)
                .await?;
            let id = id.ok_or_else(|| Error::LoginTaken(new.name.clone()))?;
            sqlx::query("UPDATE logins SET password_hmac = $2, sealed_cram_state = $3 WHERE id = $1")
                .bind(id)
                .bind(self.vault.password_hmac(id, password))
                .bind(self.vault.seal(cram_place(id), &CramState::of(password).to_octets())?)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(LoginId(id))
        })
    }

    /// All logins, the revoked too, by name.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn logins(&self) -> Result<Vec<LoginRow>, Error> {
        const ALL: &str = "SELECT id, user_id, account_id, name, label, profile, created_at, revoked_at FROM logins
            ORDER BY name_key, id";
        let rows: Vec<Row> = on!(self, pool => sqlx::query_as(ALL).fetch_all(pool).await?);
        rows.into_iter().map(read).collect()
    }

    /// Refuses a login from now on; what was opened with it ends, what was opened with others of its account goes on.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such login in force, or if the store fails.
    pub async fn revoke_login(&self, name: &Login, now: i64) -> Result<(), Error> {
        const REVOKE: &str = "UPDATE logins SET revoked_at = $2 WHERE name_key = $1 AND revoked_at IS NULL";
        let revoked = on!(self, pool => {
            sqlx::query(REVOKE).bind(name.key()).bind(now).execute(pool).await?.rows_affected()
        });
        if revoked == 0 { Err(Error::Missing("the login")) } else { Ok(()) }
    }

    /// Gives a login in force another CRM profile, and grows the generation of its account: what is open under the names
    /// of the old one ends. False if it has this profile already.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such login in force, or if the store fails.
    pub async fn set_login_profile(&self, name: &Login, profile: &str) -> Result<bool, Error> {
        const OLD: &str = "SELECT profile FROM logins WHERE name_key = $1 AND revoked_at IS NULL";
        const SET: &str = "UPDATE logins SET profile = $2 WHERE name_key = $1 AND revoked_at IS NULL AND profile <> $2
            RETURNING account_id";
        const GROW: &str = "UPDATE accounts SET generation = generation + 1 WHERE id = $1";
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let changed: Option<i64> =
                sqlx::query_scalar(SET).bind(name.key()).bind(profile).fetch_optional(&mut *transaction).await?;
            match changed {
                Some(account) => {
                    sqlx::query(GROW).bind(account).execute(&mut *transaction).await?;
                }
                None => {
                    let old: Option<String> =
                        sqlx::query_scalar(OLD).bind(name.key()).fetch_optional(&mut *transaction).await?;
                    old.ok_or(Error::Missing("the login"))?;
                }
            }
            transaction.commit().await?;
            Ok(changed.is_some())
        })
    }

    /// The logins that are refused. Those of removed accounts are not among them: they are gone.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn revoked_logins(&self) -> Result<HashSet<LoginId>, Error> {
        const REVOKED: &str = "SELECT id FROM logins WHERE revoked_at IS NOT NULL";
        let rows: Vec<i64> = on!(self, pool => sqlx::query_scalar(REVOKED).fetch_all(pool).await?);
        Ok(rows.into_iter().map(LoginId).collect())
    }

    /// Whether this login is neither revoked nor gone.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn is_in_force(&self, login: LoginId) -> Result<bool, Error> {
        const IN_FORCE: &str = "SELECT COUNT(*) FROM logins WHERE id = $1 AND revoked_at IS NULL";
        let read = async {
            let count: i64 = on!(self, pool => sqlx::query_scalar(IN_FORCE).bind(login.0).fetch_one(pool).await?);
            Ok((count > 0).then_some(()))
        };
        Ok(self.recent(Key::InForce(login), read).await?.is_some())
    }

    /// Whether these credentials open an account, and which; good for as long as the standing lasts.
    ///
    /// # Errors
    /// [`Failure::LoginRefused`], the same for an unknown name and a wrong password; or what became of the store.
    pub async fn verdict(&self, credentials: &Credentials) -> Result<(Admission, Standing), Failure> {
        match self.verify(credentials).await {
            Ok(admitted) => admitted.ok_or(Failure::LoginRefused),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a login cannot be checked");
                Err(Failure::from(&error))
            }
        }
    }

    async fn verify(&self, credentials: &Credentials) -> Result<Option<(Admission, Standing)>, Error> {
        const BY_NAME: &str = "SELECT l.id, l.name, l.account_id, a.address, a.generation, a.sender, a.receives,
                a.sends, a.unread_scope, a.from_policy, a.sent_copy, a.submission, a.display_name,
                l.profile, l.password_hmac, l.sealed_cram_state, a.by_client_token
            FROM logins l
            JOIN accounts a ON a.id = l.account_id
            WHERE l.name_key = $1 AND l.revoked_at IS NULL AND a.removed_at IS NULL";
        let read = async {
            let found: Option<Candidate> = on!(self, pool => {
                sqlx::query_as(BY_NAME).bind(credentials.key()).fetch_optional(pool).await?
            });
            Ok(found.map(Arc::new))
        };
        // That a known name takes less time than another does not show: a refusal waits for its time.
        let found = self.recent(Key::Login(credentials.key()), read).await?;
        // One row's two proofs are kept in one commit: who has one has both.
        let (id, hmac, state) = match found.as_deref() {
            Some(Candidate { id, password_hmac: Some(hmac), sealed_cram_state: Some(state), .. }) => (*id, hmac, state),
            _ => (0, &self.nobody.password_hmac, &self.nobody.sealed_cram_state),
        };
        let fits = match credentials {
            Credentials::CramMd5 { challenge, digest, .. } => {
                let opened = self.vault.open(cram_place(id), state)?;
                let state =
                    CramState::from_octets(opened.expose()).ok_or(Error::Corrupt("logins.sealed_cram_state"))?;
                state.answers(challenge.as_bytes(), digest)
            }
            Credentials::Plain { password, .. } => self.vault.password_fits(id, password.expose(), hmac),
            // Asked of all, so that it takes as long for each.
            Credentials::Token { token, bare, .. } => self.vault.password_fits(id, token.expose(), hmac) && *bare,
            // No row has this name: all that it gets is the time of the others.
            Credentials::Nobody => self.vault.password_fits(0, b"", hmac),
        };
        let by_token = match credentials {
            Credentials::Token { token, .. } => std::str::from_utf8(token.expose()).is_ok_and(is_token),
            _ => false,
        };
        match found {
            // Its password opens nothing: it proves nothing to the provider, who alone judges.
            Some(candidate) if candidate.by_client_token != 0 => match by_token {
                true => self.admitted(&candidate).await.map(Some),
                false => {
                    tracing::info!(
                        login = candidate.name,
                        "no access token, or at a listener that passes none on (pass-tokens), for an account that only \
                         the CRM's own token opens"
                    );
                    Ok(None)
                }
            },
            // Row 0 does not exist: what fits there is a guess of the dummy, and opens nothing.
            Some(candidate) if fits && id == candidate.id => self.admitted(&candidate).await.map(Some),
            Some(candidate) => {
                tracing::info!(login = candidate.name, "a wrong password");
                Ok(None)
            }
            // Not its name: people type passwords there.
            None => {
                tracing::info!("an unknown login");
                Ok(None)
            }
        }
    }

    async fn admitted(&self, candidate: &Candidate) -> Result<(Admission, Standing), Error> {
        let address = Address::parse(&candidate.address).map_err(|_| Error::Corrupt("accounts.address"))?;
        let account = AccountId(candidate.account_id);
        let senders = self.senders(account, settings::sender(&candidate.sender)?, &address).await?;
        let admission = Admission {
            senders,
            by_client_token: candidate.by_client_token != 0,
            receives: candidate.receives != 0,
            sends: candidate.sends != 0,
            unread: settings::unread(&candidate.unread_scope)?,
            from: settings::from_policy(&candidate.from_policy)?,
            filing: match settings::sent_copy(&candidate.sent_copy)? {
                SentCopy::Never => Care::Nothing,
                SentCopy::Auto | SentCopy::Always => Care::Kept,
            },
            // A token that its client shows is not there any more when the queue would need it.
            submission: match candidate.by_client_token != 0 {
                true => Submission::Direct,
                false => settings::submission(&candidate.submission)?,
            },
            display_name: candidate.display_name.as_str().into(),
            profile: candidate.profile.as_str().into(),
            ..Admission::new(account, address)
        };
        Ok((admission, Standing { login: LoginId(candidate.id), generation: Generation(candidate.generation) }))
    }
}

fn cram_place(login: i64) -> Place {
    Place { table: "logins", row: login, column: "sealed_cram_state" }
}

fn read(row: Row) -> Result<LoginRow, Error> {
    Ok(LoginRow {
        id: LoginId(row.id),
        user: UserId(row.user_id),
        account: AccountId(row.account_id),
        name: Login::parse(&row.name).map_err(|_| Error::Corrupt("logins.name"))?,
        label: row.label,
        profile: row.profile,
        created_at: row.created_at,
        revoked_at: row.revoked_at,
    })
}
