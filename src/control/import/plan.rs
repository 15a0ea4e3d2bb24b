//! What one account section is here: its provider, its servers, its grant; or why it is nothing here.
//!
//! No I/O: what the file says is held against the table of providers, and its tokens are opened.

use super::{
    Outcome, State,
    fernet::{ITERATIONS, ITERATIONS_MAX, Key},
    ini::Ini,
};
use crate::{
    model::{Address, Endpoint, Host, Secret, Security, quoted},
    oauth::{
        TokenEndpoint,
        flow::{Client, Means, Proof, is_refresh_token},
    },
    provider::{GENERIC, Provider, Table, Tokens},
    store::NewGrant,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use std::num::NonZeroU32;

/// The options that a password opens.
pub(super) const SEALED: [&str; 2] = ["refresh_token", "client_secret_encrypted"];
/// Where its switches stand.
const GLOBALS: &str = "emailproxy";
/// What its sample has where a value is to be filled in.
const EXAMPLE: &str = "*** your";

/// A section that does not come over: why, and what to do instead.
pub(super) struct Left {
    pub(super) why: String,
    pub(super) hint: Option<String>,
}

fn left(why: impl Into<String>, hint: impl Into<String>) -> Left {
    Left { why: why.into(), hint: Some(hint.into()) }
}

/// An account that can be tried.
pub(super) struct Planned {
    pub(super) address: Address,
    /// A name of the table.
    pub(super) provider: String,
    pub(super) imap: Endpoint,
    pub(super) smtp: Endpoint,
    pub(super) grant: NewGrant,
    pub(super) advice: Option<String>,
    /// Whether the client may serve others of this provider.
    pub(super) registers: bool,
    tenant: Option<String>,
}

impl Planned {
    /// Id, proof and tenant of its client.
    pub(super) fn client(&self) -> (String, Proof, Option<String>) {
        (self.grant.client.id.clone(), self.grant.client.proof.clone(), self.tenant.clone())
    }
}

/// A server section.
pub(super) struct Server {
    section: String,
    kind: Kind,
    /// What is wrong with it, or where it is.
    at: Result<Endpoint, &'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Imap,
    Pop,
    Smtp,
}

impl Server {
    /// None: no section of a server.
    pub(super) fn read(ini: &Ini, section: &str) -> Option<Self> {
        let (kind, port) = section.split_once('-')?;
        let kind = match kind {
            "IMAP" => Kind::Imap,
            "POP" => Kind::Pop,
            "SMTP" => Kind::Smtp,
            _ => return None,
        };
        port.bytes().all(|octet| octet.is_ascii_digit()).then_some(())?;
        let starttls = ["server_starttls", "starttls"].into_iter().find(|name| ini.get(section, name).is_some());
        let starttls = kind == Kind::Smtp && starttls.is_some_and(|name| ini.is_on(section, name));
        let security = if starttls { Security::Starttls } else { Security::Tls };
        let host = ini.get(section, "server_address").and_then(|host| Host::parse(host).ok());
        let port = ini.get(section, "server_port").and_then(|port| port.parse().ok()).filter(|port: &u16| *port > 0);
        let at = match (host, port) {
            (Some(host), Some(port)) => Ok(Endpoint { host, port, security }),
            (None, _) => Err("it has no usable server_address"),
            (_, None) => Err("it has no usable server_port"),
        };
        Some(Self { section: section.to_owned(), kind, at })
    }

    fn is_for(&self, kind: Kind) -> Option<&Endpoint> {
        self.at.as_ref().ok().filter(|_| self.kind == kind)
    }

    pub(super) fn outcome(&self) -> Outcome {
        let own = "the bridge has ports of its own: `passerelle config show`; to keep this one, add it to listen.";
        let state = match (&self.at, self.kind) {
            (Err(why), _) => State::Left { why: (*why).to_owned(), hint: None },
            (Ok(_), Kind::Pop) => State::Left {
                why: "the bridge offers no POP3".to_owned(),
                hint: Some("set the CRM to IMAP".to_owned()),
            },
            (Ok(_), Kind::Imap) => State::Replaced(format!("{own}imap")),
            (Ok(_), Kind::Smtp) => State::Replaced(format!("{own}smtp")),
        };
        Outcome { section: self.section.clone(), state }
    }
}

/// Why a sealed value gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    #[error("its tokens are sealed, and token_salt or token_iterations is missing or unusable")]
    Parameters,
    #[error("none of the passwords opens its tokens")]
    Password,
}

/// Opens what is sealed there.
pub(super) struct Opener<'a> {
    ini: &'a Ini,
    passwords: &'a [Secret<String>],
}

impl<'a> Opener<'a> {
    pub(super) fn new(ini: &'a Ini, passwords: &'a [Secret<String>]) -> Self {
        Self { ini, passwords }
    }

    /// An option of an account: its own, or that of all of its domain, or of all, where that is switched on.
    fn get(&self, section: &str, option: &str) -> Option<&'a str> {
        let own = self.ini.get(section, option);
        if own.is_some() || !self.ini.is_on(GLOBALS, "allow_catch_all_accounts") {
            return own;
        }
        let domain = section.rsplit('@').next().unwrap_or_default();
        self.ini.get(&format!("@{domain}"), option).or_else(|| self.ini.get("@", option))
    }

    /// The key that opens this value: by the count that is said, and by those that the program tries too.
    fn key(&self, section: &str, value: &str) -> Result<Key, Unopened> {
        let salt = self.get(section, "token_salt").and_then(|salt| BASE64.decode(salt).ok());
        let salt = salt.filter(|salt| !salt.is_empty()).ok_or(Unopened::Parameters)?;
        let said = match self.get(section, "token_iterations").map(str::parse) {
            None => None,
            Some(Ok(count @ 1..=ITERATIONS_MAX)) => Some(count),
            Some(_) => return Err(Unopened::Parameters),
        };
        let others = ITERATIONS.into_iter().filter(|count| Some(*count) != said);
        for count in said.into_iter().chain(others).filter_map(NonZeroU32::new) {
            for password in self.passwords {
                let key = Key::derive(password, &salt, count);
                if key.open(value).is_some() {
                    return Ok(key);
                }
            }
        }
        Err(Unopened::Password)
    }
}

/// What an account section is here.
pub(super) fn account(
    ini: &Ini,
    table: &Table,
    servers: &[Server],
    opener: &Opener<'_>,
    section: &str,
) -> Result<Planned, Left> {
    let get = |option| opener.get(section, option);
    let address = Address::parse(section).map_err(|_| no_mailbox(section))?;
    let (url, id) = (get("token_url"), get("client_id").filter(|id| !id.contains(EXAMPLE)));
    let (Some(url), Some(id)) = (url, id) else {
        return Err(left(
            "it is not filled in: token_url and client_id",
            format!("`passerelle account add {}`", quoted(address.as_str())),
        ));
    };
    let token_endpoint = TokenEndpoint::parse(url).map_err(|error| left(format!("token_url is {error}"), ADD_ANEW))?;
    let (provider, tenant) = provider_of(table, &token_endpoint, &address);
    by_consent(get("permission_url"), get("oauth2_flow"), &address, provider, tenant.as_deref(), id)?;
    let Some(sealed) = ini.get(section, "refresh_token") else {
        return Err(left("nobody has signed in to it there: it has no refresh token", sign_in(&address)));
    };
    let imap = endpoint(Kind::Imap, provider, servers, &address)?;
    let smtp = endpoint(Kind::Smtp, provider, servers, &address)?;
    let unopened = |why: Unopened| {
        let again = "give the password that mail programs use there; several, one a line, with --password-stdin";
        left(why.to_string(), if why == Unopened::Password { again.to_owned() } else { sign_in(&address) })
    };
    let key = opener.key(section, sealed).map_err(unopened)?;
    let refresh = key.open(sealed).filter(|token| is_refresh_token(token.expose()));
    let refresh = refresh.ok_or_else(|| left("what its refresh token opens to is no such token", sign_in(&address)))?;
    let proof = match (get("client_secret").filter(|secret| !secret.contains(EXAMPLE)), get("client_secret_encrypted"))
    {
        (Some(secret), _) => Proof::Secret(Secret::new(secret.to_owned())),
        (None, Some(sealed)) => Proof::Secret(key.open(sealed).ok_or_else(|| unopened(Unopened::Password))?),
        (None, None) if get("jwt_key_path").is_some() => {
            return Err(left("its client shows a certificate", register(provider, &address, tenant.as_deref(), id)));
        }
        (None, None) => Proof::Nothing,
    };
    let oauth = provider.and_then(|provider| provider.oauth.as_ref());
    let scope = get("oauth2_scope").unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let client = Client { token_endpoint, id: id.to_owned(), proof, scope };
    Ok(Planned {
        address,
        provider: provider.map_or(GENERIC, |provider| &provider.name).to_owned(),
        imap,
        smtp,
        grant: NewGrant {
            client,
            registration: None,
            means: Means::Refresh(refresh),
            old_tokens_stay_valid: oauth.is_some_and(|oauth| oauth.old_refresh_tokens == Tokens::Valid),
        },
        advice: provider.and_then(|provider| provider.sign_in.advice.clone()),
        registers: provider.is_some_and(|provider| provider.registers().is_some_and(|ways| ways.consent.is_some())),
        tenant,
    })
}

const ADD_ANEW: &str = "add the account with `passerelle account add`";

fn sign_in(address: &Address) -> String {
    format!("sign in: `passerelle account sign-in {}`", quoted(address.as_str()))
}

fn no_mailbox(section: &str) -> Left {
    if section.starts_with('@') {
        return left(
            "a catch-all names no mailbox; what it says was taken over for the accounts of its domain that are there",
            "for a client of a whole domain: `passerelle provider register NAME --for tenant`, then `account add` for each",
        );
    }
    left("not an address", ADD_ANEW)
}

/// That a person has consented: whoever asks by another right is registered, once for all mailboxes.
fn by_consent(
    permission_url: Option<&str>,
    flow: Option<&str>,
    address: &Address,
    provider: Option<&Provider>,
    tenant: Option<&str>,
    id: &str,
) -> Result<(), Left> {
    if permission_url.is_some() {
        return Ok(());
    }
    match flow {
        Some("client_credentials") => {
            Err(left("its client opens mailboxes by a right of its own", register(provider, address, tenant, id)))
        }
        Some("service_account") => Err(left(
            "its service account opens mailboxes by a right of its own",
            format!(
                "`passerelle provider register google --service-account FILE --domain {}`, then `passerelle account add {}`",
                quoted(address.domain()),
                quoted(address.as_str())
            ),
        )),
        Some("password") => Err(left(
            "it sends the mailbox's password to the token endpoint, as the bridge never does",
            sign_in(address),
        )),
        _ => Err(left("it has neither a permission_url nor a flow without", sign_in(address))),
    }
}

fn register(provider: Option<&Provider>, address: &Address, tenant: Option<&str>, id: &str) -> String {
    let name = quoted(provider.map_or("NAME", |provider| provider.name.as_str()));
    let (tenant, id, domain) = (quoted(tenant.unwrap_or("TENANT")), quoted(id), quoted(address.domain()));
    let address = quoted(address.as_str());
    format!(
        "`passerelle provider register {name} --for tenant --tenant {tenant} --domain {domain} --client-id {id}` with \
         --secret-stdin, or --certificate and --key; then `passerelle account add {address}`"
    )
}

/// Whose token endpoint this is, and which tenant it names; else whose domain the address is of.
fn provider_of<'a>(
    table: &'a Table,
    endpoint: &TokenEndpoint,
    address: &Address,
) -> (Option<&'a Provider>, Option<String>) {
    let of_domain = table.of_domain(address.domain());
    let matches: Vec<_> =
        table.iter().filter_map(|provider| Some((provider, tenant_in(provider, endpoint)?))).collect();
    let is_of_domain = |provider: &Provider| of_domain.is_some_and(|other| other.name == provider.name);
    let says = |provider: &Provider, tenant: &Option<String>| {
        tenant.is_some() && provider.oauth.as_ref().is_some_and(|oauth| oauth.tenant == *tenant)
    };
    let best = matches.iter().find(|(provider, _)| is_of_domain(provider));
    let best = best.or_else(|| matches.iter().find(|(provider, tenant)| says(provider, tenant)));
    match best.or(matches.first()) {
        Some((provider, tenant)) => (Some(provider), tenant.clone()),
        None => (of_domain, None),
    }
}

/// The tenant that an endpoint of this provider names, if it is one of its; Some(None) where it has none.
fn tenant_in(provider: &Provider, endpoint: &TokenEndpoint) -> Option<Option<String>> {
    let pattern = &provider.oauth.as_ref()?.token;
    match pattern.split_once("{tenant}") {
        None => (endpoint.as_str() == pattern).then_some(None),
        Some((before, after)) => {
            let tenant = endpoint.as_str().strip_prefix(before)?.strip_suffix(after)?;
            (!tenant.is_empty() && !tenant.contains('/')).then(|| Some(tenant.to_owned()))
        }
    }
}

/// The server of an account, which is not said there: its provider's, in the file or in the table; else the only one.
fn endpoint(kind: Kind, provider: Option<&Provider>, servers: &[Server], address: &Address) -> Result<Endpoint, Left> {
    let known = provider.and_then(|provider| match kind {
        Kind::Imap => provider.imap.endpoint(),
        Kind::Smtp => provider.smtp.endpoint(),
        Kind::Pop => None,
    });
    let all: Vec<&Endpoint> = servers.iter().filter_map(|server| server.is_for(kind)).collect();
    let name = if kind == Kind::Imap { "IMAP" } else { "SMTP" };
    let of_domain = |endpoint: &&&Endpoint| endpoint.host.as_str().ends_with(&format!(".{}", address.domain()));
    let mut by_domain = all.iter().filter(of_domain);
    let only_of_domain = by_domain.next().filter(|_| by_domain.next().is_none());
    match (known, all.as_slice(), only_of_domain) {
        (Some(known), all, _) => {
            let said = all.iter().find(|endpoint| endpoint.host == known.host);
            Ok(said.map_or(known, |said| (*said).clone()))
        }
        (None, [only], _) => Ok((*only).clone()),
        (None, _, Some(only)) => Ok((*only).clone()),
        (None, [], None) => Err(left(format!("no {name} server is there, and none is known for it"), ADD_ANEW)),
        (None, [..], None) => Err(left(format!("which of the {name} servers it uses is not said there"), ADD_ANEW)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVERS: &str = "[IMAP-1993]\nserver_address = outlook.office365.com\nserver_port = 993\n\
        [SMTP-1587]\nserver_address = smtp.office365.com\nserver_port = 587\nstarttls = True\n\
        [IMAP-2993]\nserver_address = imap.gmail.com\nserver_port = 993\n\
        [SMTP-2587]\nserver_address = smtp.gmail.com\nserver_port = 587\nserver_starttls = yes\n\
        [IMAP-3993]\nserver_address = imap.firm.test\nserver_port = 143\n\
        [IMAP-4993]\nserver_address = imap.other.test\nserver_port = 993\n\
        [IMAP-5993]\nserver_address = no port\n[Server-x]\n[IMAP-]\na=b\n[LMTP-24]\na=b\n";

    fn servers(ini: &Ini) -> Vec<Server> {
        ini.sections().filter(|section| *section != "IMAP-").filter_map(|section| Server::read(ini, section)).collect()
    }

    fn found(address: &str, token_url: &str) -> (String, Option<String>, [String; 2]) {
        let (table, ini) = (Table::built_in().expect("a table"), Ini::parse(SERVERS).expect("read"));
        let address = Address::parse(address).expect("an address");
        let endpoint_url = TokenEndpoint::parse(token_url).expect("an endpoint");
        let (provider, tenant) = provider_of(&table, &endpoint_url, &address);
        let servers = servers(&ini);
        let at = [Kind::Imap, Kind::Smtp].map(|kind| match endpoint(kind, provider, &servers, &address) {
            Ok(endpoint) => endpoint.to_string(),
            Err(Left { why, .. }) => why,
        });
        (provider.map_or(GENERIC, |provider| &provider.name).to_owned(), tenant, at)
    }

    #[test]
    fn the_provider_is_known_by_its_token_endpoint_and_its_servers_with_it() {
        let microsoft = |tenant: &str| format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token");
        let office = ["outlook.office365.com:993 (tls)", "smtp.office365.com:587 (starttls)"].map(str::to_owned);
        for tenant in ["common", "firm.example"] {
            let (provider, said, at) = found("a@firm.example", &microsoft(tenant));
            assert_eq!((provider.as_str(), said.as_deref(), &at), ("microsoft365", Some(tenant), &office));
        }
        assert_eq!(found("a@hotmail.com", &microsoft("common")).0, "outlook", "by its domain, too");
        assert_eq!(found("a@firm.example", &microsoft("consumers")).0, "outlook", "by its tenant, too");
        // The file's port and encryption, as they work there.
        let google = ["imap.gmail.com:993 (tls)", "smtp.gmail.com:587 (starttls)"].map(str::to_owned);
        let by_token = found("a@firm.example", "https://oauth2.googleapis.com/token");
        assert_eq!((by_token.0.as_str(), by_token.2), ("google", google.clone()));
        let by_domain = found("a@gmail.com", "https://accounts.google.com/o/oauth2/token");
        assert_eq!((by_domain.0.as_str(), by_domain.2), ("google", google));
    }

    #[test]
    fn whoever_is_not_known_has_the_server_of_its_domain_or_none() {
        let (provider, _, [imap, smtp]) = found("a@firm.test", "https://auth.firm.test/token");
        assert_eq!((provider.as_str(), imap.as_str()), ("generic", "imap.firm.test:143 (tls)"));
        assert_eq!(smtp, "which of the SMTP servers it uses is not said there");
        let (_, _, [imap, _]) = found("a@else.test", "https://auth.firm.test/token");
        assert_eq!(imap, "which of the IMAP servers it uses is not said there");
        let none = Ini::parse("[POP-1995]\nserver_address = a.test\nserver_port = 995\n").expect("read");
        let address = Address::parse("a@else.test").expect("an address");
        let left = endpoint(Kind::Imap, None, &servers(&none), &address).expect_err("none is there");
        assert_eq!(left.why, "no IMAP server is there, and none is known for it");
    }

    #[test]
    fn a_lookalike_of_a_token_endpoint_is_not_the_providers() {
        for url in [
            "https://login.microsoftonline.com/a/b/oauth2/v2.0/token",
            "https://login.microsoftonline.com.evil.test/common/oauth2/v2.0/token",
            "https://oauth2.googleapis.com/token/x",
        ] {
            assert_eq!(found("a@else.test", url).0, "generic", "{url}");
        }
    }

    #[test]
    fn what_a_hint_has_of_the_file_is_no_command() {
        let table = Table::built_in().expect("a table");
        let hint = |options: &str| {
            let text = format!("[o'neil$x@firm.test]\n{options}\n{SERVERS}");
            let ini = Ini::parse(&text).expect("read");
            let planned = account(&ini, &table, &servers(&ini), &Opener::new(&ini, &[]), "o'neil$x@firm.test")
                .err()
                .expect("left");
            planned.hint.expect("a hint")
        };
        let address = "'o'\\''neil$x@firm.test'";
        let client = "client_id = x; rm -rf ~\noauth2_flow = client_credentials\n\
                      token_url = https://login.microsoftonline.com/$(id)/oauth2/v2.0/token";
        let said = hint(client);
        for part in ["--tenant '$(id)' ", "--client-id 'x; rm -rf ~'` ", &format!("account add {address}`")] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(hint("x = y"), format!("`passerelle account add {address}`"));
        let url = "token_url = https://oauth2.googleapis.com/token\nclient_id = x\n";
        assert!(hint(&format!("{url}permission_url = x")).contains(&format!("sign-in {address}`")));
        assert!(hint(&format!("{url}oauth2_flow = service_account")).contains(&format!("account add {address}`")));
    }

    #[test]
    fn counts_that_are_no_counts_and_catch_alls_that_are_off_give_nothing() {
        let text = |on: &str, count: &str| {
            format!(
                "[emailproxy]\nallow_catch_all_accounts = {on}\n[@a.test]\ntoken_salt = c2FsdA==\n[b@a.test]\n\
                     token_iterations = {count}\nrefresh_token = x\n"
            )
        };
        for (on, count, why) in [
            ("False", "1", Unopened::Parameters),
            ("True", "0", Unopened::Parameters),
            ("True", "99999999", Unopened::Parameters),
            ("True", "many", Unopened::Parameters),
            ("True", "1", Unopened::Password),
        ] {
            let ini = Ini::parse(&text(on, count)).expect("read");
            // Without a password nothing is derived.
            assert_eq!(Opener::new(&ini, &[]).key("b@a.test", "x").err(), Some(why), "{on} {count}");
        }
    }
}
