//! What happens in the demo, step by step. A step that does not work ends it, with a sentence that says which and why.

use super::{
    crm::{self, CrmSettings, Imap},
    provider::{CLIENT_ID, Kind, Provider},
    tape::{Said, Tape},
};
use crate::{
    app,
    config::{Config, Listen, Listeners},
    control::{self, Manner, OwnListeners, account, crm as profiles},
    listener::handed::Handed,
    local_tls::LocalTls,
    model::{Address, Certificates, Endpoint, Secret, Security, UserFormat},
    oauth::{
        TokenEndpoint,
        flow::{Client, Means, Proof},
    },
    profile,
    provider::Table,
    rules::namespace::Naming,
    store::{Credential, NewGrant, Settings, Store, unix_now},
};
use serde::Serialize;
use std::{error::Error, net::SocketAddr, time::Duration};
use tempfile::TempDir;
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{sleep, timeout},
};

const ADDRESS: &str = "claire@cabinet.example";
/// A step that has nothing to wait for on a network.
const STEP_MAX: Duration = Duration::from_secs(20);
/// What the CRM calls the special mailboxes, whatever is behind them.
const NAMES: [&str; 4] = ["Sent", "Drafts", "Trash", "Junk"];
/// The subject of the message that the CRM sends.
const SUBJECT: &str = "Sent through the bridge";

/// A step that worked.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub number: usize,
    pub title: &'static str,
    pub done: bool,
    /// What came of it.
    pub note: String,
    /// Between the CRM and the bridge.
    pub crm: Vec<Said>,
    /// Between the bridge and the provider, as the provider heard it.
    pub provider: Vec<Said>,
}

/// The step that did not work.
#[derive(Debug, thiserror::Error)]
#[error("the demo stopped at step {number}, {title}: {why}")]
pub struct Failed {
    number: usize,
    title: &'static str,
    why: Box<dyn Error + Send + Sync>,
}

/// What the CRM was told to use.
#[derive(Clone)]
pub struct Card {
    pub listen: Listen,
    pub imap: SocketAddr,
    pub smtp: SocketAddr,
    pub login: String,
    pub password: Secret<String>,
}

/// All that runs. Dropped, it is gone, and its folder too.
pub struct House {
    pub card: Card,
    bridge: JoinSet<Result<(), app::Error>>,
    _providers: [Provider; 2],
    _folder: TempDir,
}

impl House {
    /// Waits until the bridge ends, which it does when it is told to stop.
    ///
    /// # Errors
    /// Why it ended otherwise.
    pub async fn stays(&mut self) -> Result<(), app::Error> {
        match self.bridge.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(fault)) => Err(std::io::Error::other(fault).into()),
            None => Ok(()),
        }
    }
}

type Tell<'a> = &'a mut (dyn FnMut(&Step) + Send);
type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Plays the demo, and tells each step that worked. It wants to run in a `LocalSet`: the bridge stays on its thread.
///
/// # Errors
/// [`Failed`] at the first that did not.
pub async fn play(tell: Tell<'_>) -> Result<House, Failed> {
    let mut teller = Teller { tell, number: 1, tape: Tape::default() };
    let title = "two providers start on this machine";
    let (folder, address, gmail, ovh) = teller.waits(title, providers()).await?;
    teller.done(title, "one like Gmail with French folders and access tokens, one like OVH with passwords", None);

    let title = "the mailbox is added to the bridge";
    let added = teller.waits(title, add(&folder, &address, &gmail)).await?;
    let (store, login, password, note) = added;
    teller.done(title, note, Some(&gmail.tape));

    let title = "the bridge serves";
    let (bridge, listen) = teller.waits(title, serve(&folder, store.clone())).await?;
    let [Some(imap), Some(smtp)] = [&listen.imap, &listen.smtp].map(|Listeners(all)| all.first().copied()) else {
        return Err(teller.failed(title, "no port".into()));
    };
    teller.done(title, format!("IMAP {imap}, SMTP {smtp}"), None);

    let settings = CrmSettings { imap, smtp, login: login.clone(), password: password.clone() };
    let validity = first_day(&mut teller, &settings, &gmail).await?;

    let title = "the provider changes, the CRM's settings do not";
    let note = teller.waits(title, swap(&store, &address, &ovh)).await?;
    teller.done(title, note, Some(&ovh.tape));

    second_day(&mut teller, &settings, &ovh, validity).await?;
    let card = Card { listen, imap, smtp, login, password };
    Ok(House { card, bridge, _providers: [gmail, ovh], _folder: folder })
}

/// A CRM's day, at the first provider. Gives INBOX's UIDVALIDITY.
async fn first_day(teller: &mut Teller<'_>, settings: &CrmSettings, gmail: &Provider) -> Result<u64, Failed> {
    let tape = teller.tape.clone();
    let title = "the CRM signs in with the bridge's password";
    let mut imap = teller.waits(title, async { Ok(Imap::sign_in(settings, &tape).await?) }).await?;
    let given = gmail.tokens_given();
    let note = format!("the provider was shown an access token, not a password; tokens given so far: {given}");
    teller.done(title, note, Some(&gmail.tape));

    let title = "it lists the folders";
    teller.waits(title, lists(&mut imap)).await?;
    teller.done(title, "Sent, Drafts, Trash and Junk: [Gmail]/… is nowhere", Some(&gmail.tape));

    let title = "it selects INBOX";
    let validity = teller.waits(title, selects(&mut imap, "INBOX", 8)).await?;
    teller.done(title, format!("8 messages, UIDVALIDITY {validity}"), Some(&gmail.tape));

    let title = "it reads a message";
    teller.waits(title, holds(&mut imap, "FETCH 2 (FLAGS ENVELOPE BODY.PEEK[TEXT])", "le devis d’été")).await?;
    teller.done(title, "the octets crossed as they are", Some(&gmail.tape));

    let title = "it appends a draft";
    let draft = format!("From: {ADDRESS}\r\nTo: {ADDRESS}\r\nSubject: A draft of the CRM\r\n\r\nHello\r\n");
    teller.waits(title, async { Ok(imap.append("Drafts", &draft).await.map(drop)?) }).await?;
    teller.done(title, "into Drafts, which is [Gmail]/Brouillons", Some(&gmail.tape));

    let title = "it sends a message";
    let message = format!(
        "From: {ADDRESS}\r\nTo: {ADDRESS}\r\nSubject: {SUBJECT}\r\nMessage-ID: <1@crm.example>\r\n\r\nHello\r\n"
    );
    teller.waits(title, async { Ok(crm::send(settings, &tape, ADDRESS, &message).await?) }).await?;
    teller.done(title, "the 250 that the CRM heard is the provider's", Some(&gmail.tape));

    let title = "it finds the message";
    teller.waits(title, finds(&mut imap)).await?;
    teller.done(title, "once in INBOX, and once in Sent", Some(&gmail.tape));
    Ok(validity)
}

/// The day after the swap, at the second provider, with the same settings.
async fn second_day(
    teller: &mut Teller<'_>,
    settings: &CrmSettings,
    ovh: &Provider,
    before: u64,
) -> Result<(), Failed> {
    let tape = teller.tape.clone();
    let title = "the CRM signs in as before";
    let mut imap = teller.waits(title, signs_in_again(settings, &tape)).await?;
    teller.done(title, "host, ports, login and password are the same", Some(&ovh.tape));

    let title = "it reads as before";
    let validity = teller.waits(title, reads_again(&mut imap, before)).await?;
    let note = format!("the same names; UIDVALIDITY {validity} is larger, so nothing is taken for what it is not");
    teller.done(title, note, Some(&ovh.tape));
    Ok(())
}

/// Numbers and tells the steps.
struct Teller<'a> {
    tell: Tell<'a>,
    number: usize,
    /// Between the CRM and the bridge.
    tape: Tape,
}

impl Teller<'_> {
    /// Waits for a step, but not for ever.
    async fn waits<T>(&self, title: &'static str, work: impl Future<Output = Done<T>>) -> Result<T, Failed> {
        match timeout(STEP_MAX, work).await {
            Ok(done) => done.map_err(|why| self.failed(title, why)),
            Err(elapsed) => Err(self.failed(title, elapsed.into())),
        }
    }

    fn failed(&self, title: &'static str, why: Box<dyn Error + Send + Sync>) -> Failed {
        Failed { number: self.number, title, why }
    }

    fn done(&mut self, title: &'static str, note: impl Into<String>, provider: Option<&Tape>) {
        let provider = provider.map(Tape::take).unwrap_or_default();
        let step = Step { number: self.number, title, done: true, note: note.into(), crm: self.tape.take(), provider };
        (self.tell)(&step);
        self.number += 1;
    }
}

async fn providers() -> Done<(TempDir, Address, Provider, Provider)> {
    let folder = tempfile::Builder::new().prefix("passerelle-demo-").tempdir()?;
    let address = Address::parse(ADDRESS)?;
    let now = unix_now();
    let gmail = Provider::start(Kind::Gmail, &address, &folder.path().join("gmail-like"), now).await?;
    let ovh = Provider::start(Kind::Ovh, &address, &folder.path().join("ovh-like"), now).await?;
    Ok((folder, address, gmail, ovh))
}

/// The code of `account add`. Gives what the CRM signs in with.
async fn add(folder: &TempDir, address: &Address, gmail: &Provider) -> Done<(Store, String, Secret<String>, String)> {
    let store = Store::open(&folder.path().join("state"), None, unix_now()).await?;
    let draft = account::Draft {
        address: address.clone(),
        owner: None,
        imap: endpoint(gmail.imap)?,
        smtp: endpoint(gmail.smtp)?,
        certificates: Certificates::Ca(gmail.authority.clone()),
        sign_in_name: address.to_string(),
        credential: credential(gmail)?,
        consented: false,
        settings: Settings::default(),
        smtp_password: None,
        aliases: Vec::new(),
        advice: None,
        crm: profiles::named(&crms()?, profile::GENERIC)?.clone(),
    };
    let manner = Manner { own: &OwnListeners::default(), report: &|_, _| {} };
    let added = account::add(&store, draft, manner, unix_now()).await.map_err(with_causes)?;
    let folders = added.folders.unwrap_or_default();
    let roles = folders.iter().filter(|folder| folder.role.is_some());
    let roles = roles.filter_map(|folder| Some(format!("{} = {}", folder.local.as_ref()?, folder.remote)));
    let roles: Vec<_> = roles.collect();
    Ok((store, added.login.name.to_string(), added.login.password, roles.join(", ")))
}

/// A refresh token where the provider wants access tokens, else a password.
fn credential(provider: &Provider) -> Done<Credential> {
    let Some(token_endpoint) = &provider.token_endpoint else {
        return Ok(Credential::Password(provider.secret.clone()));
    };
    let token_endpoint = TokenEndpoint::parse(token_endpoint)?;
    let client = Client { token_endpoint, id: CLIENT_ID.to_owned(), proof: Proof::Nothing, scope: String::new() };
    let means = Means::Refresh(provider.secret.clone());
    Ok(Credential::Grant(NewGrant { client, registration: None, means, old_tokens_stay_valid: false }))
}

fn endpoint(address: SocketAddr) -> Done<Endpoint> {
    Ok(Endpoint::parse(&address.to_string(), Security::Tls, address.port())?)
}

fn crms() -> Done<profile::Table> {
    Ok(profile::Table::built_in().map_err(|mistake| mistake.to_string())?)
}

/// The bridge on free ports, as `serve` starts it.
async fn serve(folder: &TempDir, store: Store) -> Done<(JoinSet<Result<(), app::Error>>, Listen)> {
    let mut config = Config::default();
    config.console.listen = Listeners(Vec::new());
    let free = || Listeners(vec![SocketAddr::from(([127, 0, 0, 1], 0))]);
    config.listen = Listen { imap: free(), smtp: free(), imaps: free(), smtps: free(), ..Listen::default() };
    let local = LocalTls::at(&folder.path().join("state").join("certs"))?;
    let tls = local.server_config(&[], unix_now())?;
    let (ready, listens) = oneshot::channel();
    let tell = move |config: &Config| {
        let _ = ready.send(config.listen.clone());
    };
    let providers = Table::built_in().map_err(|mistake| mistake.to_string())?;
    let mut bridge = JoinSet::new();
    let (state, profiles, handed) = (folder.path().join("state"), crms()?, Handed::default());
    let parts = app::Parts { config, state, store, providers, profiles, tls, handed };
    bridge.spawn_local(app::serve(parts, Box::new(tell)));
    tokio::select! {
        listen = listens => Ok((bridge, listen?)),
        ended = bridge.join_next() => Err(format!("the bridge ended: {ended:?}").into()),
    }
}

async fn lists(imap: &mut Imap) -> Done<()> {
    let listed = imap.command("LIST \"\" *").await?.text;
    let told = |name: &&str| listed.lines().any(|line| line.trim_end().trim_end_matches('"').ends_with(*name));
    match NAMES.iter().find(|name| !told(name)) {
        Some(absent) => Err(format!("a folder is not listed: {absent}").into()),
        None if listed.contains("[Gmail]/") => Err("the provider's names are listed".into()),
        None => Ok(()),
    }
}

/// Selects a mailbox that has at least so many messages; gives its UIDVALIDITY.
async fn selects(imap: &mut Imap, mailbox: &str, messages: u64) -> Done<u64> {
    let answer = imap.command(&format!("SELECT {mailbox}")).await?;
    match (answer.count(" EXISTS"), answer.number("[UIDVALIDITY ")) {
        (Some(count), Some(validity)) if count >= messages => Ok(validity),
        (count, _) => Err(format!("{mailbox} has {} messages, not {messages}", count.unwrap_or(0)).into()),
    }
}

async fn holds(imap: &mut Imap, command: &str, text: &str) -> Done<()> {
    let answer = imap.command(command).await?;
    if answer.text.contains(text) { Ok(()) } else { Err(format!("the answer does not hold: {text}").into()) }
}

/// In INBOX and in Sent: one copy each.
async fn finds(imap: &mut Imap) -> Done<()> {
    for mailbox in ["INBOX", "Sent"] {
        imap.command(&format!("SELECT {mailbox}")).await?;
        let found = imap.command(&format!("SEARCH SUBJECT \"{SUBJECT}\"")).await?.text;
        let numbers = found.lines().find_map(|line| line.strip_prefix("* SEARCH")).unwrap_or_default();
        let copies = numbers.split_ascii_whitespace().count();
        if copies != 1 {
            return Err(format!("copies in {mailbox}: {copies}").into());
        }
    }
    imap.command("LOGOUT").await?;
    Ok(())
}

/// A bridge that has just learnt of the swap may say once to come back later.
async fn signs_in_again(settings: &CrmSettings, tape: &Tape) -> Done<Imap> {
    let mut last = None;
    for _ in 0..10 {
        match Imap::sign_in(settings, tape).await {
            Ok(imap) => return Ok(imap),
            Err(error) => last = Some(error),
        }
        sleep(Duration::from_millis(300)).await;
    }
    Err(last.map_or_else(|| "no try was made".into(), Into::into))
}

async fn reads_again(imap: &mut Imap, before: u64) -> Done<u64> {
    lists(imap).await?;
    selects(imap, "Sent", 2).await?;
    let validity = selects(imap, "INBOX", 8).await?;
    holds(imap, "FETCH 2 (FLAGS ENVELOPE BODY.PEEK[TEXT])", "le devis d’été").await?;
    imap.command("LOGOUT").await?;
    if validity > before {
        Ok(validity)
    } else {
        Err(format!("UIDVALIDITY is not larger: {before}, {validity}").into())
    }
}

/// The code of `account swap`. Gives where the CRM's folders went.
async fn swap(store: &Store, address: &Address, ovh: &Provider) -> Done<String> {
    let draft = control::swap::Draft {
        address: None,
        provider: "generic".to_owned(),
        imap: endpoint(ovh.imap)?,
        smtp: endpoint(ovh.smtp)?,
        certificates: Certificates::Ca(ovh.authority.clone()),
        user_format: UserFormat::Address,
        sign_in_name: address.to_string(),
        credential: credential(ovh)?,
        advice: None,
    };
    let account = control::account::by_address(store, address).await.map_err(with_causes)?;
    let naming = Naming::default();
    let manner = Manner { own: &OwnListeners::default(), report: &|_, _| {} };
    let prepared = control::swap::prepare(store, account, draft, &naming, manner).await.map_err(with_causes)?;
    let moved = prepared.folders.known.iter().chain(&prepared.folders.fresh);
    let moved = moved.filter_map(|moved| Some(format!("{} = {}", moved.local, moved.remote.as_ref()?)));
    let note = moved.collect::<Vec<_>>().join(", ");
    control::swap::switch(store, prepared, control::swap::BACK_DAYS, unix_now()).await.map_err(with_causes)?;
    Ok(note)
}

/// An error and its causes in one line.
fn with_causes(error: impl Error) -> Box<dyn Error + Send + Sync> {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.into()
}
