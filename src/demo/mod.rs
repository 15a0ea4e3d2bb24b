//! `passerelle demo`: the whole job on one machine, without an account, a configuration or a network.
//!
//! In a temporary folder it starts two demo providers, the bridge, and a CRM's day on the bridge's plain ports, and keeps
//! what both sides of the bridge said. It uses the code that everyone uses: `control` adds and swaps the account, `app`
//! serves. It prints nothing; the command line does.

mod crm;
mod letters;
mod provider;
mod story;
mod tape;

pub use story::{Card, Failed, House, Step, play};
pub use tape::{Said, Voice};
