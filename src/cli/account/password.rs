//! Passwords of providers, typed at a prompt or piped in: never an argument, which every process of the machine can read.

use crate::cli::{Error, arguments::Settings};
use passerelle::{
    model::{Address, Secret},
    telemetry::visible,
};
use std::io::BufRead;
use zeroize::Zeroizing;

/// That of the mailbox.
pub(super) fn of_mailbox(address: &Address, piped: bool) -> Result<Secret<String>, Error> {
    read(piped, &format!("Password of {address} at the provider: "))
}

/// That for submission alone, where there is a user for it.
pub(super) fn of_submission(settings: &Settings) -> Result<Option<Secret<String>>, Error> {
    let Some(user) = &settings.smtp_user else { return Ok(None) };
    read(settings.smtp_password_stdin, &format!("Password of {} at the submission server: ", visible(user))).map(Some)
}

/// One line, without its end: what a shell or an editor puts behind a password is not part of it.
fn read(piped: bool, prompt: &str) -> Result<Secret<String>, Error> {
    let line = if piped {
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().lock().read_line(&mut line).map_err(Error::Password)?;
        line
    } else {
        Zeroizing::new(rpassword::prompt_password(prompt).map_err(Error::Password)?)
    };
    match line.trim_end_matches(['\r', '\n']) {
        "" => Err(Error::PasswordEmpty),
        password => Ok(Secret::new(password.to_owned())),
    }
}
