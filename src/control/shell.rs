//! Values in command lines that people copy into a shell: quoted, so that nothing in them is a command.

use std::borrow::Cow;

/// One word of a shell (POSIX). Control characters, which no value that we name has, are left out.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "@%+=:,./-_".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into();
    }
    let kept: String = text.chars().filter(|letter| !letter.is_control()).collect();
    format!("'{}'", kept.replace('\'', "'\\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_reads_what_was_quoted() {
        for text in [
            "alice+x@firm.test",
            "",
            "a b",
            "a;touch /tmp/x",
            "$(id)`id`",
            "o'neil&co@firm.test",
            "''",
            "\\",
            "~",
            "#x",
            "*",
            "!!",
            "-n",
            "\"é\"",
        ] {
            let line = format!("printf '<%s>' {}", quoted(text));
            let said = Command::new("sh").args(["-c", &line]).output().expect("a shell").stdout;
            assert_eq!(String::from_utf8(said).expect("text"), format!("<{text}>"));
        }
        assert_eq!((quoted("a-b.test"), quoted("a\u{1b}[2Jb\n")), ("a-b.test".into(), "'a[2Jb'".into()));
    }
}
