//! `passerelle account sign-in`: sends a person to the provider, and waits for what comes back.

use super::{add, password};
use crate::cli::{
    Error, Place,
    arguments::AccountSignIn,
    find::{self, Whereto},
    out, say,
    words::{self, Card},
};
use passerelle::{
    app::{self, usage},
    config::Config,
    console,
    control::{
        self, Service, account,
        consent::{self, Ask, Done, Mailbox, Order, Refusal, Tables},
        crm, login,
        settings::User,
    },
    model::{Address, Certificates, Secret, quoted},
    oauth::flow::consent::{NotReturned, RETURNED_MAX, pasted},
    provider::Table,
    store::{Store, consent::Bound, unix_now},
};
use serde::Serialize;
use std::{
    io::{BufRead, Read as _},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// How often it is looked whether the answer has come.
const LOOKED_AT: Duration = Duration::from_millis(250);
/// The browser gets its last page.
const FAREWELL: Duration = Duration::from_secs(5);

pub(super) async fn run(place: &Place, arguments: AccountSignIn) -> Result<(), Error> {
    let config = place.config()?;
    let tables = Tables { providers: place.providers()?, profiles: place.profiles()?, own: place.own_listeners()? };
    let store = place.store().await?;
    let address = arguments.address().clone();
    if arguments.answer_stdin {
        let done = take_pasted(&store, &tables, &address).await?;
        return finished(place, &config, &store, &tables, done).await;
    }
    let (paste, link) = (arguments.paste, arguments.link);
    let order = order(place, &config, &store, &tables.providers, arguments).await?;
    if link {
        return print_link(place, &config, &store, &order).await;
    }
    if !paste {
        let done = wait(place, &config, &store, &tables, &order).await?;
        return finished(place, &config, &store, &tables, done).await;
    }
    let now = unix_now();
    let sending = consent::begin(&store, &order, now).await?;
    let asked = OpenJson { open: &sending.address, expires_in: consent::STATE_SECONDS };
    if place.json {
        return place.answer(&asked, "");
    }
    say(&format!(
        "As {}, open this address in any browser:\n\n{}\n\nIts last page may not load. Paste the address that the browser \
         shows then:\n",
        order.person, sending.address
    ));
    let done = take_pasted(&store, &tables, &address).await?;
    finished(place, &config, &store, &tables, done).await
}

/// Where a person is to go.
#[derive(Serialize)]
struct OpenJson<'a> {
    open: &'a str,
    /// In seconds.
    expires_in: u32,
}

async fn order(
    place: &Place,
    config: &Config,
    store: &Store,
    table: &Table,
    arguments: AccountSignIn,
) -> Result<Order, Error> {
    let base = config.console.base().ok_or(Error::NoConsole)?;
    let address = arguments.address().clone();
    let account = store.account_by_address(&address).await?;
    let at = &arguments.settings.at;
    let said = at.provider.is_some() || !at.imap().is_empty() || !at.smtp().is_empty() || at.certificates.is_some();
    let (provider, to) = match &account {
        Some(account) if said => return Err(control::Error::from(Refusal::Exists(account.address.clone())).into()),
        Some(account) => (control::provider::named(table, &account.settings.provider)?, None),
        None => {
            let to = find::whereto(place, table, &address, at, &arguments.finding).await?;
            (to.provider, Some(to))
        }
    };
    let secret = if arguments.client_secret_stdin { Some(line()?) } else { None };
    let ask = Ask {
        address: &address,
        person: arguments.person.as_ref().map(|person| person.0.to_string()),
        provider,
        issuer: arguments.issuer.clone(),
        client: arguments.client_id.clone().map(|id| (id, secret)),
        tenant: arguments.tenant.clone(),
        scope: arguments.scope.clone(),
        base: &base,
        mailbox: None,
    };
    let mailbox = to.map(|to| mailbox(place, &address, to, arguments)).transpose()?;
    Ok(consent::ask(store, Ask { mailbox, ..ask }).await?)
}

/// The account as `account add` would make it of the same words.
fn mailbox(place: &Place, address: &Address, to: Whereto<'_>, arguments: AccountSignIn) -> Result<Mailbox, Error> {
    let (wished, provider) = (arguments.settings, to.provider);
    let certificates = wished.at.certificates.clone().unwrap_or(Certificates::Verify);
    if certificates == Certificates::AcceptAny {
        return Err(control::Error::AcceptAny.into());
    }
    let (user_format, sign_in_name) = to.user.unwrap_or(User::Format(provider.sign_in.user)).of(address);
    let imap = control::provider::endpoint(provider, Service::Imap, &to.imap)?;
    let smtp = control::provider::endpoint(provider, Service::Smtp, &to.smtp)?;
    let crm = crm::named(&place.profiles()?, &arguments.crm)?.name.clone();
    let smtp_password = password::of_submission(&wished)?;
    let aliases = wished.aliases.iter().map(|alias| alias.0.clone()).collect();
    let settings = add::settings(wished, provider, user_format, address);
    Ok(Mailbox {
        owner: arguments.owner,
        imap,
        smtp,
        certificates,
        sign_in_name,
        provider: settings.provider,
        user_format: settings.user_format,
        smtp_auth: settings.smtp_auth,
        smtp_password,
        receives: settings.receives,
        sends: settings.sends,
        unread: settings.unread,
        display_name: settings.display_name,
        sender: settings.sender,
        from: settings.from,
        sent_copy: settings.sent_copy,
        submission: settings.submission,
        uncertain: settings.uncertain,
        aliases,
        advice: provider.sign_in.advice.clone(),
        crm,
    })
}

async fn print_link(place: &Place, config: &Config, store: &Store, order: &Order) -> Result<(), Error> {
    #[derive(Serialize)]
    struct LinkJson<'a> {
        link: &'a str,
        expires_at: i64,
    }
    let invitation = consent::invite(store, order, consent::LINK_SECONDS, unix_now()).await?;
    let base = config.console.base().ok_or(Error::NoConsole)?;
    let link = format!("{base}/sign-in/{}", invitation.ticket.expose());
    let next = match &order.mailbox {
        Some(_) => format!(
            "Once that is done, this makes what the CRM signs in with:\n  passerelle login add {}\n",
            quoted(order.address.as_str())
        ),
        None => "Once that is done, the account works again.\n".to_owned(),
    };
    let person = if order.person == order.address.to_string().to_lowercase() {
        format!("the owner of {}", order.address)
    } else {
        order.person.clone()
    };
    let words = format!(
        "This link is good once and for a day. Send it to {person}:\n\n{link}\n\n`passerelle serve` must run for it. {next}"
    );
    place.answer(&LinkJson { link: &link, expires_at: invitation.expires_at }, &words)
}

/// Prints the address to open, and waits for what comes of it.
async fn wait(place: &Place, config: &Config, store: &Store, tables: &Tables, order: &Order) -> Result<Done, Error> {
    // A bridge that does not answer runs, too.
    let served = !matches!(usage::ask(&place.state).await, Ok(None));
    let (stop, stopped) = watch::channel(false);
    let mut own = JoinSet::new();
    if !served {
        let shown = Arc::new(app::console_of(config, store, &tables.providers, &tables.profiles));
        for listener in app::bind_console(config).map_err(app::Error::from)? {
            own.spawn(console::accept(listener, shown.clone(), stopped.clone()));
        }
    }
    let invitation = consent::invite(store, order, consent::STATE_SECONDS, unix_now()).await?;
    let base = config.console.base().ok_or(Error::NoConsole)?;
    let open = format!("{base}/sign-in/{}", invitation.ticket.expose());
    tell(place, order, &open)?;
    let outcome = loop {
        if let Some(outcome) = consent::outcome(store, invitation.id).await? {
            break outcome;
        }
        // The page may be opened at the last moment, and its answer take as long again.
        if unix_now() > invitation.expires_at + i64::from(consent::STATE_SECONDS) {
            return Err(control::Error::from(Refusal::Unknown).into());
        }
        sleep(LOOKED_AT).await;
    };
    let _ = stop.send(true);
    let _ = timeout(FAREWELL, async { while own.join_next().await.is_some() {} }).await;
    outcome.map_err(Error::SignIn)?;
    Ok(Done { address: order.address.clone(), added_for: order.mailbox.as_ref().map(|mailbox| mailbox.crm.clone()) })
}

/// For a program one line, before the answer.
fn tell(place: &Place, order: &Order, open: &str) -> Result<(), Error> {
    if !place.json {
        say(&format!(
            "As {}, open this address in a browser of this machine:\n\n{open}\n\nWaiting; Ctrl-C stops.\n",
            order.person
        ));
        return Ok(());
    }
    out::json_line(&OpenJson { open, expires_in: consent::STATE_SECONDS })
}

/// Reads where a browser ended, and takes the answer that stands in it.
async fn take_pasted(store: &Store, tables: &Tables, address: &Address) -> Result<Done, Error> {
    let line = line()?;
    let (at, returned) = pasted(line.expose()).map_err(|error| control::Error::from(Refusal::from(error)))?;
    Ok(consent::answer(store, tables, returned, &at, Bound::Address(address), unix_now()).await?)
}

fn line() -> Result<Secret<String>, Error> {
    let mut line = zeroize::Zeroizing::new(String::new());
    let most = u64::try_from(2 * RETURNED_MAX).unwrap_or(u64::MAX);
    std::io::stdin().lock().take(most).read_line(&mut line).map_err(Error::Answer)?;
    match line.trim() {
        "" => Err(control::Error::from(Refusal::from(NotReturned)).into()),
        text => Ok(Secret::new(text.to_owned())),
    }
}

#[derive(Serialize)]
struct SignedInJson<'a> {
    address: &'a Address,
    signed_in: bool,
    /// Whether the account is new; then with what to copy into the CRM.
    added: bool,
    #[serde(flatten)]
    card: Option<&'a Card<'a>>,
}

/// A new account gets its first login here, before whoever sets up the CRM.
async fn finished(place: &Place, config: &Config, store: &Store, tables: &Tables, done: Done) -> Result<(), Error> {
    let Done { address, added_for } = done;
    let Some(crm) = added_for else {
        let json = SignedInJson { address: &address, signed_in: true, added: false, card: None };
        return place.answer(&json, &format!("{address} is signed in; its logins are as before.\n"));
    };
    let account = account::by_address(store, &address).await?;
    let profile = crm::named(&tables.profiles, &crm)?;
    let made = login::add(store, &account, &login::Naming::Address, profile, unix_now()).await?;
    let card = Card {
        address: address.as_str(),
        crm: &crm,
        login: made.name.as_str(),
        password: made.password.expose(),
        connect: words::ways(config, &crm),
    };
    let json = SignedInJson { address: &address, signed_in: true, added: true, card: Some(&card) };
    let words = format!("{address} is added.\nCopy this into the CRM; the password is shown this once:\n\n{card}");
    place.answer(&json, &words)
}
