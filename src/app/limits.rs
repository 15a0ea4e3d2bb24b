//! The one table of all limits and time-outs: name, value, where it is set, what it is for.
//!
//! A value stands beside the code that holds it, and here only its name: nothing is written twice.
//! `tests/it/limits.rs` finds a constant of the layers that is neither here nor known to be no limit.

use super::usage::{DEADLINE as ASKED_WITHIN, TOLD_MAX, Usage};
use crate::{
    config::{Config, Period, Size},
    console, control, discovery, filing,
    listener::{self, lobby},
    model, oauth, profile, provider, queue,
    relay::{self, imap, opening, smtp},
    rules::{breaker, guesses, likeness, namespace, pace, patience, rate, report},
    session,
    store::{changes, folder, recent},
    upstream::{ahead, departing, dial, gate, leave, open, passed, pool, reset, tls},
    wire,
};
use serde::{Serialize, Serializer};
use std::{fmt, time::Duration};

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    pub name: &'static str,
    pub value: String,
    pub set: SetBy,
    /// What it is for.
    pub about: &'static str,
    /// By a bridge that runs; of what counts by account, the most that one has. None: nothing counts it, or none runs.
    pub in_use: Option<u64>,
}

/// Where a limit is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetBy {
    BuiltIn,
    /// The key of the configuration, which is its name.
    Key,
    /// The file of this provider.
    Provider(String),
    /// The file of this CRM profile.
    Crm(String),
}

impl fmt::Display for SetBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::Key => f.write_str("configuration"),
            Self::Provider(name) => write!(f, "provider {name}"),
            Self::Crm(name) => write!(f, "CRM {name}"),
        }
    }
}

impl Serialize for SetBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// All limits of this machine, with what is in use of those that are counted.
#[must_use]
pub fn table(
    config: &Config,
    providers: &provider::Table,
    profiles: &profile::Table,
    usage: Option<&Usage>,
) -> Vec<Limit> {
    let mut table = keys(config);
    for provider in providers.iter() {
        for (key, cap) in provider.limits.all().into_iter().filter_map(|(key, cap)| cap.map(|cap| (key, cap))) {
            let name = key.strip_prefix("limits.").unwrap_or(key);
            let set = SetBy::Provider(provider.name.clone());
            table.push(Limit { set, ..limit(name, cap.to_string(), "what it bears of one account, if that is less") });
        }
    }
    for profile in profiles.iter() {
        if let Some(wait) = profile.login_wait() {
            let set = SetBy::Crm(profile.name.clone());
            table.push(Limit {
                set,
                ..limit("login-wait", time(wait), "how long it waits for its login, if that is less")
            });
        }
    }
    table.extend(before_login());
    table.extend(clients());
    table.extend(lanes());
    table.extend(openings());
    table.extend(discoveries());
    if let Some(usage) = usage {
        for limit in &mut table {
            limit.in_use = usage.of(limit.name);
        }
    }
    table
}

fn limit(name: &'static str, value: String, about: &'static str) -> Limit {
    Limit { name, value, set: SetBy::BuiltIn, about, in_use: None }
}

fn count(name: &'static str, value: impl Into<u64>, about: &'static str) -> Limit {
    limit(name, value.into().to_string(), about)
}

fn octets(name: &'static str, value: usize, about: &'static str) -> Limit {
    octets_of(name, model::number(value), about)
}

fn octets_of(name: &'static str, value: u64, about: &'static str) -> Limit {
    limit(name, Size(value).to_string(), about)
}

fn wait(name: &'static str, value: Duration, about: &'static str) -> Limit {
    limit(name, time(value), about)
}

/// As the configuration writes it, or in milliseconds.
fn time(time: Duration) -> String {
    if time.subsec_nanos() > 0 { format!("{}ms", time.as_millis()) } else { Period(time).to_string() }
}

/// `[limits]` and `[timeouts]`.
fn keys(config: &Config) -> Vec<Limit> {
    let (limits, timeouts) = (&config.limits, &config.timeouts);
    let mut keys = vec![
        count("limits.connections", limits.connections, "clients at once"),
        count("limits.before-login", limits.before_login, "those of them that have not signed in"),
        count("limits.sessions-per-account", limits.sessions_per_account, "sessions signed in to one account"),
        count("limits.lanes-per-account", limits.lanes_per_account, "connections to the provider for one, of each use"),
        count("limits.parked-lanes", limits.parked_lanes, "of them kept for the next session, of each use"),
        count("limits.messages-per-connection", limits.messages_per_connection, "over one connection to the provider"),
        limit("limits.message-size", limits.message_size.to_string(), "the largest message of a CRM"),
    ];
    if let Some(messages) = limits.messages_per_minute {
        keys.push(count("limits.messages-per-minute", messages, "messages of one account to its provider"));
    }
    let times = [
        ("timeouts.handshake", timeouts.handshake, "TLS handshake, and a provider's greeting, each"),
        ("timeouts.before-login", timeouts.before_login, "from a client's connect to its login, in all"),
        ("timeouts.login-wait", timeouts.login_wait, "a login waits for its provider"),
        ("timeouts.send-wait", timeouts.send_wait, "a message waits for a connection and its turn"),
        ("timeouts.smtp-parked", timeouts.smtp_parked, "a connection to send is kept for the next message"),
        ("timeouts.imap-parked", timeouts.imap_parked, "a connection of IMAP is kept for the next session"),
        ("timeouts.progress", timeouts.progress, "to the next line, and for each 16 KiB of what is larger"),
        ("timeouts.long-command", timeouts.long_command, "SEARCH, SORT, THREAD, COPY, MOVE, EXPUNGE, APPEND"),
        ("timeouts.end-of-data", timeouts.end_of_data, "the provider's answer to the end of a message"),
        ("timeouts.delivery", timeouts.delivery, "the delivery of a queued message, in all"),
        ("timeouts.idle", timeouts.idle, "a client that says nothing"),
        ("timeouts.drain", timeouts.drain, "sessions at the stop of the bridge"),
        ("timeouts.discovery", timeouts.discovery, "finding the servers of an address, in all"),
        ("timeouts.discovery-question", timeouts.discovery_question, "one question of it, and its answer"),
    ];
    keys.extend(times.map(|(name, period, about)| limit(name, period.to_string(), about)));
    for key in &mut keys {
        key.set = SetBy::Key;
    }
    keys
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

fn before_login() -> Vec<Limit> {
    vec![
        octets("line-before-login", wire::IMAP_LINE_BEFORE_LOGIN, "a command of IMAP, literals included"),
        count("nesting-before-login", model::number(wire::IMAP_NESTING_BEFORE_LOGIN), "parentheses in each other"),
        count("commands-before-login", imap::client::COMMANDS_BEFORE_LOGIN_MAX, "whole commands of IMAP"),
        count("bad-commands-before-login", imap::MISBEHAVED_BEFORE_LOGIN_MAX, "of IMAP, then it closes"),
        count("smtp-commands-before-login", smtp::COMMANDS_BEFORE_LOGIN_MAX, "commands of SMTP"),
        count("smtp-bad-commands-before-login", smtp::BAD_COMMANDS_BEFORE_LOGIN, "of SMTP, then it closes"),
        octets("header-field", wire::header::HEADER_FIELD_MAX, "a field of a message that is looked at, From"),
        octets("copy-flags", imap::copy::COPY_FLAGS_MAX, "of flags that a CRM gives its copy for Sent"),
        octets("retry-recipients", smtp::content::RECIPIENTS_MAX, "of a message, by which a retry is known"),
        octets("likeness", likeness::LIKENESS_MAX, "the front of a message that is read to know its copies by"),
        octets("message-id", likeness::MESSAGE_ID_MAX, "one that is searched for in Sent"),
        octets_of("spool", filing::spool::SPOOL_MAX, "all messages whose copies are not in Sent yet"),
        octets("reserve", crate::store::reserve::RESERVE, "held back on disk for what a provider gives but once"),
        octets_of("spool-share", filing::spool::SPOOL_SHARE, "those of one account"),
        wait("spool-abandoned", filing::spool::ABANDONED, "then a file that nobody needs is removed"),
        octets("own-answer", filing::talk::ANSWER_MAX, "of the provider, to the bridge's own look into Sent"),
        count("own-answers", model::number(filing::talk::ANSWERS_MAX), "of one command of the bridge itself"),
        count("own-found", model::number(filing::talk::FOUND_MAX), "numbers that one SEARCH of it may find"),
        wait("own-command", filing::talk::COMMAND, "silence within one, or a piece of a copy"),
        wait("own-answered", filing::talk::ANSWERED, "all answers of one"),
        wait("own-look", filing::filer::LOOKED_WITHIN, "a look into Sent that a message waits for, in all"),
        count(
            "compared",
            model::number(filing::talk::COMPARED_MAX),
            "messages of Sent, where it is looked into by day",
        ),
        count(
            "filing-accounts",
            model::number(filing::turns::ROOMS),
            "Sent mailboxes looked into at once, half at one provider",
        ),
        wait("filing-outcome", filing::SETTLED_EACH, "between tries to keep what became of a message"),
        count("filing-outcomes", filing::SETTLED_AGAIN, "such tries, then Sent is looked at"),
        count("filing-of-one", crate::store::sent::due::OF_ONE, "Sent copies of one account at a time"),
        count("queued-recipients", model::number(smtp::queued::QUEUED_RECIPIENTS_MAX), "of one message that is queued"),
        count("queued-of-account", crate::store::queue::MESSAGES_MAX, "messages of one account in the queue"),
        count("queued-recipients-of-account", crate::store::queue::RECIPIENTS_MAX, "recipients of them all"),
        count("queue-of-one", queue::IN_A_ROW, "queued messages of one account in a row"),
        count(
            "queue-accounts",
            model::number(queue::ROOMS),
            "messages that are delivered at once, half to one provider",
        ),
        count("queue-transaction", model::number(queue::RECIPIENTS_AT_ONCE), "recipients of a queued message at once"),
        wait("queue-looked-at", queue::AT_LEAST, "the queue is looked at"),
        wait("queue-connection", queue::LANE_WAIT, "a delivery waits for a connection"),
        wait("queue-command", queue::speak::COMMAND, "the provider's answer to a command of a delivery"),
        wait("queue-piece", queue::speak::PIECE_WITHIN, "a piece of a queued message goes out"),
        wait("queue-up-to-mark", queue::UP_TO_MARK, "a delivery up to the end of its message, in all"),
        wait("queue-report", queue::REPORT, "a report of what failed goes into INBOX, in all"),
        wait("queue-advised", patience::ADVISED_MAX, "the longest pause that a provider gets for a message"),
        octets("report-header", report::HEADER_MAX, "of the message, in a report of what failed"),
        wait("filing-one", filing::filer::ONE, "a Sent copy, in all"),
        count("from-addresses", model::number(wire::mailbox::MAILBOXES_MAX), "addresses in it"),
        count("from-comments", model::number(wire::mailbox::COMMENTS_MAX), "comments in each other in it"),
        octets("smtp-line", wire::COMMAND_LINE_MAX, "a command of SMTP"),
        octets("smtp-auth-line", wire::SASL_LINE_MAX, "a line that holds a proof of SMTP"),
        count("refused-logins", imap::REFUSED_LOGINS_MAX, "of IMAP on one connection, then it closes"),
        count("smtp-refused-logins", smtp::REFUSED_LOGINS_MAX, "of SMTP on one connection, then it closes"),
        wait("refusal-first", guesses::FIRST, "the answer to a first refused login waits"),
        wait("refusal-longest", guesses::WAIT_MAX, "the answer to a refused login waits at most"),
        count("refusals-free", guesses::FREE, "refusals of one name that cost no more than the first"),
        wait("refusal-step", guesses::STEP, "by so much each further one of a name costs more"),
        count("refusals-counted", guesses::REFUSALS_MAX, "refusals of one name, more are not counted"),
        wait("refusal-forgotten", guesses::FORGOTTEN, "after this each, one by one"),
        count("refusal-counts", guesses::PLACES, "counts of names, by their hash: memory of one size"),
    ]
}

fn clients() -> Vec<Limit> {
    vec![
        count("backlog", listener::BACKLOG, "clients that wait to be accepted"),
        wait("guest-at-least", lobby::GUEST_AT_LEAST, "who has not signed in by then may go for who comes"),
        wait("guest-made-room", lobby::MADE_ROOM, "for the place of who is sent away"),
        wait("turned-away-said", lobby::SAID_AGAIN, "how often it is said that clients are turned away"),
        wait("no-descriptor", listener::NO_DESCRIPTOR, "pause when the system gives no descriptor"),
        count(
            "kept-trust",
            model::number(tls::KNOWN_TRUST),
            "pins and files of authorities whose TLS sessions are kept",
        ),
        count("recent-rows", model::number(recent::ROWS), "rows of the store that are kept until the next commit"),
        octets("read", session::pipe::READ, "the largest read of a connection, and its buffer"),
        octets("read-first", session::pipe::READ_FIRST, "the first one"),
        octets("read-at-rest", session::pipe::READ_AT_REST, "the same of a session that rests"),
        octets("high-water", relay::HIGH_WATER, "unread answers, above which the other side is not read"),
        octets("line", wire::IMAP_COMMAND_MAX, "a command of IMAP after login, held literals included"),
        octets_of("literal-held", wire::IMAP_LITERAL_HELD, "a literal that must be looked at: a name"),
        count("nesting", model::number(wire::IMAP_NESTING), "parentheses in each other after login"),
        count("tag", model::number(wire::IMAP_TAG_MAX), "octets of a tag"),
        count("pending", model::number(imap::PENDING_MAX), "commands of IMAP at the provider at once"),
        count("smtp-pending", model::number(smtp::PENDING_MAX), "commands of SMTP at the provider at once"),
        count("smtp-bad-commands", smtp::BAD_COMMANDS_AFTER_LOGIN, "of SMTP after login, then it closes"),
        count("validity-changes", imap::VALIDITY_CHANGES_MAX, "of UIDVALIDITY by a provider in one session"),
        octets("withheld", imap::WITHHELD_MAX, "lines kept from a client that waits for +"),
        count("list-patterns", model::number(wire::imap::list::PATTERNS_MAX), "patterns of one LIST"),
        limit("list-steps", imap::tree::LIST_COST_MAX.to_string(), "steps of matching names with one LIST"),
        wait("idle-renewed", imap::idle::RENEWED, "an IDLE at the provider is renewed"),
        wait("idle-polled", imap::idle::POLLED, "a provider without IDLE is asked"),
        wait("idle-spread", imap::idle::SPREAD_LEAST, "least pause before a lost IDLE is opened anew"),
        count("reopened-flags", imap::reopen::FLAGS_TOLD, "messages whose flags are told after a lost lane"),
        wait("farewell", session::FAREWELL, "the last words to a client"),
        wait("rest", session::REST, "until a session that does nothing gives its buffers back"),
        wait("linger", session::LINGER, "between octets that a client sends after them"),
        octets_of("progress", session::progress::PROGRESS, "of what is longer than a line, in each timeouts.progress"),
        wait("half-closed", session::progress::HALF_CLOSED, "progress towards a client that says no more"),
        wait("changes-seen", changes::INTERVAL, "the store is looked at for changes"),
        wait("usage-answer", ASKED_WITHIN, "`passerelle limits` waits for a bridge, and a bridge for it"),
        count("usage-accounts", model::number(TOLD_MAX), "accounts, and back-offs, that a bridge tells of"),
        count(
            "back-off-words",
            model::number(gate::back_off::SAID_MAX),
            "letters of a provider that are told with one",
        ),
    ]
}

fn lanes() -> Vec<Limit> {
    vec![
        octets("provider-line-held", wire::IMAP_LINE_FIRST, "of a provider's line, the rest streams"),
        octets("provider-response-held", imap::lane::HELD_MAX, "a response that must be whole to be rewritten"),
        count("namespaces", model::number(wire::imap::NAMESPACES_MAX), "prefixes of NAMESPACE"),
        count("capabilities", model::number(wire::imap::CAPABILITIES_MAX), "words of CAPABILITY that are kept"),
        count("smtp-mechanisms", model::number(wire::smtp::extensions::MECHANISMS_MAX), "of EHLO that are kept"),
        count("smtp-reply-lines", model::number(wire::REPLY_LINES_MAX), "lines of one reply of a provider"),
        octets("smtp-reply-line", wire::REPLY_LINE_MAX, "one line of it"),
        octets("smtp-reply-text", wire::REPLY_TEXT_MAX, "all text of it"),
        wait("parked-token", pool::TOKEN_PARKED, "a parked lane of a client's token, since its sign-in"),
        wait("parked-looked-at", pool::LOOKED_AT, "parked lanes are looked at for closed ones"),
        count("messages-at-once", rate::AT_ONCE, "of those of a minute one in so many goes at once"),
        wait("smtp-reset", reset::RESET_WITHIN, "RSET is answered, or a new connection is opened"),
        wait("smtp-parting", reset::PARTING, "QUIT is answered before a connection is closed"),
        wait("parked-doubted", leave::DOUBTED, "then a parked lane is asked whether it answers"),
        wait("parked-probe", leave::PROBE, "that answer"),
        wait("leaving", leave::LEAVING, "a mailbox is left before its lane is parked"),
        wait("folders-fresh", gate::trees::FRESH, "a folder table answers LIST"),
        count("folder-tables", model::number(gate::trees::TREES_MAX), "of one account: one for each token of its CRMs"),
        wait("folders-aged", gate::trees::AGED, "a folder table is read again with the next lane"),
        wait("healthy", gate::lease::HEALTHY, "after a sign-in a login waits for no other"),
        wait("store-again", gate::AGAIN, "pause after a failed read of the store"),
        count("folders", model::number(wire::FOLDERS_MAX), "mailboxes of one account"),
        octets("folder-names", wire::FOLDER_NAMES_MAX, "all their names"),
        limit("validity-rows", folder::VALIDITY_ROWS_MAX.to_string(), "names of one account with a UIDVALIDITY kept"),
        octets("folder-name", model::MAILBOX_NAME_MAX, "one name"),
        count("folder-levels", model::number(namespace::LEVELS_MAX), "levels in one name"),
    ]
}

fn openings() -> Vec<Limit> {
    vec![
        wait("dial", dial::PER_ADDRESS, "a TCP connection, to each address of a provider"),
        count("dial-addresses", model::number(dial::ADDRESSES_MAX), "addresses of one host that are tried"),
        wait("opening", gate::lease::OPENING, "from its name to signed in, in all"),
        wait("account-check", control::account::DEADLINE, "the same when a person waits, for each service"),
        wait("account-check-handshake", open::HANDSHAKE, "its greeting and its TLS handshake, each"),
        wait("doctor-clock", control::doctor::CLOCK_DIFFERS, "`doctor` warns where our clock differs by more"),
        wait("doctor-sender", control::doctor::ASKED_WITHIN, "whether an account may send, asked by `doctor`"),
        octets("import-file", control::import::FILE_MAX, "a configuration that is imported"),
        octets("import-value", control::import::VALUE_MAX, "one sealed value in it"),
        count("import-iterations", control::import::ITERATIONS_MAX, "rounds from a password to its key"),
        octets("opening-read", open::CHUNK, "one read of an opening"),
        octets("departing", departing::BEFORE_MAX, "what a provider says while a lane's mailbox is left"),
        octets("departing-read", departing::CHUNK, "one read while a lane's mailbox is left"),
        octets("read-ahead", ahead::AHEAD, "one read under TLS of a provider that sends much"),
        octets("opening-response", opening::imap::RESPONSE_MAX, "one response in it"),
        octets("sign-in-name", wire::sasl::bearer::USER_MAX, "a name at a provider, beside a token"),
        octets("token", wire::sasl::bearer::TOKEN_MAX, "an access token"),
        octets("token-challenge", wire::sasl::bearer::CHALLENGE_MAX, "what a provider says of a refused one"),
        wait("token-exchange", oauth::exchange::DEADLINE, "a token endpoint answers, in all"),
        octets("token-answer", oauth::flow::BODY_MAX, "its answer"),
        count(
            "clocks",
            model::number(oauth::exchange::CLOCKS_MAX),
            "of token endpoints, by which assertions are signed",
        ),
        octets("sign-in-answer", oauth::flow::consent::RETURNED_MAX, "what a browser brings back from a provider"),
        wait("sign-in-state", seconds(control::consent::STATE_SECONDS), "from sending a person to the answer"),
        wait("sign-in-link", seconds(control::consent::LINK_SECONDS), "a link for the owner of a mailbox"),
        count("console-connections", console::CONNECTIONS, "browsers at once"),
        wait("console-head", console::HEAD, "the head of a browser's request"),
        octets("console-head-size", console::HEAD_MAX, "its octets"),
        wait("console-form-time", console::FORM, "a form of a browser comes in"),
        octets("console-form", console::FORM_MAX, "a form of a browser"),
        wait("console-request", console::REQUEST, "a request and its answer, in all"),
        wait("console-settle", console::SETTLE, "a sign-in under way when the bridge stops"),
        wait("console-no-descriptor", console::NO_DESCRIPTOR, "pause when the system gives no descriptor"),
        wait("token-life-least", oauth::flow::LIFETIME_MIN, "a token is taken to live, whatever is said"),
        wait("token-life-most", oauth::flow::LIFETIME_MAX, "the same"),
        wait("device-code-life-most", oauth::flow::device::EXPIRES_MAX, "a code for another device is waited for"),
        octets("device-code-address", oauth::flow::device::ADDRESS_MAX, "the address where it is typed"),
        octets("device-code", oauth::flow::device::USER_CODE_MAX, "what is typed there"),
        wait("grant-lease", oauth::broker::LEASE, "one that has not moved for so long is nobody's any more"),
        wait("grant-lease-asked", oauth::broker::ASKED_EACH, "between two questions for one that another has"),
        wait("token-pause", oauth::broker::PAUSE_FIRST, "after a first refresh that failed; it doubles"),
        wait("token-pause-own", oauth::broker::PAUSE_OWN, "where the bridge's own store or disk was the trouble"),
        wait("token-pause-longest", oauth::broker::PAUSE_MAX, "up to this"),
        count("refused-free", breaker::REFUSALS_FREE, "refused sign-ins before the first pause"),
        count(
            "refused-tokens",
            model::number(passed::REFUSED_MAX),
            "refused tokens of CRMs, kept as hashes for one account",
        ),
        count("refused-token-shown", passed::SHOWN, "how often a CRM's token is shown that the provider refuses"),
        wait("refused-token-kept", passed::REMEMBERED, "a CRM's token that was refused twice is not shown again"),
        wait("token-let-in-kept", passed::LET_IN, "a CRM's token that was let in is no new one"),
        count("tokens-let-in", model::number(passed::LET_IN_MAX), "of CRMs, kept as hashes for one account"),
        count("new-tokens-at-once", model::number(gate::turn::TURNS), "of CRMs, shown to one service by one login"),
        count("new-tokens-at-once-account", model::number(gate::turn::ACCOUNT_TURNS), "by all logins of an account"),
        count("new-tokens-free", pace::UNKNOWN_FREE, "new ones of a login that are refused before the first pause"),
        count("new-tokens-free-account", pace::ACCOUNT_FREE, "the same, of all logins of an account"),
        wait("new-tokens-pause", pace::UNKNOWN_FIRST, "after these; it doubles"),
        wait("new-tokens-pause-longest", pace::UNKNOWN_MAX, "up to this; what was let in lately never waits"),
        wait("new-tokens-forgotten", pace::UNKNOWN_FORGOTTEN, "after this each refusal, one by one"),
        count("strangers", gate::strangers::STRANGERS, "places of unknown logins, whose pauses they share"),
        count("answers-echoed", model::number(gate::strangers::ECHOES_MAX), "of providers, which unknown logins hear"),
        wait("refused-pause", breaker::REFUSED_FIRST, "after a second refused sign-in; it doubles"),
        wait("refused-pause-longest", breaker::REFUSED_MAX, "up to this; a changed account is tried at once"),
        wait("sent-away-pause", breaker::SENT_AWAY_FIRST, "after a provider that was busy twice; it doubles"),
        wait("sent-away-pause-longest", breaker::SENT_AWAY_MAX, "up to this"),
        wait("provider-wish", breaker::WISH_MAX, "the longest pause that a provider gets by asking for it"),
    ]
}

fn discoveries() -> Vec<Limit> {
    use crate::upstream::discovery as asked;
    vec![
        octets("discovery-answer", discovery::ANSWER_MAX, "what a web server says of a domain's mail"),
        count("discovery-depth", model::number(discovery::xml::DEPTH_MAX), "elements of it in each other"),
        count("discovery-elements", model::number(discovery::xml::ELEMENTS_MAX), "elements of it in all"),
        count(
            "discovery-attributes",
            model::number(discovery::xml::ATTRIBUTES_MAX),
            "of one element that are looked through",
        ),
        octets("discovery-text", discovery::xml::TEXT_MAX, "the text of one element"),
        count("discovery-servers", model::number(discovery::SERVERS_MAX), "of one kind that are kept of one answer"),
        octets("discovery-name", discovery::NAME_MAX, "a name to sign in with that an answer tells"),
        count("discovery-records", model::number(asked::RECORDS_MAX), "of one name that are read"),
        count("discovery-redirects", model::number(asked::REDIRECTS_MAX), "from one web address to the next"),
        count("discovery-elsewhere", control::discover::ELSEWHERE_MAX, "the same by what Autodiscover itself says"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn whole(usage: Option<&Usage>) -> Vec<Limit> {
        let providers = provider::Table::built_in().expect("a table");
        let profiles = profile::Table::built_in().expect("a table");
        table(&Config::default(), &providers, &profiles, usage)
    }

    #[test]
    fn every_key_is_in_the_table_with_its_value() {
        let shown: toml::Table = toml::Table::try_from(Config::default()).expect("shown");
        let mut keys = BTreeSet::new();
        for section in ["limits", "timeouts"] {
            for (key, value) in shown[section].as_table().expect("a section") {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                keys.insert((format!("{section}.{key}"), value));
            }
        }
        let told = whole(None).into_iter().filter(|limit| limit.set == SetBy::Key);
        assert_eq!(told.map(|limit| (limit.name.to_owned(), limit.value)).collect::<BTreeSet<_>>(), keys);
    }

    #[test]
    fn names_are_told_once_in_each_place() {
        let table = whole(None);
        let names: BTreeSet<_> = table.iter().map(|limit| (limit.name, limit.set.to_string())).collect();
        assert_eq!(names.len(), table.len());
        for limit in &table {
            assert!(!limit.about.is_empty() && limit.about.len() < 60 && limit.in_use.is_none(), "{limit:?}");
        }
        let of = |name: &str, set: &str| table.iter().find(|limit| limit.name == name && limit.set.to_string() == set);
        assert_eq!(of("login-wait", "CRM suitecrm").map(|limit| limit.value.as_str()), Some("4s"));
        assert_eq!(of("smtp-connections", "provider microsoft365").map(|limit| limit.value.as_str()), Some("3"));
        assert_eq!(of("refusal-first", "built in").map(|limit| limit.value.as_str()), Some("500ms"));
    }

    #[test]
    fn what_is_counted_is_told_beside_its_limit() {
        let mut usage = Usage { connections: 7, before_login: 2, ..Usage::default() };
        usage.accounts.extend([(1, 3, 0), (2, 1, 4)].map(|(id, sessions, parked)| super::super::usage::OfAccount {
            id,
            sessions,
            parked,
            ..Default::default()
        }));
        let table = whole(Some(&usage));
        let of = |name: &str| table.iter().find(|limit| limit.name == name).and_then(|limit| limit.in_use);
        assert_eq!([of("limits.connections"), of("limits.before-login")], [Some(7), Some(2)]);
        assert_eq!([of("limits.sessions-per-account"), of("limits.parked-lanes")], [Some(3), Some(4)]);
        assert_eq!(of("line"), None);
    }
}
