//! The rows of grants: with what an account's access tokens are asked for, and the refresh token that is current.
//!
//! Every change names the version that it was made from, and changes nothing of another (compare and swap): two
//! refreshes can never both believe that theirs was kept (rule R28).

use super::{Error, ForWhom, Store, on, registration, vault::Place};
use crate::{
    model::{AccountId, Generation, RegistrationId, Secret},
    oauth::{
        TokenEndpoint,
        flow::{Client, Means, Proof},
    },
};

/// A grant as a person gives it.
#[derive(Clone)]
pub struct NewGrant {
    pub client: Client,
    /// The registration that the client is of: the grant follows it.
    pub registration: Option<RegistrationId>,
    pub means: Means,
    /// Whether the provider takes an older refresh token after it gave another one.
    pub old_tokens_stay_valid: bool,
}

/// A grant as it is kept.
#[derive(Clone)]
pub struct Grant {
    pub client: Client,
    pub means: Means,
    /// The refresh token before, if the current one has never worked and the provider may still take it.
    pub previous: Option<Secret<String>>,
    pub state: GrantState,
    pub version: i64,
}

/// What is shown of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantSummary {
    pub token_endpoint: String,
    pub client_id: String,
    /// By whose right tokens are asked for.
    pub for_whom: ForWhom,
    pub state: GrantState,
}

/// Whether tokens may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantState {
    /// The provider said that it is gone; nobody is asked again before a person gives another.
    ConsentNeeded,
    Good,
}

impl GrantState {
    /// Its name in the table and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConsentNeeded => "consent-needed",
            Self::Good => "good",
        }
    }

    fn read(name: &str) -> Result<Self, Error> {
        let known = [Self::ConsentNeeded, Self::Good].into_iter().find(|state| state.name() == name);
        known.ok_or(Error::Corrupt("grants.state"))
    }
}

/// A row, sealed.
#[derive(sqlx::FromRow)]
pub(super) struct Row {
    token_endpoint: String,
    client_id: String,
    sealed_client_secret: Option<Vec<u8>>,
    scope: String,
    old_tokens_stay_valid: i64,
    sealed_refresh_token: Vec<u8>,
    sealed_previous_token: Option<Vec<u8>>,
    state: String,
    version: i64,
    registration_id: Option<i64>,
    means: String,
}

/// The version goes on from whatever is known of the account: who still renews an older grant changes nothing of this.
const PUT: &str = "INSERT INTO grants (account_id, token_endpoint, client_id, sealed_client_secret, scope,
        old_tokens_stay_valid, sealed_refresh_token, sealed_previous_token, state, registration_id, means, version)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $11, $12, (SELECT COALESCE(MAX(version), 0) + 1 FROM (
        SELECT version FROM grants WHERE account_id = $1
        UNION ALL SELECT version FROM swap_grants WHERE account_id = $1
        UNION ALL SELECT CAST($10 AS BIGINT)) AS known))
    ON CONFLICT (account_id) DO UPDATE SET token_endpoint = excluded.token_endpoint, client_id = excluded.client_id,
        sealed_client_secret = excluded.sealed_client_secret, scope = excluded.scope,
        old_tokens_stay_valid = excluded.old_tokens_stay_valid, sealed_refresh_token = excluded.sealed_refresh_token,
        sealed_previous_token = excluded.sealed_previous_token, state = excluded.state,
        registration_id = excluded.registration_id, means = excluded.means, version = excluded.version";
/// All columns of [`Row`], of the table that follows.
macro_rules! select {
    ($from:literal) => {
        concat!(
            "SELECT g.token_endpoint, g.client_id, g.sealed_client_secret, g.scope, g.old_tokens_stay_valid,
                g.sealed_refresh_token, g.sealed_previous_token, g.state, g.version, g.registration_id, g.means FROM ",
            $from,
            " WHERE g.account_id = $1"
        )
    };
}
/// What is set aside at a swap.
pub(super) const ASIDE: &str = select!("swap_grants g");
pub(super) const SET_ASIDE: &str = "INSERT INTO swap_grants (account_id, token_endpoint, client_id,
        sealed_client_secret, scope, old_tokens_stay_valid, sealed_refresh_token, sealed_previous_token, state, version,
        registration_id, means, lease_holder, lease_serial)
    SELECT account_id, token_endpoint, client_id, sealed_client_secret, scope, old_tokens_stay_valid,
        sealed_refresh_token, sealed_previous_token, state, version, registration_id, means, lease_holder, lease_serial
    FROM grants WHERE account_id = $1";
const ROTATE: &str = "UPDATE grants SET sealed_refresh_token = $3, sealed_previous_token = $4, version = version + 1
    WHERE account_id = $1 AND version = $2";
const WORKED: &str = "UPDATE grants SET sealed_refresh_token = $3, sealed_previous_token = NULL, version = version + 1
    WHERE account_id = $1 AND version = $2";
const REFUSED: &str = "UPDATE grants SET state = 'consent-needed', version = version + 1
    WHERE account_id = $1 AND version = $2";
const ROTATE_ASIDE: &str =
    "UPDATE swap_grants SET sealed_refresh_token = $3, sealed_previous_token = $4, version = version + 1
    WHERE account_id = $1 AND version = $2";
pub(super) const FORGET: &str = "DELETE FROM grants WHERE account_id = $1";
pub(super) const FORGET_ASIDE: &str = "DELETE FROM swap_grants WHERE account_id = $1";

impl Row {
    /// The statement that puts it into its row, in the place of any other.
    pub(super) fn put(&self, account: i64) -> sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments> {
        sqlx::query(PUT)
            .bind(account)
            .bind(&self.token_endpoint)
            .bind(&self.client_id)
            .bind(self.sealed_client_secret.as_deref())
            .bind(&self.scope)
            .bind(self.old_tokens_stay_valid)
            .bind(&self.sealed_refresh_token)
            .bind(self.sealed_previous_token.as_deref())
            .bind(&self.state)
            .bind(self.version)
            .bind(self.registration_id)
            .bind(&self.means)
    }
}

impl Store {
    pub(super) fn seal_grant(&self, account: i64, grant: &NewGrant) -> Result<Row, Error> {
        let seal =
            |column, secret: &Secret<String>| self.vault.seal(place(account, column), secret.expose().as_bytes());
        let client = &grant.client;
        // A registration keeps its own; a key is never a grant's alone.
        let secret = match (&client.proof, grant.registration) {
            (Proof::Secret(secret), None) => Some(seal(CLIENT_SECRET, secret)?),
            (Proof::Key(_), None) => return Err(Error::Missing("the registration of a key")),
            _ => None,
        };
        let nothing = Secret::new(String::new());
        let refresh_token = if let Means::Refresh(token) = &grant.means { token } else { &nothing };
        Ok(Row {
            token_endpoint: client.token_endpoint.to_string(),
            client_id: client.id.clone(),
            sealed_client_secret: secret,
            scope: client.scope.clone(),
            old_tokens_stay_valid: i64::from(grant.old_tokens_stay_valid),
            sealed_refresh_token: seal(REFRESH_TOKEN, refresh_token)?,
            sealed_previous_token: None,
            state: GrantState::Good.name().to_owned(),
            version: 0,
            registration_id: grant.registration.map(|id| id.0),
            means: registration::means_name(&grant.means).to_owned(),
        })
    }

    /// The grant by which an account of this generation signs in: a token of a newer one would go to the old provider.
    /// None if it signs in by password, or is of another generation.
    ///
    /// # Errors
    /// If the store fails or a secret does not open.
    pub async fn grant(&self, id: AccountId, at: Generation) -> Result<Option<Grant>, Error> {
        const BY_ID: &str =
            select!("grants g JOIN accounts a ON a.id = g.account_id AND a.generation = $2 AND a.removed_at IS NULL");
        let row: Option<Row> =
            on!(self, pool => sqlx::query_as(BY_ID).bind(id.0).bind(at.0).fetch_optional(pool).await?);
        self.open_grant(id.0, row).await
    }

    /// The grant of where an account can go back to, if it signed in by one.
    ///
    /// # Errors
    /// If the store fails or a secret does not open.
    pub async fn way_back_grant(&self, id: AccountId) -> Result<Option<Grant>, Error> {
        let row: Option<Row> = on!(self, pool => sqlx::query_as(ASIDE).bind(id.0).fetch_optional(pool).await?);
        self.open_grant(id.0, row).await
    }

    async fn open_grant(&self, account: i64, row: Option<Row>) -> Result<Option<Grant>, Error> {
        let Some(row) = row else { return Ok(None) };
        let open = |column, sealed: &[u8]| self.open_text(place(account, column), sealed, column);
        let client = match row.registration_id {
            Some(id) => {
                let known = self.registration(RegistrationId(id)).await?;
                known.ok_or(Error::Corrupt("grants.registration_id"))?.client
            }
            None => Client {
                token_endpoint: TokenEndpoint::parse(&row.token_endpoint)
                    .map_err(|_| Error::Corrupt("grants.token_endpoint"))?,
                id: row.client_id,
                proof: match row.sealed_client_secret {
                    Some(sealed) => Proof::Secret(open(CLIENT_SECRET, &sealed)?),
                    None => Proof::Nothing,
                },
                scope: row.scope,
            },
        };
        let previous = row.sealed_previous_token.filter(|_| row.old_tokens_stay_valid != 0);
        Ok(Some(Grant {
            client,
            means: match row.means.as_str() {
                registration::OWN => Means::Own,
                registration::BEHALF => Means::Behalf,
                registration::REFRESH => Means::Refresh(open(REFRESH_TOKEN, &row.sealed_refresh_token)?),
                _ => return Err(Error::Corrupt("grants.means")),
            },
            previous: previous.map(|sealed| open(PREVIOUS_TOKEN, &sealed)).transpose()?,
            state: GrantState::read(&row.state)?,
            version: row.version,
        }))
    }

    /// What may be shown of an account's grant.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn grant_summary(&self, id: AccountId) -> Result<Option<GrantSummary>, Error> {
        const SHOWN: &str = "SELECT COALESCE(r.token_endpoint, g.token_endpoint), COALESCE(r.client_id, g.client_id),
            g.means, g.state FROM grants g LEFT JOIN registrations r ON r.id = g.registration_id WHERE g.account_id = $1";
        let row: Option<(String, String, String, String)> =
            on!(self, pool => sqlx::query_as(SHOWN).bind(id.0).fetch_optional(pool).await?);
        row.map(|(token_endpoint, client_id, means, state)| {
            let (for_whom, state) = (ForWhom::read(&means)?, GrantState::read(&state)?);
            Ok(GrantSummary { token_endpoint, client_id, for_whom, state })
        })
        .transpose()
    }

    /// Keeps the refresh token that came in the place of `used`, which becomes the previous one. Committed before the
    /// access token that came with it may be used.
    ///
    /// # Errors
    /// [`Error::Contended`] if the grant has been changed meanwhile, or if the store fails.
    pub async fn rotate_grant(
        &self,
        id: AccountId,
        version: i64,
        used: &Secret<String>,
        fresh: &Secret<String>,
    ) -> Result<(), Error> {
        self.rotate(ROTATE, id, version, used, fresh).await
    }

    /// The same, where a swap or its way back has moved the grant meanwhile: it is kept wherever the one that was used
    /// stands.
    ///
    /// # Errors
    /// [`Error::Contended`] if that stands nowhere any more, or if the store fails.
    pub async fn rotate_moved_grant(
        &self,
        id: AccountId,
        used: &Secret<String>,
        fresh: &Secret<String>,
    ) -> Result<(), Error> {
        const CURRENT: &str = select!("grants g");
        for (rotate, read) in [(ROTATE_ASIDE, ASIDE), (ROTATE, CURRENT), (ROTATE_ASIDE, ASIDE)] {
            let row: Option<Row> = on!(self, pool => sqlx::query_as(read).bind(id.0).fetch_optional(pool).await?);
            let Some(Grant { means: Means::Refresh(token), version, .. }) = self.open_grant(id.0, row).await? else {
                continue;
            };
            if token.expose() == used.expose() {
                match self.rotate(rotate, id, version, used, fresh).await {
                    // Moved again.
                    Err(Error::Contended(_)) => {}
                    done => return done,
                }
            }
        }
        Err(Error::Contended("grants"))
    }

    /// The same, of the grant of where an account can go back to.
    ///
    /// # Errors
    /// As for [`Store::rotate_grant`].
    pub async fn rotate_way_back_grant(
        &self,
        id: AccountId,
        version: i64,
        used: &Secret<String>,
        fresh: &Secret<String>,
    ) -> Result<(), Error> {
        self.rotate(ROTATE_ASIDE, id, version, used, fresh).await
    }

    async fn rotate(
        &self,
        rotate: &'static str,
        id: AccountId,
        version: i64,
        used: &Secret<String>,
        fresh: &Secret<String>,
    ) -> Result<(), Error> {
        let fresh = self.vault.seal(place(id.0, REFRESH_TOKEN), fresh.expose().as_bytes())?;
        let used = self.vault.seal(place(id.0, PREVIOUS_TOKEN), used.expose().as_bytes())?;
        let done = on!(self, pool => {
            sqlx::query(rotate).bind(id.0).bind(version).bind(fresh).bind(used).execute(pool).await?.rows_affected()
        });
        changed(done)
    }

    /// This refresh token has worked, and no other came: it is the one to keep, and no other.
    ///
    /// # Errors
    /// As for [`Store::rotate_grant`].
    pub async fn forget_previous_token(
        &self,
        id: AccountId,
        version: i64,
        worked: &Secret<String>,
    ) -> Result<(), Error> {
        let worked = self.vault.seal(place(id.0, REFRESH_TOKEN), worked.expose().as_bytes())?;
        let done = on!(self, pool => {
            sqlx::query(WORKED).bind(id.0).bind(version).bind(worked).execute(pool).await?.rows_affected()
        });
        changed(done)
    }

    /// The provider says that the grant is gone.
    ///
    /// # Errors
    /// As for [`Store::rotate_grant`].
    pub async fn grant_refused(&self, id: AccountId, version: i64) -> Result<(), Error> {
        let done =
            on!(self, pool => sqlx::query(REFUSED).bind(id.0).bind(version).execute(pool).await?.rows_affected());
        changed(done)
    }
}

const CLIENT_SECRET: &str = "sealed_client_secret";
const PREVIOUS_TOKEN: &str = "sealed_previous_token";
const REFRESH_TOKEN: &str = "sealed_refresh_token";

fn place(account: i64, column: &'static str) -> Place {
    Place { table: "grants", row: account, column }
}

fn changed(rows: u64) -> Result<(), Error> {
    if rows == 1 { Ok(()) } else { Err(Error::Contended("grants")) }
}
