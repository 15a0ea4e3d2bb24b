//! `passerelle serve`: prepares what the composition root needs, and says in a few lines what to do next.

use super::{Error, Place, say};
use passerelle::{
    app,
    config::{Config, Kind, Listener, Log, LogFormat},
    listener::handed::Handed,
    local_tls::{LocalTls, Shown},
    model::Host,
    panics,
    profile::GENERIC,
    store::unix_now,
    telemetry::{self, visible},
};
use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};
use tracing_subscriber::EnvFilter;

pub(super) async fn run(place: &Place) -> Result<(), Error> {
    let handed = Handed::by_systemd().map_err(app::Error::from)?;
    let config = place.config()?;
    let (providers, profiles) = (place.providers()?, place.profiles()?);
    start_log(&config.log);
    let store = place.store().await?;
    let (shown, authority) = match (&config.certificate.file, &config.certificate.key) {
        (Some(file), Some(key)) => (Shown::files(file, key)?, None),
        _ => {
            let local = LocalTls::at(&place.certificates())?;
            let authority = local.authority();
            (Shown::local(local, certificate_names(&config), unix_now())?, Some(authority))
        }
    };
    let accounts = store.accounts().await?.len();
    let state = visible(&place.state.display().to_string()).into_owned();
    let ready = move |config: &Config| {
        let mut text = format!("passerelle {} serves {accounts} account(s)\n", env!("CARGO_PKG_VERSION"));
        listeners(&mut text, config);
        if let Some(base) = config.console.base() {
            let _ = writeln!(text, "  browsers  {base}");
        }
        let _ = writeln!(text, "  state     {state}");
        if let Some(authority) = &authority {
            let _ = writeln!(text, "  for TLS, CRMs trust {}", visible(&authority.display().to_string()));
        }
        if accounts == 0 {
            text.push_str(
                "Next, in another window:\n  passerelle account add you@example.org --imap imap.example.org --smtp \
                 smtp.example.org\n",
            );
        }
        say(&text);
    };
    panics::to_the_log();
    let tls = shown.config()?;
    let renewal = tokio::spawn(shown.keep(unix_now));
    let parts = app::Parts { config, state: place.state.clone(), store, providers, profiles, tls, handed };
    let served = app::serve(parts, Box::new(ready)).await;
    renewal.abort();
    Ok(served?)
}

/// The names by which CRMs may reach the ports that show the certificate.
fn certificate_names(config: &Config) -> Vec<Host> {
    let mut names = [std::slice::from_ref(&config.hostname), &config.certificate.names].concat();
    let usual = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    for ip in config.listeners().filter(|listener| listener.kind.is_secured()).map(|listener| listener.address.ip()) {
        // An address is a host; those that every certificate is for need not be named.
        if let (false, false, Ok(host)) = (ip.is_unspecified(), usual.contains(&ip), Host::parse(&ip.to_string()))
            && !names.contains(&host)
        {
            names.push(host);
        }
    }
    names
}

fn listeners(text: &mut String, config: &Config) {
    for Listener { kind, crm, address, .. } in config.listeners() {
        let name = match kind {
            Kind::Imap => "IMAP",
            Kind::Smtp => "SMTP",
            Kind::Imaps => "IMAP, TLS",
            Kind::Smtps => "SMTP, TLS",
        };
        let _ = if crm == GENERIC {
            writeln!(text, "  {name:<10}{address}")
        } else {
            writeln!(text, "  {name:<10}{address}   for {crm}")
        };
    }
    for Listener { kind, address, .. } in config.listeners() {
        if !kind.is_secured() && !address.ip().is_loopback() {
            let _ = writeln!(text, "warning: passwords and mail cross the network in clear: {address}");
        }
    }
}

/// Logs go to standard error. No level shows a secret: those types do not print.
fn start_log(log: &Log) {
    // Only our own lines below warnings: those of the libraries may hold what crossed the wire.
    let filter = EnvFilter::new(format!("warn,passerelle={}", log.level.as_str()));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(telemetry::Lines).with_ansi(false);
    // Fails only if a log was started before.
    let _ = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}
