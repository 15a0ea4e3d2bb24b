//! The house's picture holds: a layer uses those below it, never those above.
//!
//! This reads the paths that begin with `crate::` or `super::` in the sources, and knows nothing of what they name. It
//! does not see what a macro builds, and takes inline modules for a part of their file.

use std::{fs, path::Path};

/// The layers from top to bottom, as `src/lib.rs` draws them. Within a row any may use any.
const LAYERS: &[&[&str]] = &[
    &["main", "cli", "fuzzing"],
    &["demo", "panics"],
    &["app"],
    &["console"],
    &["listener", "session"],
    &["control", "config", "filing", "queue", "telemetry"],
    &["upstream"],
    &["engine"],
    &[
        "oauth::assertion",
        "oauth::broker",
        "oauth::consent",
        "oauth::device",
        "oauth::exchange",
        "failpoint",
        "store",
        "local_tls",
    ],
    &[
        "relay",
        "engine::letter",
        "engine::machine",
        "engine::memory",
        "engine::sink",
        "engine::source",
        "engine::still",
        "engine::tokens",
    ],
    &["rules", "provider", "profile", "discovery", "oauth"],
    &["wire"],
    &["model", "failure", "mistake", "plant"],
];

/// From this row on there is no I/O, no clock and no randomness.
const PURE: &str = "relay";

/// What the pure layers may not name of the standard library; of other crates the compiler keeps them.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// Modules that not every layer above may use.
const ONLY_FOR: &[(&str, &[&str])] =
    &[("config", &["main", "cli", "app", "config", "demo", "fuzzing"]), ("telemetry", &["main", "cli", "app"])];

#[test]
fn every_layer_uses_those_below_it_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut complaints = Vec::new();
    let mut files = 0;
    for_each_source(&root, &mut |path| {
        let inside = path.strip_prefix(&root).expect("a file of src");
        let module = module_of(inside);
        if ["lib", "build"].contains(&module.as_str()) || module.ends_with("tests") {
            return;
        }
        files += 1;
        let text = fs::read_to_string(path).expect("a source is UTF-8");
        complaints.extend(complaints_of(&module, &text).into_iter().map(|c| format!("src/{}: {c}", inside.display())));
    });
    assert!(files > 10, "only {files} sources found");
    assert!(complaints.is_empty(), "{}\n", complaints.join("\n"));
}

#[test]
fn r21_what_is_released_checks_for_overflow() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest: toml::Table = fs::read_to_string(&path).expect("the manifest").parse().expect("TOML");
    let profile = |name: &str| manifest["profile"][name].clone();
    assert_eq!(profile("release").get("overflow-checks"), Some(&toml::Value::Boolean(true)));
    let dist = profile("dist");
    assert_eq!(dist.get("inherits").and_then(toml::Value::as_str), Some("release"));
    assert!(dist.get("overflow-checks").is_none_or(|checks| checks.as_bool() == Some(true)), "{dist}");
}

#[test]
fn r21_what_is_released_unwinds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = |file: &str| -> toml::Table {
        fs::read_to_string(root.join(file)).expect("a file of this package").parse().expect("TOML")
    };
    // An abort in one session would end all of them; cargo takes a profile from its own configuration, too.
    let (manifest, cargo) = (table("Cargo.toml"), table(".cargo/config.toml"));
    let panic = |profile: &toml::Value| profile.get("panic").and_then(toml::Value::as_str).map(str::to_owned);
    let profiles = [&manifest, &cargo].into_iter().filter_map(|file| file.get("profile")?.as_table());
    for (name, profile) in profiles.flatten() {
        assert!(panic(profile).is_none_or(|panic| panic == "unwind"), "profile {name}: {profile}");
    }
    assert_eq!(panic(&manifest["profile"]["release"]).as_deref(), Some("unwind"));
    let flags = ["build", "target"].map(|section| cargo.get(section).map(ToString::to_string).unwrap_or_default());
    assert!(!flags.concat().contains("panic"), "{flags:?}");
}

pub(crate) fn for_each_source(folder: &Path, action: &mut impl FnMut(&Path)) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a folder of src").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            for_each_source(&path, action);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            action(&path);
        }
    }
}

/// `relay/imap/mod.rs` is `relay::imap`.
fn module_of(inside: &Path) -> String {
    let path = inside.with_extension("").to_string_lossy().replace('/', "::");
    path.strip_suffix("::mod").unwrap_or(&path).to_owned()
}

fn complaints_of(module: &str, text: &str) -> Vec<String> {
    let Some(own) = layer_of(module) else {
        return vec![format!("{module} has no place in LAYERS; give it one")];
    };
    let pure = own >= layer_of(PURE).expect("it is in the table");
    let mut complaints = Vec::new();
    for path in paths(module, &code(text)) {
        if let Some(impure) = IMPURE.iter().find(|&&impure| pure && begins(&path, impure)) {
            complaints.push(format!("{module} is pure and may not use {impure}"));
        }
        let Some(used) = path.strip_prefix("crate::") else { continue };
        // What is in no layer is an item of the crate's root, or the walk over the files complains of it.
        if layer_of(used).is_some_and(|other| other < own) {
            complaints.push(format!("{module} may not use {used}, which is above it"));
        }
        for (reserved, users) in ONLY_FOR {
            if begins(used, reserved) && !users.iter().any(|user| begins(module, user)) {
                complaints.push(format!("{module} may not use {used}, which is for {}", users.join(", ")));
            }
        }
    }
    complaints
}

/// The row of the longest entry that `path` lies in.
fn layer_of(path: &str) -> Option<usize> {
    let entries = LAYERS.iter().enumerate().flat_map(|(row, entries)| entries.iter().map(move |entry| (row, entry)));
    entries.filter(|(_, entry)| begins(path, entry)).max_by_key(|(_, entry)| entry.len()).map(|(row, _)| row)
}

fn begins(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Every path that begins with `crate`, `super`, `passerelle` or `std`, one for each leaf of a `use` tree, the first
/// three spelt from the crate's root.
fn paths(module: &str, code: &str) -> Vec<String> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let starts = tokens.get(at + 1) == Some(&"::") && (at == 0 || tokens[at - 1] != "::");
        let start = match tokens[at] {
            "crate" | "passerelle" if starts => "crate".to_owned(),
            "std" if starts => "std".to_owned(),
            "super" if starts => {
                let parent = module.rsplit_once("::").map(|(parent, _)| format!("crate::{parent}"));
                parent.unwrap_or_else(|| "crate".to_owned())
            }
            _ => {
                at += 1;
                continue;
            }
        };
        at = tree(&tokens, at + 1, start, &mut paths);
    }
    paths
}

/// Reads the rest of a path or `use` tree; gives where it ends.
fn tree(tokens: &[&str], mut at: usize, mut path: String, paths: &mut Vec<String>) -> usize {
    while tokens.get(at) == Some(&"::") {
        match tokens.get(at + 1) {
            Some(&"{") => return branches(tokens, at + 2, &path, paths),
            Some(&"super") => path = path.rsplit_once("::").map_or("crate", |(parent, _)| parent).to_owned(),
            Some(word) if is_word(word) => path = format!("{path}::{word}"),
            _ => break,
        }
        at += 2;
    }
    paths.push(path);
    at
}

fn branches(tokens: &[&str], mut at: usize, path: &str, paths: &mut Vec<String>) -> usize {
    while let Some(&token) = tokens.get(at) {
        match token {
            "}" => return at + 1,
            word if is_word(word) => {
                let path = if word == "self" { path.to_owned() } else { format!("{path}::{word}") };
                at = tree(tokens, at + 1, path, paths);
                // `as other` names nothing new.
                if tokens.get(at) == Some(&"as") {
                    at += 2;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::`, and single other characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// The text without comments, strings, characters, and modules for tests.
pub(crate) fn code(text: &str) -> String {
    let mut code = without_comments_and_strings(text);
    const TEST: &str = "#[cfg(test)]";
    while let Some(start) = code.find(TEST) {
        let after = start + TEST.len();
        let end = item_end(&code[after..]).map_or(code.len(), |length| after + length);
        code.replace_range(start..end, "");
    }
    code
}

/// Where an item ends: at its semicolon, or at the brace that closes its first one.
fn item_end(code: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return Some(at + 1),
            '}' => depth -= 1,
            ';' if depth == 0 => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word_before = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let skip = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest),
            '"' => string(rest),
            'r' | 'b' | 'c' if !word_before => prefixed_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if skip == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skip..];
        }
    }
    code
}

/// The length of a block comment; they nest.
fn comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a string that begins with its quote.
fn string(text: &str) -> usize {
    let mut escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return at + 1,
            '\\' if !escaped => escaped = true,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The length of `b"…"`, `r#"…"#` and their like; 0 where there is only a word.
fn prefixed_string(text: &str) -> usize {
    let quote = text.find(|c: char| !matches!(c, 'r' | 'b' | 'c')).unwrap_or(text.len());
    let raw = text[..quote].ends_with('r');
    let hashes = text[quote..].chars().take_while(|&c| raw && c == '#').count();
    let Some(body) = text[quote + hashes..].strip_prefix('"') else { return 0 };
    if !raw {
        return quote + string(&text[quote..]);
    }
    let end = format!("\"{}", "#".repeat(hashes));
    text.len() - body.len() + body.find(&end).map_or(body.len(), |at| at + end.len())
}

/// The length of a character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut letters = text.char_indices().skip(1);
    match letters.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(0, |at| at + 4),
        Some(_) => letters.next().filter(|&(_, c)| c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

#[test]
fn a_planted_edge_is_found() {
    let bad = [
        ("wire::line", "use crate::relay::Relay;", "wire::line may not use relay::Relay, which is above it"),
        ("model", "fn f() { crate::store::open(); }", "model may not use store::open, which is above it"),
        ("rules::imap", "use super::super::upstream;", "rules::imap may not use upstream, which is above it"),
        (
            "oauth::flow",
            "use {std::fmt, crate::{model::Address, oauth::{self, broker::{Broker as B, x}}}};",
            "oauth::flow may not use oauth::broker::Broker, which is above it\n\
             oauth::flow may not use oauth::broker::x, which is above it",
        ),
        (
            "relay::imap",
            "use std::{fmt, time::{Duration, Instant}};",
            "relay::imap is pure and may not use std::time::Instant",
        ),
        (
            "listener",
            "use crate::config::Config;",
            "listener may not use config::Config, which is for main, cli, app, config, demo, fuzzing",
        ),
        (
            "session",
            "let x = '\"'; use crate::console::X; let y = \"\";",
            "session may not use console::X, which is above it",
        ),
        ("elsewhere", "", "elsewhere has no place in LAYERS; give it one"),
    ];
    for (module, text, complaint) in bad {
        assert_eq!(complaints_of(module, text).join("\n"), complaint, "{module}: {text}");
    }
}

#[test]
fn what_is_allowed_or_no_code_is_not_found() {
    let good = [
        ("relay::imap", "use crate::{failure::Failure, model, rules::namespace::Namespace, wire};"),
        ("relay::imap", "use super::Relay; use super::super::wire;"),
        ("main", "use passerelle::{app, cli};"),
        ("oauth::broker", "use crate::{oauth::flow, store};"),
        ("wire", "// use crate::relay;\n/* crate::relay /* nested */ crate::relay */"),
        ("wire", r##"const A: &str = "crate::relay \" crate::relay"; const B: &[u8] = br#"crate::relay" "#;"##),
        ("wire", "fn f<'a>(x: &'a str) -> char { '\\'' } #[cfg(test)]\nmod tests { use crate::relay; fn f() { {} } }"),
        ("wire", "#[cfg(test)] use crate::relay; struct After;"),
        ("model", "use std::{net::IpAddr, time::Duration};"),
        ("store", "use std::{fs, time::SystemTime};"),
    ];
    for (module, text) in good {
        assert_eq!(complaints_of(module, text), Vec::<String>::new(), "{module}: {text}");
    }
}
