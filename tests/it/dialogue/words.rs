//! The words of a dialogue: lines into octets, patterns, and requests and failures by their names.

use passerelle::{
    failure::{Cap, Failure, Unreachable},
    model::RemoteName,
    relay::{Commitment, Credentials, Envelope, Keep, LaneState, Request},
};

/// A request in the words of a dialogue.
pub fn spell(request: &Request) -> String {
    match request {
        Request::Verdict(Credentials::CramMd5 { login, digest, .. }) => {
            let hex: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
            format!("verdict {login} cram-md5 {hex}")
        }
        Request::Verdict(Credentials::Token { login, token, bare, .. }) => {
            let how = if *bare { "said" } else { "shown" };
            format!("verdict {login} token {how} {}", String::from_utf8_lossy(token.expose()))
        }
        Request::Verdict(Credentials::Nobody) => "verdict of nobody".to_owned(),
        Request::Verdict(Credentials::Plain { login, password }) => {
            format!("verdict {login} {}", String::from_utf8_lossy(password.expose()))
        }
        Request::Ready(_) | Request::ReadyToSend(_) => "ready".to_owned(),
        Request::Lane(..) => "lane".to_owned(),
        Request::Release(_, LaneState::Clean) => "release clean".to_owned(),
        Request::Release(_, LaneState::Selected) => "release selected".to_owned(),
        Request::Release(_, LaneState::PerhapsSelected) => "release perhaps-selected".to_owned(),
        Request::Release(_, LaneState::Unknown) => "release unknown".to_owned(),
        Request::Folders(_) => "folders".to_owned(),
        Request::Publish(..) => "publish".to_owned(),
        Request::Stale(_) => "stale".to_owned(),
        Request::Throttled { pause, .. } => format!("throttled {}", pause.as_secs()),
        Request::Validity { local, remote, upstream, .. } => {
            format!("validity {} {} {upstream}", local.as_str(), String::from_utf8_lossy(remote.as_bytes()))
        }
        Request::Keep(_, Keep::Role(role, remote)) => format!("keep role {role:?} {}", text(remote)),
        Request::Keep(_, Keep::Subscription(remote, subscribed)) => {
            let subscribed = subscribed.map_or("forget", |subscribed| if subscribed { "yes" } else { "no" });
            format!("keep subscription {} {subscribed}", text(remote))
        }
        Request::Spool(..) => "spool".to_owned(),
        Request::Commit(_, _, whole) => {
            let (likeness, commitment) = &**whole;
            let id = likeness.message_id.as_deref().unwrap_or("-");
            match commitment {
                Commitment::Sending { recipients } => {
                    format!("commit {id} to {}", recipients.as_deref().unwrap_or("many").replace('\n', ","))
                }
                Commitment::Queued(Envelope { sender, body, recipients }) => {
                    let body = body.map(|body| format!(" {body:?}")).unwrap_or_default().to_lowercase();
                    format!("queue {id} from <{sender}>{body} to {}", recipients.join(","))
                }
                Commitment::Copy { flags, seen, date } => {
                    let seen = if *seen { "seen" } else { "unseen" };
                    format!("copy {id} {seen} ({flags}) {}", date.as_deref().unwrap_or("-"))
                }
            }
        }
        Request::Outcome(_, outcome) => format!("outcome {outcome:?}").to_lowercase(),
        Request::Timer(duration) => format!("timer {}", duration.as_secs()),
    }
}

fn text(remote: &RemoteName) -> String {
    String::from_utf8_lossy(remote.as_bytes()).into_owned()
}

/// A failure by its name.
pub fn failure(word: &str) -> Result<Failure, String> {
    Ok(match word {
        "busy" => Failure::Busy(Cap::Lanes),
        "consent" => Failure::ConsentNeeded(None),
        "disk-full" => Failure::OurDiskFull,
        "internal" => Failure::Internal("as the dialogue wants it"),
        "refused" => Failure::LoginRefused,
        "sign-in-refused" => Failure::SignInRefused,
        "unreachable" => Failure::ProviderUnreachable(Unreachable::TimedOut),
        _ => return Err(format!("no such failure: {word}")),
    })
}

/// The octets of a line of a dialogue.
pub fn octets(words: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut rest = words;
    while let Some(at) = rest.find('\\') {
        octets.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let (octet, times, length) = match escape.chars().next() {
            None => return Ok(octets),
            Some('r') => (b'\r', 1, 1),
            Some('n') => (b'\n', 1, 1),
            Some('t') => (b'\t', 1, 1),
            Some('\\') => (b'\\', 1, 1),
            Some('x') => {
                let hex = escape.get(1..3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                (hex.ok_or("not \\xHH")?, 1, 3)
            }
            Some('{') => {
                let end = escape.find('}').ok_or("no } behind \\{")?;
                let (times, text) = escape[1..end].split_once('*').ok_or("not \\{times*octet}")?;
                let times = times.parse().map_err(|_| "not a number of times")?;
                (*text.as_bytes().first().ok_or("no octet to repeat")?, times, end + 1)
            }
            Some(_) => return Err("no such escape".to_owned()),
        };
        octets.extend(std::iter::repeat_n(octet, times));
        rest = &escape[length..];
    }
    octets.extend_from_slice(rest.as_bytes());
    octets.extend_from_slice(b"\r\n");
    Ok(octets)
}

/// Whether `text` is like `pattern`, in which `*` stands for any octets.
pub fn like(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (Some((b'*', rest)), _) => (0..=text.len()).any(|skip| like(rest, &text[skip..])),
        (Some((first, pattern)), Some((octet, text))) => first == octet && like(pattern, text),
        (None, None) => true,
        _ => false,
    }
}
