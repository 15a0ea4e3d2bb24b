//! The dialogues of `dialogue.rs` over real sockets: a client in TLS, the driver of sessions with its gates and a store,
//! and a provider in TLS that plays the voice P and hears U, signing in included.
//!
//! What a relay asks is answered by the bridge itself here. So before each thing that a voice says, the answers that come
//! next are made true: a login exists or not, the provider lets us in or not, the folder table is fresh or stale, a
//! UIDVALIDITY was told. What cannot be made true ends the dialogue before it; that is printed with the reason.

mod provider;
mod voice;

use crate::{
    dialogue::{
        profile_of,
        protocol::{Chosen, Protocol, changes, crm, profiles, table},
        words::octets,
    },
    harness::{Certificates, Lab, PATIENCE, trusting},
};
use passerelle::{
    model::{
        AccountId, Address, Certificates as Believed, Endpoint, FolderTable, Generation, LocalName, Login, RemoteName,
        Secret, Security, SentCopy,
    },
    oauth::broker::{Broker, Holder},
    provider::Table,
    relay::{First, LaneUse},
    rules::namespace::Naming,
    session::{self, Ended, Patience, Surroundings},
    store::{Credential, Mapping, NewAccount, NewLogin, Origin, Settings, Standing, Store},
    upstream::{Bounds, Gates, LaneWanted, Leased, SendingBounds, Stay},
};
use provider::{Provider, Welcome, receive};
use std::{
    collections::VecDeque,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, rustls::pki_types::ServerName};
use voice::Voice;

/// Between two things that nothing but their order connects.
const A_MOMENT: Duration = Duration::from_millis(30);
/// How long a login waits for a lane when all are taken: what `busy` costs.
const LOGIN_WAIT: Duration = Duration::from_millis(300);
const LANES: u32 = 2;

#[test]
fn smtp_over_tls() {
    play_folder("smtp");
}

#[test]
fn imap_over_tls() {
    play_folder("imap");
}

fn play_folder(folder: &str) {
    let Some(lab) = Lab::needing(&[]) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues").join(folder);
    let mut files: Vec<_> = fs::read_dir(&path).expect("dialogues").map(|entry| entry.expect("one").path()).collect();
    files.sort();
    let (mut failures, mut whole, count) = (String::new(), 0, files.len());
    for file in files {
        let text = fs::read_to_string(&file).expect("a readable dialogue");
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match runtime.block_on(play(&lab, folder, &text)) {
            Ok(None) => whole += 1,
            Ok(Some(reason)) => drop(writeln!(std::io::stderr(), "{folder}/{name}: played {reason}")),
            Err(trouble) => drop(writeln!(failures, "{folder}/{name}: {trouble}")),
        }
    }
    let _ = writeln!(std::io::stderr(), "{folder}: {whole} of {count} dialogues whole over TLS");
    assert!(failures.is_empty(), "\n{failures}");
}

/// Plays a dialogue. `Some`: up to where, and why no further.
async fn play(lab: &Lab, folder: &str, text: &str) -> Result<Option<String>, String> {
    let protocol = Protocol::of(folder).expect("a protocol");
    let secured = text.lines().any(|line| line == "! secured");
    let lines: Vec<(usize, &str)> =
        (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect();
    let chosen = Chosen::of(text);
    let mut stage = Stage::build(lab, protocol, secured, profile_of(text), &chosen.naming).await;
    stage.choose(&chosen).await;
    let mut at = 0;
    let mut settled = true;
    while let Some(&(number, line)) = lines.get(at) {
        let place = |trouble: String| format!("line {number}: {line}\n    {trouble}");
        if line == "! elapsed" {
            return Ok(Some(format!("to line {number}, minutes do not pass on demand")));
        }
        let Some((voice, _)) = said(line) else {
            if line.starts_with('!') {
                let questions = questions(&lines[at + 1..]);
                if let Some(reason) = why_not(&questions, stage.waits_for_a_place()) {
                    return Ok(Some(format!("to line {number}, {reason}")));
                }
                stage.make_true(&questions).await.map_err(place)?;
            }
            stage.follow(line).await.map_err(place)?;
            settled = !line.starts_with('!');
            at += 1;
            continue;
        };
        // What one voice says without a break goes out in one write.
        let run: Vec<&str> = lines[at..]
            .iter()
            .map_while(|(_, line)| said(line).filter(|(who, _)| *who == voice))
            .map(|(_, w)| w)
            .collect();
        let questions = questions(&lines[at + run.len()..]);
        if let Some(reason) = why_not(&questions, stage.waits_for_a_place()) {
            return Ok(Some(format!("to line {number}, {reason}")));
        }
        if !settled {
            sleep(A_MOMENT).await;
        }
        stage.make_true(&questions).await.map_err(place)?;
        let octets = run.iter().map(|words| octets(words)).collect::<Result<Vec<_>, _>>().map_err(place)?;
        stage.say(voice, &octets.concat()).await.map_err(place)?;
        settled = false;
        at += run.len();
    }
    stage.nothing_left().await?;
    Ok(None)
}

/// What the relay asks before anything else is said, or happens.
fn questions<'a>(lines: &[(usize, &'a str)]) -> Vec<&'a str> {
    let next = lines.iter().map(|(_, line)| *line).take_while(|line| said(line).is_none() && !line.starts_with('!'));
    next.filter_map(|line| line.strip_prefix("? ")).collect()
}

/// Who says a line, and what.
fn said(line: &str) -> Option<(char, &str)> {
    let voice = line.chars().next().filter(|voice| matches!(voice, 'C' | 'P'))?;
    let words = line[1..].trim_start().strip_prefix("=>")?;
    Some((voice, words.strip_prefix(' ').unwrap_or(words)))
}

/// Why these answers cannot be had from a real bridge.
fn why_not(questions: &[&str], waits_for_a_place: bool) -> Option<&'static str> {
    let opens = questions.iter().any(|question| question.starts_with("lane => ok"));
    if opens && questions.contains(&"folders => none") {
        return Some("a lane that is opened where no table is known brings one");
    }
    questions.iter().find_map(|question| cannot_be(question, waits_for_a_place))
}

/// Why an answer cannot be had from a real bridge.
fn cannot_be(question: &str, waits_for_a_place: bool) -> Option<&'static str> {
    let (question, answer) = question.split_once(" => ")?;
    match (question.split(' ').next()?, answer) {
        ("verdict", settings) if settings.contains("filing=") || settings.contains("submission=queued") => {
            Some("nothing is kept on disk here")
        }
        ("verdict", "internal") | ("validity" | "keep", "disk-full") => Some("the store does not fail on demand"),
        ("lane" | "ready", "busy") if !waits_for_a_place => Some("who signs in waits for no place"),
        ("lane" | "ready", "consent") => Some("no provider wants consent yet"),
        _ => None,
    }
}

/// The bridge, its client, and its provider.
struct Stage {
    lane_use: LaneUse,
    store: Store,
    gates: Arc<Gates>,
    account: AccountId,
    client: Voice<client::TlsStream<TcpStream>>,
    session: Option<JoinHandle<Ended>>,
    drain: watch::Sender<bool>,
    welcomes: Arc<Mutex<VecDeque<Welcome>>>,
    lanes: mpsc::UnboundedReceiver<Provider>,
    lane: Voice<Provider>,
    folders: FolderTable,
    /// Lanes that keep others from having one.
    taken: Vec<Leased>,
    /// The session gave its lane back, and a line said so.
    parked: bool,
    /// The client of an SMTP session is.
    signed_in: bool,
    /// The lane of an SMTP session was just opened: no RSET comes before its first message.
    fresh: bool,
    _state: tempfile::TempDir,
}

impl Stage {
    async fn build(lab: &Lab, protocol: Protocol, secured: bool, profile: &str, naming: &Naming) -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let store = Store::open(state.path(), None, 1).await.expect("a store");
        let (provider, port) = listen().await;
        let account = store.add_account(&account(&store, &lab.certificates.ca, port).await, 1).await.expect("added");
        let bounds = Bounds {
            lanes_per_account: LANES,
            sessions_per_account: 10,
            login_wait: LOGIN_WAIT,
            handshake: LOGIN_WAIT,
            refusals: 10,
            stay: Stay { time: PATIENCE, lanes: 4 },
            sending: SendingBounds {
                per_lane: 100,
                per_minute: None,
                stay: Stay { time: PATIENCE, lanes: 4 },
                wait: LOGIN_WAIT,
            },
        };
        let broker = Broker::new(store.clone(), passerelle::upstream::exchange().expect("a client"), Holder::Serve);
        let providers = Table::built_in().expect("a table");
        let gates = Gates::new(store.clone(), broker, bounds, Vec::new(), providers, profiles(naming));
        let welcomes = Arc::new(Mutex::new(VecDeque::new()));
        let (give, lanes) = mpsc::unbounded_channel();
        let acceptor = TlsAcceptor::from(server_config(&lab.certificates));
        let lane_use = match protocol {
            Protocol::Imap => LaneUse::Imap,
            Protocol::Smtp => LaneUse::Submission,
        };
        tokio::spawn(receive(provider, acceptor.clone(), lane_use, welcomes.clone(), give));

        let (drain, draining) = watch::channel(false);
        let patience = Patience {
            login: PATIENCE,
            client: PATIENCE,
            progress: PATIENCE,
            long_command: PATIENCE,
            end_of_data: PATIENCE,
        };
        let surroundings =
            Surroundings { gates: gates.clone(), filing: None, patience, login_wait: None, drain: draining };
        let (bridge, port) = listen().await;
        let relay = protocol.relay(secured, profile);
        let session = tokio::spawn(async move {
            let (socket, _) = bridge.accept().await.expect("a client");
            socket.set_nodelay(true).expect("an option of TCP");
            let stream = acceptor.accept(socket).await.expect("a handshake");
            session::run(Box::new(stream), relay, surroundings, ()).await
        });
        let client = Voice { stream: Some(connect(port, &lab.certificates.ca).await), heard: Vec::new() };
        Self {
            lane_use,
            store,
            gates,
            account,
            client,
            session: Some(session),
            drain,
            welcomes,
            lanes,
            lane: Voice { stream: None, heard: Vec::new() },
            folders: table("identity"),
            taken: Vec::new(),
            parked: false,
            signed_in: false,
            fresh: false,
            _state: state,
        }
    }

    /// Messages do, and no logins.
    fn waits_for_a_place(&self) -> bool {
        self.lane_use == LaneUse::Submission && self.signed_in
    }

    /// Sees to it that the bridge answers the relay's next questions as the dialogue has it.
    async fn make_true(&mut self, questions: &[&str]) -> Result<(), String> {
        for question in questions {
            let (question, answer) = question.split_once(" => ").unwrap_or((question, ""));
            let words: Vec<&str> = question.split(' ').collect();
            let answers: Vec<&str> = answer.split_whitespace().collect();
            match (words.as_slice(), answers.as_slice()) {
                (["verdict", login, proof @ ..], ["ok", settings @ ..]) => {
                    // What the digests of dialogues are keyed by.
                    let password = if let [password] = proof { password } else { "secret" };
                    self.add_login(login, password, crm(settings)).await;
                    if !settings.is_empty() {
                        let changed = self.store.change_account(self.account, &changes(settings)).await;
                        changed.expect("it is there");
                    }
                }
                // Where no login is good yet, each is refused.
                (["verdict", ..], ["refused"]) => {}
                // It is there already.
                (["lane"], ["ok", ..]) if self.parked && self.lane.stream.is_some() => {}
                (["lane" | "ready"], outcome) => self.next_lane(outcome).await,
                (["folders"], ["none"]) => self.gates.stale(self.account),
                (["folders"], ["known"]) if self.gates.folders(self.account, &Naming::default(), None).is_none() => {
                    self.publish().await
                }
                (["validity", local, remote @ .., upstream], [told]) => {
                    let number = |text: &str| text.parse::<u32>().map_err(|_| "not a number".to_owned());
                    self.tell(local, &remote.join(" "), number(upstream)?, number(told)?).await;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn add_login(&self, login: &str, password: &str, crm: &str) {
        let user = self.store.account(self.account).await.expect("read").expect("it is there").owner;
        let name = Login::parse(login).expect("a login");
        let password = Secret::new(password.to_owned());
        let (label, profile) = (String::new(), crm.to_owned());
        let new = NewLogin { user, account: self.account, name, label, profile, password };
        // It may be there already.
        let _ = self.store.add_login(&new, 1).await;
    }

    /// What a person chose before the dialogue begins.
    async fn choose(&self, chosen: &Chosen) {
        let mapping = |(local, remote): &(LocalName, RemoteName)| Mapping {
            local: local.clone(),
            remote: remote.clone(),
            origin: Origin::User,
        };
        let rows: Vec<Mapping> = chosen.choices.pairs.iter().map(mapping).collect();
        if !rows.is_empty() {
            self.store.set_folder_map(self.account, &rows).await.expect("mapped");
        }
        for name in &chosen.choices.hidden {
            self.store.set_hidden(self.account, name, true).await.expect("hidden");
        }
    }

    async fn next_lane(&mut self, outcome: &[&str]) {
        self.taken.clear();
        match outcome {
            ["ok", provider, offered @ ..] if self.lane_use == LaneUse::Imap => {
                self.folders = table(provider);
                // A gate knows the account's generation, and can have a table, once a lane was asked for.
                self.welcome(Welcome::Gone);
                assert!(self.lease_aside().await.is_none(), "nobody welcomes it");
                self.publish().await;
                self.welcome(Welcome::In(offered.iter().map(|&word| word.to_owned()).collect()));
            }
            ["ok", offered @ ..] => {
                self.welcome(Welcome::In(offered.iter().map(|&word| word.to_owned()).collect()));
            }
            ["busy"] => {
                drop(self.lane.stream.take());
                for _ in 0..LANES {
                    self.welcome(Welcome::Aside);
                    self.taken.extend(self.lease_aside().await);
                }
                self.welcomes.lock().expect("no panic in here").clear();
            }
            ["sign-in-refused"] => self.welcome(Welcome::Refused),
            _ => self.welcome(Welcome::Gone),
        }
    }

    /// A lane of ours; None where all are taken.
    async fn lease_aside(&self) -> Option<Leased> {
        let login = self.store.logins().await.expect("read").first().expect("one is signed in").id;
        let standing = Standing { login, generation: self.generation().await };
        let wanted =
            LaneWanted { purpose: self.lane_use, first: First::Once, last: None, passed: None, wait: Duration::MAX };
        self.gates.lease(self.account, standing, &Naming::default(), wanted).await.ok()
    }

    async fn generation(&self) -> Generation {
        self.store.account(self.account).await.expect("read").expect("it is there").generation
    }

    fn welcome(&self, welcome: Welcome) {
        self.welcomes.lock().expect("no panic in here").push_back(welcome);
    }

    async fn publish(&self) {
        self.gates
            .publish(self.account, self.generation().await, &Naming::default(), None, self.folders.clone())
            .await
            .expect("a namespace");
    }

    /// Lets the store have told what the dialogue wants to be told. The rule is in `rules::uid_validity`: at first the
    /// provider's own value; after another mailbox stood there, at least one more than what was told then.
    async fn tell(&self, local: &str, remote: &str, upstream: u32, told: u32) {
        let local = LocalName::parse(local.as_bytes()).expect("a name");
        let remote = RemoteName::parse(remote.as_bytes()).expect("a name");
        let other = RemoteName::parse(b"another mailbox").expect("a name");
        if told != upstream {
            let _ = self.store.uid_validity(self.account, &local, &other, told - 1, i64::from(told) - 1).await;
        }
        let now = i64::from(told);
        let is = self.store.uid_validity(self.account, &local, &remote, upstream, now).await.expect("told");
        assert_eq!(is, told, "{local:?}");
    }

    async fn say(&mut self, voice: char, octets: &[u8]) -> Result<(), String> {
        match voice {
            'C' => self.client.say(octets).await,
            _ => {
                // What is parked is closed by it, as IMAP's is where a dialogue says that it is.
                self.parked &= self.lane_use == LaneUse::Imap;
                self.lane.say(octets).await
            }
        }
    }

    /// What the provider of an SMTP session hears before a message, unless the lane is new.
    async fn reset(&mut self) -> Result<(), String> {
        self.parked = false;
        if !std::mem::take(&mut self.fresh) {
            self.lane.hears("<=", "RSET").await?;
            self.lane.say(b"250 2.0.0 Ok\r\n").await?;
        }
        Ok(())
    }

    /// Any line but one that C or P says.
    async fn follow(&mut self, line: &str) -> Result<(), String> {
        let (mark, rest) = line.split_once(' ').ok_or("no words")?;
        let rest = rest.trim_start();
        let (how, words) = rest.split_once(' ').unwrap_or((rest, ""));
        match (mark, how) {
            ("B", how) => {
                self.signed_in |= words.starts_with("235 ");
                self.client.hears(how, words).await
            }
            ("U", how @ ("<=" | "<~")) if words.to_ascii_uppercase().starts_with("MAIL FROM:") => {
                self.reset().await?;
                self.lane.hears(how, words).await
            }
            ("U", how) => self.lane.hears(how, words).await,
            ("?", "lane") if std::mem::take(&mut self.parked) && self.lane.stream.is_some() => Ok(()),
            ("?", "lane" | "ready") if words.starts_with("=> ok") => {
                self.parked = how == "ready" || self.lane_use == LaneUse::Submission && !self.signed_in;
                self.fresh = self.signed_in;
                let lane = timeout(PATIENCE, self.lanes.recv()).await.ok().flatten();
                self.lane.stream = Some(lane.ok_or("no lane is opened")?);
                Ok(())
            }
            ("?", "release") if words == "clean" => {
                self.parked = true;
                Ok(())
            }
            // The mailbox is left: nobody answers, so the lane comes to nothing.
            ("?", "release") if matches!(words, "selected" | "perhaps-selected") => {
                self.lane.hears("<~", "PSRL*").await?;
                drop(self.lane.stream.take());
                Ok(())
            }
            ("?", "release") => self.lane.ends().await,
            // Answered by the bridge.
            ("?", _) => Ok(()),
            ("!", "closed") => {
                drop(self.lane.stream.take());
                Ok(())
            }
            ("!", "left") => {
                drop(self.client.stream.take());
                Ok(())
            }
            ("!", "drain") => self.drain.send(true).map_err(|_| "the session is gone".to_owned()),
            ("!", _) => Ok(()),
            ("=", _) => self.ended(rest).await,
            _ => Err("not a line of a dialogue".to_owned()),
        }
    }

    async fn ended(&mut self, words: &str) -> Result<(), String> {
        self.client.ends().await?;
        drop(self.client.stream.take());
        let session = self.session.take().ok_or("it has ended before")?;
        let ended = timeout(PATIENCE, session).await.map_err(|_| "goes on")?.map_err(|error| error.to_string())?;
        let end = ended.failure.map_or_else(|| "done".to_owned(), |failure| format!("failed {failure:?}"));
        if end == words { Ok(()) } else { Err(format!("instead: {end}")) }
    }

    async fn nothing_left(&mut self) -> Result<(), String> {
        sleep(A_MOMENT).await;
        self.client.listen().await;
        self.lane.listen().await;
        let heard = |voice: &[u8]| String::from_utf8_lossy(voice).into_owned();
        match (&*self.client.heard, &*self.lane.heard) {
            (b"", b"") => Ok(()),
            (client, lane) => Err(format!("at the end: B {:?}, U {:?}", heard(client), heard(lane))),
        }
    }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

async fn account(store: &Store, ca: &Path, port: u16) -> NewAccount {
    let endpoint = |security| Endpoint::parse(&format!("localhost:{port}"), security, port).expect("an endpoint");
    NewAccount {
        owner: store.user(passerelle::store::ADMIN).await.expect("read").expect("there is one").id,
        address: Address::parse("alice@example.test").expect("an address"),
        imap: endpoint(Security::Tls),
        smtp: endpoint(Security::Tls),
        certificates: Believed::Ca(ca.to_owned()),
        sign_in_name: "alice".to_owned(),
        credential: Credential::Password(Secret::new("hunter2".to_owned())),
        settings: Settings { sent_copy: SentCopy::Never, ..Settings::default() },
        smtp_password: None,
        aliases: Vec::new(),
        checked_at: None,
    }
}

fn server_config(certificates: &Certificates) -> Arc<tokio_rustls::rustls::ServerConfig> {
    let good = &certificates.good;
    passerelle::local_tls::server_config(&good.certificate, &good.key).expect("a certificate")
}

async fn connect(port: u16, ca: &Path) -> client::TlsStream<TcpStream> {
    let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("the bridge listens");
    socket.set_nodelay(true).expect("an option of TCP");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(trusting(ca)).connect(name, socket).await.expect("a handshake")
}
