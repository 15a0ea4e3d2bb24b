//! The lab: real mail servers, the bridge under test, and the plainest of clients, for the tests of this binary.
//!
//! ```ignore
//! let Some(lab) = Lab::needing(&[Program::Dovecot, Program::Exim]) else { return };
//! let dovecot = Dovecot::ovh(&lab);
//! dovecot.add_user("alice@ovh.test", "secret");
//! let exim = Exim::submission(&lab, &dovecot);
//! let mut alice = Wire::tls(dovecot.imaps, &lab.certificates.ca, "localhost");
//! ```
//!
//! Every program runs on a free loopback port in the lab's own temporary folder, never as root, and ends with the value
//! that started it, also when the test run itself is killed. Every wait is bounded. A test whose programs are missing
//! says `skipped: REASON` and passes, except where `CI=true`: there it fails.

mod bridge;
mod certificates;
mod cli;
mod clients;
mod cyrus;
mod dns;
mod dovecot;
mod endpoint;
mod exim;
pub(crate) mod faults;
mod filter;
mod filter_client;
mod filter_server;
mod firm;
mod habits;
mod host;
mod hostile;
mod lab;
mod layout;
mod leash;
mod letters;
mod moods;
mod oidc;
mod openssl;
mod person;
mod postfix;
mod provider;
mod same;
pub(crate) mod secrets;
mod small_disk;
mod strict;
mod web;
mod wire;

pub(crate) use bridge::{AddAccount, Bridge, CrmSettings};
pub(crate) use certificates::{Certificates, Signed, trusting};
pub(crate) use cli::{passerelle, refused, said};
pub(crate) use clients::{Curl, Hosted, Mbsync, both, script};
pub(crate) use cyrus::Cyrus;
pub(crate) use dns::{Dns, Record, Zone};
pub(crate) use dovecot::{Dovecot, Letter};
pub(crate) use endpoint::Endpoint;
pub(crate) use exim::Exim;
pub(crate) use filter::Filter;
pub(crate) use firm::{ALICE, BOB, EMAIL, Firm, KID, settings};
pub(crate) use habits::{
    GMAIL_APP_PASSWORD, GMAIL_SMTP_LIMIT, GMAIL_SMTP_TOO_MANY_LOGINS, GMAIL_TOO_MANY, MICROSOFT_SMTP_BASIC_OFF,
    MICROSOFT_SMTP_BUSY, MICROSOFT_SMTP_OFF,
};
pub(crate) use host::Host;
pub(crate) use hostile::Case;
pub(crate) use lab::{Lab, Program, find, free_port};
pub(crate) use layout::{Layout, OVH_MAILBOXES};
pub(crate) use leash::{Leashed, PATIENCE, run, until, words};
pub(crate) use letters::letters;
pub(crate) use moods::{Mood, REMOTE, moody_imap, moody_smtp};
pub(crate) use oidc::Oidc;
pub(crate) use openssl::{KeyFiles, openssl};
pub(crate) use person::{Person, Reply};
pub(crate) use postfix::Postfix;
pub(crate) use provider::{IMAP_CAPABILITIES, Provider, Visit};
pub(crate) use same::{differences, same};
pub(crate) use small_disk::SmallDisk;
pub(crate) use web::{Page, Web};
pub(crate) use wire::Wire;
