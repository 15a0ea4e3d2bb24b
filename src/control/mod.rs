//! The use cases, a file a noun: what the command line and the console let people do.
//!
//! Words for people are theirs to choose; here stand the answers, ready to be shown or written as JSON. Nothing here
//! prints, prompts or reads the environment.

pub mod account;
pub mod check;
pub mod consent;
pub mod crm;
pub mod device;
pub mod discover;
pub mod doctor;
pub mod folder;
pub mod import;
pub mod login;
pub mod provider;
pub mod queue;
pub mod registration;
pub mod settings;
pub mod swap;
mod tokens;
mod trial;
pub mod user;

use crate::{
    failure::{Failure, Misbehaviour, Unreachable},
    model::{Address, Endpoint, Login, Pins, quoted},
    oauth::{
        TokenEndpoint,
        flow::{Nonsense, Reason, Trouble, device::Ended},
    },
    provider::{Explanations, Said},
    store::{self, ForWhom},
    upstream::Refusal,
};
use serde::Serialize;
use std::{borrow::Cow, fmt};

pub use trial::{Manner, OwnListeners, Report};

/// The two services of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    Imap,
    Smtp,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not write_str: steps are told in columns.
        f.pad(match self {
            Self::Imap => "imap",
            Self::Smtp => "smtp",
        })
    }
}

/// Why a use case did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of an account that signs in with access tokens.
    #[error("an account that signs in with access tokens cannot believe any certificate")]
    AcceptAny,
    /// More than one account, and none was named.
    #[error("there is more than one account, and none was named")]
    AccountNotNamed,
    /// Nothing is stored to sign in with.
    #[error("the CRM's own access token opens this account: there is nothing to sign in with")]
    ClientToken,
    /// A sign-in in the browser has not come to its end. Nothing was stored.
    #[error(transparent)]
    Consent(#[from] consent::Refusal),
    /// Nobody has signed in with the code.
    #[error("no sign-in came of the code: {0}")]
    Device(Ended),
    /// No registered client opens mailboxes of this domain by itself.
    #[error("no registered client opens the mailboxes of this domain by itself: {0}")]
    DomainUnregistered(String),
    /// No provider of the table has addresses of this domain, and none was named.
    #[error("no provider is known for this domain: {0}")]
    DomainUnknown(String),
    /// The table has no host for this service, but one for each customer.
    #[error("{provider} has a host for each customer, which --{service} must say: {pattern}")]
    HostWanted { service: Service, provider: String, pattern: String, advice: Option<String> },
    /// The token endpoint gives no access token. Nothing was stored.
    #[error("{endpoint}: {trouble}")]
    Grant { endpoint: TokenEndpoint, trouble: Trouble },
    /// It did not come to its end, and what was given for it is kept: it could not be given twice.
    #[error("{why}; what was given works once, so it is kept all the same, unchecked: {address}")]
    Kept { address: Address, why: Box<Error> },
    /// A bridge is at this message now.
    #[error("a running bridge is sending this message now: {0}")]
    InHand(i64),
    /// The label gives no login name.
    #[error("the label makes no login name: {0}")]
    Label(String),
    /// There is no such account.
    #[error("there is no account with this address: {0}")]
    NoAccount(Address),
    /// There is no account at all.
    #[error("there is no account yet")]
    NoAccountYet,
    /// There is no such CRM profile.
    #[error("there is no CRM profile of this name: {0}")]
    NoCrm(String),
    /// There is no such login, or it is revoked.
    #[error("there is no login of this name in force: {0}")]
    NoLogin(Login),
    /// No client is registered by which people consent.
    #[error("no client is registered for people who sign in at this provider: {0}")]
    NoClient(String),
    /// The provider gives no codes for another device.
    #[error("there are no codes for another device at this provider: {0}")]
    NoDevice(String),
    /// The provider gives no refresh token, and access tokens end within the hour.
    #[error("{0}: no refresh token was given")]
    NoRefreshToken(TokenEndpoint),
    /// The provider registers no clients of this kind.
    #[error("no client can be registered at {provider} {}", of_whom(.for_whom))]
    NoRegistration { provider: String, for_whom: ForWhom },
    /// None, or more than one.
    #[error("there is not exactly one registered client like this at this provider: {0}")]
    NotRegistered(String),
    /// What is said of a client to be registered.
    #[error(transparent)]
    NotUsable(#[from] registration::NotUsable),
    /// The provider takes no passwords.
    #[error("no password opens a mailbox of this provider: {0}")]
    NoPasswords(String),
    /// There is no such provider.
    #[error("there is no provider of this name: {0}")]
    NoProvider(String),
    /// The account was not swapped, or too long ago.
    #[error("there is no way back for this account: it was not swapped, or its time is over: {0}")]
    NoWayBack(Address),
    /// There is no such message, or not any more.
    #[error("there is no message of this number in the queue: {0}")]
    NotQueued(i64),
    /// A fault of the build.
    #[error("no HTTP client can be made")]
    NoHttp,
    /// There is no such user.
    #[error("there is no user of this name: {0}")]
    NoUser(String),
    /// A change of nothing.
    #[error("nothing is said that is to be changed")]
    NothingToChange,
    /// One of the provider's services did not let us in, or both. Nothing was stored.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Refused>),
    /// The token endpoint gives a registered client no access token. Nothing was stored.
    #[error("{endpoint}: {trouble}")]
    Registered { endpoint: TokenEndpoint, trouble: Trouble },
    /// An account stands on it.
    #[error("an account signs in by this registered client: {0}")]
    RegistrationInUse(String),
    /// The token endpoint gives an access token, but not for all that was asked for. Nothing was stored.
    #[error("{endpoint}: the access token is not for all that a mailbox needs; missing: {}", .scopes.join(" "))]
    ScopeMissing { endpoint: TokenEndpoint, scopes: Vec<String> },
    /// It did not come to its end, and nothing was stored; what was given is of no use any more.
    #[error("{0}; nothing is changed, but the refresh token that was given is spent")]
    Spent(Box<Error>),
    /// What is kept.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What a person wants of a folder cannot be.
    #[error(transparent)]
    Folder(#[from] folder::Refusal),
}

/// Which service did not let us in, and why.
#[derive(Debug)]
pub struct Refused {
    pub service: Service,
    pub endpoint: Endpoint,
    pub failure: Failure,
    /// The provider's own words.
    pub words: Option<String>,
    /// What mends a refused sign-in at this provider.
    pub advice: Option<String>,
    /// The account, if it is stored: its settings mend it.
    pub account: Option<Address>,
    /// Where the endpoint is a listener of the bridge itself: the key of the configuration that names it.
    pub own_key: Option<&'static str>,
}

impl Refused {
    fn by(service: Service, endpoint: &Endpoint, refusal: Refusal, own: &OwnListeners) -> Self {
        let Refusal { failure, words, .. } = refusal;
        let own_key = own.key_of(&failure);
        Self { service, endpoint: endpoint.clone(), failure, words, advice: None, account: None, own_key }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.service, self.endpoint, self.failure)?;
        // The provider's words are not ours to trust: what would move a cursor is left out.
        match &self.words {
            Some(words) => write!(f, ": {}", words.replace(char::is_control, " ")),
            None => Ok(()),
        }
    }
}

impl Error {
    /// What mends it, for people.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ClientToken => Some("add it with --crm-token, or give the bridge a sign-in of its own".to_owned()),
            Self::AcceptAny => Some(
                "whoever stands between would get a token that opens the whole mailbox; for an authority of its own: \
                 `--certificates ca=FILE`, for one key: `--certificates pin=SHA256`"
                    .to_owned(),
            ),
            Self::AccountNotNamed | Self::NoAccount(_) => Some("`passerelle account list` shows all".to_owned()),
            Self::Consent(refusal) => Some(refusal.hint()),
            Self::DomainUnknown(_) => Some(
                "name the provider with `--provider NAME` (`passerelle provider list` shows all), or its hosts with \
                 `--imap HOST --smtp HOST`; where it was looked for is told by `passerelle provider find ADDRESS --explain`"
                    .to_owned(),
            ),
            Self::HostWanted { service, advice, .. } => {
                let example = format!("give it: `--{service} HOST`");
                Some(advice.as_ref().map_or_else(|| example.clone(), |advice| format!("{example}; {advice}")))
            }
            Self::Grant { endpoint, trouble } => Some(tokens_hint(endpoint, trouble)),
            Self::Device(Ended::Trouble(trouble)) | Self::Registered { trouble, .. } => {
                Some(registered_hint(trouble).to_owned())
            }
            Self::Device(_) => Some("begin again, and sign in on the other device as the owner of the mailbox".to_owned()),
            Self::DomainUnregistered(domain) => Some(format!(
                "register one with `passerelle provider register PROVIDER --for tenant --domain {}`, or --for domain \
                 with a service account",
                quoted(domain)
            )),
            Self::Kept { address, why } => Some(kept_hint(address, why)),
            Self::InHand(id) => Some(format!("see in a moment what came of it: `passerelle queue show {id}`")),
            Self::NotQueued(_) => {
                Some("what was delivered is not there any more; `passerelle queue list` shows the others".to_owned())
            }
            Self::Label(_) => Some("use letters, digits, `.`, `-` and `_`".to_owned()),
            Self::NoAccountYet => Some("add one with `passerelle account add`".to_owned()),
            Self::NoCrm(_) => Some("`passerelle crm list` shows all".to_owned()),
            Self::NoLogin(_) => Some("`passerelle login list ADDRESS` shows those of an account".to_owned()),
            Self::NoClient(name) => {
                Some(format!("`passerelle provider register {}` says how, and takes its id and secret", quoted(name)))
            }
            Self::NoDevice(name) => Some(format!(
                "sign in with a browser, give a refresh token, or let a registered client of the whole domain do it: \
                 `passerelle provider register {}`",
                quoted(name)
            )),
            Self::NoRefreshToken(_) => Some(
                "the registered client lacks a permission for it: offline_access at Microsoft and most others".to_owned(),
            ),
            Self::NoRegistration { .. } => {
                Some(
                    "--for says for whom, `passerelle provider show NAME` for whom it can be; a provider of your own is a file \
                     with [oauth], see config/providers/README.md"
                        .to_owned(),
                )
            }
            Self::NotRegistered(_) => {
                Some("`passerelle provider registrations` shows all; --for and --tenant say which".to_owned())
            }
            Self::NotUsable(wrong) => wrong.hint().map(str::to_owned),
            Self::RegistrationInUse(_) => {
                Some("remove its accounts, or give them another sign-in with `passerelle account set`".to_owned())
            }
            Self::NoPasswords(_) => Some(
                "it wants access tokens: sign in with `--device`, or give a refresh token; `passerelle provider show NAME` \
                 says more"
                    .to_owned(),
            ),
            Self::NothingToChange => Some("`passerelle account set --help` shows what can be".to_owned()),
            Self::NoProvider(_) => Some("`passerelle provider list` shows all".to_owned()),
            Self::NoWayBack(_) => Some("swap it anew with `passerelle account swap`".to_owned()),
            Self::NoHttp => None,
            Self::NoUser(_) => Some(format!("leave --owner out for the user `{}`", store::ADMIN)),
            Self::Refused(refused) => pin_hint(refused).or_else(|| refused.iter().find_map(Refused::hint)),
            Self::ScopeMissing { .. } => Some(
                "sign in again and leave every permission ticked; if it was not asked for, the registered client lacks the \
                 permission: `passerelle provider show NAME` says which scopes it needs"
                    .to_owned(),
            ),
            Self::Spent(why) => Some(spent_hint(why)),
            Self::Store(error) => error.hint(),
            Self::Folder(refusal) => refusal.hint(),
        }
    }
}

fn kept_hint(address: &Address, why: &Error) -> String {
    let address = quoted(address.as_str());
    let first = why.hint().map_or_else(String::new, |hint| format!("{hint}; "));
    format!(
        "{first}nobody need sign in again: `passerelle account set {address}` changes host or user, `passerelle account check \
         {address}` tries it, `passerelle login add {address}` makes a login if it has none"
    )
}

fn spent_hint(why: &Error) -> String {
    let first = why.hint().map_or_else(String::new, |hint| format!("{hint}; "));
    format!("{first}the next try wants a new refresh token: this provider takes each once")
}

/// Where a certificate is not believed: the keys that were shown, ready to be copied.
fn pin_hint(refused: &[Refused]) -> Option<String> {
    let reason = |refused: &Refused| match refused.failure {
        Failure::ProviderUnreachable(reason) => Some(reason),
        _ => None,
    };
    let unknown = refused.iter().filter_map(reason).filter_map(|reason| match reason {
        Unreachable::CertificateUnknown { key } => key,
        _ => None,
    });
    let changed = refused.iter().filter_map(reason).filter_map(|reason| match reason {
        Unreachable::CertificateKey { shown, .. } => Some(shown),
        _ => None,
    });
    if let Some(pins) = Pins::of(changed) {
        return Some(format!(
            "somebody may stand between; if the provider says that its key is new, put the new in the place of the old: \
             `--certificates pin={pins}`"
        ));
    }
    Pins::of(unknown).map(|pins| {
        format!(
            "if the provider has an authority of its own, give its certificate: `--certificates ca=FILE`; or, if you know \
             that this is its key, believe that alone: `--certificates pin={pins}`"
        )
    })
}

fn of_whom(for_whom: &ForWhom) -> &'static str {
    match for_whom {
        ForWhom::Consenting => "for people who sign in",
        ForWhom::Tenant => "for a whole tenant",
        ForWhom::Domain => "as a service account for a domain",
    }
}

fn registered_hint(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Client(Reason { code: "invalid_grant", .. }) => {
            "check that the address is the user's main address there, that an administrator has agreed to the client, and that \
             its key is one that the provider still has; `passerelle provider register PROVIDER --for WAY` takes a new one"
        }
        Trouble::Client(_) => {
            "check the client's id, and that its secret or key is the one that the provider has and still takes; what it needs \
             there is said by `passerelle provider register PROVIDER --for WAY`, which also takes a new secret"
        }
        Trouble::Consent(_) => "begin again, and sign in as the one who is asked for",
        Trouble::Nonsense { .. } => {
            "check that it is a token endpoint: `passerelle provider show NAME` has its address"
        }
        Trouble::Unavailable { .. } => "try again later",
        Trouble::Unreachable(_) => "check this machine's DNS, and that no firewall stands between",
    }
}

fn tokens_hint(endpoint: &TokenEndpoint, trouble: &Trouble) -> String {
    let hint = match trouble {
        Trouble::Client(_) => {
            "check --client-id, and the client secret on the second line; the page of the application at the provider \
             says whether it has expired"
        }
        Trouble::Consent(_) => {
            "the refresh token is spent, revoked or another client's: get a new one and give it again"
        }
        Trouble::Nonsense { status, what } => return nonsense_hint(endpoint, *status, *what),
        Trouble::Unavailable { .. } => "try again later",
        Trouble::Unreachable(_) => "check the host behind --token-endpoint, and that no firewall stands between",
    };
    hint.to_owned()
}

/// At fault is the address, or whoever answers there, not the refresh token: what to look at, and how to name another
/// address, as this one may have come from the provider table.
fn nonsense_hint(endpoint: &TokenEndpoint, status: u16, what: Nonsense) -> String {
    let cause = match (what, status) {
        (_, 404 | 405 | 410) => {
            "nothing at this address gives tokens, so its path is wrong: take the token endpoint from the provider's own \
             page for developers"
        }
        (Nonsense::NoJson, _) => {
            "a web page or a proxy of this network answered, not the provider: check the address, and that nothing on the way \
             asks for a sign-in of its own"
        }
        (Nonsense::NoCode | Nonsense::NoToken | Nonsense::TooLong, _) => {
            "something else of the provider answers at this address: take the token endpoint, not the authorization \
             endpoint, from its page for developers"
        }
        (Nonsense::Redirect, _) => {
            "the bridge shows secrets to this address alone: if the provider has moved it, give the new one"
        }
        (Nonsense::UnknownError, _) => {
            "the provider refuses and does not say why in words of the standard: its log or its page of the application may \
             say more, else its support"
        }
    };
    format!(
        "{cause}; nothing is known to be wrong with what you gave; `--token-endpoint URL` takes the place of {endpoint}"
    )
}

impl Refused {
    /// What mends it, for people.
    fn hint(&self) -> Option<String> {
        if let Some(explained) = self.explained() {
            return Some(explained);
        }
        let hint = self.advises()?;
        let Some(address) = &self.account else { return Some(hint) };
        let address = quoted(address.as_str());
        Some(match self.failure {
            Failure::SignInRefused => {
                format!("if the password has changed: `passerelle account set {address} --password`; else {hint}")
            }
            // No setting mends these, or the hint names the one that does.
            Failure::ConsentNeeded(_)
            | Failure::ProviderUnreachable(Unreachable::CertificateTime | Unreachable::Unavailable) => hint,
            _ => format!("{hint}; `passerelle account set {address}` changes it"),
        })
    }

    /// What the table of explanations says of the provider's words.
    fn explained(&self) -> Option<String> {
        let on = match self.service {
            Service::Imap => Said::Imap,
            Service::Smtp => Said::Smtp,
        };
        let all = Explanations::built_in();
        let words = self.words.as_deref()?;
        let row = all.of(on, words).filter(|row| row.is_its_own(words))?;
        Some(format!("{}: {}", row.what, row.mend_for(&self.in_a_command())))
    }

    /// The account in a line for a shell, or what stands for it.
    fn in_a_command(&self) -> Cow<'_, str> {
        self.account.as_ref().map_or("ADDRESS".into(), |address| quoted(address.as_str()))
    }

    fn advises(&self) -> Option<String> {
        let service = self.service;
        let reason = match &self.failure {
            Failure::ProviderUnreachable(reason) => reason,
            Failure::ConsentNeeded(_) => {
                let address = self.in_a_command();
                return Some(format!(
                    "its owner must sign in again: `passerelle account sign-in {address}`; or get a new refresh token and \
                     give it: `passerelle account set {address} --refresh-token-stdin`"
                ));
            }
            Failure::SignInRefused => {
                let advice =
                    self.advice.as_deref().unwrap_or("some providers want an app password made on their security page");
                return Some(format!(
                    "check the password, and --user if the provider knows you by another name; {advice}"
                ));
            }
            Failure::ProviderMisbehaved(Misbehaviour::StarttlsInjection) => {
                return Some(format!(
                    "somebody on the way may be meddling with the connection; try `--{service}-security tls`, and another \
                     network"
                ));
            }
            Failure::ProviderMisbehaved(_) => {
                return Some(format!("check that a mail server answers at the port behind --{service}"));
            }
            _ => return None,
        };
        Some(match reason {
            Unreachable::CertificateKey { .. } | Unreachable::CertificateUnknown { .. } => {
                "if the provider has an authority of its own, give its certificate: `--certificates ca=FILE`".to_owned()
            }
            Unreachable::CertificateName => {
                format!("use the name that the certificate is for with --{service}; the provider's help page says it")
            }
            Unreachable::CertificateTime => {
                "check the clock of this machine; else the provider must renew its certificate".to_owned()
            }
            Unreachable::NameUnknown => format!("check the spelling behind --{service}, and this machine's DNS"),
            Unreachable::NoStarttls => format!("try `--{service}-security tls`"),
            Unreachable::Ourselves { listener } => {
                let own = self.own_key.map_or_else(|| listener.to_string(), |key| format!("{key} = {listener}"));
                format!(
                    "--{service} takes the host and port of the provider; where the CRM connects to the bridge ({own} in its \
                     configuration) is no provider"
                )
            }
            Unreachable::Refused | Unreachable::TimedOut => {
                format!("check host and port behind --{service}, and that no firewall stands between")
            }
            Unreachable::Tls | Unreachable::Lost => {
                format!("check that the port behind --{service} fits `--{service}-security {}`", self.endpoint.security)
            }
            Unreachable::Unavailable => "try again later".to_owned(),
        })
    }
}
