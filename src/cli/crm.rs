//! `passerelle crm`: what is known of each CRM, and what to copy into it.

use super::{
    Error, Place,
    arguments::CrmCommand,
    words::{self, Way},
};
use passerelle::{
    control::{account, crm},
    model::{Address, Login, quoted},
    profile::{Field, Page, Profile, Service, Words},
    wire::sasl::Mechanism,
};
use serde::Serialize;
use std::{fmt::Write as _, net::SocketAddr};

pub(super) async fn run(command: CrmCommand, place: &Place) -> Result<(), Error> {
    match command {
        CrmCommand::List => list(place),
        CrmCommand::Show { name } => {
            let table = place.profiles()?;
            let profile = crm::named(&table, &name)?;
            place.answer(&**profile, &words_of(profile))
        }
        CrmCommand::Settings { address, crm } => settings(place, &address.0, &crm).await,
    }
}

fn list(place: &Place) -> Result<(), Error> {
    let table = place.profiles()?;
    let profiles: Vec<&Profile> = table.iter().map(|profile| &**profile).collect();
    let row = |profile: &&Profile| {
        let ports = if profile.listen.is_usual() { "usual" } else { "own" };
        let sender = profile.sender.policy.to_string();
        [profile.name.clone(), profile.label.clone(), ports.to_owned(), sender]
    };
    let rows: Vec<_> = profiles.iter().map(row).collect();
    place.answer(&profiles, &words::columns(["NAME", "LABEL", "PORTS", "SENDER"], &rows))
}

/// What the sources of the built-in table mean by their marks.
const MARKS: &str = "sources: [M] measured on the wire, [C] read in the program's code, [I] inferred\n";

/// All that is known, each with its source.
fn words_of(profile: &Profile) -> String {
    let mut text = format!("{}: {}", profile.name, profile.label);
    text.push_str(if profile.built_in { "\n" } else { " (from a file of this machine)\n" });
    let mut fact = |name: &str, value: &str, source: &str| {
        words::field(&mut text, name, value);
        words::field(&mut text, "", format_args!("source: {source}"));
    };
    let folders = &profile.folders;
    let names = [&folders.sent, &folders.drafts, &folders.trash, &folders.junk].map(String::as_str).join(", ");
    fact("folders", &format!("{names}, levels by {}", folders.delimiter), &folders.source);
    let listed = |clear: &[Mechanism], tls: &[Mechanism]| {
        format!("in clear {}; over TLS {}", mechanisms(clear), mechanisms(tls))
    };
    let (imap, smtp) = (&profile.imap, &profile.smtp);
    fact("IMAP", &listed(&imap.clear, &imap.tls), &imap.source);
    let size = if smtp.size { "the size is announced" } else { "no size is announced" };
    fact("SMTP", &format!("{}; {size}", listed(&smtp.clear, &smtp.tls)), &smtp.source);
    let sender = &profile.sender;
    fact("other senders", &sender.policy.to_string(), &sender.source);
    let wait = profile.login.wait.map_or_else(|| "as the configuration says".to_owned(), |wait| format!("{wait} s"));
    fact("login wait", &wait, &profile.login.source);
    let listen = &profile.listen;
    let ports = [("IMAP", &listen.imap), ("SMTP", &listen.smtp), ("IMAPS", &listen.imaps), ("SMTPS", &listen.smtps)];
    let own: Vec<_> = ports.iter().filter(|(_, addresses)| !addresses.is_empty()).map(addresses).collect();
    fact("listeners", if own.is_empty() { "the usual ones" } else { "own" }, &listen.source);
    for line in own {
        words::field(&mut text, "", line);
    }
    if profile.built_in {
        text.push_str(MARKS);
    }
    text
}

fn addresses((name, addresses): &(&str, &Vec<SocketAddr>)) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    format!("{name} {}", addresses.join(", "))
}

fn mechanisms(listed: &[Mechanism]) -> String {
    if listed.is_empty() {
        return "none".to_owned();
    }
    listed.iter().map(|mechanism| mechanism.name()).collect::<Vec<_>>().join(", ")
}

#[derive(Serialize)]
struct SettingsJson<'a> {
    crm: &'a str,
    address: &'a Address,
    login: &'a Login,
    pages: Vec<Page>,
    warnings: Vec<String>,
}

async fn settings(place: &Place, address: &Address, name: &str) -> Result<(), Error> {
    let table = place.profiles()?;
    let profile = crm::named(&table, name)?;
    let config = place.config()?;
    let store = place.store().await?;
    let account = account::by_address(&store, address).await?;
    let (login, is_theirs) = crm::login(&store, &account, profile).await?;
    let ways = words::ways(&config, name);
    let pages = profile.filled(&Words {
        address: account.address.as_str(),
        login: login.as_str(),
        imap: service(&ways, "imap"),
        smtp: service(&ways, "smtp"),
    });
    let mut warnings = Vec::new();
    if !profile.listen.is_usual() && !config.listeners().any(|listener| listener.crm == name) {
        let why = &profile.listen.source;
        warnings.push(format!(
            "{name} has no listeners of its own ({why}); put two lines into {}, `[[crm]]` and `profile = \"{name}\"`, and \
             start `passerelle serve` again",
            place.config_file().display()
        ));
    }
    if !is_theirs {
        let [of, crm, its] = [address.as_str(), name, login.as_str()].map(quoted);
        warnings.push(format!(
            "no login of this account is for {name}; make one: passerelle login add {of} --label {crm} --crm {crm}; or, if \
             {login} is its: passerelle login set {its} --crm {crm}"
        ));
    }
    let mut text = format!("{} in {}\n", account.address, profile.label);
    for page in &pages {
        words_of_page(&mut text, page);
    }
    for warning in &warnings {
        let _ = writeln!(text, "\nwarning: {warning}");
    }
    let json = SettingsJson { crm: name, address: &account.address, login: &login, pages, warnings };
    place.answer(&json, &text)
}

/// The first way of a protocol: in clear where there is one.
fn service<'a>(ways: &'a [Way], protocol: &str) -> Option<Service<'a>> {
    let way = ways.iter().find(|way| way.protocol == protocol)?;
    Some(Service { host: &way.host, port: way.port, secured: way.security == "tls" })
}

fn words_of_page(text: &mut String, page: &Page) {
    let _ = writeln!(text, "\n{}", page.page);
    let width = page.fields.iter().map(|Field(name, _)| name.chars().count()).max().unwrap_or_default();
    for Field(name, value) in &page.fields {
        let _ = match name.as_str() {
            "" => writeln!(text, "  {value}"),
            name => writeln!(text, "  {name:<width$}  {value}"),
        };
    }
}
