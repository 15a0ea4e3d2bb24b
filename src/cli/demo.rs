//! `passerelle demo`: tells the steps of the demo, both sides of the bridge next to each other.

use super::{
    Error,
    arguments::Demo,
    say,
    words::{self, Card},
};
use passerelle::{
    config::Config,
    demo::{self, House, Said, Step, Voice},
    profile::GENERIC,
};
use serde_json::json;
use std::fmt::Write as _;

/// Letters of each side, and lines of a step.
const WIDTH: usize = 56;
const LINES: usize = 14;

pub(super) async fn run(arguments: &Demo, json: bool) -> Result<(), Error> {
    if !json {
        say("Passerelle's demo: two mail providers, the bridge and a CRM, all on this machine; nothing is kept.\n\n");
    }
    let mut steps = Vec::new();
    let mut tell = |step: &Step| {
        if json {
            steps.push(step.clone());
        } else {
            say(&words_of(step));
        }
    };
    let mut house = demo::play(&mut tell).await.map_err(Error::Demo)?;
    let config = Config { listen: house.card.listen.clone(), ..Config::default() };
    let card = Card {
        address: &house.card.login,
        crm: GENERIC,
        login: &house.card.login,
        password: house.card.password.expose(),
        connect: words::ways(&config, GENERIC),
    };
    let curl = curl_lines(&house);
    if json {
        // The password dies with the demo: it is told only where the demo stays.
        let stay = arguments.stay.then(|| json!({ "card": &card, "curl": &curl }));
        super::out::json(&json!({ "steps": steps, "stay": stay }))?;
    } else if arguments.stay {
        say(&format!(
            "All steps worked, and all of it stays up until Ctrl-C. What a CRM would be told:\n\n{card}\n\
             Or by hand:\n\n{}\n",
            curl.iter().map(|line| format!("  {line}\n")).collect::<String>()
        ));
    } else {
        say("All steps worked. `--stay` keeps it up to try by hand; your own mailbox: passerelle account add --help\n");
    }
    if arguments.stay { house.stays().await.map_err(Error::Serve) } else { Ok(()) }
}

/// Commands that work while the demo stays.
fn curl_lines(house: &House) -> Vec<String> {
    let demo::Card { imap, smtp, login, password, .. } = &house.card;
    let user = format!("-u '{login}:{}'", password.expose());
    vec![
        format!("curl {user} 'imap://{imap}/'"),
        format!("curl {user} 'imap://{imap}/INBOX' -X 'SEARCH UNSEEN'"),
        format!("curl {user} 'imap://{imap}/INBOX;MAILINDEX=2'"),
        format!(
            "printf 'From: {login}\\r\\nTo: {login}\\r\\nSubject: by curl\\r\\n\\r\\nHello\\r\\n' | \
             curl {user} --mail-from '{login}' --mail-rcpt '{login}' -T - 'smtp://{smtp}'"
        ),
        format!("curl {user} 'imap://{imap}/INBOX' -X 'SEARCH SUBJECT \"by curl\"'"),
    ]
}

fn words_of(step: &Step) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(text, "✓ {:>2}  {}", step.number, step.title);
    let _ = writeln!(text, "      {}", step.note);
    let rows = step.crm.len().max(step.provider.len());
    if rows > 0 {
        let _ = writeln!(text, "      {:<WIDTH$}   bridge and provider, encrypted", "CRM and bridge, in clear");
    }
    for row in 0..rows.min(LINES) {
        let cell = |said: &[Said]| said.get(row).map(cell).unwrap_or_default();
        let line = format!("      {:<WIDTH$}   {}", cell(&step.crm), cell(&step.provider));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if rows > LINES {
        let _ = writeln!(text, "      … and {} lines more", rows - LINES);
    }
    text.push('\n');
    text
}

/// A line as wide as its column.
fn cell(said: &Said) -> String {
    let voice = if said.by == Voice::Client { '>' } else { '<' };
    let line = format!("{voice} {}", said.line);
    if line.chars().count() <= WIDTH {
        return line;
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}
