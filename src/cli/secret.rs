//! Secrets that are piped in, a line each: never an argument, which every process of the machine can read.

use super::Error;
use passerelle::model::Secret;
use std::io::BufRead;
use zeroize::Zeroizing;

/// The next line, without its end and without the blanks that copying leaves around it; `empty` if nothing is left.
pub(super) fn line(input: &mut impl BufRead, empty: impl FnOnce() -> Error) -> Result<Secret<String>, Error> {
    let mut line = Zeroizing::new(String::new());
    input.read_line(&mut line).map_err(Error::Password)?;
    match line.trim() {
        "" => Err(empty()),
        text => Ok(Secret::new(text.to_owned())),
    }
}
