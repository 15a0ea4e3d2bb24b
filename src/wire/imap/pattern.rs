//! LIST patterns (RFC 3501 section 6.3.8), matched in the square of the name's length, whatever the pattern (rule R16).

use crate::model::number;

/// A pattern, ready to be matched against many names.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Runs of wildcards as one: `%*` is `*`.
    octets: Vec<u8>,
    /// Octets that are no wildcards: no shorter name matches.
    letters: usize,
}

impl Pattern {
    #[must_use]
    pub fn new(pattern: &[u8]) -> Self {
        let mut octets: Vec<u8> = Vec::new();
        for &octet in pattern {
            match (octets.last_mut(), octet) {
                (Some(b'*'), b'*' | b'%') | (Some(b'%'), b'%') => {}
                (Some(last @ b'%'), b'*') => *last = b'*',
                _ => octets.push(octet),
            }
        }
        let letters = octets.iter().filter(|octet| !matches!(octet, b'*' | b'%')).count();
        Self { octets, letters }
    }

    /// Steps that matching this name takes.
    #[must_use]
    pub fn cost(&self, name: &[u8]) -> u64 {
        if self.letters > name.len() { 1 } else { number(self.octets.len()) * (number(name.len()) + 1) }
    }

    /// Whether `name` matches: `*` is any run of octets, `%` any without the delimiter. INBOX, which names have in
    /// capitals, is matched in any case (section 5.1).
    #[must_use]
    pub fn matches(&self, name: &[u8], delimiter: u8) -> bool {
        if self.letters > name.len() {
            return false;
        }
        let literal = |a: u8, b: u8| a == b || (name == b"INBOX" && a.eq_ignore_ascii_case(&b));
        // Whether the pattern so far matches none of the name, and whether it matches the name up to each octet.
        let mut none = true;
        let mut reached = vec![false; name.len()];
        for &octet in &self.octets {
            let mut before = none;
            none &= matches!(octet, b'*' | b'%');
            let mut shorter = none;
            for (reached, &letter) in reached.iter_mut().zip(name) {
                let here = *reached;
                *reached = match octet {
                    b'*' => here || shorter,
                    b'%' => here || (shorter && letter != delimiter),
                    _ => before && literal(octet, letter),
                };
                (before, shorter) = (here, *reached);
            }
        }
        reached.last().copied().unwrap_or(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern.as_bytes()).matches(name.as_bytes(), b'/')
    }

    #[test]
    fn wildcards() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "a/b"),
            ("%", "a"),
            ("%/%", "a/b"),
            ("*b", "a/b"),
            ("a*", "a"),
            ("inbox", "INBOX"),
            ("In%", "INBOX"),
            ("a%c*e", "abc/de"),
            ("", ""),
        ] {
            assert!(matched(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("%", "a/b"), ("a", "A"), ("", "a"), ("a%", "a/b"), ("*a", "ab"), ("INBOX", "INBOXES")]
        {
            assert!(!matched(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn hundreds_of_wildcards_cost_a_product_not_a_power() {
        // As long as a command may be, against as many names as an account may have.
        let pattern = Pattern::new("a%*".repeat(20_000).as_bytes());
        assert!((0..10_000).all(|_| !pattern.matches(b"Kunden/2024/Rechnungen", b'/')));
        assert!(matched(&"%*".repeat(400), &"a".repeat(4000)));
        assert!(!matched(&format!("{}b", "%*".repeat(400)), &"a".repeat(4000)));
    }
}
