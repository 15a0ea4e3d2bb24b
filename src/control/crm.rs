//! CRM profiles: found by name.

use super::Error;
use crate::profile::{Profile, Table};
use std::sync::Arc;

/// The profile of this name.
///
/// # Errors
/// [`Error::NoCrm`].
pub fn named<'a>(table: &'a Table, name: &str) -> Result<&'a Arc<Profile>, Error> {
    table.named(name).ok_or_else(|| Error::NoCrm(name.to_owned()))
}
