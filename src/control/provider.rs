//! Providers: found by name, or by the domain of an address.

use super::Error;
use crate::{
    model::Address,
    provider::{Provider, Table},
};

/// The provider of this name.
///
/// # Errors
/// [`Error::NoProvider`].
pub fn named<'a>(table: &'a Table, name: &str) -> Result<&'a Provider, Error> {
    table.named(name).ok_or_else(|| Error::NoProvider(name.to_owned()))
}

/// The provider of this name or, without one, of the address's domain.
///
/// # Errors
/// [`Error::NoProvider`] or [`Error::DomainUnknown`].
pub fn found<'a>(table: &'a Table, name: Option<&str>, address: &Address) -> Result<&'a Provider, Error> {
    match name {
        Some(name) => named(table, name),
        None => table.of_domain(address.domain()).ok_or_else(|| Error::DomainUnknown(address.domain().to_owned())),
    }
}
