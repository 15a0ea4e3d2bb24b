//! What a person is asked for and what is to become of it, kept sealed until the answer comes, whoever takes it.

use super::{Error, Refusal};
use crate::{
    control::account::Draft,
    model::{
        Address, Certificates, Endpoint, FromPolicy, RegistrationId, Secret, SentCopy, SmtpAuth, Submission, Uncertain,
        UnreadScope, UserFormat,
    },
    oauth::{
        self, TokenEndpoint,
        flow::{Client, Proof},
    },
    profile::Profile,
    provider::{Provider, Tokens},
    store::{Account, Credential, Error as StoreError, Registration, Settings, Store, certificates},
    upstream,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{collections::BTreeMap, sync::Arc};

/// What a sign-in needs to know until its answer has come.
#[derive(Serialize, Deserialize)]
pub struct Order {
    pub address: Address,
    /// Who must sign in, in lower case: the owner of the mailbox or a delegate.
    pub person: String,
    /// The provider's name for people.
    pub label: String,
    #[serde(with = "endpoint")]
    pub page: TokenEndpoint,
    pub parameters: BTreeMap<String, String>,
    /// Known of a provider that described itself.
    issuer: Option<String>,
    says_issuer: bool,
    pub redirect: String,
    /// The path of `redirect`: one for each provider.
    pub place: String,
    registration: Option<i64>,
    #[serde(with = "endpoint")]
    token_endpoint: TokenEndpoint,
    pub client_id: String,
    #[serde(with = "secret")]
    client_secret: Option<Secret<String>>,
    scope: String,
    pub old_tokens_stay_valid: bool,
    /// Of an account that there is not yet.
    pub mailbox: Option<Mailbox>,
    /// Of one that there is: where it was when this was asked for.
    stands: Option<Stands>,
}

/// Where an account is, and as whom one signs in there. A token that was asked for here goes nowhere else: the host of
/// another place could use it at this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stands {
    account: i64,
    provider: String,
    imap: Endpoint,
    smtp: Endpoint,
    user: String,
    /// Of a shared mailbox: whose grant it is.
    delegate: Option<String>,
}

impl Stands {
    pub(in crate::control) fn of(account: &Account) -> Self {
        Self {
            account: account.id.0,
            provider: account.settings.provider.clone(),
            imap: account.imap.clone(),
            smtp: account.smtp.clone(),
            user: account.sign_in_name.clone(),
            delegate: delegate(&account.settings.smtp_auth).map(str::to_owned),
        }
    }
}

/// Whose grant opens the mailbox, where it is not its owner's.
fn delegate(smtp_auth: &SmtpAuth) -> Option<&str> {
    match smtp_auth {
        SmtpAuth::Delegate(user) => Some(user),
        SmtpAuth::Same | SmtpAuth::None | SmtpAuth::Separate(_) => None,
    }
}

/// An account that is to be added.
#[derive(Serialize, Deserialize)]
pub struct Mailbox {
    pub owner: Option<String>,
    pub imap: Endpoint,
    pub smtp: Endpoint,
    #[serde(with = "believed")]
    pub certificates: Certificates,
    pub sign_in_name: String,
    pub provider: String,
    pub user_format: UserFormat,
    pub smtp_auth: SmtpAuth,
    #[serde(with = "secret")]
    pub smtp_password: Option<Secret<String>>,
    pub receives: bool,
    pub sends: bool,
    pub unread: UnreadScope,
    pub display_name: String,
    pub sender: Option<Address>,
    #[serde(default)]
    pub from: FromPolicy,
    #[serde(default)]
    pub sent_copy: SentCopy,
    #[serde(default)]
    pub submission: Submission,
    #[serde(default)]
    pub uncertain: Uncertain,
    pub aliases: Vec<Address>,
    pub advice: Option<String>,
    /// Of the first login.
    pub crm: String,
}

/// What a person says of a sign-in, and what is known of the provider.
pub struct Ask<'a> {
    pub address: &'a Address,
    /// Who signs in, if it is neither the delegate, nor who did so before, nor the address.
    pub person: Option<String>,
    pub provider: &'a Provider,
    /// An authorization server that describes itself, in the place of what the provider's entry says.
    pub issuer: Option<TokenEndpoint>,
    pub client: Option<(String, Option<Secret<String>>)>,
    pub tenant: Option<String>,
    pub scope: Option<String>,
    /// Where browsers reach the console: scheme, host and port.
    pub base: &'a str,
    pub mailbox: Option<Mailbox>,
}

/// OpenID Connect's way to tell who signed in.
const WHO: [&str; 2] = ["openid", "email"];
/// Microsoft says it by this one. Google, which knows no `offline_access`, would ask its people for more than is needed.
const NAME: (&str, &str) = ("offline_access", "profile");
/// What a server that describes itself is asked for where nothing is said.
const USUAL: &str = "openid offline_access";

/// Where a provider asks, before a client is chosen.
struct Page {
    page: TokenEndpoint,
    token: TokenEndpoint,
    parameters: BTreeMap<String, String>,
    issuer: Option<String>,
    says_issuer: bool,
    /// The last part of the path where answers come back.
    name: String,
}

/// Makes the order: where this provider asks for consent, and by which client.
///
/// # Errors
/// [`Refusal::NoPage`], [`Refusal::NoClient`], [`Refusal::NotDiscovered`], or if the store fails.
pub async fn ask(store: &Store, mut asked: Ask<'_>) -> Result<Order, Error> {
    let account = store.account_by_address(asked.address).await?;
    // Nobody says it a second time.
    if asked.issuer.is_none()
        && asked.provider.oauth.is_none()
        && let Some(account) = &account
    {
        let kept = store.issuer(account.id, asked.address).await?;
        asked.issuer = kept.and_then(|issuer| TokenEndpoint::parse(&issuer).ok());
    }
    let registered = match (&asked.client, &asked.issuer) {
        (None, None) => {
            let (provider, mailbox) = (&asked.provider.name, Some(asked.address));
            store.registration_for_consent(provider, mailbox, asked.tenant.as_deref()).await?
        }
        _ => None,
    };
    let page = page(&asked, registered.as_ref()).await?;
    let (client, registration) = client(store, &asked, account.as_ref(), registered, &page.token).await?;
    let oauth = asked.provider.oauth.as_ref();
    let client_secret = match client.proof {
        Proof::Secret(secret) if registration.is_none() => Some(secret),
        Proof::Key(_) if registration.is_none() => return Err(no_client(&asked)),
        _ => None,
    };
    let place = oauth::callback(&page.name);
    Ok(Order {
        person: person(store, &asked, account.as_ref()).await?,
        address: asked.address.clone(),
        label: match &page.issuer {
            Some(issuer) => issuer.clone(),
            None => asked.provider.label.clone(),
        },
        redirect: format!("{}{place}", asked.base),
        place,
        page: page.page,
        parameters: page.parameters,
        issuer: page.issuer,
        says_issuer: page.says_issuer,
        registration,
        token_endpoint: client.token_endpoint,
        client_id: client.id,
        client_secret,
        scope: client.scope,
        old_tokens_stay_valid: asked.issuer.is_none()
            && oauth.is_some_and(|oauth| oauth.old_refresh_tokens == Tokens::Valid),
        stands: account.as_ref().map(Stands::of),
        mailbox: asked.mailbox,
    })
}

/// Who must sign in, in lower case.
async fn person(store: &Store, asked: &Ask<'_>, account: Option<&Account>) -> Result<String, Error> {
    if let Some(person) = &asked.person {
        return Ok(person.to_lowercase());
    }
    let of_new = asked.mailbox.as_ref().map(|mailbox| &mailbox.smtp_auth);
    let smtp_auth = account.map(|account| &account.settings.smtp_auth).or(of_new);
    expected(store, asked.address, smtp_auth, account).await
}

/// Who signs in for a mailbox where nobody is named, in lower case: the delegate of these settings, or who did so before,
/// or the mailbox itself.
///
/// # Errors
/// If the store fails.
pub async fn expected(
    store: &Store,
    address: &Address,
    smtp_auth: Option<&SmtpAuth>,
    account: Option<&Account>,
) -> Result<String, Error> {
    if let Some(delegate) = smtp_auth.and_then(delegate) {
        return Ok(delegate.to_lowercase());
    }
    let kept = match account {
        Some(account) => store.person(account.id, &account.address).await?,
        None => None,
    };
    Ok(kept.unwrap_or_else(|| address.to_string().to_lowercase()))
}

async fn page(asked: &Ask<'_>, registered: Option<&Registration>) -> Result<Page, Error> {
    if let Some(issuer) = &asked.issuer {
        let exchange = upstream::exchange().map_err(|_| Error::NoHttp)?;
        let found = exchange.discover(issuer).await;
        let found = found.map_err(|reason| Refusal::NotDiscovered { issuer: issuer.clone(), reason })?;
        return Ok(Page {
            name: found.token.host().replace(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.', "-"),
            page: found.authorise,
            token: found.token,
            // Where it is not asked for, many give no refresh token a second time.
            parameters: BTreeMap::from([("prompt".to_owned(), "consent".to_owned())]),
            issuer: Some(found.issuer),
            says_issuer: found.says_issuer,
        });
    }
    let no_page = || Error::from(Refusal::NoPage(asked.provider.label.clone()));
    let oauth = asked.provider.oauth.as_ref().ok_or_else(no_page)?;
    let tenant = registered.map(|known| known.tenant.as_str()).filter(|tenant| !tenant.is_empty());
    let tenant = asked.tenant.as_deref().or(tenant);
    Ok(Page {
        page: TokenEndpoint::parse(&oauth.authorise_of(tenant)).map_err(|_| no_page())?,
        token: TokenEndpoint::parse(&oauth.token_of(tenant)).map_err(|_| no_page())?,
        parameters: oauth.parameters.clone(),
        issuer: None,
        says_issuer: false,
        name: asked.provider.name.clone(),
    })
}

/// The client that was named, the one that is registered, or the one of the account's last grant.
async fn client(
    store: &Store,
    asked: &Ask<'_>,
    account: Option<&Account>,
    registered: Option<Registration>,
    token: &TokenEndpoint,
) -> Result<(Client, Option<i64>), Error> {
    let scopes = match (&asked.scope, &asked.issuer, &asked.provider.oauth) {
        (Some(scope), ..) => scope.clone(),
        (None, Some(_), _) | (None, None, None) => USUAL.to_owned(),
        (None, None, Some(oauth)) => oauth.scopes.join(" "),
    };
    if let Some((id, secret)) = &asked.client {
        let proof = secret.clone().map_or(Proof::Nothing, Proof::Secret);
        return Ok((Client { token_endpoint: token.clone(), id: id.clone(), proof, scope: scopes }, None));
    }
    if let Some(Registration { id, client, .. }) = registered {
        return Ok((client, Some(id.0)));
    }
    let grant = match account {
        Some(account) => store.grant(account.id, account.generation).await?,
        None => None,
    };
    // Its secret goes nowhere but where it went before.
    let of_same = grant.map(|grant| grant.client).filter(|client| client.token_endpoint == *token);
    let client = of_same.ok_or_else(|| no_client(asked))?;
    let scope = if client.scope.is_empty() { scopes } else { client.scope.clone() };
    Ok((Client { scope, ..client }, None))
}

fn no_client(asked: &Ask<'_>) -> Error {
    Refusal::NoClient(asked.provider.label.clone()).into()
}

impl Order {
    /// As it is kept.
    pub(super) fn sealable(&self) -> Result<Secret<String>, Error> {
        let text = serde_json::to_string(self).map_err(|_| StoreError::Corrupt("consents.sealed_order"))?;
        Ok(Secret::new(text))
    }

    pub(super) fn read(text: &Secret<String>) -> Result<Self, Error> {
        Ok(serde_json::from_str(text.expose()).map_err(|_| StoreError::Corrupt("consents.sealed_order"))?)
    }

    /// Where the account must still be; None: it is to be added.
    ///
    /// # Errors
    /// [`Refusal::Moved`] if that was not kept.
    pub(super) fn stands(&self) -> Result<Option<&Stands>, Refusal> {
        match (&self.mailbox, &self.stands) {
            (Some(_), _) => Ok(None),
            (None, Some(stands)) => Ok(Some(stands)),
            // Asked for by a bridge that kept no place.
            (None, None) => Err(Refusal::Moved(self.address.clone())),
        }
    }

    /// That the account is still where it was.
    ///
    /// # Errors
    /// [`Refusal::Moved`], or if the store fails.
    pub(super) async fn still_stands(&self, store: &Store) -> Result<(), Error> {
        let Some(stands) = self.stands()? else { return Ok(()) };
        let account = store.account_by_address(&self.address).await?;
        match account.is_some_and(|account| Stands::of(&account) == *stands) {
            true => Ok(()),
            false => Err(Refusal::Moved(self.address.clone()).into()),
        }
    }

    /// Its person has signed in: is asked for again, and at the same place, where nothing else tells who and where that is.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn keep_person(&self, store: &Store) -> Result<(), Error> {
        let Some(account) = store.account_by_address(&self.address).await? else { return Ok(()) };
        store.keep_issuer(account.id, &self.address, self.issuer.as_deref()).await?;
        let told = delegate(&account.settings.smtp_auth).unwrap_or(self.address.as_str()).to_lowercase();
        let person = Some(self.person.as_str()).filter(|person| *person != told);
        Ok(store.keep_person(account.id, &self.address, person).await?)
    }

    /// What the page is asked for: with it comes who signed in.
    pub(super) fn asked_scope(&self) -> String {
        let has = |wanted: &str| self.scope.split_whitespace().any(|scope| scope == wanted);
        let who = WHO.into_iter().chain(has(NAME.0).then_some(NAME.1));
        let missing = who.filter(|who| !has(who));
        missing.chain(self.scope.split_whitespace()).collect::<Vec<_>>().join(" ")
    }

    /// Whether an answer that names this issuer is of the provider that was asked (RFC 9207 section 2.4).
    pub(super) fn is_from(&self, said: Option<&str>) -> bool {
        match (&self.issuer, said) {
            (Some(known), Some(said)) => known == said,
            (Some(_), None) => !self.says_issuer,
            // Its path is its own: no other provider's answer comes back there.
            (None, _) => true,
        }
    }

    /// The client as it is now: a registration's secret may have been renewed meanwhile.
    pub(super) async fn client(&self, store: &Store) -> Result<(Client, Option<RegistrationId>), Error> {
        if let Some(id) = self.registration.map(RegistrationId) {
            let registered = store.registration(id).await?.ok_or_else(|| Refusal::NoClient(self.label.clone()))?;
            return Ok((registered.client, Some(id)));
        }
        let client = Client {
            token_endpoint: self.token_endpoint.clone(),
            id: self.client_id.clone(),
            proof: self.client_secret.clone().map_or(Proof::Nothing, Proof::Secret),
            scope: self.scope.clone(),
        };
        Ok((client, None))
    }
}

impl Mailbox {
    pub(super) fn draft(self, address: Address, credential: Credential, crm: Arc<Profile>) -> Draft {
        Draft {
            address,
            owner: self.owner,
            imap: self.imap,
            smtp: self.smtp,
            certificates: self.certificates,
            sign_in_name: self.sign_in_name,
            credential,
            consented: true,
            settings: Settings {
                provider: self.provider,
                display_name: self.display_name,
                sender: self.sender,
                from: self.from,
                sent_copy: self.sent_copy,
                submission: self.submission,
                uncertain: self.uncertain,
                files_sent: None,
                user_format: self.user_format,
                smtp_auth: self.smtp_auth,
                receives: self.receives,
                sends: self.sends,
                unread: self.unread,
            },
            smtp_password: self.smtp_password,
            aliases: self.aliases,
            advice: self.advice,
            crm,
        }
    }
}

/// An address that is safe to ask.
mod endpoint {
    use super::{Deserialize, Deserializer, Serializer, TokenEndpoint, de};

    pub(super) fn serialize<S: Serializer>(value: &TokenEndpoint, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(value.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TokenEndpoint, D::Error> {
        TokenEndpoint::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// As the store's own columns have it.
mod believed {
    use super::{Certificates, Deserialize, Deserializer, Serializer, certificates, de};

    pub(super) fn serialize<S: Serializer>(value: &Certificates, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Certificates, D::Error> {
        certificates(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// Only ever within an order, which is sealed.
mod secret {
    use super::{Deserialize, Deserializer, Secret, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Option<Secret<String>>, to: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(Secret::expose).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret<String>>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Secret::new))
    }
}
