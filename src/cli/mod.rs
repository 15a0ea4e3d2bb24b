//! The command line: words for people, around the use cases of `control`.
//!
//! The only place that prints (`out`), prompts, and knows exit codes. Answers go to standard output, all else to standard
//! error.

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
mod out;
mod provider;
mod queue;
mod secret;
mod serve;
mod words;

use arguments::{Arguments, Command, Global};
use clap::Parser;
use exit::{Error, Exit};
use out::say;
use passerelle::{
    config::{Config, Environment, profiles, providers},
    control::OwnListeners,
    profile,
    provider::Table,
    store::{Store, unix_now},
};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::task::LocalSet;

/// Parses, runs, and says how it ended.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refused) => {
            let json = std::env::args_os().any(|argument| argument == "--json");
            return ExitCode::from(out::misunderstood(&refused, json) as u8);
        }
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
            out::complain(&error, json);
            ExitCode::from(error.exit() as u8)
        }
    }
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
        Command::Queue(command) => queue::run(command, &place).await,
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
        if self.json { out::json(json) } else { out::text(words) }
    }
}
