//! The arguments of LIST, LSUB and XLIST: which mailboxes are asked for, and what of them. RFC 3501 6.3.8, RFC 5258
//! section 6, RFC 6154 section 6.
//!
//! Options that are in none of these grammars are refused (RFC 5258 section 3): STATUS among the return options is, as
//! LIST-STATUS is not offered.

use super::{
    command::Verb,
    token::{Cursor, Token},
};
use crate::failure::Misbehaviour;

/// Patterns of one LIST. Real clients send one or two.
pub(crate) const PATTERNS_MAX: usize = 64;

/// A LIST, LSUB or XLIST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    pub reference: Token,
    /// At least one.
    pub patterns: Vec<Token>,
    /// None: the command of RFC 3501. An extended one is answered in another way (RFC 5258).
    pub extended: Option<Selection>,
}

/// What an extended LIST selects, and what it wants told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Subscribed names only, mailboxes or not.
    pub subscribed: bool,
    /// Mailboxes with a special use only.
    pub special_use: bool,
    /// Parents of what is selected, too.
    pub recursive: bool,
    /// `\Subscribed` is told.
    pub tell_subscribed: bool,
    /// `\HasChildren` and `\HasNoChildren` are told.
    pub tell_children: bool,
}

/// Reads the arguments of a LIST, LSUB or XLIST; `cursor` stands behind the verb. Only LIST has the extended forms.
///
/// # Errors
/// [`Misbehaviour::Syntax`] and kin.
pub(super) fn read(verb: Verb, mut cursor: Cursor<'_>) -> Result<ListQuery, Misbehaviour> {
    let extensible = verb == Verb::List;
    let mut extended = None;
    cursor.space()?;
    if extensible && cursor.peek() == Some(b'(') {
        extended = Some(selected(&mut cursor)?);
        cursor.space()?;
    }
    let reference = cursor.list_mailbox()?;
    cursor.space()?;
    let patterns = if extensible && cursor.peek() == Some(b'(') {
        extended.get_or_insert_default();
        patterns(&mut cursor)?
    } else {
        vec![cursor.list_mailbox()?]
    };
    if extensible && cursor.rest().iter().any(|octet| *octet != b' ') {
        cursor.space()?;
        if !cursor.word().eq_ignore_ascii_case(b"RETURN") {
            return Err(Misbehaviour::Syntax);
        }
        cursor.space()?;
        returned(&mut cursor, extended.get_or_insert_default())?;
    }
    cursor.end()?;
    Ok(ListQuery { reference, patterns, extended })
}

fn selected(cursor: &mut Cursor<'_>) -> Result<Selection, Misbehaviour> {
    let mut selection = Selection::default();
    words(cursor, |word| match () {
        () if is(word, "SUBSCRIBED") => {
            selection.subscribed = true;
            // RFC 5258 section 3.1: the option implies the return option of its name.
            selection.tell_subscribed = true;
            Ok(())
        }
        () if is(word, "SPECIAL-USE") => {
            selection.special_use = true;
            Ok(())
        }
        () if is(word, "RECURSIVEMATCH") => {
            selection.recursive = true;
            Ok(())
        }
        // No mailbox is on another server: those that are would be listed, too.
        () if is(word, "REMOTE") => Ok(()),
        () => Err(Misbehaviour::Syntax),
    })?;
    // RFC 5258 section 3.1: it makes no sense without what it is to recurse for.
    if selection.recursive && !selection.subscribed && !selection.special_use {
        return Err(Misbehaviour::Syntax);
    }
    Ok(selection)
}

fn returned(cursor: &mut Cursor<'_>, selection: &mut Selection) -> Result<(), Misbehaviour> {
    words(cursor, |word| match () {
        () if is(word, "SUBSCRIBED") => {
            selection.tell_subscribed = true;
            Ok(())
        }
        () if is(word, "CHILDREN") => {
            selection.tell_children = true;
            Ok(())
        }
        // Told in any case (RFC 6154 section 2 allows it).
        () if is(word, "SPECIAL-USE") => Ok(()),
        () => Err(Misbehaviour::Syntax),
    })
}

/// The words of a list in parentheses, which may be empty.
fn words(
    cursor: &mut Cursor<'_>,
    mut option: impl FnMut(&[u8]) -> Result<(), Misbehaviour>,
) -> Result<(), Misbehaviour> {
    if !cursor.take(b'(') {
        return Err(Misbehaviour::Syntax);
    }
    if cursor.take(b')') {
        return Ok(());
    }
    loop {
        option(cursor.word())?;
        if cursor.take(b')') {
            return Ok(());
        }
        cursor.space()?;
    }
}

fn patterns(cursor: &mut Cursor<'_>) -> Result<Vec<Token>, Misbehaviour> {
    cursor.take(b'(');
    let mut patterns = vec![cursor.list_mailbox()?];
    while !cursor.take(b')') {
        cursor.space()?;
        if patterns.len() == PATTERNS_MAX {
            return Err(Misbehaviour::Syntax);
        }
        patterns.push(cursor.list_mailbox()?);
    }
    Ok(patterns)
}

fn is(word: &[u8], option: &str) -> bool {
    word.eq_ignore_ascii_case(option.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(verb: Verb, arguments: &str) -> Option<(Vec<String>, Option<Selection>)> {
        let query = read(verb, Cursor::new(arguments.as_bytes())).ok()?;
        let tokens = std::iter::once(&query.reference).chain(&query.patterns);
        let text = |token: &Token| String::from_utf8_lossy(&token.value(arguments.as_bytes())).into_owned();
        Some((tokens.map(text).collect(), query.extended))
    }

    #[test]
    fn the_forms_that_clients_send() {
        let none = Selection::default();
        let subscribed = Selection { subscribed: true, tell_subscribed: true, ..none };
        for (arguments, names, extended) in [
            (" \"\" *", &["", "*"][..], None),
            (" \"\" %  ", &["", "%"], None),
            (" \"INBOX.\" \"\"", &["INBOX.", ""], None),
            (" \"\" {1}\r\n*", &["", "*"], None),
            (" () \"\" *", &["", "*"], Some(none)),
            (" (SUBSCRIBED) \"\" \"*\"", &["", "*"], Some(subscribed)),
            (
                " (remote Subscribed RECURSIVEMATCH) \"\" %",
                &["", "%"],
                Some(Selection { recursive: true, ..subscribed }),
            ),
            (" (SPECIAL-USE) \"\" *", &["", "*"], Some(Selection { special_use: true, ..none })),
            (" \"\" (\"INBOX\" % \"a/%\")", &["", "INBOX", "%", "a/%"], Some(none)),
            (
                " \"\" * RETURN (SUBSCRIBED CHILDREN SPECIAL-USE)",
                &["", "*"],
                Some(Selection { tell_subscribed: true, tell_children: true, ..none }),
            ),
            (" \"\" \"%\" return ()", &["", "%"], Some(none)),
        ] {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(query(Verb::List, arguments), Some((names, extended)), "{arguments}");
        }
    }

    #[test]
    fn what_is_in_no_grammar_is_refused() {
        for arguments in [
            "",
            " \"\"",
            " (SUBSCRIBED)",
            " (RECURSIVEMATCH) \"\" *",
            " (RECURSIVEMATCH REMOTE) \"\" *",
            " (SUBSCRIBED  \"\" *",
            " (NONSENSE) \"\" *",
            " \"\" ()",
            " \"\" (a b",
            " \"\" * RETURN",
            " \"\" * RETURN (STATUS (MESSAGES))",
            " \"\" * RETURN (MYRIGHTS)",
            " \"\" * NONSENSE (CHILDREN)",
            " \"\" * *",
        ] {
            assert_eq!(query(Verb::List, arguments), None, "{arguments}");
        }
        for verb in [Verb::Lsub, Verb::Xlist] {
            assert_eq!(query(verb, " (SUBSCRIBED) \"\" *"), None);
            assert_eq!(query(verb, " \"\" * RETURN (CHILDREN)"), None);
            assert!(query(verb, " \"\" *").is_some());
        }
        let many = format!(" \"\" ({}x)", "x ".repeat(PATTERNS_MAX));
        assert_eq!(query(Verb::List, &many), None);
    }
}
