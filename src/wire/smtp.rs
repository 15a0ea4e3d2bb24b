//! (to come)

/// What an EHLO reply offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions;
