//! What the fuzz targets call, one function a target: any octets in, and a property asserted, not only "no crash".

mod config;
mod discovery;
mod dot;
mod engine;
mod header;
mod imap_framer;
mod imap_rewrite;
mod names;
mod oauth_response;
mod opening;
mod relay_imap;
mod relay_smtp;
mod sasl;
mod smtp_line;
mod smtp_reply;
mod utf7;

pub use config::config;
pub use discovery::discovery;
pub use dot::dot;
pub use engine::engine;
pub use header::header;
pub use imap_framer::imap_framer;
pub use imap_rewrite::imap_rewrite;
pub use names::names;
pub use oauth_response::oauth_response;
pub use opening::opening;
pub use relay_imap::relay_imap;
pub use relay_smtp::relay_smtp;
pub use sasl::sasl;
pub use smtp_line::smtp_line;
pub use smtp_reply::smtp_reply;
pub use utf7::utf7;

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
    fn config() {
        seeds("config", super::config);
    }

    #[test]
    fn discovery() {
        seeds("discovery", super::discovery);
    }

    #[test]
    fn header() {
        seeds("header", super::header);
    }

    #[test]
    fn engine() {
        seeds("engine", super::engine);
    }

    #[test]
    fn imap_framer() {
        seeds("imap_framer", super::imap_framer);
    }

    #[test]
    fn imap_rewrite() {
        seeds("imap_rewrite", super::imap_rewrite);
    }

    #[test]
    fn names() {
        seeds("names", super::names);
    }

    #[test]
    fn oauth_response() {
        seeds("oauth_response", super::oauth_response);
    }

    #[test]
    fn opening() {
        seeds("opening", super::opening);
    }

    #[test]
    fn sasl() {
        seeds("sasl", super::sasl);
    }

    #[test]
    fn smtp_line() {
        seeds("smtp_line", super::smtp_line);
    }

    #[test]
    fn relay_imap() {
        seeds("relay_imap", super::relay_imap);
    }

    #[test]
    fn relay_smtp() {
        seeds("relay_smtp", super::relay_smtp);
    }
}
