//! `passerelle account check`: signs in now, step by step, and says what works.

use super::progress;
use crate::cli::{Error, Place};
use passerelle::{
    control::{self, Manner, check},
    model::Address,
    store::unix_now,
};
use std::fmt::Write as _;

pub(super) async fn run(place: &Place, address: &Address) -> Result<(), Error> {
    let table = place.providers()?;
    let store = place.store().await?;
    let manner = Manner { own: &place.own_listeners()?, report: &progress(place.json) };
    let (checked, refused) = check::check(&store, &table, address, manner, unix_now()).await?;
    let mut text = String::new();
    for (service, outcome) in [("imap", &checked.imap), ("smtp", &checked.smtp)] {
        if outcome.state == "off" {
            let _ = writeln!(text, "{service:<6}switched off, not tried");
        }
        if let Some(why) = outcome.why {
            let _ = writeln!(text, "{service:<6}{why}");
        }
    }
    let untried = checked.imap.why.is_some() || checked.smtp.why.is_some();
    if refused.is_empty() && !untried {
        let _ = writeln!(text, "\n{address} works.");
    }
    // What works is told even where something does not: the error follows.
    place.answer(&checked, &text)?;
    if refused.is_empty() { Ok(()) } else { Err(control::Error::Refused(refused).into()) }
}
