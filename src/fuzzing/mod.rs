//! What the fuzz targets call, one function a target: any octets in, and a property asserted, not only "no crash".

mod dot;
mod relay_smtp;
mod sasl;
mod smtp_reply;

pub use dot::dot;
pub use relay_smtp::relay_smtp;
pub use sasl::sasl;
pub use smtp_reply::smtp_reply;

/// The first octets as cuts, and the rest: how a target gets both from one input.
fn cuts_and_rest(octets: &[u8]) -> (Vec<usize>, &[u8]) {
    let (cuts, rest) = octets.split_at(octets.len().min(4));
    (cuts.iter().map(|cut| usize::from(*cut)).collect(), rest)
}

#[cfg(test)]
mod tests {
    /// What a fuzzer once found or was given to begin with, run without one.
    fn seeds(target: &str, run: fn(&[u8])) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            run(&std::fs::read(entry.expect("an entry").path()).expect("a seed"));
        }
    }

    #[test]
    fn relay_smtp() {
        seeds("relay_smtp", super::relay_smtp);
    }
}
