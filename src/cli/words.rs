//! Pieces of text that several commands print.

use passerelle::{
    config::{Config, Listener},
    model::quoted,
    profile::GENERIC,
    telemetry::visible,
};
use serde::Serialize;
use std::fmt::{self, Write as _};

/// A line of columns: `name` padded, then the value, which begins no line of its own.
pub(super) fn field(text: &mut String, name: &str, value: impl fmt::Display) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "  {name:<14}{}", visible(&value.to_string()));
}

/// Rows of columns, each as wide as its widest cell.
pub(super) fn columns<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| visible(cell).into_owned())).collect();
    let mut widths = head.map(|cell| cell.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&head.map(str::to_owned)).chain(&rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A day as `2026-11-21`, in UTC.
pub(super) fn day(unix: i64) -> String {
    // Counted from 1 March of year 0, so that the leap day is the last of its year (H. Hinnant, chrono-Compatible
    // Low-Level Date Algorithms).
    let days = unix.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A moment as `2026-11-21 08:15:00 UTC`.
pub(super) fn moment(unix: i64) -> String {
    let second = unix.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{} {hour:02}:{minute:02}:{second:02} UTC", day(unix))
}

/// One way in which a CRM can reach the bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Way {
    pub(super) protocol: &'static str,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: &'static str,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let security = if self.security == "tls" { "SSL/TLS" } else { "no encryption" };
        write!(f, "{}   port {}   {security}", self.host, self.port)
    }
}

/// The ways to the listeners of a CRM, the clear ones first: its own, or the usual ones where it has none.
pub(super) fn ways(config: &Config, crm: &str) -> Vec<Way> {
    let of = |crm: &str| {
        let way = |listener: Listener<'_>| {
            let ip = listener.address.ip();
            Way {
                protocol: if listener.kind.is_imap() { "imap" } else { "smtp" },
                host: if ip.is_unspecified() { config.hostname.to_string() } else { ip.to_string() },
                port: listener.address.port(),
                security: if listener.kind.is_secured() { "tls" } else { "none" },
            }
        };
        let theirs = config.listeners().filter(|listener| listener.crm == crm);
        let mut ways: Vec<Way> = theirs.map(way).collect();
        ways.sort_by_key(|way| (way.protocol, way.security));
        ways
    };
    let own = of(crm);
    if own.is_empty() { of(&config.listen.crm) } else { own }
}

/// What to copy into a CRM.
#[derive(Serialize)]
pub(super) struct Card<'a> {
    #[serde(skip)]
    pub(super) address: &'a str,
    /// The name of the login's CRM profile.
    pub(super) crm: &'a str,
    pub(super) login: &'a str,
    /// Shown this once.
    pub(super) password: &'a str,
    pub(super) connect: Vec<Way>,
}

impl fmt::Display for Card<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for (protocol, name) in [("imap", "IMAP server"), ("smtp", "SMTP server")] {
            let ways = self.connect.iter().filter(|way| way.protocol == protocol);
            for (way, name) in ways.zip(std::iter::once(name).chain(std::iter::repeat("  or"))) {
                field(&mut text, name, way);
            }
        }
        field(&mut text, "user name", self.login);
        field(&mut text, "password", self.password);
        if self.crm != GENERIC {
            field(
                &mut text,
                "in its words",
                format_args!("passerelle crm settings {} --crm {}", quoted(self.address), quoted(self.crm)),
            );
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(951_782_400), "2000-02-29");
        assert_eq!(day(1_795_219_200), "2026-11-21");
        assert_eq!(day(-1), "1969-12-31");
        assert_eq!(moment(1_795_219_200 + 3661), "2026-11-21 01:01:01 UTC");
    }

    #[test]
    fn what_is_shown_begins_no_line_of_its_own() {
        let mut text = String::new();
        field(&mut text, "client", "app\nhint: run this");
        text += &columns(["A"], &[["x\ny".to_owned()]]);
        assert_eq!(text, "  client        app\\u000ahint: run this\nA\nx\\u000ay\n");
    }

    #[test]
    fn columns_line_up() {
        let rows = [["é".to_owned(), "x".to_owned()], ["long".to_owned(), String::new()]];
        assert_eq!(columns(["a", "b"], &rows), "a     b\né     x\nlong\n");
    }

    #[test]
    fn a_card_says_both_ways_of_each_protocol() {
        let card = Card {
            address: "a@b",
            crm: GENERIC,
            login: "a@b",
            password: "p",
            connect: ways(&Config::default(), GENERIC),
        };
        assert_eq!(
            card.to_string(),
            "  IMAP server   127.0.0.1   port 1143   no encryption
    or          127.0.0.1   port 1993   SSL/TLS
  SMTP server   127.0.0.1   port 1587   no encryption
    or          127.0.0.1   port 1465   SSL/TLS
  user name     a@b
  password      p
"
        );
    }
}
