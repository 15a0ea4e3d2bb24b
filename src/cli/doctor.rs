//! `passerelle doctor`: looks at everything, says what, why and what to do, and ends with the worst of it.

mod back_offs;

use super::{Error, Place, words};
use passerelle::{
    app::{
        sending,
        usage::{self, Usage},
    },
    config::Config,
    control::doctor::{self, Finding, Severity},
    local_tls,
    model::{Address, number},
    provider::{Explanations, Table},
    relay::LaneUse,
    store::{Account, Store, unix_now},
    telemetry::visible,
    upstream::{self, Allowance},
};
use serde_json::json;
use std::{fmt::Write as _, net::SocketAddr, time::Duration};
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

/// Our own listeners answer in milliseconds.
const REACHED_WITHIN: Duration = Duration::from_secs(2);
/// The start of a greeting, which is all that is looked at.
const GREETING: usize = 64;
const DAY: i64 = 86_400;
/// Whoever renews by hand needs some days; programs that renew do it earlier.
const DAYS_LEFT: i64 = 14;

pub(super) async fn run(place: &Place, address: Option<&Address>) -> Result<(), Error> {
    let mut found = Vec::new();
    let config = configuration(place, &mut found);
    let store = state(place, &mut found).await;
    found.push(Finding::good("clock", format!("{} (UTC)", words::day(unix_now()))));
    let used = match &config {
        Some(config) => serving(place, config, &mut found).await,
        None => None,
    };
    if let Some(store) = store {
        accounts(place, &store, address, config.as_ref().zip(used.as_ref()), &mut found).await?;
    }
    let worst = found.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok);
    place.answer(&json!({ "worst": worst, "findings": found }), &words_of(&found))?;
    let count = |severity| found.iter().filter(|finding| finding.severity == severity).count();
    match worst {
        Severity::Ok => Ok(()),
        Severity::Warning => Err(Error::Warned(count(Severity::Warning))),
        Severity::Problem => Err(Error::Unwell(count(Severity::Problem))),
    }
}

/// A wrong one stops nothing: what stands in the state directory can be looked at all the same.
fn configuration(place: &Place, found: &mut Vec<Finding>) -> Option<Config> {
    match place.config() {
        Ok(config) => {
            let what = match &place.config {
                Some(file) => format!("{} is understood", file.display()),
                None => "none, so all is as built in".to_owned(),
            };
            found.push(Finding::good("configuration", what));
            Some(config)
        }
        Err(error) => {
            found.push(failed("configuration", &error));
            None
        }
    }
}

/// Opening looks at the modes of the files and at the key.
async fn state(place: &Place, found: &mut Vec<Finding>) -> Option<Store> {
    match place.store().await {
        Ok(store) => {
            let what = format!("{}: modes, database and key are right", place.state.display());
            found.push(Finding::good("state", what));
            Some(store)
        }
        Err(error) => {
            found.push(failed("state", &error));
            None
        }
    }
}

/// What a running bridge tells that it has in use.
async fn serving(place: &Place, config: &Config, found: &mut Vec<Finding>) -> Option<Usage> {
    let used = match usage::ask(&place.state).await {
        Ok(Some(used)) => {
            found.push(Finding::good("serve", format!("a bridge runs, with {} connections", used.connections)));
            Some(used)
        }
        Ok(None) => {
            let mend = "start it: `passerelle serve`, or `systemctl start passerelle`";
            found.push(Finding::bad("serve", Severity::Problem, "no bridge runs on this state directory", mend));
            return None;
        }
        Err(error) => {
            let mend = "run it as the user that runs `passerelle serve`";
            let what = format!("a bridge runs and does not tell how it is: {error}");
            found.push(Finding::bad("serve", Severity::Warning, what, mend));
            None
        }
    };
    let mut ends = None;
    for listener in config.listeners().filter(|listener| listener.address.port() != 0) {
        let secured = listener.kind.is_secured();
        found.push(match reached(listener.address, secured).await {
            Ok(end) => {
                ends = end.or(ends);
                Finding::good(listener.key(), format!("{} answers", listener.address))
            }
            Err(why) => {
                let mend =
                    "look at the log of `passerelle serve`, and whether a firewall of this machine stands between";
                let what = format!("{} does not answer: {why}", listener.address);
                Finding::bad(listener.key(), Severity::Problem, what, mend)
            }
        });
    }
    found.extend(ends.map(|ends| certificate(ends, unix_now())));
    used
}

/// What CRMs are shown, and for how long it is still good. The bridge renews its own a month before its end.
fn certificate(ends: i64, now: i64) -> Finding {
    let (days, day) = ((ends - now).div_euclid(DAY), words::day(ends));
    if days >= DAYS_LEFT {
        return Finding::good("certificate", format!("what CRMs are shown is good until {day}, days left: {days}"));
    }
    let (severity, what) = match days {
        0.. => (Severity::Warning, format!("what CRMs are shown ends on {day}, days left: {days}")),
        _ => (Severity::Problem, format!("what CRMs are shown ended on {day}, and they may refuse it")),
    };
    let mend = "your own: renew the files behind certificate.file and certificate.key, they are read again at once; the \
                bridge's own: the log of `passerelle serve` says why it was not renewed";
    Finding::bad("certificate", severity, what, mend)
}

/// A port in clear greets; one with TLS shows its certificate, whose end is given.
async fn reached(address: SocketAddr, secured: bool) -> Result<Option<i64>, String> {
    let reach = async {
        let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        if secured {
            let shown = upstream::shown_by(stream).await.map_err(|error| error.to_string())?;
            return Ok(local_tls::ends_at(&shown));
        }
        let mut greeting = [0; GREETING];
        let read = stream.read(&mut greeting).await.map_err(|error| error.to_string())?;
        let greeting = greeting.get(..read).unwrap_or_default();
        let greets = [&b"* OK "[..], b"220 "].iter().any(|start| greeting.starts_with(start));
        if greets { Ok(None) } else { Err("what answers there is no mail bridge, or it is full".to_owned()) }
    };
    timeout(REACHED_WITHIN, reach).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

async fn accounts(
    place: &Place,
    store: &Store,
    address: Option<&Address>,
    running: Option<(&Config, &Usage)>,
    found: &mut Vec<Finding>,
) -> Result<(), Error> {
    let addresses = match address {
        Some(address) => vec![address.clone()],
        None => store.accounts().await?.into_iter().map(|account| account.address).collect(),
    };
    if addresses.is_empty() {
        let mend = "add one: `passerelle account add ADDRESS`";
        found.push(Finding::bad("accounts", Severity::Warning, "there is no account yet", mend));
    }
    let (table, explanations) = (place.providers()?, Explanations::built_in());
    let own = place.own_listeners().unwrap_or_default();
    for address in addresses {
        if !place.json {
            super::say(&format!("looking at {address} ...\n"));
        }
        found.extend(doctor::account(store, &table, &explanations, &own, &address, unix_now()).await?);
        if let Some((config, used)) = running
            && let Some(account) = store.account_by_address(&address).await?
        {
            found.push(limits(used, config, &table, &account));
            found.extend(back_offs::of(store, used, &account, &explanations, unix_now()).await?);
        }
    }
    found.extend(running.and_then(|(_, used)| back_offs::left_out(used)));
    Ok(())
}

/// What an account may have at its provider, and what of it a running bridge has in use.
fn limits(used: &Usage, config: &Config, table: &Table, account: &Account) -> Finding {
    let ours = config.limits.lanes_per_account;
    let [imap, smtp] =
        [LaneUse::Imap, LaneUse::Submission].map(|purpose| number(upstream::cap(account, purpose, ours, table)));
    let Allowance { per_lane, per_minute, .. } = upstream::allowance(account, sending(config), table);
    let used = used.accounts.iter().find(|of| of.id == account.id.0).copied().unwrap_or_default();
    let minute = per_minute.map_or_else(|| "no cap".to_owned(), |cap| format!("at most {cap}"));
    let what = format!(
        "in use: {} of {imap} connections to the provider for IMAP, {} of {smtp} for SMTP; sessions: {} of {}; messages \
         in the last minute: {} ({minute}), over one connection at most {per_lane}, waiting: {}",
        used.imap_lanes,
        used.smtp_lanes,
        used.sessions,
        config.limits.sessions_per_account,
        used.messages,
        used.smtp_waiting
    );
    let full = used.imap_lanes >= imap || used.smtp_lanes >= smtp;
    let many = per_minute.is_some_and(|cap| used.messages >= u64::from(cap.div_ceil(2)));
    let finding = if used.smtp_waiting > 0 && many {
        let mend = "the provider takes no more in a minute: let the CRM send less at once; what waits longer than \
                    timeouts.send-wait is refused for now";
        Finding::bad("limits", Severity::Warning, what, mend)
    } else if full || used.sessions >= u64::from(config.limits.sessions_per_account) {
        let mend = "close CRM pages and programs that hold mailboxes open, or raise limits.lanes-per-account and \
                    limits.sessions-per-account as far as the provider allows";
        Finding::bad("limits", Severity::Warning, what, mend)
    } else {
        Finding::good("limits", what)
    };
    Finding { account: Some(account.address.clone()), ..finding }
}

fn failed(check: &str, error: &Error) -> Finding {
    let mend = error.hint().unwrap_or_else(|| "the message says what is wrong".to_owned());
    Finding::bad(check, Severity::Problem, error.chain(), mend)
}

fn words_of(found: &[Finding]) -> String {
    let mut text = String::new();
    let mut of = None;
    for finding in found {
        if finding.account != of {
            of.clone_from(&finding.account);
            let _ = writeln!(text, "\n{}", of.as_ref().map_or("", Address::as_str));
        }
        let mark = match finding.severity {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Problem => "PROBLEM",
        };
        let _ = writeln!(text, "{mark:<9}{:<16}{}", finding.check, visible(&finding.what));
        for (name, told) in [("why", &finding.why), ("do", &finding.mend)] {
            if let Some(told) = told {
                let _ = writeln!(text, "{:<9}{name:<16}{}", "", visible(told));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_told_of_before_it_ends() {
        let days = |days: i64| certificate(1_800_000_000 + days * DAY, 1_800_000_000);
        for (left, severity) in
            [(388, Severity::Ok), (14, Severity::Ok), (13, Severity::Warning), (0, Severity::Warning)]
        {
            assert_eq!(days(left).severity, severity, "{left}");
        }
        assert!(days(13).what.ends_with("days left: 13"), "{}", days(13).what);
        assert_eq!(days(-1).severity, Severity::Problem);
    }
}
