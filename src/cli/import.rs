//! `passerelle import`: reads another program's configuration, and says section by section what became of it.

use super::{Error, Place, account, arguments::ImportCommand, words};
use passerelle::{
    control::{
        Manner, crm,
        import::{self, File, Outcome, State, Wish},
    },
    model::{Certificates, Secret},
    store::unix_now,
    telemetry::visible,
};
use serde::Serialize;
use std::{fmt::Write as _, io::Read as _, path::Path};
use zeroize::Zeroizing;

pub(super) async fn run(command: ImportCommand, place: &Place) -> Result<(), Error> {
    let ImportCommand::EmailOauth2Proxy { file, password_stdin, crm, certificates, dry_run } = command;
    let text = read(&file)?;
    let read = File::read(&text).map_err(|source| Error::Import { path: file, source })?;
    let profiles = place.profiles()?;
    let passwords = if read.is_sealed() { passwords(password_stdin)? } else { Vec::new() };
    let wish = Wish {
        passwords: &passwords,
        certificates: certificates.unwrap_or(Certificates::Verify),
        crm: crm::named(&profiles, &crm)?,
        dry_run,
    };
    let store = place.store().await?;
    let manner = Manner { own: &place.own_listeners()?, report: &account::progress(place.json) };
    let outcomes = import::run(&store, &place.providers()?, &read, &wish, manner, unix_now()).await;
    let rows: Vec<_> = outcomes.iter().map(Row::of).collect();
    let json = Json { dry_run, sections: &rows };
    place.answer(&json, &said(&rows))?;
    match rows.iter().filter(|row| [KEPT, LEFT].contains(&row.state)).count() {
        0 => Ok(()),
        left => Err(Error::Left(left)),
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, Error> {
    let unreadable = |source| Error::File { path: path.to_owned(), source };
    let mut text = Zeroizing::new(String::new());
    let most = u64::try_from(import::FILE_MAX).unwrap_or(u64::MAX);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(most.saturating_add(1)).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() > import::FILE_MAX {
        return Err(unreadable(std::io::Error::other("it is larger than any such configuration")));
    }
    Ok(text)
}

/// One is asked for; of those that are piped in, each line is one.
fn passwords(piped: bool) -> Result<Vec<Secret<String>>, Error> {
    let mut text = Zeroizing::new(String::new());
    if piped {
        let most = u64::try_from(PASSWORDS_MAX).unwrap_or(u64::MAX);
        std::io::stdin().lock().take(most).read_to_string(&mut text).map_err(Error::Password)?;
    } else {
        let asked = rpassword::prompt_password("Password that mail programs use at email-oauth2-proxy: ");
        *text = asked.map_err(Error::Password)?;
    }
    let all: Vec<_> = text.lines().filter(|line| !line.is_empty()).map(|line| Secret::new(line.to_owned())).collect();
    if all.is_empty() { Err(Error::PasswordEmpty) } else { Ok(all) }
}

/// Of all passwords: one takes a second to try, so a handful is meant.
const PASSWORDS_MAX: usize = 16 * 1024;

const KEPT: &str = "kept";
const LEFT: &str = "left";

#[derive(Serialize)]
struct Json<'a> {
    dry_run: bool,
    sections: &'a [Row<'a>],
}

/// One section, as it is shown.
#[derive(Default, Serialize)]
struct Row<'a> {
    section: String,
    /// `added`, `kept`, `planned`, `there`, `registered`, `replaced` or `left`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    imap: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    smtp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<String>,
    /// Shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl<'a> Row<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        let row = |state| Self { section: outcome.section.clone(), state, ..Self::default() };
        match &outcome.state {
            State::Added(added) => Self {
                provider: Some(added.account.settings.provider.clone()),
                imap: Some(added.account.imap.to_string()),
                smtp: Some(added.account.smtp.to_string()),
                login: Some(added.login.name.to_string()),
                password: Some(added.login.password.expose()),
                ..row("added")
            },
            State::Planned { provider, imap, smtp, token_endpoint } => Self {
                provider: Some(provider.clone()),
                imap: Some(imap.to_string()),
                smtp: Some(smtp.to_string()),
                token_endpoint: Some(token_endpoint.clone()),
                ..row("planned")
            },
            State::Kept { why, hint } => Self { why: Some(why.clone()), hint: hint.clone(), ..row(KEPT) },
            State::There => row("there"),
            State::Registered { provider, client_id } => {
                Self { provider: Some(provider.clone()), client_id: Some(client_id.clone()), ..row("registered") }
            }
            State::Replaced(hint) => Self { hint: Some(hint.clone()), ..row("replaced") },
            State::Left { why, hint } => Self { why: Some(why.clone()), hint: hint.clone(), ..row(LEFT) },
        }
    }
}

/// Stands at the end of all, where anything came over.
const STOP: &str = "\nStop email-oauth2-proxy before `passerelle serve` starts: two that renew one token end each other's \
                    sign-in.\nEach CRM gets its account's new password, shown this once, and the bridge's ports.\n";

fn said(rows: &[Row<'_>]) -> String {
    let mut text = "\n".to_owned();
    for row in rows {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{:<11}[{}]", row.state, visible(&row.section));
        let fields = [
            ("provider", &row.provider),
            ("IMAP", &row.imap),
            ("SMTP", &row.smtp),
            ("access tokens", &row.token_endpoint),
            ("client", &row.client_id),
            ("login", &row.login),
        ];
        for (name, value) in fields.into_iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value))) {
            words::field(&mut text, name, value);
        }
        if let Some(password) = row.password {
            words::field(&mut text, "password", password);
        }
        for (name, value) in [("because", &row.why), ("hint", &row.hint)] {
            if let Some(value) = value {
                words::field(&mut text, name, value);
            }
        }
    }
    if rows.iter().any(|row| ["added", KEPT].contains(&row.state)) {
        text.push_str(STOP);
    }
    text
}
