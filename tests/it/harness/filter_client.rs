//! The filter's side that reads the client: judges each command whole, then hands it to Dovecot as it came.
//!
//! The literals of an APPEND stream; those of other commands are gathered, for a search key may stand behind one.

use super::{
    filter::{Go, Pending, Talk, line},
    strict::{Token, announced, judge, judge_literal, tokens},
};
use base64::Engine as _;
use std::io;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, copy, sink},
    net::TcpStream,
    sync::mpsc::UnboundedReceiver,
};
use tokio_rustls::server::TlsStream;

/// Most that is gathered of one command.
const COMMAND_MAX: u64 = 256 * 1024;

pub(super) struct Commands<'a> {
    talk: &'a Talk,
    reader: BufReader<ReadHalf<TlsStream<TcpStream>>>,
    waits: UnboundedReceiver<Go>,
}

/// A command whole.
#[derive(Default)]
struct Whole {
    tag: Vec<u8>,
    /// Without the tag.
    tokens: Vec<Token>,
    /// As it goes to Dovecot; synchronising literals, of which the client has heard its `+`, are so no more.
    octets: Vec<u8>,
    /// The first line without the tag, for people.
    words: String,
}

impl<'a> Commands<'a> {
    pub(super) fn new(
        talk: &'a Talk,
        reader: BufReader<ReadHalf<TlsStream<TcpStream>>>,
        waits: UnboundedReceiver<Go>,
    ) -> Self {
        Self { talk, reader, waits }
    }

    /// Until the client closes.
    pub(super) async fn run(mut self) -> io::Result<()> {
        while let Some(first) = line(&mut self.reader).await? {
            if self.talk.state().sasl {
                self.response_of_client(&first).await?;
                continue;
            }
            let end = first.iter().position(|octet| *octet == b' ').unwrap_or(first.len());
            let (tag, rest) = (first[..end].to_vec(), first.get(end + 1..).unwrap_or_default());
            let words = String::from_utf8_lossy(rest).into_owned();
            let verb = words.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            self.talk.note_heard(if ["LOGIN", "AUTHENTICATE"].contains(&&*verb) { &verb } else { &words });
            if verb == "APPEND" {
                self.append(tag, first, words).await?;
            } else if let Some(whole) = self.gather(tag, first, words).await? {
                self.command(whole, &verb).await?;
            }
        }
        Ok(())
    }

    async fn refuse(&self, tag: &[u8], reason: &str, words: &str) -> io::Result<()> {
        self.talk.note_refused(reason, words);
        self.talk.say(&format!("{} BAD {}", String::from_utf8_lossy(tag), self.talk.habits().bad)).await
    }

    /// Reads a command to its end. `None`: its literals were refused.
    async fn gather(&mut self, tag: Vec<u8>, first: Vec<u8>, words: String) -> io::Result<Option<Whole>> {
        let mut whole = Whole { octets: Vec::new(), tokens: Vec::new(), words, tag };
        let (mut text, mut skip, mut refusal) = (first, whole.tag.len(), None);
        while let Some((start, literal)) = announced(&text) {
            refusal = refusal.or(judge_literal(literal, self.talk.capabilities()).err());
            if !literal.plus && refusal.is_some() {
                break;
            }
            if !literal.plus {
                self.talk.say("+ go ahead").await?;
            }
            if literal.size + whole.octets.len() as u64 > COMMAND_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut octets = vec![0; usize::try_from(literal.size).map_err(|_| io::ErrorKind::InvalidData)?];
            self.reader.read_exact(&mut octets).await?;
            tokens(&text[skip..start], &mut whole.tokens);
            whole.octets.extend_from_slice(&text[..start]);
            whole.octets.extend(format!("{{{}+}}\r\n", octets.len()).as_bytes());
            whole.octets.extend_from_slice(&octets);
            whole.tokens.push(Token::Text(octets));
            skip = 0;
            text = line(&mut self.reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        if let Some(reason) = refusal {
            self.refuse(&whole.tag, &reason, &whole.words).await?;
            return Ok(None);
        }
        tokens(text.get(skip..).unwrap_or_default(), &mut whole.tokens);
        whole.octets.extend_from_slice(&text);
        whole.octets.extend_from_slice(b"\r\n");
        Ok(Some(whole))
    }

    async fn command(&mut self, whole: Whole, verb: &str) -> io::Result<()> {
        if let Err(reason) = judge(&whole.tokens, self.talk.capabilities()) {
            return self.refuse(&whole.tag, &reason, &whole.words).await;
        }
        if let Some(refusal) = self.habitual_refusal(verb, &whole) {
            return self.talk.say(&format!("{} {refusal}", String::from_utf8_lossy(&whole.tag))).await;
        }
        if verb == "AUTHENTICATE" {
            return self.authenticate(whole).await;
        }
        if verb == "LOGIN"
            && let Some(address) = whole.words.split(' ').nth(1)
        {
            self.talk.state().address = address.trim_matches('"').to_owned();
        }
        self.forward(&whole, verb).await?;
        if verb == "IDLE"
            && let Some(done) = line(&mut self.reader).await?
        {
            self.to_dovecot(&[&done[..], b"\r\n"].concat()).await?;
        }
        Ok(())
    }

    async fn forward(&self, whole: &Whole, verb: &str) -> io::Result<()> {
        let shows = |token: &Token| match token {
            Token::Word(word) => ["*", "%", "[GMAIL]", "[GMAIL]*"].contains(&word.as_str()),
            Token::Text(text) => [&b"*"[..], b"%", b"[Gmail]", b"[Gmail]*"].contains(&text.as_slice()),
            _ => false,
        };
        let lists = verb == "LIST" && whole.tokens.get(2).is_some_and(shows);
        let owes_container = lists && self.talk.habits().container.is_some();
        self.talk.state().pending.insert(whole.tag.clone(), Pending { verb: verb.to_owned(), owes_container });
        self.to_dovecot(&whole.octets).await
    }

    async fn to_dovecot(&self, octets: &[u8]) -> io::Result<()> {
        self.talk.server.lock().await.write_all(octets).await
    }

    /// What the capability line allows and this provider refuses all the same.
    fn habitual_refusal(&self, verb: &str, whole: &Whole) -> Option<String> {
        let habits = self.talk.habits();
        let name = |index: usize| match whole.tokens.get(index) {
            Some(Token::Text(text)) => Some(String::from_utf8_lossy(text).into_owned()),
            // In capitals; no name that matters here is an atom with small letters.
            Some(Token::Word(word)) => Some(word.clone()),
            _ => None,
        };
        match verb {
            "LOGIN" | "AUTHENTICATE" => self.talk.shared.sign_in_refusal.lock().expect("no test panicked").clone(),
            "SELECT" | "EXAMINE" | "STATUS" => {
                let (container, refusal) = habits.container?;
                name(1).filter(|name| name.eq_ignore_ascii_case(container)).map(|_| refusal.to_owned())
            }
            "CREATE" | "RENAME" => {
                let untidy = name(whole.tokens.len() - 1).is_some_and(|name| untidy(&name));
                habits.untidy.filter(|_| untidy).map(str::to_owned)
            }
            "SEARCH" | "UID" if habits.exchange => exchange_search(&whole.tokens),
            _ => None,
        }
    }

    /// An APPEND, its octets streamed.
    async fn append(&mut self, tag: Vec<u8>, first: Vec<u8>, words: String) -> io::Result<()> {
        let mut text = first;
        let mut messages = 0;
        while let Some((_, literal)) = announced(&text) {
            messages += 1;
            let several = if messages == 1 || self.talk.capabilities().has("MULTIAPPEND") {
                Ok(())
            } else {
                Err("several messages need MULTIAPPEND".to_owned())
            };
            if let Err(reason) = several.and_then(|()| judge_literal(literal, self.talk.capabilities())) {
                if literal.plus {
                    copy(&mut (&mut self.reader).take(literal.size), &mut sink()).await?;
                    line(&mut self.reader).await?;
                }
                return self.refuse(&tag, &reason, &words).await;
            }
            {
                let mut state = self.talk.state();
                state.append = (!literal.plus).then(|| tag.clone());
                state.pending.insert(tag.clone(), Pending { verb: "APPEND".into(), owes_container: false });
            }
            self.to_dovecot(&[&text[..], b"\r\n"].concat()).await?;
            if !literal.plus && !matches!(self.waits.recv().await, Some(Go::On)) {
                return Ok(());
            }
            let mut server = self.talk.server.lock().await;
            let copied = copy(&mut (&mut self.reader).take(literal.size), &mut *server).await?;
            let rest = line(&mut self.reader).await?;
            text = rest.filter(|_| copied == literal.size).ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        self.to_dovecot(&[&text[..], b"\r\n"].concat()).await
    }

    /// Tokens are judged here, all else by Dovecot.
    async fn authenticate(&mut self, whole: Whole) -> io::Result<()> {
        let mut words = whole.words.split(' ').skip(1);
        let (mechanism, initial) = (words.next().unwrap_or_default().to_ascii_uppercase(), words.next());
        if ["XOAUTH2", "OAUTHBEARER"].contains(&mechanism.as_str()) {
            return self.bearer(whole.tag, initial.map(str::to_owned)).await;
        }
        if let Some(initial) = initial {
            self.note_address(initial.as_bytes());
        }
        self.talk.state().sasl = true;
        self.forward(&whole, "AUTHENTICATE").await
    }

    async fn response_of_client(&self, text: &[u8]) -> io::Result<()> {
        self.note_address(text);
        self.to_dovecot(&[text, b"\r\n"].concat()).await
    }

    /// The address of a PLAIN response, for the words of the welcome.
    fn note_address(&self, response: &[u8]) {
        let Ok(octets) = base64::engine::general_purpose::STANDARD.decode(response) else { return };
        if let Some(address) = octets.split(|octet| *octet == 0).nth(1) {
            self.talk.state().address = String::from_utf8_lossy(address).into_owned();
        }
    }

    async fn bearer(&mut self, tag: Vec<u8>, initial: Option<String>) -> io::Result<()> {
        let response = match initial {
            Some(initial) => initial.into_bytes(),
            None => {
                self.talk.say("+ ").await?;
                line(&mut self.reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?
            }
        };
        let octets = base64::engine::general_purpose::STANDARD.decode(response).unwrap_or_default();
        let text = String::from_utf8_lossy(&octets).into_owned();
        let fields = || text.split('\u{1}');
        let address = fields().find_map(|field| field.strip_prefix("user=").or(field.strip_prefix("n,a=")));
        let address = address.unwrap_or_default().trim_end_matches(',').to_owned();
        let token = fields().find_map(|field| field.strip_prefix("auth=Bearer ")).unwrap_or_default();
        let opens = self.talk.shared.tokens.lock().expect("no test panicked in here").get(&address).cloned();
        if let Some((_, password)) = opens.filter(|(good, _)| good == token) {
            let octets = [&tag[..], format!(" LOGIN \"{address}\" \"{password}\"\r\n").as_bytes()].concat();
            self.talk.state().address = address;
            return self.forward(&Whole { tag, octets, ..Whole::default() }, "AUTHENTICATE").await;
        }
        if let Some(challenge) = self.talk.habits().challenge {
            let challenge = base64::engine::general_purpose::STANDARD.encode(challenge);
            self.talk.say(&format!("+ {challenge}")).await?;
            line(&mut self.reader).await?;
        }
        let words = self.talk.habits().unwelcome.replace("{verb}", "AUTHENTICATE");
        self.talk.say(&format!("{} {words}", String::from_utf8_lossy(&tag))).await
    }
}

/// Blanks at an end of a part of a name, or two together.
fn untidy(name: &str) -> bool {
    name.contains("  ") || name.split('/').any(|part| part.trim() != part)
}

/// Microsoft knows no keywords and searches in US-ASCII alone.
fn exchange_search(tokens: &[Token]) -> Option<String> {
    let searches = tokens.iter().take(2).any(|token| *token == Token::Word("SEARCH".into()));
    let word = |token: &Token, word: &str| *token == Token::Word(word.into());
    if !searches {
        return None;
    }
    let charset = tokens.windows(2).find(|pair| word(&pair[0], "CHARSET")).map(|pair| &pair[1]);
    if charset.is_some_and(|charset| !word(charset, "US-ASCII") && *charset != Token::Text(b"US-ASCII".to_vec())) {
        return Some("NO [BADCHARSET (US-ASCII)] The specified charset is not supported.".into());
    }
    let keyword = |token: &Token| word(token, "KEYWORD") || word(token, "UNKEYWORD");
    tokens.iter().any(keyword).then(|| "BAD Command Argument Error. 11".into())
}
