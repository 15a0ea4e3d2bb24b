//! Shows the code of a sign-in on another device, as letters and as a QR code, and waits for its person.

use crate::cli::{Error, Place, out, say, words::field};
use passerelle::{
    control::device,
    model::Address,
    oauth::flow::device::Code,
    provider::Provider,
    store::{NewGrant, Store},
    telemetry::visible,
};
use qrcodegen::{QrCode, QrCodeEcc};
use serde::Serialize;
use std::io::IsTerminal as _;

/// The grant that this person gives on another device. Ctrl-C ends the program, as always: nothing is kept until then.
pub(super) async fn grant(
    place: &Place,
    store: &Store,
    provider: &Provider,
    mailbox: &Address,
    person: &str,
) -> Result<NewGrant, Error> {
    let waiting = device::start(store, provider, mailbox).await?;
    show(place, &waiting.code, person)?;
    Ok(waiting.grant().await?)
}

/// For a program: one line, before the answer.
#[derive(Serialize)]
struct CodeJson<'a> {
    user_code: &'a str,
    verification_uri: &'a str,
    verification_uri_complete: Option<&'a str>,
    expires_in: u64,
}

fn show(place: &Place, code: &Code, person: &str) -> Result<(), Error> {
    if place.json {
        let json = CodeJson {
            user_code: &code.user,
            verification_uri: &code.address,
            verification_uri_complete: code.whole_address.as_deref(),
            expires_in: code.pace.left.as_secs(),
        };
        return out::json_line(&json);
    }
    let mut text = format!("As {}, on any device with a browser:\n\n", visible(person));
    field(&mut text, "open", &code.address);
    field(&mut text, "type", &code.user);
    if std::io::stdout().is_terminal() {
        text.push_str(&qr(code.whole_address.as_deref().unwrap_or(&code.address)).unwrap_or_default());
    }
    text.push_str(&format!("\nWaiting, at most {} minutes; Ctrl-C stops.\n", code.pace.left.as_secs().div_ceil(60)));
    say(&text);
    Ok(())
}

/// Dots that a telephone must see around the code.
const MARGIN: i32 = 2;

/// Two rows of dots a line. What is white on paper is drawn: most terminals are dark, and telephones read both.
fn qr(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let dots = -MARGIN..code.size() + MARGIN;
    let mut drawn = String::from("\n");
    for y in dots.clone().step_by(2) {
        drawn.push_str("  ");
        for x in dots.clone() {
            drawn.push(match (code.get_module(x, y), code.get_module(x, y + 1)) {
                (false, false) => '█',
                (false, true) => '▀',
                (true, false) => '▄',
                (true, true) => ' ',
            });
        }
        drawn.push('\n');
    }
    Some(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawing_is_the_code() {
        let text = "https://microsoft.com/devicelogin";
        let drawn = qr(text).expect("it fits");
        let code = QrCode::encode_text(text, QrCodeEcc::Low).expect("it fits");
        let mut dots = Vec::new();
        for line in drawn.lines().skip(1) {
            let line: Vec<_> = line.chars().skip(2).collect();
            for (row, blank) in [(0, ['▄', ' ']), (1, ['▀', ' '])] {
                let _ = row;
                dots.push(line.iter().map(|dot| blank.contains(dot)).collect::<Vec<_>>());
            }
        }
        for y in 0..code.size() {
            for x in 0..code.size() {
                let drawn =
                    dots[usize::try_from(y + MARGIN).expect("in it")][usize::try_from(x + MARGIN).expect("in it")];
                assert_eq!(drawn, code.get_module(x, y), "{x} {y}");
            }
        }
        assert!(dots[0].iter().all(|dark| !dark), "a margin");
    }
}
