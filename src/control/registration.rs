//! Clients (applications) that are registered at a provider: taken, shown, forgotten, and found for a mailbox.
//!
//! What is secret of them goes sealed into the store, and is in no answer from here.

mod given;

pub use given::{Given, NotUsable};

use super::{Error, provider::named, tokens};
use crate::{
    model::{Address, Host},
    oauth::{
        TokenEndpoint,
        flow::{Client, Means, Proof},
    },
    provider::{OAuth, Provider, Table, Way},
    store::{Credential, ForWhom, NewGrant, NewRegistration, Registration, Store},
};
use serde::Serialize;

/// What a person says of a client.
pub struct Draft {
    pub for_whom: ForWhom,
    pub tenant: Option<String>,
    /// All of them, each time.
    pub domains: Vec<String>,
    pub given: Given,
}

/// A registration as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// A name of the provider table.
    pub provider: String,
    #[serde(rename = "for")]
    pub for_whom: ForWhom,
    /// Null where there is none.
    pub tenant: Option<String>,
    pub client_id: String,
    /// By what the client shows that it is itself: `none`, `secret` or `key`.
    pub proof: &'static str,
    /// What the provider calls the key: a certificate's thumbprint, or a number.
    pub key: Option<String>,
    pub token_endpoint: String,
    pub scope: String,
    pub domains: Vec<String>,
    pub created_at: i64,
}

/// A client that is kept from now on.
pub struct Registered {
    pub shown: Shown,
    /// Whether it was asked, and gave an access token.
    pub tried: bool,
    /// The number by which Google's administrators know a service account.
    pub number: Option<String>,
}

/// How this provider registers clients of this kind.
///
/// # Errors
/// [`Error::NoRegistration`].
pub fn way(provider: &Provider, for_whom: ForWhom) -> Result<(&OAuth, Way), Error> {
    let refused = || Error::NoRegistration { provider: provider.label.clone(), for_whom };
    let ways = provider.registers().ok_or_else(refused)?;
    let way = match for_whom {
        ForWhom::Consenting => ways.consent,
        ForWhom::Tenant => ways.tenant,
        ForWhom::Domain => ways.domain,
    };
    Ok((provider.oauth.as_ref().ok_or_else(refused)?, way.ok_or_else(refused)?))
}

/// What is asked for with each access token of this way.
#[must_use]
pub fn scopes(oauth: &OAuth, way: &Way, for_whom: ForWhom) -> Vec<String> {
    // There is nobody whose consent could be kept, or who could be told of.
    let of_people = |scope: &&String| !["offline_access", "openid"].contains(&scope.as_str());
    match (way.scopes.is_empty(), for_whom) {
        (false, _) => way.scopes.clone(),
        (true, ForWhom::Consenting) => oauth.scopes.clone(),
        (true, ForWhom::Tenant | ForWhom::Domain) => oauth.scopes.iter().filter(of_people).cloned().collect(),
    }
}

/// Keeps a client, in the place of another of this provider, way and tenant; accounts that follow that one follow it. One
/// that has a right of its own is asked for a token first, unless `unchecked`.
///
/// # Errors
/// If it cannot be used, gives no token for a mailbox, or the store fails. Then nothing is kept.
pub async fn register(
    store: &Store,
    provider: &Provider,
    draft: Draft,
    unchecked: bool,
    now: i64,
) -> Result<Registered, Error> {
    let for_whom = draft.for_whom;
    let (oauth, way) = way(provider, for_whom)?;
    let tenant = tenant(oauth, for_whom, draft.tenant.as_deref())?;
    let token_endpoint = TokenEndpoint::parse(&oauth.token_of(tenant)).map_err(|_| NotUsable::TokenEndpoint)?;
    let given = draft.given.read(&token_endpoint)?;
    let scope = scopes(oauth, &way, for_whom).join(" ");
    let client = Client { token_endpoint, id: given.id, proof: given.proof, scope };
    let new = NewRegistration {
        provider: provider.name.clone(),
        for_whom,
        // A provider has many service accounts, each of a customer.
        tenant: if for_whom == ForWhom::Domain { client.id.clone() } else { tenant.unwrap_or_default().to_owned() },
        domains: domains(for_whom, draft.domains)?,
        client,
    };
    let tried = for_whom == ForWhom::Tenant && !unchecked;
    if tried {
        tokens::ask_registered(&new.client, &Means::Own, "").await?;
    }
    let id = store.register(&new, now).await?;
    let kept = store.registration(id).await?.ok_or(crate::store::Error::Missing("the registration"))?;
    Ok(Registered { shown: kept.into(), tried, number: given.number })
}

/// All that are kept.
///
/// # Errors
/// If the store fails.
pub async fn list(store: &Store) -> Result<Vec<Shown>, Error> {
    Ok(store.registrations().await?.into_iter().map(Shown::from).collect())
}

/// Forgets the one registration of this provider, and of this way and tenant where they are said.
///
/// # Errors
/// If there is none or more than one, an account stands on it, or the store fails.
pub async fn unregister(
    store: &Store,
    provider: &str,
    for_whom: Option<ForWhom>,
    tenant: Option<&str>,
) -> Result<Shown, Error> {
    let mut all = store.registrations().await?;
    all.retain(|one| {
        one.provider == provider
            && for_whom.is_none_or(|whom| one.for_whom == whom)
            && tenant.is_none_or(|tenant| one.tenant == tenant)
    });
    let (Some(only), true) = (all.pop(), all.is_empty()) else {
        return Err(Error::NotRegistered(provider.to_owned()));
    };
    if !store.unregister(only.id).await? {
        return Err(Error::RegistrationInUse(only.client.id));
    }
    Ok(only.into())
}

/// The registration that opens this mailbox by itself.
///
/// # Errors
/// If the store fails.
pub async fn of_address(store: &Store, address: &Address) -> Result<Option<Registration>, Error> {
    Ok(store.registration_of_domain(&address.domain().to_ascii_lowercase()).await?)
}

/// The same for who asks for it.
///
/// # Errors
/// [`Error::DomainUnregistered`], or if the store fails.
pub async fn wanted(store: &Store, address: &Address) -> Result<Credential, Error> {
    let found = of_address(store, address).await?;
    found.as_ref().and_then(credential).ok_or_else(|| Error::DomainUnregistered(address.domain().to_owned()))
}

/// What an account signs in with by a registration that needs nobody's consent.
#[must_use]
pub fn credential(registration: &Registration) -> Option<Credential> {
    let means = match registration.for_whom {
        ForWhom::Consenting => return None,
        ForWhom::Tenant => Means::Own,
        ForWhom::Domain => Means::Behalf,
    };
    Some(Credential::Grant(NewGrant {
        client: registration.client.clone(),
        registration: Some(registration.id),
        means,
        old_tokens_stay_valid: false,
    }))
}

/// The provider of an account to add: as it is named, else that of the registration.
///
/// # Errors
/// [`Error::NoProvider`].
pub fn provider_of<'a>(table: &'a Table, registration: &Registration) -> Result<&'a Provider, Error> {
    named(table, &registration.provider)
}

impl From<Registration> for Shown {
    fn from(kept: Registration) -> Self {
        let (proof, key) = match kept.client.proof {
            Proof::Nothing => ("none", None),
            Proof::Secret(_) => ("secret", None),
            Proof::Key(key) => ("key", Some(key.name)),
        };
        Self {
            provider: kept.provider,
            for_whom: kept.for_whom,
            tenant: Some(kept.tenant).filter(|tenant| !tenant.is_empty() && kept.for_whom != ForWhom::Domain),
            client_id: kept.client.id,
            proof,
            key,
            token_endpoint: kept.client.token_endpoint.to_string(),
            scope: kept.client.scope,
            domains: kept.domains,
            created_at: kept.created_at,
        }
    }
}

/// Who acts for a whole directory must say for which: the words that stand for any do not do.
fn tenant<'a>(oauth: &OAuth, for_whom: ForWhom, said: Option<&'a str>) -> Result<Option<&'a str>, Error> {
    const ANY: [&str; 3] = ["common", "consumers", "organizations"];
    if for_whom == ForWhom::Tenant && oauth.has_tenants() && said.is_none_or(|tenant| ANY.contains(&tenant)) {
        return Err(NotUsable::TenantWanted.into());
    }
    Ok(said)
}

fn domains(for_whom: ForWhom, said: Vec<String>) -> Result<Vec<String>, Error> {
    if said.is_empty() != (for_whom == ForWhom::Consenting) {
        return Err(NotUsable::Domains(for_whom).into());
    }
    let mut domains = Vec::new();
    for domain in said {
        let domain = domain.to_ascii_lowercase();
        if Host::parse(&domain).is_err() {
            return Err(NotUsable::Domain(domain).into());
        }
        domains.push(domain);
    }
    Ok(domains)
}
