//! `passerelle queue`: what waits to be delivered, and what people do about it.

use super::{Error, Place, arguments::QueueCommand, words};
use passerelle::{
    control::queue::{self, Shown},
    store::unix_now,
};
use serde_json::json;

pub(super) async fn run(command: QueueCommand, place: &Place) -> Result<(), Error> {
    let (store, now) = (place.store().await?, unix_now());
    match command {
        QueueCommand::List { address } => {
            let all = queue::list(&store, address.as_ref().map(|address| &address.0), now).await?;
            place.answer(&all, &words_of_all(&all, now))
        }
        QueueCommand::Show { id } => {
            let shown = queue::show(&store, id, now).await?;
            place.answer(&shown, &words_of(&shown, now))
        }
        QueueCommand::Retry { id, .. } => {
            let retried = queue::retry(&store, id, now).await?;
            place.answer(
                &json!({ "retried": retried }),
                &format!("tried by a running bridge now, messages: {retried}\n"),
            )
        }
        QueueCommand::Remove { id } => {
            let removed = queue::remove(&store, &place.state, id, now).await?;
            place.answer(&removed, &format!("taken out of the queue: {id}\n"))
        }
    }
}

fn words_of_all(all: &[Shown], now: i64) -> String {
    if all.is_empty() {
        return "the queue is empty\n".to_owned();
    }
    let row = |shown: &Shown| {
        let mut to = shown.recipients.iter().map(|recipient| recipient.address.as_str());
        let first = to.next().unwrap_or_default();
        let more = to.count();
        let to = if more == 0 { first.to_owned() } else { format!("{first} and {more} more") };
        [
            shown.id.to_string(),
            account(shown),
            ago(now - shown.began_at),
            state(shown),
            shown.tries.to_string(),
            next(shown, now),
            to,
            shown.words.clone(),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    words::columns(["ID", "ACCOUNT", "SINCE", "STATE", "TRIES", "NEXT", "TO", "WHY"], &rows)
}

fn words_of(shown: &Shown, now: i64) -> String {
    let mut text = format!("{}\n", shown.id);
    words::field(&mut text, "account", account(shown));
    words::field(&mut text, "state", state(shown));
    words::field(&mut text, "from", format_args!("<{}>", shown.sender));
    words::field(&mut text, "Message-ID", shown.message_id.as_deref().unwrap_or("none"));
    words::field(&mut text, "octets", shown.octets);
    words::field(&mut text, "queued", format_args!("{} ago", ago(now - shown.began_at)));
    words::field(&mut text, "tries", shown.tries);
    words::field(&mut text, "next", next(shown, now));
    words::field(&mut text, "given up in", ago(shown.expires_at - now));
    if !shown.words.is_empty() {
        words::field(&mut text, "why", &shown.words);
    }
    text.push('\n');
    let rows: Vec<_> = shown
        .recipients
        .iter()
        .map(|one| [one.address.clone(), one.state.name().to_owned(), one.words.clone()])
        .collect();
    text + &words::columns(["TO", "STATE", "THE PROVIDER SAID"], &rows)
}

fn account(shown: &Shown) -> String {
    shown.account.as_ref().map_or_else(|| "removed".to_owned(), ToString::to_string)
}

fn state(shown: &Shown) -> String {
    let now = if shown.in_hand { ", in hand" } else { "" };
    format!("{}{now}", shown.state.name())
}

fn next(shown: &Shown, now: i64) -> String {
    match shown.due_at {
        _ if shown.in_hand => "now".to_owned(),
        None => "never by itself".to_owned(),
        Some(due) if due <= now => "now".to_owned(),
        Some(due) => format!("in {}", ago(due - now)),
    }
}

/// A time that people read at a glance.
fn ago(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..=119 => format!("{seconds} s"),
        seconds @ ..=7199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_one_number() {
        let told = [0, 119, 120, 7199, 7200, -5].map(ago);
        assert_eq!(told, ["0 s", "119 s", "2 min", "119 min", "2 h", "0 s"]);
    }
}
