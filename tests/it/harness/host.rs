//! A provider as the world sees it: its front door, its mail, its submission.
//!
//! The front door is the strict filter, so that a bridge that goes beyond what the provider announces is found out.

use super::{Dovecot, Exim, Filter, Lab, Layout, letters};

pub(crate) struct Host {
    pub(crate) dovecot: Dovecot,
    pub(crate) filter: Filter,
    pub(crate) exim: Exim,
}

impl Host {
    /// One mailbox, and the letters of [`letters`] in it.
    pub(crate) fn with(lab: &Lab, layout: Layout, address: &str, password: &str) -> Self {
        let dovecot = Dovecot::start(lab, layout, &lab.certificates.good, "");
        dovecot.add_user(address, password);
        dovecot.load(address, &letters());
        let exim = Exim::submission(lab, &dovecot);
        let filter = Filter::before(lab, &dovecot);
        Self { dovecot, filter, exim }
    }
}
