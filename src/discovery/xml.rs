//! A small tree of XML from strangers: bounded in octets, depth and number, without entities, and nothing else of it.

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};

/// What is read of an answer. Thunderbird's largest file is below 6 KiB.
pub const ANSWER_MAX: usize = 64 * 1024;
/// Elements in each other. Autodiscover has five.
pub(crate) const DEPTH_MAX: usize = 16;
/// Elements in all.
pub(crate) const ELEMENTS_MAX: usize = 2000;
/// Attributes of one element that are looked through.
pub(crate) const ATTRIBUTES_MAX: usize = 16;
/// The text of one element that is kept.
pub(crate) const TEXT_MAX: usize = 1024;

/// Why an answer says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    #[error("it declares entities or a document type, which is not read")]
    Entities,
    #[error("it is no XML")]
    NotXml,
    #[error("it is something else than was asked for")]
    OtherKind,
    #[error("it has too many elements, or too deep ones")]
    TooComplex,
    #[error("it is longer than 64 KiB")]
    TooLong,
}

/// One element: its name without a prefix, its `type`, its own text, its children.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) kind: String,
    text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }

    /// All children of this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first child of this name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of this name; empty where there is none.
    pub(super) fn text_of(&self, name: &str) -> &str {
        self.child(name).map(Self::text).unwrap_or_default()
    }

    fn begun(start: &BytesStart<'_>) -> Self {
        let mut attributes = start.attributes();
        let kind = attributes.with_checks(false).take(ATTRIBUTES_MAX).filter_map(Result::ok);
        let kind = kind.filter(|attribute| attribute.key.as_ref() == "type").map(|attribute| cut(&attribute.value));
        Self { name: cut(start.local_name().as_ref()), kind: kind.last().unwrap_or_default(), ..Self::default() }
    }

    fn add_text(&mut self, text: &str) {
        if self.text.len() + text.len() <= TEXT_MAX {
            self.text.push_str(text);
        }
    }
}

/// The root of a document.
///
/// # Errors
/// [`Nonsense`].
pub(super) fn read(octets: &[u8]) -> Result<Element, Nonsense> {
    if octets.len() > ANSWER_MAX {
        return Err(Nonsense::TooLong);
    }
    // Hosts and ports are ASCII in every charset that such files are written in.
    let text = String::from_utf8_lossy(octets);
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}').trim_start());
    let mut open: Vec<Element> = vec![Element::default()];
    let mut elements = 0;
    loop {
        let event = reader.read_event().map_err(|_| Nonsense::NotXml)?;
        if matches!(event, Event::Start(_) | Event::Empty(_)) {
            elements += 1;
            if elements > ELEMENTS_MAX || open.len() > DEPTH_MAX {
                return Err(Nonsense::TooComplex);
            }
        }
        match event {
            Event::Start(start) => open.push(Element::begun(&start)),
            Event::Empty(start) => close(Element::begun(&start), &mut open),
            Event::End(_) => {
                let done = open.pop().ok_or(Nonsense::NotXml)?;
                close(done, &mut open);
            }
            Event::Text(text) => say(&text.xml10_content(), &mut open),
            Event::CData(text) => say(&text.xml10_content(), &mut open),
            Event::GeneralRef(reference) => say(&meaning(&reference)?.to_string(), &mut open),
            Event::DocType(_) => return Err(Nonsense::Entities),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some(whole), true) => whole.children.into_iter().next().ok_or(Nonsense::NotXml),
        _ => Err(Nonsense::NotXml),
    }
}

fn close(done: Element, open: &mut [Element]) {
    if let Some(parent) = open.last_mut() {
        parent.children.push(done);
    }
}

fn say(text: &str, open: &mut [Element]) {
    if let Some(element) = open.last_mut() {
        element.add_text(text);
    }
}

/// The five that XML has of itself, and numbers: there is nothing to expand.
fn meaning(reference: &quick_xml::events::BytesRef<'_>) -> Result<char, Nonsense> {
    match reference.resolve_char_ref() {
        Ok(Some(letter)) => return Ok(letter),
        Ok(None) => {}
        Err(_) => return Err(Nonsense::NotXml),
    }
    match &**reference {
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "gt" => Ok('>'),
        "lt" => Ok('<'),
        "quot" => Ok('"'),
        _ => Err(Nonsense::Entities),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_their_text_are_read() {
        let root = read(
            b"\xef\xbb\xbf<?xml version='1.0'?><!-- x --><a:r type='t'>\n x<b>1</b>&amp;<b type=\"u\"/>&#65;</a:r>",
        );
        let root = root.expect("XML");
        assert_eq!((root.name.as_str(), root.kind.as_str(), root.text()), ("r", "t", "x&A"));
        assert_eq!((root.all("b").count(), root.text_of("b"), root.text_of("c")), (2, "1", ""));
    }

    #[test]
    fn bombs_are_no_answers() {
        let deep = "<a>".repeat(5000) + &"</a>".repeat(5000);
        let many = format!("<a>{}</a>", "<b/>".repeat(5000));
        let laughs = "<!DOCTYPE l [<!ENTITY a 'ha'><!ENTITY b '&a;&a;'>]><l>&b;</l>";
        let outside = "<!DOCTYPE l SYSTEM 'file:///etc/passwd'><l/>";
        let attributes = format!("<a {}/>", "x='' ".repeat(10_000));
        for (text, why) in [
            (deep.as_str(), Nonsense::TooComplex),
            (&many, Nonsense::TooComplex),
            (laughs, Nonsense::Entities),
            (outside, Nonsense::Entities),
            ("<l>&b;</l>", Nonsense::Entities),
            ("<l>&#x110000;</l>", Nonsense::NotXml),
            (&" ".repeat(ANSWER_MAX + 1), Nonsense::TooLong),
            ("", Nonsense::NotXml),
            ("<a>", Nonsense::NotXml),
            ("<a></b>", Nonsense::NotXml),
            ("</a>", Nonsense::NotXml),
            ("\0", Nonsense::NotXml),
            ("{\"json\": 1}", Nonsense::NotXml),
        ] {
            assert_eq!(read(text.as_bytes()).map(|root| root.name), Err(why), "{}", &text[..text.len().min(40)]);
        }
        assert_eq!(read(attributes.as_bytes()).map(|root| root.name).as_deref(), Ok("a"));
        let long = format!("<a>{}</a>", "x".repeat(60_000));
        assert!(read(long.as_bytes()).expect("XML").text().len() <= TEXT_MAX);
    }
}
