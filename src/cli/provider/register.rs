//! `passerelle provider register`: says what to enter on the provider's page, and keeps the client that is made there.

use crate::cli::{
    Error, Place,
    arguments::ProviderRegister,
    secret,
    words::{columns, field},
};
use passerelle::{
    config::Console,
    control::{
        provider::named,
        registration::{self, Draft, Given, Registered, Shown},
    },
    model::{Secret, quoted},
    oauth,
    provider::{Places, Provider, Table, Way},
    store::{ForWhom, unix_now},
};
use serde::Serialize;
use std::{fmt::Write as _, fs::File, io::Read as _, path::Path};

pub(super) async fn run(place: &Place, table: &Table, arguments: ProviderRegister) -> Result<(), Error> {
    let provider = named(table, &arguments.name)?;
    let for_whom = arguments.for_whom();
    if arguments.client_id.is_none() && arguments.service_account.is_none() {
        let console = place.config()?.console;
        let guide = Guide::of(provider, for_whom, arguments.tenant.as_deref(), &console)?;
        return place.answer(&guide, &guide.words());
    }
    // Before anything secret is read.
    registration::way(provider, for_whom)?;
    let draft = Draft {
        for_whom,
        tenant: arguments.tenant.clone(),
        domains: arguments.domains.clone(),
        given: given(&arguments)?,
    };
    let store = place.store().await?;
    let registered = registration::register(&store, provider, draft, arguments.unchecked, unix_now()).await?;
    let json = RegisteredJson { registration: &registered.shown, signed_in: registered.tried };
    place.answer(&json, &words_of(&registered, &arguments))
}

pub(super) async fn list(place: &Place) -> Result<(), Error> {
    let all = registration::list(&place.store().await?).await?;
    let row = |one: &Shown| {
        [
            one.provider.clone(),
            whom(one.for_whom).to_owned(),
            one.tenant.clone().unwrap_or_default(),
            one.client_id.clone(),
            one.proof.to_owned(),
            one.domains.join(", "),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    let text = if rows.is_empty() {
        "no client is registered; `passerelle provider register PROVIDER` says how\n".to_owned()
    } else {
        columns(["PROVIDER", "FOR", "TENANT", "CLIENT", "PROOF", "DOMAINS"], &rows)
    };
    place.answer(&all, &text)
}

pub(super) async fn unregister(
    place: &Place,
    name: &str,
    for_whom: Option<ForWhom>,
    tenant: Option<&str>,
) -> Result<(), Error> {
    let gone = registration::unregister(&place.store().await?, name, for_whom, tenant).await?;
    let words =
        format!("forgotten; delete it on the provider's page, too, if nothing else uses it: {}\n", gone.client_id);
    place.answer(&gone, &words)
}

/// What the arguments name, read.
fn given(arguments: &ProviderRegister) -> Result<Given, Error> {
    if let Some(file) = &arguments.service_account {
        return Ok(Given::ServiceAccount(read(file)?));
    }
    let id = arguments.client_id.clone().unwrap_or_default();
    Ok(match (&arguments.certificate, &arguments.key) {
        (Some(certificate), Some(key)) => {
            Given::Certificate { id, certificate: read(certificate)?.expose().clone().into_bytes(), key: read(key)? }
        }
        _ if arguments.secret_stdin => {
            Given::Secret { id, secret: secret::line(&mut std::io::stdin().lock(), || Error::ClientSecret)? }
        }
        _ => Given::Public(id),
    })
}

/// No key or certificate is longer.
const FILE_MAX: u64 = 64 * 1024;

fn read(path: &Path) -> Result<Secret<String>, Error> {
    let unread = |source| Error::File { path: path.to_owned(), source };
    let mut text = String::new();
    let mut file = File::open(path).map_err(unread)?.take(FILE_MAX);
    file.read_to_string(&mut text).map_err(unread)?;
    Ok(Secret::new(text))
}

/// What is entered on the provider's page.
#[derive(Serialize)]
struct Guide<'a> {
    provider: &'a str,
    #[serde(skip)]
    label: &'a str,
    #[serde(rename = "for")]
    for_whom: ForWhom,
    /// Where the provider has tenants: as it was said, or a word in its place.
    #[serde(skip)]
    tenant: Option<String>,
    #[serde(flatten)]
    way: Way,
}

impl<'a> Guide<'a> {
    fn of(provider: &'a Provider, for_whom: ForWhom, tenant: Option<&str>, console: &Console) -> Result<Self, Error> {
        let (oauth, way) = registration::way(provider, for_whom)?;
        let scopes = registration::scopes(oauth, &way, for_whom);
        let of_any = if for_whom == ForWhom::Tenant { None } else { oauth.tenant.as_deref() };
        let known = tenant.or(of_any).unwrap_or("TENANT");
        let callback = oauth::callback(&provider.name);
        let port = console.listen.0.first().map_or(oauth::CONSOLE_PORT, |address| address.port());
        let places = Places { tenant: known, client: "CLIENT-ID", port, callback: &callback };
        let mut way = Way { scopes, ..way.filled(&places) };
        // Browsers come back by the public address, where there is one.
        if let (Some(_), Some(base), false) = (&console.public_url, console.base(), way.redirects.is_empty()) {
            way.redirects = vec![format!("{base}{callback}")];
        }
        let tenant = oauth.has_tenants().then(|| known.to_owned());
        Ok(Self { provider: &provider.name, label: &provider.label, for_whom, tenant, way })
    }

    fn words(&self) -> String {
        let mut text = format!("A client at {} for {}\n\n", self.label, described(self.for_whom));
        let way = &self.way;
        if let Some(page) = &way.page {
            field(&mut text, "page", page);
        }
        let lists = [("redirect", &way.redirects), ("scope", &way.scopes), ("permission", &way.permissions)];
        for (name, values) in lists {
            for value in values {
                field(&mut text, name, value);
            }
        }
        if let Some(address) = &way.admin_consent {
            field(&mut text, "admin consent", address);
        }
        for (number, step) in way.steps.iter().enumerate() {
            let _ = write!(text, "\n{}. {step}", number + 1);
        }
        text.push_str(if way.steps.is_empty() { "\n" } else { "\n\n" });
        for command in &way.commands {
            let _ = writeln!(text, "    {command}");
        }
        if !way.commands.is_empty() {
            text.push('\n');
        }
        for warning in &way.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        let _ = writeln!(text, "\nThen give what the page shows:\n\n    {}", self.then());
        text
    }

    fn then(&self) -> String {
        let start = format!("passerelle provider register {}", quoted(self.provider));
        let tenant = self.tenant.as_ref().map(|tenant| format!(" --tenant {}", quoted(tenant))).unwrap_or_default();
        match self.for_whom {
            ForWhom::Consenting => format!("{start} --client-id CLIENT-ID [--secret-stdin < SECRET-FILE]"),
            ForWhom::Tenant => format!(
                "{start} --for tenant{tenant} --domain DOMAIN --client-id CLIENT-ID --certificate CERT.pem --key KEY.pem"
            ),
            ForWhom::Domain => format!("{start} --service-account FILE.json --domain DOMAIN"),
        }
    }
}

#[derive(Serialize)]
struct RegisteredJson<'a> {
    #[serde(flatten)]
    registration: &'a Shown,
    /// Whether it was asked, and gave an access token.
    signed_in: bool,
}

fn words_of(registered: &Registered, arguments: &ProviderRegister) -> String {
    let shown = &registered.shown;
    let mut text = format!("The client is registered for {}.\n", described(shown.for_whom));
    field(&mut text, "client", &shown.client_id);
    if let Some(tenant) = &shown.tenant {
        field(&mut text, "tenant", tenant);
    }
    if let Some(key) = &shown.key {
        field(&mut text, "key", key);
    }
    if shown.proof == "none" {
        field(&mut text, "secret", "none: a public client; Google's and those of web pages have one");
    }
    for domain in &shown.domains {
        field(&mut text, "domain", domain);
    }
    field(&mut text, "scope", &shown.scope);
    field(&mut text, "tokens from", &shown.token_endpoint);
    if registered.tried {
        text.push_str("It was asked for an access token, and gave one.\n");
    }
    if let Some(number) = &registered.number {
        let _ = writeln!(text, "In the Admin console its client ID is {number}; give that the scope above.");
    }
    let files = [&arguments.key, &arguments.service_account];
    if let Some(file) = files.into_iter().flatten().next() {
        let _ = writeln!(text, "The key is sealed into the store; the file can be deleted: {}", file.display());
    } else if arguments.secret_stdin {
        text.push_str("The secret is sealed into the store; a file that held it can be deleted.\n");
    }
    let then = match shown.for_whom {
        ForWhom::Consenting => {
            format!(
                "passerelle account sign-in ADDRESS   # or: account add ADDRESS --provider {}",
                quoted(&shown.provider)
            )
        }
        ForWhom::Tenant | ForWhom::Domain => {
            let address = format!("ADDRESS@{}", shown.domains.join("|"));
            format!("passerelle account add {}   # no password is asked for", quoted(&address))
        }
    };
    let _ = writeln!(text, "Now: {then}");
    text
}

/// As --for has it.
fn whom(for_whom: ForWhom) -> &'static str {
    match for_whom {
        ForWhom::Consenting => "consent",
        ForWhom::Tenant => "tenant",
        ForWhom::Domain => "domain",
    }
}

fn described(for_whom: ForWhom) -> &'static str {
    match for_whom {
        ForWhom::Consenting => "people who sign in",
        ForWhom::Tenant => "all mailboxes of a tenant",
        ForWhom::Domain => "all users of a domain",
    }
}
