//! Swaps: an account goes to another mailbox, and back, each in one commit that only one of two at once makes.
//!
//! What the account was is set aside, sealed as it was, until its time is over. Logins, settings of the CRM's side and
//! what was told as UIDVALIDITY are not touched: the epoch grows each way, so that no number is told twice.

use super::{
    Error, Mapping, Store,
    account::{Credential, password_place, smtp_password_place},
    folder::{chosen, mapping},
    grant::{self, Row as GrantRow},
    on,
    settings::{ADD_ALIAS, key},
};
use crate::model::{
    AccountId, Address, Certificates, Endpoint, Generation, LocalName, RemoteName, Secret, SmtpAuth, UserFormat,
};
use crate::rules::namespace::Choices;

/// Where an account goes.
#[derive(Clone)]
pub struct NewPlace {
    pub address: Address,
    /// A name of the provider table.
    pub provider: String,
    pub imap: Endpoint,
    pub smtp: Endpoint,
    pub certificates: Certificates,
    pub user_format: UserFormat,
    pub sign_in_name: String,
    pub credential: Credential,
    pub folder_map: Vec<Mapping>,
    /// What no CRM sees there.
    pub hidden: Vec<RemoteName>,
}

/// Where an account can go back to.
#[derive(Clone, Debug)]
pub struct WayBack {
    pub address: Address,
    pub provider: String,
    pub imap: Endpoint,
    pub smtp: Endpoint,
    pub certificates: Certificates,
    pub user_format: UserFormat,
    pub sign_in_name: String,
    pub smtp_auth: SmtpAuth,
    /// Whether nothing was kept, and the CRM's own access token opens it.
    pub by_client_token: bool,
    /// What people had chosen for its folders.
    pub choices: Choices,
    /// Until when, in Unix seconds.
    pub until: i64,
}

/// The columns of an account that a swap changes, as they stand in the rows.
#[derive(sqlx::FromRow)]
struct Place {
    address: String,
    address_key: String,
    sign_in_name: String,
    provider: String,
    user_format: String,
    smtp_auth: String,
    smtp_user: String,
    sealed_password: Option<Vec<u8>>,
    sealed_smtp_password: Option<Vec<u8>>,
    checked_at: Option<i64>,
    by_client_token: i64,
}

#[derive(sqlx::FromRow)]
struct Service {
    service: String,
    host: String,
    port: i64,
    security: String,
    certificates: String,
}

/// Another name of the same mailbox, and who said so.
type Pair = (String, Vec<u8>, String);

/// All that is exchanged.
struct Held {
    place: Place,
    services: Vec<Service>,
    grant: Option<GrantRow>,
    map: Vec<Pair>,
    hidden: Vec<Vec<u8>>,
    subscribed: Vec<(Vec<u8>, i64)>,
}

/// Only who read the account as it is changes it: of two swaps at once one finds another generation.
const CLAIM: &str = "UPDATE accounts SET generation = generation + 1, epoch = epoch + 1
    WHERE id = $1 AND generation = $2 AND removed_at IS NULL RETURNING generation";
const SET_ASIDE: &str =
    "INSERT INTO swaps (account_id, swapped_at, until, address, address_key, sign_in_name, provider,
        user_format, smtp_auth, smtp_user, sealed_password, sealed_smtp_password, checked_at, by_client_token)
    SELECT id, $2, $3, address, address_key, sign_in_name, provider, user_format, smtp_auth, smtp_user, sealed_password,
        sealed_smtp_password, checked_at, by_client_token
    FROM accounts WHERE id = $1";
const ENDPOINTS_ASIDE: &str = "INSERT INTO swap_endpoints (account_id, service, host, port, security, certificates)
    SELECT account_id, service, host, port, security, certificates FROM endpoints WHERE account_id = $1";
const MAP_ASIDE: &str = "INSERT INTO swap_folder_map (account_id, local_name, remote_name, origin)
    SELECT account_id, local_name, remote_name, origin FROM folder_map WHERE account_id = $1";
const HIDDEN_ASIDE: &str = "INSERT INTO swap_hidden_folders (account_id, remote_name)
    SELECT account_id, remote_name FROM hidden_folders WHERE account_id = $1";
const SUBSCRIBED_ASIDE: &str = "INSERT INTO swap_subscriptions (account_id, remote_name, subscribed)
    SELECT account_id, remote_name, subscribed FROM subscriptions WHERE account_id = $1";
const ASIDE: &str = "SELECT address, address_key, sign_in_name, provider, user_format, smtp_auth, smtp_user,
        sealed_password, sealed_smtp_password, checked_at, by_client_token
    FROM swaps WHERE account_id = $1 AND until > $2";
const ENDPOINTS: &str = "SELECT service, host, port, security, certificates FROM swap_endpoints WHERE account_id = $1";
const MAP: &str = "SELECT local_name, remote_name, origin FROM swap_folder_map WHERE account_id = $1";
const HIDDEN: &str = "SELECT remote_name FROM swap_hidden_folders WHERE account_id = $1";
const SUBSCRIBED: &str = "SELECT remote_name, subscribed FROM swap_subscriptions WHERE account_id = $1";
/// What is set aside of an account goes by these.
pub(super) const FORGET: [&str; 6] = [
    grant::FORGET_ASIDE,
    "DELETE FROM swap_hidden_folders WHERE account_id = $1",
    "DELETE FROM swap_subscriptions WHERE account_id = $1",
    "DELETE FROM swap_folder_map WHERE account_id = $1",
    "DELETE FROM swap_endpoints WHERE account_id = $1",
    "DELETE FROM swaps WHERE account_id = $1",
];
/// An account that was removed gives its address up to one that is there.
const FREE_ADDRESS: &str = "UPDATE accounts SET address_key = address_key || '#' || id
    WHERE address_key = $1 AND id <> $2 AND removed_at IS NOT NULL";
const TAKEN: &str = "SELECT COUNT(*) FROM accounts WHERE address_key = $1 AND id <> $2";
const PUT: &str = "UPDATE accounts SET address = $2, address_key = $3, sign_in_name = $4, provider = $5,
        user_format = $6, smtp_auth = $7, smtp_user = $8, sealed_password = $9, sealed_smtp_password = $10,
        checked_at = $11, by_client_token = $12, files_sent = NULL
    WHERE id = $1";
const PUT_ENDPOINT: &str = "UPDATE endpoints SET host = $3, port = $4, security = $5, certificates = $6
    WHERE account_id = $1 AND service = $2";
/// Names of the old place's mailboxes.
const CLEAR: [&str; 5] = [
    grant::FORGET,
    "DELETE FROM folder_map WHERE account_id = $1",
    "DELETE FROM hidden_folders WHERE account_id = $1",
    "DELETE FROM subscriptions WHERE account_id = $1",
    // Of the mailbox before. What does not stand there yet is filed in the new one.
    "DELETE FROM sent WHERE account_id = $1 AND filed_at IS NOT NULL",
];
const PUT_HIDDEN: &str = "INSERT INTO hidden_folders (account_id, remote_name) VALUES ($1, $2)";
const PUT_SUBSCRIBED: &str = "INSERT INTO subscriptions (account_id, remote_name, subscribed) VALUES ($1, $2, $3)";
const PUT_MAPPING: &str =
    "INSERT INTO folder_map (account_id, local_name, remote_name, origin) VALUES ($1, $2, $3, $4)";

/// The statements of one transaction: a macro, as each engine's transaction has a type of its own.
macro_rules! put {
    ($transaction:ident, $id:expr, $held:expr) => {{
        let Held { place, services, grant, map, hidden, subscribed } = $held;
        sqlx::query(FREE_ADDRESS).bind(&place.address_key).bind($id).execute(&mut *$transaction).await?;
        let taken: i64 =
            sqlx::query_scalar(TAKEN).bind(&place.address_key).bind($id).fetch_one(&mut *$transaction).await?;
        if taken > 0 {
            let address = Address::parse(&place.address).map_err(|_| Error::Corrupt("swaps.address"))?;
            return Err(Error::AddressTaken(address));
        }
        sqlx::query(PUT)
            .bind($id)
            .bind(&place.address)
            .bind(&place.address_key)
            .bind(&place.sign_in_name)
            .bind(&place.provider)
            .bind(&place.user_format)
            .bind(&place.smtp_auth)
            .bind(&place.smtp_user)
            .bind(&place.sealed_password)
            .bind(&place.sealed_smtp_password)
            .bind(place.checked_at)
            .bind(place.by_client_token)
            .execute(&mut *$transaction)
            .await?;
        for Service { service, host, port, security, certificates } in &services {
            let put = sqlx::query(PUT_ENDPOINT).bind($id).bind(service).bind(host).bind(port).bind(security);
            put.bind(certificates).execute(&mut *$transaction).await?;
        }
        for clear in CLEAR {
            sqlx::query(clear).bind($id).execute(&mut *$transaction).await?;
        }
        if let Some(grant) = &grant {
            grant.put($id).execute(&mut *$transaction).await?;
        }
        for name in &hidden {
            sqlx::query(PUT_HIDDEN).bind($id).bind(name).execute(&mut *$transaction).await?;
        }
        for (name, subscribed) in &subscribed {
            let put = sqlx::query(PUT_SUBSCRIBED).bind($id).bind(name).bind(subscribed);
            put.execute(&mut *$transaction).await?;
        }
        for (local, remote, origin) in &map {
            let put = sqlx::query(PUT_MAPPING).bind($id).bind(local).bind(remote).bind(origin);
            put.execute(&mut *$transaction).await?;
        }
    }};
}

/// What is set aside, if its time is not over.
macro_rules! held {
    ($connection:expr, $id:expr, $now:expr) => {{
        let place: Option<Place> = sqlx::query_as(ASIDE).bind($id).bind($now).fetch_optional($connection).await?;
        match place {
            None => None,
            Some(place) => Some(Held {
                place,
                grant: sqlx::query_as(grant::ASIDE).bind($id).fetch_optional($connection).await?,
                services: sqlx::query_as(ENDPOINTS).bind($id).fetch_all($connection).await?,
                map: sqlx::query_as(MAP).bind($id).fetch_all($connection).await?,
                hidden: sqlx::query_scalar(HIDDEN).bind($id).fetch_all($connection).await?,
                subscribed: sqlx::query_as(SUBSCRIBED).bind($id).fetch_all($connection).await?,
            }),
        }
    }};
}

/// The first statement, which writes: nothing that is read after it can be changed by another.
macro_rules! claim {
    ($transaction:ident, $id:expr, $generation:expr) => {{
        let generation: Option<i64> =
            sqlx::query_scalar(CLAIM).bind($id).bind($generation).fetch_optional(&mut *$transaction).await?;
        Generation(generation.ok_or(Error::Changed)?)
    }};
}

/// Sets aside what the account is, in the place of what was.
macro_rules! set_aside {
    ($transaction:ident, $id:expr, $now:expr, $until:expr) => {{
        for forget in FORGET {
            sqlx::query(forget).bind($id).execute(&mut *$transaction).await?;
        }
        sqlx::query(SET_ASIDE).bind($id).bind($now).bind($until).execute(&mut *$transaction).await?;
        for aside in [ENDPOINTS_ASIDE, grant::SET_ASIDE, MAP_ASIDE, HIDDEN_ASIDE, SUBSCRIBED_ASIDE] {
            sqlx::query(aside).bind($id).execute(&mut *$transaction).await?;
        }
    }};
}

impl Store {
    /// Moves an account to another place, if it is still of this generation; until `until` it can go back.
    ///
    /// # Errors
    /// [`Error::Changed`] if it is not, [`Error::AddressTaken`], or if the store fails. Then nothing is changed.
    pub async fn swap_account(
        &self,
        id: AccountId,
        at: Generation,
        new: &NewPlace,
        until: i64,
        now: i64,
    ) -> Result<Generation, Error> {
        let held = self.held(id, new, now)?;
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let generation = claim!(transaction, id.0, at.0);
            set_aside!(transaction, id.0, now, until);
            // The CRM goes on to send as what it was told to.
            const OLD: &str = "SELECT address FROM accounts WHERE id = $1";
            let old: String = sqlx::query_scalar(OLD).bind(id.0).fetch_one(&mut *transaction).await?;
            let old = Address::parse(&old).map_err(|_| Error::Corrupt("accounts.address"))?;
            if key(&old) != held.place.address_key {
                let add = sqlx::query(ADD_ALIAS).bind(id.0).bind(old.as_str()).bind(key(&old));
                add.execute(&mut *transaction).await?;
            }
            put!(transaction, id.0, held);
            transaction.commit().await?;
            Ok(generation)
        })
    }

    /// Moves an account back to where it was before its last swap; where it is now becomes what it can go back to.
    ///
    /// # Errors
    /// [`Error::Changed`] if it is not of this generation any more, [`Error::Missing`] if there is no way back,
    /// [`Error::AddressTaken`], or if the store fails. Then nothing is changed.
    pub async fn swap_back(&self, id: AccountId, at: Generation, until: i64, now: i64) -> Result<Generation, Error> {
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let generation = claim!(transaction, id.0, at.0);
            let held = held!(&mut *transaction, id.0, now).ok_or(Error::Missing("the way back"))?;
            set_aside!(transaction, id.0, now, until);
            put!(transaction, id.0, held);
            transaction.commit().await?;
            Ok(generation)
        })
    }

    /// Where an account can go back to now; None where it was not swapped, or its time is over.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn way_back(&self, id: AccountId, now: i64) -> Result<Option<WayBack>, Error> {
        const UNTIL: &str = "SELECT until FROM swaps WHERE account_id = $1";
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let Some(held) = held!(&mut *transaction, id.0, now) else { return Ok(None) };
            let until: i64 = sqlx::query_scalar(UNTIL).bind(id.0).fetch_one(&mut *transaction).await?;
            read(held, until).map(Some)
        })
    }

    /// The password of where an account can go back to.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none, or if the store fails or the secret does not open.
    pub async fn way_back_password(&self, id: AccountId) -> Result<Secret<String>, Error> {
        const SEALED: &str = "SELECT sealed_password FROM swaps WHERE account_id = $1";
        let sealed: Option<Option<Vec<u8>>> =
            on!(self, pool => sqlx::query_scalar(SEALED).bind(id.0).fetch_optional(pool).await?);
        let sealed = sealed.flatten().ok_or(Error::Missing("the password of before"))?;
        self.open_text(password_place(id.0), &sealed, "swaps.sealed_password")
    }

    /// The password for submission of where an account can go back to, where it has one.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none, or if the store fails or the secret does not open.
    pub async fn way_back_smtp_password(&self, id: AccountId) -> Result<Secret<String>, Error> {
        const SEALED: &str = "SELECT sealed_smtp_password FROM swaps WHERE account_id = $1";
        let sealed: Option<Option<Vec<u8>>> =
            on!(self, pool => sqlx::query_scalar(SEALED).bind(id.0).fetch_optional(pool).await?);
        let sealed = sealed.flatten().ok_or(Error::Missing("the password for submission of before"))?;
        self.open_text(smtp_password_place(id.0), &sealed, "swaps.sealed_smtp_password")
    }

    /// Forgets every way back whose time is over, secrets included.
    pub(super) async fn forget_ways_back(&self, now: i64) -> Result<(), Error> {
        const OVER: &str = "SELECT account_id FROM swaps WHERE until <= $1";
        on!(self, pool => {
            let over: Vec<i64> = sqlx::query_scalar(OVER).bind(now).fetch_all(pool).await?;
            for account in over {
                let mut transaction = pool.begin().await?;
                for forget in FORGET {
                    sqlx::query(forget).bind(account).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
            }
            Ok(())
        })
    }

    /// The names that CRMs were told numbers for, with the mailboxes that were meant last.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn told_names(&self, id: AccountId) -> Result<Vec<(LocalName, RemoteName)>, Error> {
        const ALL: &str = "SELECT local_name, remote_name FROM uid_validity WHERE account_id = $1 ORDER BY local_name";
        let rows: Vec<(String, Vec<u8>)> = on!(self, pool => sqlx::query_as(ALL).bind(id.0).fetch_all(pool).await?);
        let read = |(local, remote): (String, Vec<u8>)| {
            let local = LocalName::parse(local.as_bytes()).map_err(|_| Error::Corrupt("uid_validity.local_name"))?;
            let remote = RemoteName::parse(&remote).map_err(|_| Error::Corrupt("uid_validity.remote_name"))?;
            Ok((local, remote))
        };
        rows.into_iter().map(read).collect()
    }

    fn held(&self, id: AccountId, new: &NewPlace, now: i64) -> Result<Held, Error> {
        let (sealed_password, grant) = match &new.credential {
            Credential::Grant(grant) => (None, Some(self.seal_grant(id.0, grant)?)),
            Credential::OfClient => (None, None),
            Credential::Password(password) => {
                (Some(self.vault.seal(password_place(id.0), password.expose().as_bytes())?), None)
            }
        };
        let service = |service: &str, endpoint: &Endpoint| Service {
            service: service.to_owned(),
            host: endpoint.host.as_str().to_owned(),
            port: i64::from(endpoint.port),
            security: endpoint.security.to_string(),
            certificates: new.certificates.to_string(),
        };
        let place = Place {
            address: new.address.to_string(),
            address_key: key(&new.address),
            sign_in_name: new.sign_in_name.clone(),
            provider: new.provider.clone(),
            user_format: new.user_format.to_string(),
            smtp_auth: SmtpAuth::Same.kind().to_owned(),
            smtp_user: String::new(),
            sealed_password,
            sealed_smtp_password: None,
            checked_at: Some(now),
            by_client_token: i64::from(matches!(new.credential, Credential::OfClient)),
        };
        let pair = |mapping: &Mapping| {
            let Mapping { local, remote, origin } = mapping;
            (local.as_str().to_owned(), remote.as_bytes().to_vec(), origin.as_str().to_owned())
        };
        let services = vec![service("imap", &new.imap), service("smtp", &new.smtp)];
        Ok(Held {
            place,
            services,
            grant,
            map: new.folder_map.iter().map(pair).collect(),
            hidden: new.hidden.iter().map(|name| name.as_bytes().to_vec()).collect(),
            subscribed: Vec::new(),
        })
    }
}

fn read(held: Held, until: i64) -> Result<WayBack, Error> {
    let Held { place, services, map, hidden, subscribed, .. } = held;
    let service = |name: &str| {
        let found = services.iter().find(|service| service.service == name);
        found.ok_or(Error::Corrupt("swap_endpoints.service"))
    };
    let endpoint = |service: &Service| super::account::endpoint(&service.host, service.port, &service.security);
    let (imap, smtp) = (service("imap")?, service("smtp")?);
    Ok(WayBack {
        address: Address::parse(&place.address).map_err(|_| Error::Corrupt("swaps.address"))?,
        provider: place.provider,
        imap: endpoint(imap)?,
        smtp: endpoint(smtp)?,
        certificates: super::account::certificates(&imap.certificates)?,
        user_format: super::settings::user_format(&place.user_format)?,
        sign_in_name: place.sign_in_name,
        smtp_auth: super::settings::smtp_auth(&place.smtp_auth, place.smtp_user)?,
        by_client_token: place.by_client_token != 0,
        choices: chosen(map.into_iter().map(mapping).collect::<Result<_, _>>()?, &hidden, &subscribed)?,
        until,
    })
}
