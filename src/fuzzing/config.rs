//! Files that people write: of any text comes a configuration, a provider or a CRM profile, or a mistake with its place in
//! one line; and what `config show` prints is read as the same configuration.

use crate::{
    config::{Config, Error},
    mistake::Mistake,
    profile, provider,
};
use std::{path::Path, sync::LazyLock};

/// In a folder that is not there: certificates beside it cannot be read.
const FILE: &str = "/nowhere/that/is/file.toml";
/// A mistake shows what stands there, cut; the key, and what was expected, which may be all that can be.
const TOLD_MAX: usize = 1500;

static PROFILES: LazyLock<profile::Table> = LazyLock::new(|| profile::Table::built_in().expect("what is built in"));
static PROVIDERS: LazyLock<provider::Table> = LazyLock::new(|| provider::Table::built_in().expect("what is built in"));

/// # Panics
/// When the property does not hold.
pub fn config(octets: &[u8]) {
    let Some((kind, text)) = octets.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let file = Path::new(FILE);
    match kind % 4 {
        0 => is_read_or_mistaken(text, PROVIDERS.clone().read(file, text).map_err(|mistake| *mistake)),
        1 => is_read_or_mistaken(text, PROFILES.clone().read(file, text).map_err(|mistake| *mistake)),
        _ => configuration(file, text),
    }
}

fn configuration(file: &Path, text: &str) {
    if opens_files(text) {
        return;
    }
    match Config::parse(file, text, &PROFILES) {
        Ok(config) => {
            let shown = toml::to_string(&config).expect("a configuration can be shown");
            match Config::parse(file, &shown, &PROFILES) {
                Ok(again) => assert!(again == config, "what is shown is another configuration:\n{shown}"),
                Err(error) => panic!("what is shown cannot be read: {error}\n{shown}"),
            }
            serde_json::to_string(&config).expect("and as JSON");
        }
        Err(Error::Wrong(mistake)) => is_read_or_mistaken(text, Err(*mistake)),
        Err(error) => panic!("no mistake in the text: {error}"),
    }
}

/// Whether a certificate is named by an absolute path: the fuzzer shall open no file of this machine.
fn opens_files(text: &str) -> bool {
    let Ok(table) = text.parse::<toml::Table>() else { return false };
    let certificate = table.get("certificate").and_then(toml::Value::as_table);
    let paths = certificate.into_iter().flat_map(|certificate| [certificate.get("file"), certificate.get("key")]);
    paths.flatten().any(|path| path.as_str().is_some_and(|path| path.starts_with('/')))
}

fn is_read_or_mistaken(text: &str, read: Result<(), Mistake>) {
    let Err(mistake) = read else { return };
    let told = mistake.to_string();
    let place = told.strip_prefix(FILE).expect("the file comes first");
    match place.strip_prefix(':').and_then(|place| place.split_once(':')).map(|(line, _)| line.parse::<usize>()) {
        Some(Ok(line)) => assert!((1..=text.split('\n').count()).contains(&line), "no line of the text: {told}"),
        // What is not there has no line, but a key.
        _ => assert!(place[2..].starts_with(|letter: char| letter.is_ascii_lowercase()), "no place: {told}"),
    }
    assert!(!told.contains(char::is_control), "more than a line: {told:?}");
    assert!(told.len() <= TOLD_MAX + text.len(), "endless: {told}");
    assert!(!mistake.hint().is_empty(), "nothing to do about it: {told}");
}
