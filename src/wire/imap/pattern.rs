//! LIST patterns (RFC 3501 section 6.3.8), matched in the product of both lengths, whatever the wildcards (rule R16).

/// Whether `name` matches `pattern`: `*` is any run of octets, `%` any without the delimiter. INBOX, which names have in
/// capitals, is matched in any case (section 5.1).
#[must_use]
pub fn matches(pattern: &[u8], name: &[u8], delimiter: u8) -> bool {
    let literal = |a: u8, b: u8| a == b || (name == b"INBOX" && a.eq_ignore_ascii_case(&b));
    // reached[i]: the pattern so far matches the first i octets of the name.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for &octet in pattern {
        let mut before = reached[0];
        let wildcard = matches!(octet, b'*' | b'%');
        reached[0] &= wildcard;
        for (index, &letter) in name.iter().enumerate() {
            let here = reached[index + 1];
            reached[index + 1] = match octet {
                b'*' => here || reached[index],
                b'%' => here || (reached[index] && letter != delimiter),
                _ => before && literal(octet, letter),
            };
            before = here;
        }
    }
    reached[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(pattern: &str, name: &str) -> bool {
        matches(pattern.as_bytes(), name.as_bytes(), b'/')
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
        assert!(matched(&"%*".repeat(400), &"a".repeat(4000)));
        assert!(!matched(&format!("{}b", "%*".repeat(400)), &"a".repeat(4000)));
    }
}
