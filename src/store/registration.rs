//! The rows of registrations: clients (applications) that a provider knows, with their sealed secrets and keys.
//!
//! One for each provider, tenant and way of asking. Accounts follow the registration that they name: who gives a new
//! secret gives it once.

use super::{Error, Store, on, settings::key, vault::Place};
use crate::{
    model::{Address, RegistrationId},
    oauth::{
        TokenEndpoint,
        flow::{Client, Means, Proof, SigningKey},
    },
};
use serde::Serialize;

/// A client as it is registered.
#[derive(Clone)]
pub struct NewRegistration {
    /// A name of the provider table.
    pub provider: String,
    pub for_whom: ForWhom,
    /// Empty where the provider has none, or where any will do.
    pub tenant: String,
    pub client: Client,
    /// Whose mailboxes it opens by itself, in lower case; of [`ForWhom::Consenting`] none.
    pub domains: Vec<String>,
}

/// For whom a registered client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForWhom {
    /// People who consent, each for their own mailbox.
    #[serde(rename = "consent")]
    Consenting,
    /// All mailboxes of a tenant, by its own right.
    Tenant,
    /// All users of a domain, by a service account's right to act for them.
    Domain,
}

/// A registration as it is kept.
#[derive(Clone)]
pub struct Registration {
    pub id: RegistrationId,
    pub provider: String,
    pub for_whom: ForWhom,
    pub tenant: String,
    pub client: Client,
    pub domains: Vec<String>,
    pub created_at: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    provider: String,
    means: String,
    tenant: String,
    token_endpoint: String,
    client_id: String,
    proof: String,
    sealed_proof: Option<Vec<u8>>,
    key_name: String,
    scope: String,
    created_at: i64,
}

pub(super) const REFRESH: &str = "refresh-token";
pub(super) const OWN: &str = "own";
pub(super) const BEHALF: &str = "behalf";

/// The name of the column of both tables.
pub(super) fn means_name(means: &Means) -> &'static str {
    match means {
        Means::Refresh(_) => REFRESH,
        Means::Own => OWN,
        Means::Behalf => BEHALF,
    }
}

impl ForWhom {
    fn means(self) -> &'static str {
        match self {
            Self::Consenting => REFRESH,
            Self::Tenant => OWN,
            Self::Domain => BEHALF,
        }
    }

    pub(super) fn read(means: &str) -> Result<Self, Error> {
        let all = [Self::Consenting, Self::Tenant, Self::Domain];
        all.into_iter().find(|whom| whom.means() == means).ok_or(Error::Corrupt("registrations.means"))
    }
}

/// All columns of [`Row`]; the condition follows.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT r.id, r.provider, r.means, r.tenant, r.token_endpoint, r.client_id, r.proof, r.sealed_proof,
                r.key_name, r.scope, r.created_at FROM registrations r ",
            $condition
        )
    };
}
/// The row comes first, as what is sealed is sealed to its number.
const PLACE: &str = "INSERT INTO registrations (provider, means, tenant, token_endpoint, client_id, proof, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (provider, means, tenant) DO UPDATE SET token_endpoint = excluded.token_endpoint,
        client_id = excluded.client_id, proof = excluded.proof
    RETURNING id";
const FILL: &str = "UPDATE registrations SET sealed_proof = $2, key_name = $3, scope = $4 WHERE id = $1";
const CLEAR_DOMAINS: &str = "DELETE FROM registration_domains WHERE registration_id = $1";
const ADD_DOMAIN: &str = "INSERT INTO registration_domains (domain, registration_id) VALUES ($1, $2)
    ON CONFLICT (domain) DO UPDATE SET registration_id = excluded.registration_id";
/// Whoever waits because the client was refused is let try again at once, and nobody goes on with an old client.
const FOLLOW: &str = "UPDATE accounts SET generation = generation + 1 WHERE removed_at IS NULL
    AND id IN (SELECT account_id FROM grants WHERE registration_id = $1)";
const REMOVE: &str = "DELETE FROM registrations WHERE id = $1
    AND NOT EXISTS (SELECT 1 FROM grants WHERE registration_id = $1)
    AND NOT EXISTS (SELECT 1 FROM swap_grants WHERE registration_id = $1)";

impl Store {
    /// Keeps a registration, in the place of any other of this provider, tenant and way; its accounts follow it.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn register(&self, new: &NewRegistration, now: i64) -> Result<RegistrationId, Error> {
        let (proof, secret, key_name) = match &new.client.proof {
            Proof::Nothing => ("none", None, ""),
            Proof::Secret(secret) => ("secret", Some(secret), ""),
            Proof::Key(key) => ("key", Some(&key.pkcs8), key.name.as_str()),
        };
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let id: i64 = sqlx::query_scalar(PLACE)
                .bind(&new.provider)
                .bind(new.for_whom.means())
                .bind(&new.tenant)
                .bind(new.client.token_endpoint.as_str())
                .bind(&new.client.id)
                .bind(proof)
                .bind(now)
                .fetch_one(&mut *transaction)
                .await?;
            let sealed = secret.map(|secret| self.vault.seal(place(id), secret.expose().as_bytes())).transpose()?;
            sqlx::query(FILL).bind(id).bind(sealed).bind(key_name).bind(&new.client.scope)
                .execute(&mut *transaction).await?;
            sqlx::query(CLEAR_DOMAINS).bind(id).execute(&mut *transaction).await?;
            for domain in &new.domains {
                sqlx::query(ADD_DOMAIN).bind(domain).bind(id).execute(&mut *transaction).await?;
            }
            sqlx::query(FOLLOW).bind(id).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(RegistrationId(id))
        })
    }

    /// All registrations, by provider.
    ///
    /// # Errors
    /// If the store fails or a secret does not open.
    pub async fn registrations(&self) -> Result<Vec<Registration>, Error> {
        const ALL: &str = select!("ORDER BY r.provider, r.means, r.tenant");
        let rows: Vec<Row> = on!(self, pool => sqlx::query_as(ALL).fetch_all(pool).await?);
        let mut all = Vec::new();
        for row in rows {
            all.push(self.open_registration(row).await?);
        }
        Ok(all)
    }

    /// One registration.
    ///
    /// # Errors
    /// As for [`Store::registrations`].
    pub async fn registration(&self, id: RegistrationId) -> Result<Option<Registration>, Error> {
        const ONE: &str = select!("WHERE r.id = $1");
        let row: Option<Row> = on!(self, pool => sqlx::query_as(ONE).bind(id.0).fetch_optional(pool).await?);
        match row {
            Some(row) => self.open_registration(row).await.map(Some),
            None => Ok(None),
        }
    }

    /// The registration by which people consent at this provider: of the tenant that is named; else, for a mailbox, the one
    /// of its account's grant, then of the tenant that has the name of its domain; else the newest.
    ///
    /// # Errors
    /// As for [`Store::registrations`].
    pub async fn registration_for_consent(
        &self,
        provider: &str,
        mailbox: Option<&Address>,
        tenant: Option<&str>,
    ) -> Result<Option<Registration>, Error> {
        const OF: &str = select!(
            "WHERE r.provider = $1 AND r.means = 'refresh-token' ORDER BY CASE
                WHEN r.tenant = $2 THEN 0
                WHEN r.id = (SELECT g.registration_id FROM grants g JOIN accounts a ON a.id = g.account_id
                    WHERE a.address_key = $3 AND a.removed_at IS NULL) THEN 1
                WHEN lower(r.tenant) = $4 THEN 2
                ELSE 3 END, r.id DESC LIMIT 1"
        );
        let row: Option<Row> = on!(self, pool => {
            sqlx::query_as(OF)
                .bind(provider)
                .bind(tenant)
                .bind(mailbox.map(key))
                .bind(mailbox.map(|mailbox| mailbox.domain().to_lowercase()))
                .fetch_optional(pool)
                .await?
        });
        match row {
            Some(row) => self.open_registration(row).await.map(Some),
            None => Ok(None),
        }
    }

    /// The registration that opens the mailboxes of this domain by itself. `domain` in lower case.
    ///
    /// # Errors
    /// As for [`Store::registrations`].
    pub async fn registration_of_domain(&self, domain: &str) -> Result<Option<Registration>, Error> {
        const OF: &str = select!("JOIN registration_domains d ON d.registration_id = r.id WHERE d.domain = $1");
        let row: Option<Row> = on!(self, pool => sqlx::query_as(OF).bind(domain).fetch_optional(pool).await?);
        match row {
            Some(row) => self.open_registration(row).await.map(Some),
            None => Ok(None),
        }
    }

    /// Forgets a registration; false if an account still stands on it.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn unregister(&self, id: RegistrationId) -> Result<bool, Error> {
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            sqlx::query(CLEAR_DOMAINS).bind(id.0).execute(&mut *transaction).await?;
            let gone = sqlx::query(REMOVE).bind(id.0).execute(&mut *transaction).await?.rows_affected() == 1;
            if gone {
                transaction.commit().await?;
            }
            Ok(gone)
        })
    }

    async fn open_registration(&self, row: Row) -> Result<Registration, Error> {
        const DOMAINS: &str = "SELECT domain FROM registration_domains WHERE registration_id = $1 ORDER BY domain";
        let domains = on!(self, pool => sqlx::query_scalar(DOMAINS).bind(row.id).fetch_all(pool).await?);
        let open = || {
            let sealed = row.sealed_proof.as_deref().ok_or(Error::Corrupt("registrations.sealed_proof"))?;
            self.open_text(place(row.id), sealed, "sealed_proof")
        };
        let proof = match row.proof.as_str() {
            "none" => Proof::Nothing,
            "secret" => Proof::Secret(open()?),
            "key" => Proof::Key(SigningKey { pkcs8: open()?, name: row.key_name.clone() }),
            _ => return Err(Error::Corrupt("registrations.proof")),
        };
        Ok(Registration {
            id: RegistrationId(row.id),
            for_whom: ForWhom::read(&row.means)?,
            client: Client {
                token_endpoint: TokenEndpoint::parse(&row.token_endpoint)
                    .map_err(|_| Error::Corrupt("registrations.token_endpoint"))?,
                id: row.client_id,
                proof,
                scope: row.scope,
            },
            provider: row.provider,
            tenant: row.tenant,
            domains,
            created_at: row.created_at,
        })
    }
}

fn place(id: i64) -> Place {
    Place { table: "registrations", row: id, column: "sealed_proof" }
}
