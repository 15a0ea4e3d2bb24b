//! A real shell reads what was quoted.

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
