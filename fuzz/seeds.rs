//! Writes what the fuzz targets begin with into a folder for each: the dialogues, configurations and tables of this
//! checkout, in the form in which each target takes them. The same files always, whatever stood there before.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds FOLDER`. What no dialogue says stands in `fuzz/seeds`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

#[path = "../tests/it/dialogue/words.rs"]
#[allow(dead_code, reason = "it also spells requests, which is for those that play dialogues")]
mod words;

/// No cuts: `cuts_and_rest` takes four octets.
const NO_CUTS: &[u8] = &[0; 4];
/// One seed is no longer: some dialogues are about caps, and long inputs make a slow fuzzer.
const SEED_MAX: usize = 4 * 1024;
/// What has to be whole, or to reach the seams of lines that stream.
const LONG_SEED_MAX: usize = 20 * 1024;

/// By target, then by name.
type Seeds = BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>;

fn main() -> io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("expected the folder to write into"));
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut seeds = Seeds::new();
    for file in files(&root.join("tests/dialogues/imap"), "txt")? {
        imap(&name(&file), &Dialogue::read(&file)?, &mut seeds);
    }
    for file in files(&root.join("tests/dialogues/smtp"), "txt")? {
        smtp(&name(&file), &Dialogue::read(&file)?, &mut seeds);
    }
    configurations(&root, &mut seeds)?;
    for (target, seeds) in seeds {
        let folder = folder.join(target);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        for (name, octets) in seeds {
            fs::write(folder.join(name), octets)?;
        }
    }
    Ok(())
}

/// The files of a folder that end so, in order.
fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut files =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|found| found == extension));
    files.sort();
    Ok(files)
}

fn name(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// What happens in a dialogue, as far as a fuzz target can repeat it.
struct Dialogue(Vec<Happens>);

enum Happens {
    Client(Vec<u8>),
    Provider(Vec<u8>),
    Answered { good: bool },
    Closed,
    Drain,
    Elapsed,
}

impl Dialogue {
    fn read(file: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(file)?;
        let octets = |words: &str| {
            words::octets(words).map_err(|trouble| io::Error::other(format!("{}: {trouble}", file.display())))
        };
        let mut all: Vec<Happens> = Vec::new();
        for line in text.lines() {
            if let Some(words) = line.strip_prefix("C => ") {
                match (all.last_mut(), octets(words)?) {
                    (Some(Happens::Client(said)), more) => said.extend(more),
                    (_, said) => all.push(Happens::Client(said)),
                }
            } else if let Some(words) = line.strip_prefix("P => ") {
                match (all.last_mut(), octets(words)?) {
                    (Some(Happens::Provider(said)), more) => said.extend(more),
                    (_, said) => all.push(Happens::Provider(said)),
                }
            } else if let Some((_, answer)) = line.strip_prefix("? ").and_then(|request| request.split_once(" => ")) {
                let bad =
                    ["busy", "consent", "disk-full", "internal", "refused", "sign-in-refused", "unreachable", "none"];
                all.push(Happens::Answered { good: !bad.contains(&answer) });
            } else if line == "! closed" {
                all.push(Happens::Closed);
            } else if line == "! drain" {
                all.push(Happens::Drain);
            } else if line == "! elapsed" {
                all.push(Happens::Elapsed);
            }
        }
        Ok(Self(all))
    }

    fn client(&self) -> Vec<u8> {
        let said = self
            .0
            .iter()
            .filter_map(|happens| if let Happens::Client(said) = happens { Some(&said[..]) } else { None });
        said.collect::<Vec<_>>().concat()
    }

    fn provider(&self) -> Vec<u8> {
        let said = self
            .0
            .iter()
            .filter_map(|happens| if let Happens::Provider(said) = happens { Some(&said[..]) } else { None });
        said.collect::<Vec<_>>().concat()
    }

    /// As the operations of a relay's target: what is done, how long is what is said, and what is said.
    fn operations(&self, flags: u8, codes: &Codes) -> Vec<u8> {
        let mut octets = vec![flags];
        let mut say = |code: u8, said: &[u8]| {
            for part in said.chunks(255) {
                octets.extend([code, u8::try_from(part.len()).unwrap_or(u8::MAX)]);
                octets.extend_from_slice(part);
            }
        };
        for happens in &self.0 {
            match happens {
                Happens::Client(said) => say(codes.client, said),
                Happens::Provider(said) => say(codes.provider, said),
                Happens::Answered { good } => say(if *good { codes.good } else { codes.bad }, b"x"),
                Happens::Closed => say(codes.closed, b"7octets"),
                Happens::Drain => say(codes.drain, b"7octets"),
                Happens::Elapsed => say(codes.elapsed, b"6octet"),
            }
        }
        octets
    }
}

/// The operations of a relay's target.
struct Codes {
    client: u8,
    provider: u8,
    good: u8,
    bad: u8,
    closed: u8,
    drain: u8,
    elapsed: u8,
}

const IMAP: Codes = Codes { client: 0, provider: 4, good: 8, bad: 10, closed: 14, drain: 15, elapsed: 14 };
/// An answer that is good passes for the timer that SMTP has not.
const SMTP: Codes = Codes { client: 0, provider: 3, good: 5, bad: 13, closed: 6, drain: 7, elapsed: 5 };

fn imap(name: &str, dialogue: &Dialogue, seeds: &mut Seeds) {
    let (client, provider) = (dialogue.client(), dialogue.provider());
    add(seeds, "relay_imap", name, dialogue.operations(0x3f, &IMAP));
    add(seeds, "engine", name, [&[0], NO_CUTS, &client].concat());
    for (side, said) in [("client", &client), ("provider", &provider)] {
        if !said.is_empty() {
            add(seeds, "imap_framer", &format!("{name}-{side}"), [NO_CUTS, said].concat());
        }
    }
    for said in commands(&client).into_iter().chain(commands(&provider)) {
        // A name of ten octets, and what there is to be rewritten; one seed for each form of a line.
        let kind = form(&said);
        add(seeds, "imap_rewrite", &kind, [b"\x1aINBOX.Sent", &said[..]].concat());
    }
    for word in client.split(|octet| matches!(octet, b' ' | b'"' | b'\r' | b'\n')).filter(|word| word.contains(&b'&')) {
        add(seeds, "utf7", &form(word), word.to_vec());
    }
    sign_ins(&client, seeds);
}

fn smtp(name: &str, dialogue: &Dialogue, seeds: &mut Seeds) {
    let (client, provider) = (dialogue.client(), dialogue.provider());
    add(seeds, "relay_smtp", name, dialogue.operations(0x07, &SMTP));
    add(seeds, "smtp_line", name, [NO_CUTS, &client].concat());
    add(seeds, "smtp_reply", name, [NO_CUTS, &provider].concat());
    let data = client.windows(6).position(|window| window.eq_ignore_ascii_case(b"DATA\r\n"));
    if let Some(message) = data.and_then(|at| client.get(at + 6..)) {
        add(seeds, "dot", name, [NO_CUTS, message].concat());
    }
    sign_ins(&client, seeds);
}

/// Initial responses and the lines that follow them.
fn sign_ins(client: &[u8], seeds: &mut Seeds) {
    let lines: Vec<&[u8]> = client.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii).collect();
    for (at, line) in lines.iter().enumerate() {
        let words: Vec<&[u8]> = line.split(|octet| *octet == b' ').collect();
        let Some(verb) = words
            .iter()
            .position(|word| word.eq_ignore_ascii_case(b"AUTH") || word.eq_ignore_ascii_case(b"AUTHENTICATE"))
        else {
            continue;
        };
        let mut said: Vec<&[u8]> = words.get(verb + 2).copied().into_iter().collect();
        said.extend(lines.iter().skip(at + 1).take(2));
        let said = said.join(&b'\n');
        add(seeds, "sasl", &form(&said), said);
    }
}

fn configurations(root: &Path, seeds: &mut Seeds) -> io::Result<()> {
    let mut texts = vec![(2, root.join("config/passerelle.toml"))];
    texts.extend(files(&root.join("config/providers"), "toml")?.into_iter().map(|file| (0, file)));
    texts.extend(files(&root.join("config/crm"), "toml")?.into_iter().map(|file| (1, file)));
    for folder in fs::read_dir(root.join("tests/configs"))? {
        texts.push((2, folder?.path().join("config.toml")));
    }
    for (kind, file) in texts {
        let text = fs::read(&file)?;
        let folder = file.parent().map(name).unwrap_or_default();
        add(seeds, "config", &format!("{folder}-{}", name(&file)), [&[kind], &text[..]].concat());
    }
    Ok(())
}

/// Whole commands or responses: a line that announces a literal goes on in the next.
fn commands(said: &[u8]) -> Vec<Vec<u8>> {
    let mut commands = vec![Vec::new()];
    for line in said.split_inclusive(|octet| *octet == b'\n') {
        if let Some(command) = commands.last_mut() {
            command.extend_from_slice(line);
        }
        if !line.ends_with(b"}\r\n") {
            commands.push(Vec::new());
        }
    }
    commands.retain(|command| !command.is_empty());
    commands
}

/// Octets that differ in letters and digits alone have one form: of those one seed is enough.
fn form(octets: &[u8]) -> String {
    let verbs: BTreeSet<_> = octets
        .split(|octet| !octet.is_ascii_uppercase())
        .filter(|word| word.len() > 2)
        .map(|word| String::from_utf8_lossy(word).to_lowercase())
        .collect();
    let marks: BTreeSet<_> =
        octets.iter().filter(|octet| !octet.is_ascii_alphanumeric()).map(|octet| format!("{octet:02x}")).collect();
    let form = format!("{}_{}", Vec::from_iter(verbs).join("-"), Vec::from_iter(marks).concat());
    form.chars().take(100).collect()
}

fn add(seeds: &mut Seeds, target: &'static str, name: &str, mut octets: Vec<u8>) {
    let long = ["config", "imap_framer"].contains(&target);
    octets.truncate(if long { LONG_SEED_MAX } else { SEED_MAX });
    seeds.entry(target).or_default().entry(name.to_owned()).or_insert(octets);
}
