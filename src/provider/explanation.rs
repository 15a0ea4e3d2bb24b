//! What providers say when they do not let an account in, and what it means: `config/explanations.toml`.
//!
//! Pure. The words come from the provider; what is told of them is ours alone.

use serde::{Deserialize, Serialize};

/// The table, as it is built in.
const BUILT_IN: &str = include_str!("../../config/explanations.toml");

/// Where something was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    Imap,
    Smtp,
    /// By a token endpoint: its error code, and Microsoft's number or Google's text.
    Token,
}

/// Who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// Of the provider's side: the tenant, the registered client.
    Administrator,
    /// It passes by itself.
    Nobody,
    /// Of the mailbox.
    Owner,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    pub id: String,
    #[serde(skip_serializing)]
    pub on: Said,
    /// Any of these in what was said.
    #[serde(skip_serializing)]
    pub says: Vec<String>,
    /// What is said on the wire.
    #[serde(skip_serializing)]
    pub sample: String,
    pub what: String,
    pub why: String,
    /// `ADDRESS` stands for the account's.
    pub mend: String,
    pub who: Who,
    #[serde(skip_serializing)]
    pub source: String,
}

/// All rows, the narrow ones first.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explanations {
    explanation: Vec<Explanation>,
}

impl Explanations {
    /// The rows that are built in. None would be a fault of the build, as a test shows.
    #[must_use]
    pub fn built_in() -> Self {
        toml::from_str(BUILT_IN).unwrap_or(Self { explanation: Vec::new() })
    }

    /// What is meant by these words; None where nothing is known of them.
    #[must_use]
    pub fn of(&self, on: Said, words: &str) -> Option<&Explanation> {
        self.iter().find(|row| row.on == on && row.says.iter().any(|says| words.contains(says.as_str())))
    }

    /// All rows, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Explanation> {
        self.explanation.iter()
    }
}

impl Explanation {
    /// Whether the words are this row's own: an enhanced code alone is said by others, too.
    #[must_use]
    pub fn is_its_own(&self, words: &str) -> bool {
        self.says.iter().any(|says| says.contains(|c: char| c.is_ascii_alphabetic()) && words.contains(says.as_str()))
    }

    /// What to do, for this account, as it stands in a line for a shell.
    #[must_use]
    pub fn mend_for(&self, address: &str) -> String {
        self.mend.replace("ADDRESS", address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_what_its_sample_finds() {
        let all = Explanations::built_in();
        let mut ids: Vec<_> = all.iter().map(|row| row.id.as_str()).collect();
        assert!(ids.len() >= 29, "{}", ids.len());
        for row in all.iter() {
            let words = match (row.on, row.sample.split_once(": "), row.sample.split_once(' ')) {
                // As a reason is written: the code, and behind it the text, or the number in brackets.
                (Said::Token, None, Some((code, number))) => format!("{code} (AADSTS{number})"),
                _ => row.sample.clone(),
            };
            assert_eq!(all.of(row.on, &words).map(|found| found.id.as_str()), Some(row.id.as_str()), "{words}");
            for text in [&row.what, &row.why, &row.mend, &row.source] {
                assert!(!text.is_empty() && !text.ends_with('.') && !text.contains(['\n', '\t']), "{}: {text}", row.id);
            }
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all.iter().count(), "each id once");
        assert!(all.of(Said::Imap, "OK signed in").is_none() && all.of(Said::Smtp, "Request is throttled").is_none());
    }
}
