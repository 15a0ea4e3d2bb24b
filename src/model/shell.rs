//! Values in command lines that people copy into a shell: quoted, so that nothing in them is a command. Whatever names an
//! address, a name or a path in such a line goes through here.

use std::borrow::Cow;

/// One word of a shell (POSIX). Control characters, which no value that we name has, are left out.
#[must_use]
pub fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "@%+=:,./-_".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into();
    }
    let kept: String = text.chars().filter(|letter| !letter.is_control()).collect();
    format!("'{}'", kept.replace('\'', "'\\''")).into()
}

#[cfg(test)]
mod tests;
