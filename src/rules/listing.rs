//! What LIST, LSUB and XLIST are answered, from a namespace. RFC 3501 6.3.8 and 6.3.9, RFC 5258, RFC 6154.
//!
//! Names are the CRM's throughout; nothing of the provider's spelling is told.

use super::namespace::{Entry, Namespace, has_below};
use crate::{
    model::{LocalName, Role},
    wire::imap::{
        command::{Selection, Verb},
        pattern::Pattern,
    },
};
use std::{borrow::Cow, collections::BTreeSet};

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub name: Cow<'a, LocalName>,
    pub attributes: Vec<&'static str>,
    /// What the CHILDINFO item names: selection options that something below fits (RFC 5258 section 4).
    pub below: Vec<&'static str>,
}

/// A LIST, LSUB or XLIST: its patterns with the reference before them.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub verb: Verb,
    pub patterns: &'a [Vec<u8>],
    pub extended: Option<Selection>,
}

/// A pattern, and whether it asks for levels: with `%` at the end names are told that are no mailbox, but the parents of
/// some.
struct Asked {
    pattern: Pattern,
    levels: bool,
}

/// What matching costs, in steps of some nanoseconds: it runs where other sessions wait (rules R16, R45).
#[must_use]
pub fn cost(namespace: &Namespace, patterns: &[Vec<u8>]) -> u64 {
    let names = || namespace.nodes().map(|entry| entry.local.as_bytes());
    let of = |pattern: &Vec<u8>| {
        let pattern = Pattern::new(pattern);
        names().map(|name| pattern.cost(name)).sum::<u64>()
    };
    patterns.iter().map(of).sum()
}

/// The lines of the answer, in LIST order.
#[must_use]
pub fn answer<'a>(namespace: &'a Namespace, query: &Query<'_>) -> Vec<Line<'a>> {
    let asked = query
        .patterns
        .iter()
        .map(|pattern| Asked { pattern: Pattern::new(pattern), levels: pattern.last() == Some(&b'%') });
    let asked: Vec<Asked> = asked.collect();
    let mut lines = match (query.verb, query.extended) {
        (Verb::Lsub, _) => subscribed(namespace, &asked),
        (_, Some(selection)) => selected(namespace, &asked, selection),
        (verb, None) => listed(namespace, &asked, verb),
    };
    if lines.is_empty() {
        lines.extend(alias(namespace, query));
    }
    lines
}

fn matches(namespace: &Namespace, asked: &[Asked], name: &LocalName, levels: bool) -> bool {
    let one =
        |asked: &Asked| (asked.levels || !levels) && asked.pattern.matches(name.as_bytes(), namespace.delimiter());
    asked.iter().any(one)
}

/// RFC 3501 6.3.8.
fn listed<'a>(namespace: &'a Namespace, asked: &[Asked], verb: Verb) -> Vec<Line<'a>> {
    let told = |entry: &&Entry| {
        (entry.is_mailbox() || entry.is_implied()) && matches(namespace, asked, &entry.local, !entry.is_mailbox())
    };
    namespace.nodes().filter(told).map(|entry| line(entry, verb)).collect()
}

/// RFC 3501 6.3.9: subscribed names, mailboxes or not; with a trailing `%` also the parents of some.
fn subscribed<'a>(namespace: &'a Namespace, asked: &[Asked]) -> Vec<Line<'a>> {
    let told = |entry: &&Entry| entry.subscribed && matches(namespace, asked, &entry.local, false);
    let names = namespace.nodes().filter(told).map(|entry| line(entry, Verb::Lsub));
    let parents = namespace.parents_of_subscribed().filter(|name| matches(namespace, asked, name, true));
    let parent = |name| Line { name: Cow::Borrowed(name), attributes: vec!["\\Noselect"], below: Vec::new() };
    names.chain(parents.map(parent)).collect()
}

/// RFC 5258 section 3.
fn selected<'a>(namespace: &'a Namespace, asked: &[Asked], selection: Selection) -> Vec<Line<'a>> {
    let selects = |entry: &Entry| {
        let known = entry.is_mailbox() || (selection.subscribed && entry.subscribed);
        known && (!selection.subscribed || entry.subscribed) && (!selection.special_use || entry.role.is_some())
    };
    let selective = selection.subscribed || selection.special_use;
    let below: BTreeSet<&LocalName> = if selection.recursive {
        namespace.nodes().filter(|entry| selects(entry)).map(|entry| &entry.local).collect()
    } else {
        BTreeSet::new()
    };
    let options = [(selection.subscribed, "SUBSCRIBED"), (selection.special_use, "SPECIAL-USE")];
    let mut lines = Vec::new();
    for entry in namespace.nodes() {
        let has_below = selection.recursive && has_below(&below, &entry.local, namespace.delimiter());
        let own = selects(entry) && matches(namespace, asked, &entry.local, false);
        let parent = has_below && matches(namespace, asked, &entry.local, false);
        // Who selects nothing asks for the tree, in which levels count.
        let level = !selective && entry.is_implied() && matches(namespace, asked, &entry.local, true);
        if own || parent || level {
            let mut told = line_of_extended(entry, selection);
            if has_below {
                told.below.extend(options.iter().filter(|(option, _)| *option).map(|(_, word)| *word));
            }
            lines.push(told);
        }
    }
    lines
}

/// A name without wildcards that only an alias has: told as it was spelt, so that who looks for it finds it.
fn alias<'a>(namespace: &'a Namespace, query: &Query<'_>) -> Option<Line<'a>> {
    let [name] = query.patterns else { return None };
    if query.extended.is_some() || name.iter().any(|octet| matches!(octet, b'*' | b'%')) {
        return None;
    }
    let name = LocalName::parse(name).ok()?;
    let route = namespace.resolve(&name)?;
    let entry = namespace.nodes().find(|entry| entry.is_mailbox() && entry.local == route.local)?;
    let told = query.verb != Verb::Lsub || entry.subscribed;
    told.then(|| Line { name: Cow::Owned(name), ..line(entry, query.verb) })
}

fn line(entry: &Entry, verb: Verb) -> Line<'_> {
    let mut attributes = Vec::new();
    if entry.attributes.no_select {
        attributes.push("\\Noselect");
    }
    if entry.attributes.no_inferiors {
        attributes.push("\\Noinferiors");
    }
    if verb != Verb::Lsub {
        attributes.push(children(entry));
    }
    match (verb, entry.role) {
        (Verb::Lsub, _) | (_, None) => {}
        // As Gmail has it, who made XLIST.
        (Verb::Xlist, Some(Role::Junk)) => attributes.push("\\Spam"),
        (_, Some(role)) => attributes.push(role.attribute()),
    }
    if verb == Verb::Xlist && entry.local.is_inbox() {
        attributes.push("\\Inbox");
    }
    Line { name: Cow::Borrowed(&entry.local), attributes, below: Vec::new() }
}

fn line_of_extended(entry: &Entry, selection: Selection) -> Line<'_> {
    let mut attributes = Vec::new();
    match (entry.is_mailbox(), entry.attributes.no_select) {
        (false, _) => attributes.push("\\NonExistent"),
        (true, true) => attributes.push("\\Noselect"),
        (true, false) => {}
    }
    if entry.attributes.no_inferiors {
        attributes.push("\\Noinferiors");
    }
    if selection.tell_children {
        attributes.push(children(entry));
    }
    attributes.extend(entry.role.map(Role::attribute));
    if selection.tell_subscribed && entry.subscribed {
        attributes.push("\\Subscribed");
    }
    Line { name: Cow::Borrowed(&entry.local), attributes, below: Vec::new() }
}

fn children(entry: &Entry) -> &'static str {
    if entry.has_children { "\\HasChildren" } else { "\\HasNoChildren" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{AccountId, Attributes, Folder, FolderTable, RemoteName},
        rules::namespace::{Choices, Naming},
    };

    /// The tree of RFC 5258 section 5, a special mailbox in it, and one that is subscribed and gone.
    fn fruit() -> Namespace {
        let folder = |name: &str, subscribed, role| Folder {
            name: RemoteName::parse(name.as_bytes()).expect("a name"),
            attributes: Attributes::default(),
            role,
            subscribed,
        };
        let table = FolderTable {
            delimiter: Some(b'/'),
            folders: vec![
                folder("INBOX", true, None),
                folder("Fruit", false, None),
                folder("Fruit/Apple", false, None),
                folder("Fruit/Banana", true, None),
                folder("Tofu", false, None),
                folder("Vegetable", true, None),
                folder("Vegetable/Broccoli", true, None),
                folder("Meat/Old/Beef", true, None),
                folder("Sent", false, Some(Role::Sent)),
            ],
            gone: vec![RemoteName::parse(b"Fruit/Peach").expect("a name")],
            ..FolderTable::default()
        };
        Namespace::new(AccountId(1), &table, &Choices::default(), &Naming::default())
    }

    fn told(verb: Verb, patterns: &[&str], extended: Option<Selection>) -> Vec<String> {
        let patterns: Vec<Vec<u8>> = patterns.iter().map(|pattern| pattern.as_bytes().to_vec()).collect();
        let namespace = fruit();
        let text = |line: Line<'_>| {
            let below = if line.below.is_empty() { String::new() } else { format!(" {:?}", line.below) };
            format!("{}: {}{below}", line.name.as_str(), line.attributes.join(" ")).trim_end().to_owned()
        };
        answer(&namespace, &Query { verb, patterns: &patterns, extended }).into_iter().map(text).collect()
    }

    const SUBSCRIBED: Selection = Selection {
        subscribed: true,
        special_use: false,
        recursive: false,
        tell_subscribed: true,
        tell_children: false,
    };

    #[test]
    fn subscribed_names_are_selected_mailboxes_or_not() {
        assert_eq!(
            told(Verb::List, &["*"], Some(SUBSCRIBED)),
            [
                "INBOX: \\Subscribed",
                "Fruit/Banana: \\Subscribed",
                "Fruit/Peach: \\NonExistent \\Subscribed",
                "Meat/Old/Beef: \\Subscribed",
                "Vegetable: \\Subscribed",
                "Vegetable/Broccoli: \\Subscribed",
            ]
        );
    }

    #[test]
    fn parents_of_what_is_selected_are_told_where_that_is_asked() {
        assert_eq!(
            told(Verb::List, &["%"], Some(Selection { recursive: true, ..SUBSCRIBED })),
            [
                "INBOX: \\Subscribed",
                "Fruit:  [\"SUBSCRIBED\"]",
                "Meat: \\NonExistent [\"SUBSCRIBED\"]",
                "Vegetable: \\Subscribed [\"SUBSCRIBED\"]",
            ]
        );
        let special = Selection { special_use: true, ..Selection::default() };
        assert_eq!(told(Verb::List, &["*"], Some(special)), ["Sent: \\Sent"]);
        assert_eq!(told(Verb::List, &["*"], Some(Selection { subscribed: true, ..special })), Vec::<String>::new());
    }

    #[test]
    fn several_patterns_tell_each_name_once() {
        let all = Selection { tell_children: true, tell_subscribed: true, ..Selection::default() };
        assert_eq!(
            told(Verb::List, &["INBOX", "Fruit/%", "F*", "Me%"], Some(all)),
            [
                "INBOX: \\HasNoChildren \\Subscribed",
                "Fruit: \\HasChildren",
                "Fruit/Apple: \\HasNoChildren",
                "Fruit/Banana: \\HasNoChildren \\Subscribed",
                "Meat: \\NonExistent \\HasChildren",
            ]
        );
        // No special meaning of the empty name here (RFC 5258 section 3).
        assert_eq!(told(Verb::List, &[""], Some(all)), Vec::<String>::new());
    }

    #[test]
    fn lsub_tells_parents_where_levels_are_asked_for() {
        assert_eq!(told(Verb::Lsub, &["%"], None), ["INBOX:", "Vegetable:", "Fruit: \\Noselect", "Meat: \\Noselect"]);
        assert_eq!(told(Verb::Lsub, &["Meat/%"], None), ["Meat/Old: \\Noselect"]);
        assert_eq!(told(Verb::Lsub, &["F*"], None), ["Fruit/Banana:", "Fruit/Peach: \\Noselect"]);
    }

    #[test]
    fn an_alias_is_found_under_its_own_name_alone() {
        assert_eq!(told(Verb::List, &["INBOX.Sent"], None), ["INBOX.Sent: \\HasNoChildren \\Sent"]);
        assert_eq!(told(Verb::List, &["INBOX.S%"], None), Vec::<String>::new());
        assert_eq!(told(Verb::Lsub, &["INBOX.Sent"], None), Vec::<String>::new());
    }
}
