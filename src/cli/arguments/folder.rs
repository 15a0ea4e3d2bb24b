//! `passerelle folder …`.

use super::AddressArgument;
use clap::Subcommand;

#[derive(Subcommand)]
pub(in crate::cli) enum Folder {
    /// Sign in and show each folder under the CRM's and the provider's name
    List {
        /// The account
        address: AddressArgument,
    },
}
