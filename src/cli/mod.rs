//! The command line: words for people, around the use cases of `control`.
//!
//! The only place that prints, prompts, and knows exit codes. Answers go to standard output, all else to standard error.

mod account;
mod arguments;
mod config;
mod crm;
mod demo;
mod doctor;
mod exit;
mod find;
mod folder;
mod import;
mod limits;
mod login;
mod provider;
mod secret;
mod serve;
mod words;

use arguments::{Arguments, Command, Global};
use clap::Parser;
use exit::{Error, Exit};
use passerelle::{
    config::{Config, Environment, profiles, providers},
    control::OwnListeners,
    profile,
    provider::Table,
    store::{Store, unix_now},
    telemetry::visible_lines,
};
use serde::Serialize;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::task::LocalSet;

/// Parses, runs, and says how it ended.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refused) => return misunderstood(&refused),
    };
    let json = arguments.global.json;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => Err(Error::Serve(error.into())),
    };
    match done {
        Ok(()) => ExitCode::from(Exit::Ok as u8),
        Err(error) => {
            complain(&error, json);
            ExitCode::from(error.exit() as u8)
        }
    }
}

/// Help and version, or what is wrong with the command line: as JSON, too, if that was asked for.
fn misunderstood(refused: &clap::Error) -> ExitCode {
    if !refused.use_stderr() || !std::env::args_os().any(|argument| argument == "--json") {
        // Whoever closed the pipe does not want it.
        let _ = refused.print();
        return ExitCode::from(if refused.use_stderr() { Exit::Usage } else { Exit::Ok } as u8);
    }
    let words = refused.to_string();
    let first: Vec<_> = words.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    let error = first.join(" ");
    let error = error.strip_prefix("error: ").unwrap_or(&error);
    let hint = "each command says with --help what it takes";
    let json = serde_json::json!({ "error": error, "hint": hint, "exit": Exit::Usage as u8 });
    let _ = writeln!(std::io::stderr().lock(), "{json}");
    ExitCode::from(Exit::Usage as u8)
}

async fn run(arguments: Arguments) -> Result<(), Error> {
    // The demo has a place of its own.
    if let Command::Demo(demo) = &arguments.command {
        return LocalSet::new().run_until(demo::run(demo, arguments.global.json)).await;
    }
    let place = Place::find(&arguments.global)?;
    match arguments.command {
        Command::Serve => serve::run(&place).await,
        Command::Demo(_) => Ok(()),
        Command::Account(command) => account::run(command, &place).await,
        Command::Login(command) => login::run(command, &place).await,
        Command::Folder(command) => folder::run(command, &place).await,
        Command::Provider(command) => provider::run(command, &place).await,
        Command::Import(command) => import::run(command, &place).await,
        Command::Crm(command) => crm::run(command, &place).await,
        Command::Config(command) => config::run(&command, &place),
        Command::Limits => limits::run(&place).await,
        Command::Doctor { address } => doctor::run(&place, address.as_ref().map(|address| &address.0)).await,
    }
}

/// What the global flags and the environment say.
struct Place {
    state: PathBuf,
    config: Option<PathBuf>,
    key_file: Option<PathBuf>,
    json: bool,
}

impl Place {
    fn find(global: &Global) -> Result<Self, Error> {
        let environment = Environment::read();
        let state = environment.state(global.state.as_deref())?;
        let config = environment.config(global.config.as_deref(), &state);
        Ok(Self { state, config, key_file: environment.key_file, json: global.json })
    }

    fn config(&self) -> Result<Config, Error> {
        Ok(Config::load(self.config.as_deref(), &self.profiles()?)?)
    }

    /// Where the bridge itself listens, so that no provider is looked for there.
    fn own_listeners(&self) -> Result<OwnListeners, Error> {
        Ok(self.config()?.listeners().map(|listener| (listener.address, listener.key())).collect())
    }

    fn profiles(&self) -> Result<profile::Table, Error> {
        Ok(profiles(&self.state, self.config.as_deref())?)
    }

    fn providers(&self) -> Result<Table, Error> {
        Ok(providers(&self.state, self.config.as_deref())?)
    }

    /// Where the configuration is, or would be.
    fn config_file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| self.state.join("passerelle.toml"))
    }

    async fn store(&self) -> Result<Store, Error> {
        Ok(Store::open(&self.state, self.key_file.as_deref(), unix_now()).await?)
    }

    fn certificates(&self) -> PathBuf {
        Path::new(&self.state).join("certs")
    }

    /// Writes the answer: as JSON if that was asked for, else in words.
    fn answer(&self, json: &impl Serialize, words: &str) -> Result<(), Error> {
        if self.json {
            return write_json(json);
        }
        let mut out = std::io::stdout().lock();
        out.write_all(visible_lines(words).as_bytes()).and_then(|()| out.flush()).map_err(Error::Write)
    }
}

fn write_json(json: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(json).map_err(|error| Error::Write(error.into()))? + "\n";
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Write)
}

/// Words on the way to the answer. Whoever closed the pipe does not want them.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(visible_lines(text).as_bytes()).and_then(|()| out.flush());
}

/// The error with its causes, and what mends it.
fn complain(error: &Error, json: bool) {
    let (text, hint) = (error.chain(), error.hint());
    let text = if json {
        serde_json::json!({ "error": text, "hint": hint, "exit": error.exit() as u8 }).to_string() + "\n"
    } else {
        let hint = hint.map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
        visible_lines(&format!("error: {text}\n{hint}")).into_owned()
    };
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
