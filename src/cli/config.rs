//! `passerelle config`: whether the configuration is good, and what it comes to.

use super::{Error, Place, arguments};
use serde_json::json;

pub(super) fn run(command: &arguments::Config, place: &Place) -> Result<(), Error> {
    let config = place.config()?;
    let file = place.config.as_ref().map(|file| file.display().to_string());
    match command {
        arguments::Config::Check => {
            let words = match &file {
                Some(file) => format!("the configuration is good: {file}\n"),
                None => "there is no configuration file: the usual values hold\n".to_owned(),
            };
            place.answer(&json!({ "good": true, "file": file }), &words)
        }
        arguments::Config::Show => {
            let source = file.as_deref().unwrap_or("none, these are the usual values");
            let shown = toml::to_string(&config).map_err(|error| Error::Write(std::io::Error::other(error)))?;
            let words = format!("# configuration: {source}\n# state: {}\n{shown}", place.state.display());
            place.answer(&json!({ "file": file, "state": place.state, "config": config }), &words)
        }
    }
}
