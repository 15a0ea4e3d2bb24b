//! `passerelle limits`: every limit and time-out with where it is set, and what a running bridge has in use of it.

use super::{Error, Place, words};
use passerelle::{
    app::{
        limits::{self, Limit},
        usage::{self, Usage},
    },
    model::AccountId,
};
use serde_json::{Value, json};
use std::collections::HashMap;

pub(super) async fn run(place: &Place) -> Result<(), Error> {
    let config = place.config()?;
    let used = usage::ask(&place.state).await.map_err(Error::Unanswered)?;
    let table = limits::table(&config, &place.providers()?, &place.profiles()?, used.as_ref());
    // Only a bridge that runs has made a store: asking makes none.
    let addresses = match &used {
        Some(_) => addresses(place).await?,
        None => HashMap::new(),
    };
    let mut text = words_of(&table);
    match &used {
        Some(used) => text.push_str(&words_of_use(used, &addresses)),
        None => {
            let state = place.state.display();
            text.push_str(&format!("\nNo bridge runs, so nothing is in use. Its state would be: {state}\n"));
        }
    }
    let in_use = used.as_ref().map_or(Value::Null, |used| json_of_use(used, &addresses));
    place.answer(&json!({ "limits": table, "in_use": in_use }), &text)
}

async fn addresses(place: &Place) -> Result<HashMap<AccountId, String>, Error> {
    let accounts = place.store().await?.accounts().await?;
    Ok(accounts.into_iter().map(|account| (account.id, account.address.to_string())).collect())
}

fn words_of(table: &[Limit]) -> String {
    let row = |limit: &Limit| {
        let in_use = limit.in_use.map(|in_use| in_use.to_string()).unwrap_or_default();
        [limit.name.to_owned(), limit.value.clone(), in_use, limit.set.to_string(), limit.about.to_owned()]
    };
    let rows: Vec<_> = table.iter().map(row).collect();
    words::columns(["LIMIT", "VALUE", "IN USE", "SET BY", "FOR"], &rows)
}

fn words_of_use(used: &Usage, addresses: &HashMap<AccountId, String>) -> String {
    let Usage { connections, before_login, accounts, left_out, .. } = used;
    let mut text = format!("\nIn use now: {connections} connections, {before_login} of them not signed in.\n");
    if !accounts.is_empty() {
        let row = |account: &usage::OfAccount| {
            let [sessions, waiting, messages] =
                [account.sessions, account.smtp_waiting, account.messages].map(|count| count.to_string());
            let [imap, smtp] = [(account.imap_lanes, account.parked), (account.smtp_lanes, account.smtp_parked)]
                .map(|(lanes, parked)| format!("{lanes} + {parked}"));
            [address(account.id, addresses), sessions, imap, smtp, messages, waiting]
        };
        let rows: Vec<_> = accounts.iter().map(row).collect();
        let head =
            ["ACCOUNT", "SESSIONS", "IMAP IN USE + PARKED", "SMTP IN USE + PARKED", "SENT IN A MINUTE", "WAITING"];
        text.push_str(&words::columns(head, &rows));
    }
    if *left_out > 0 {
        text.push_str(&format!("and of so many other accounts: {left_out}\n"));
    }
    text
}

fn json_of_use(used: &Usage, addresses: &HashMap<AccountId, String>) -> Value {
    let account = |account: &usage::OfAccount| {
        json!({
            "address": address(account.id, addresses),
            "sessions": account.sessions,
            "imap_lanes": account.imap_lanes,
            "smtp_lanes": account.smtp_lanes,
            "parked": account.parked,
            "smtp_parked": account.smtp_parked,
            "smtp_waiting": account.smtp_waiting,
            "messages_in_a_minute": account.messages,
        })
    };
    json!({
        "connections": used.connections,
        "before_login": used.before_login,
        "accounts": used.accounts.iter().map(account).collect::<Vec<_>>(),
        "left_out": used.left_out,
    })
}

/// An account that was removed while its sessions end has none any more.
fn address(id: i64, addresses: &HashMap<AccountId, String>) -> String {
    addresses.get(&AccountId(id)).cloned().unwrap_or_else(|| format!("removed ({id})"))
}
