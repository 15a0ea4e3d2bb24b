//! Finding the provider of an address, for `provider find` and for commands that make an account of it.

use super::{
    Error, Place,
    arguments::{AtProvider, Finding},
    say, words,
};
use passerelle::{
    config::Config,
    control::{
        self,
        discover::{self, Found, Outcome, Terms, Tried},
        provider::Whereabouts,
        settings::User,
    },
    model::{Address, Certificates, UserFormat, quoted},
    provider::{Provider, Table},
    telemetry::visible,
    upstream::discovery::Asking,
};
use std::{
    fmt::Write as _,
    io::{BufRead as _, IsTerminal as _},
};

/// The provider of an account that is to be made, and what is known of its hosts.
pub(super) struct Whereto<'t> {
    pub(super) provider: &'t Provider,
    pub(super) imap: Whereabouts,
    pub(super) smtp: Whereabouts,
    /// As whom one signs in, where that was said or found.
    pub(super) user: Option<User>,
    /// Whether passwords open the mailbox, as far as that was found.
    pub(super) password: bool,
}

impl<'t> Whereto<'t> {
    /// As a person says, and else as the provider's entry has it.
    pub(super) fn said(provider: &'t Provider, at: &AtProvider) -> Self {
        Self { provider, imap: at.imap(), smtp: at.smtp(), user: at.user(), password: true }
    }
}

/// As a person says; else by the domain; else by looking for it. Whoever must be confirmed is, when this returns.
pub(super) async fn whereto<'t>(
    place: &Place,
    table: &'t Table,
    address: &Address,
    at: &AtProvider,
    finding: &Finding,
) -> Result<Whereto<'t>, Error> {
    let (imap, smtp, user) = (at.imap(), at.smtp(), at.user());
    match control::provider::of_account(table, at.provider.as_deref(), address, [&imap, &smtp]) {
        Ok(provider) => return Ok(Whereto::said(provider, at)),
        Err(control::Error::DomainUnknown(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let terms = terms(place.config()?, at.certificates.as_ref());
    if !place.json && !terms.steps.is_empty() {
        say(&format!("looking for the mail of {} (--explain shows who is asked)\n", address.domain()));
    }
    let found = ask(place, table, &terms, address, finding.explain).await?.found;
    let found = found.ok_or_else(|| control::Error::DomainUnknown(address.domain().to_owned()))?;
    if !place.json {
        say(&words_of(&found, address));
    }
    confirm(place, &found, address, finding)?;
    let provider = control::provider::named(table, &found.provider)?;
    let user = user.or_else(|| {
        Some(match found.user.format {
            UserFormat::Manual => User::Name(found.user.name.clone()),
            format => User::Format(format),
        })
    });
    let located = |said: Whereabouts, found: &discover::Located| Whereabouts::or_at(said, &found.endpoint);
    let (imap, smtp) = (located(imap, &found.imap), located(smtp, &found.smtp));
    Ok(Whereto { provider, imap, smtp, user, password: found.password })
}

/// `passerelle provider find`.
pub(super) async fn run(place: &Place, table: &Table, address: &Address, explain: bool) -> Result<(), Error> {
    let outcome = ask(place, table, &terms(place.config()?, None), address, explain).await?;
    let words = match &outcome.found {
        Some(found) => words_of(found, address) + &words_of_next(found, address),
        None if place.json => String::new(),
        None => return Err(control::Error::DomainUnknown(address.domain().to_owned()).into()),
    };
    place.answer(&outcome, &words)?;
    match outcome.found {
        Some(_) => Ok(()),
        None => Err(control::Error::DomainUnknown(address.domain().to_owned()).into()),
    }
}

async fn ask(place: &Place, table: &Table, terms: &Terms, address: &Address, explain: bool) -> Result<Outcome, Error> {
    let told = explain && !place.json;
    let report = |tried: &Tried| {
        if told {
            say(&words_of_tried(tried));
        }
    };
    Ok(discover::find(table, terms, address, &place.own_listeners()?, &report).await?)
}

fn terms(config: Config, certificates: Option<&Certificates>) -> Terms {
    let discovery = config.discovery;
    Terms {
        steps: discovery.steps,
        autoconfig: discovery.autoconfig,
        autodiscover: discovery.autodiscover,
        imap: discovery.imap,
        smtp: discovery.smtp,
        asking: Asking {
            resolver: discovery.resolver,
            private_addresses: discovery.private_addresses,
            question: config.timeouts.discovery_question.0,
        },
        whole: config.timeouts.discovery.0,
        certificates: certificates.cloned().unwrap_or(Certificates::Verify),
    }
}

/// Hosts that nothing vouches for are a person's to approve, before any password is asked for.
fn confirm(place: &Place, found: &Found, address: &Address, finding: &Finding) -> Result<(), Error> {
    let accepted = |host: &str| finding.accept_hosts.iter().any(|accepted| accepted.as_str() == host);
    let open: Vec<_> = found.outside.iter().map(|host| host.as_str()).filter(|host| !accepted(host)).collect();
    if open.is_empty() {
        return Ok(());
    }
    let hosts = open.join(", ");
    let mut input = std::io::stdin().lock();
    if !place.json && input.is_terminal() {
        say(&format!("Outside {}: {hosts}. Is your mail hosted there? [y/N] ", address.domain()));
        let mut line = String::new();
        input.read_line(&mut line).map_err(Error::Answer)?;
        if ["y", "yes"].contains(&line.trim().to_lowercase().as_str()) {
            return Ok(());
        }
    }
    let flags = open.iter().map(|host| format!("--accept-host {host}")).collect::<Vec<_>>().join(" ");
    Err(Error::HostsUnconfirmed { hosts, flags })
}

fn words_of_tried(tried: &Tried) -> String {
    let mark = if tried.found { "+" } else { "-" };
    format!("{mark} {:<13} {}: {}\n", tried.by, visible(&tried.asked), visible(&tried.answer))
}

fn words_of(found: &Found, address: &Address) -> String {
    let mut text = format!("{address}: {}\n", found.label);
    for (name, located) in [("IMAP", &found.imap), ("SMTP", &found.smtp)] {
        words::field(&mut text, name, format_args!("{}, found by {}", located.endpoint, located.by));
    }
    words::field(&mut text, "user name", &found.user.name);
    words::field(&mut text, "provider", &found.provider);
    if !found.others.is_empty() {
        let others = found.others.join(", ");
        words::field(
            &mut text,
            "or",
            format_args!("{others}, which its records may mean too: name it with --provider"),
        );
    }
    if !found.outside.is_empty() {
        let hosts: Vec<_> = found.outside.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            text,
            "warning: outside the domain, and of no provider that is known; confirm only what your provider says: {}",
            hosts.join(", ")
        );
    }
    text
}

fn words_of_next(found: &Found, address: &Address) -> String {
    if found.password {
        format!("Add it: passerelle account add {}\n", quoted(address.as_str()))
    } else {
        let address = quoted(address.as_str());
        format!("No password opens it. Sign in at the provider: passerelle account sign-in {address}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use passerelle::discovery::Step;

    #[test]
    fn the_usual_terms_go_every_way_and_stay_in_public() {
        let terms = terms(Config::default(), None);
        assert_eq!(terms.steps, Step::ALL);
        assert!(!terms.asking.private_addresses && terms.asking.question < terms.whole);
        assert_eq!(terms.certificates, Certificates::Verify);
    }
}
