//! `passerelle provider`: what is known of each company that hosts mail, and from where.

mod register;

use super::{Error, Place, arguments::ProviderCommand, find, words};
use passerelle::{
    control,
    provider::{Filed, Mechanism, OAuth, Password, Provider, Service, Tokens},
};
use std::fmt::Write as _;

pub(super) async fn run(command: ProviderCommand, place: &Place) -> Result<(), Error> {
    let table = place.providers()?;
    match command {
        ProviderCommand::Find { address, explain } => find::run(place, &table, &address.0, explain).await,
        ProviderCommand::Register(register) => register::run(place, &table, *register).await,
        ProviderCommand::Registrations => register::list(place).await,
        ProviderCommand::Unregister { name, whom, tenant } => {
            register::unregister(place, &name, whom.map(Into::into), tenant.as_deref()).await
        }
        ProviderCommand::List => {
            let providers: Vec<&Provider> = table.iter().collect();
            let rows: Vec<_> = providers.iter().map(|provider| row(provider)).collect();
            place.answer(&providers, &words::columns(["NAME", "LABEL", "IMAP", "SMTP", "SIGN-IN"], &rows))
        }
        ProviderCommand::Show { name } => {
            let provider = control::provider::named(&table, &name)?;
            place.answer(provider, &words_of(provider))
        }
    }
}

fn row(provider: &Provider) -> [String; 5] {
    let sign_in = match (provider.sign_in.password, &provider.oauth) {
        (Password::None, _) => "OAuth",
        (Password::App, None) => "app password",
        (Password::App, Some(_)) => "OAuth or app password",
        (Password::Mailbox, None) => "password",
        (Password::Mailbox, Some(_)) => "OAuth or password",
    };
    let [imap, smtp] = [&provider.imap, &provider.smtp].map(place_of);
    [provider.name.clone(), provider.label.clone(), imap, smtp, sign_in.to_owned()]
}

fn place_of(service: &Service) -> String {
    format!("{}:{} ({})", service.host, service.port, service.security)
}

/// What the sources of the built-in table mean by their marks.
const MARKS: &str = "sources: [D] the provider's documentation, [L] a public log, issue or table, [M] general knowledge; \
                     how sure: h, m, l\n";

/// All that is known, each with its source.
fn words_of(provider: &Provider) -> String {
    let mut text = format!("{}: {}", provider.name, provider.label);
    text.push_str(if provider.built_in { "\n" } else { " (from a file of this machine)\n" });
    let mut fact = |name: &str, value: &str, source: &str| {
        words::field(&mut text, name, value);
        if !source.is_empty() {
            words::field(&mut text, "", format_args!("source: {source}"));
        }
    };
    let domains = provider.domains.names.join(", ");
    fact("domains", if domains.is_empty() { "none" } else { &domains }, &provider.domains.source);
    if let Some(discovery) = &provider.discovery {
        fact("MX", &discovery.mx.join(", "), &discovery.source);
        if !discovery.autodiscover.is_empty() {
            fact("autodiscover", &discovery.autodiscover.join(", "), "");
        }
    }
    for (name, service) in [("IMAP", &provider.imap), ("SMTP", &provider.smtp)] {
        fact(name, &format!("{}, {}", place_of(service), mechanisms(&service.mechanisms)), &service.source);
    }
    let sign_in = &provider.sign_in;
    let password = match sign_in.password {
        Password::App => "an app password",
        Password::Mailbox => "the password of the mailbox",
        Password::None => "no password",
    };
    fact("sign-in", &format!("as the {}, with {password}", sign_in.user), &sign_in.source);
    if let Some(advice) = &sign_in.advice {
        fact("advice", advice, "");
    }
    let filed = match provider.sent.filed {
        Filed::No => "not filed by the provider",
        Filed::Unknown => "not known whether the provider files it",
        Filed::Yes => "filed by the provider",
    };
    fact("Sent", filed, &provider.sent.source);
    let cap = |cap: Option<u32>| cap.map_or_else(|| "no cap".to_owned(), |cap| format!("at most {cap}"));
    let limits = &provider.limits;
    let connections = format!("IMAP {}, SMTP {}", cap(limits.imap_connections), cap(limits.smtp_connections));
    fact("connections", &connections, &limits.source);
    let of_messages = [
        (limits.messages_per_connection, "over one connection"),
        (limits.messages_per_minute, "a minute"),
        (limits.smtp_idle_seconds, "seconds of silence on a connection to send"),
        (limits.imap_idle_seconds, "seconds of silence on a connection of IMAP"),
        (limits.parked_connections, "connections kept while nobody uses them"),
    ];
    for (cap, what) in of_messages {
        if let Some(cap) = cap {
            fact("messages", &format!("at most {cap} {what}"), "");
        }
    }
    if let Some(oauth) = &provider.oauth {
        words_of_oauth(&mut fact, oauth);
    }
    if let Some(register) = &provider.register {
        let ways = [("consent", &register.consent), ("tenant", &register.tenant), ("domain", &register.domain)];
        let ways: Vec<_> = ways.into_iter().filter(|(_, way)| way.is_some()).map(|(name, _)| name).collect();
        let ways = if ways.is_empty() { "no new ones".to_owned() } else { format!("for {}", ways.join(", ")) };
        fact("clients", &ways, &register.source);
    }
    for quirk in &provider.quirks {
        fact("quirk", &quirk.about, &quirk.source);
    }
    if provider.built_in {
        text.push_str(MARKS);
    }
    text
}

fn words_of_oauth(fact: &mut impl FnMut(&str, &str, &str), oauth: &OAuth) {
    fact("OAuth", &oauth.scopes.join(" "), &oauth.source);
    let addresses = [
        ("  authorise", Some(&oauth.authorise)),
        ("  token", Some(&oauth.token)),
        ("  revoke", oauth.revoke.as_ref()),
        ("  device", oauth.device.as_ref()),
        ("  tenant", oauth.tenant.as_ref()),
    ];
    for (name, value) in addresses {
        if let Some(value) = value {
            fact(name, value, "");
        }
    }
    let mut parameters = String::new();
    for (name, value) in &oauth.parameters {
        let _ = write!(parameters, "{name}={value} ");
    }
    if !parameters.is_empty() {
        fact("  parameters", parameters.trim_end(), "");
    }
    let old = match oauth.old_refresh_tokens {
        Tokens::Spent => "are spent when a new one was given",
        Tokens::Valid => "stay valid for a while",
    };
    fact("  old tokens", old, "");
}

fn mechanisms(mechanisms: &[Mechanism]) -> String {
    let name = |mechanism: &Mechanism| match mechanism {
        Mechanism::Login => "LOGIN",
        Mechanism::Oauthbearer => "OAUTHBEARER",
        Mechanism::Plain => "PLAIN",
        Mechanism::Xoauth2 => "XOAUTH2",
    };
    mechanisms.iter().map(name).collect::<Vec<_>>().join(", ")
}
