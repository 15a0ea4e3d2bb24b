//! (to come)

/// All that a login sees.
#[derive(Clone, Debug, Default)]
pub struct Namespace;
