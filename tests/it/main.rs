//! The one integration binary.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests read clocks and the environment, and print"
)]

mod account;
mod certificates;
mod cli;
mod client_lanes;
mod client_token_rows;
mod client_tokens;
mod clients;
mod clocks;
mod config;
mod copies;
mod crashes;
mod crm;
mod crm_scripts;
mod demo;
mod devices;
mod dialogue;
mod dialogue_tls;
mod discovery;
mod discovery_hostile;
mod discovery_house;
mod doctor;
mod engine;
mod failure_table;
mod families;
mod filing;
mod filters;
mod folders;
mod full;
mod grants;
mod handed;
mod harness;
mod hostile_failures;
mod hostile_files;
mod hostile_imap;
mod hostile_limits;
mod hostile_logins;
mod hostile_mime;
mod hostile_slow;
mod hostile_smtp;
mod hostile_sql;
mod hostile_tls;
mod hostile_validity;
mod import;
mod killed;
mod lab;
mod lanes;
mod layers;
mod layouts;
mod limits;
mod lost;
mod machines;
mod moved;
mod provider;
mod queue_rows;
mod readme;
mod refused;
mod renewal;
mod revocation;
mod scopes;
mod senders;
mod sending;
mod sending_house;
mod sent_rows;
mod serve;
mod settings;
mod shared_mailbox;
mod shell_lines;
mod sign_in;
mod sign_in_toys;
mod spent;
mod store;
mod streaming;
mod swap;
mod terminal;
mod token_trouble;
mod tokens;
mod toy_house;
mod uncertain;
mod unknown_tokens;
mod untried;
