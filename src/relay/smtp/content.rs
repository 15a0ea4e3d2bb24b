//! DATA: the message from the client to the lane, its end mark, and the ways in which it comes to nothing.
//!
//! Whatever goes wrong before the end mark, the lane is closed without one, so that nothing is sent; and the client's
//! message is read to its end, so that none of its lines is taken for a command.

use super::{Flow, Outbox, Phase, SmtpRelay, Transaction};
use crate::{
    failure::{Failure, Misbehaviour},
    wire::{
        dot::{DotFilter, END_MARK},
        smtp::write_reply,
    },
};

impl SmtpRelay {
    pub(super) fn content(
        &mut self,
        mut filter: DotFilter,
        input: &mut &[u8],
        out: &mut Outbox,
    ) -> Result<Flow, Failure> {
        let Some(lane) = &self.lane else {
            return Err(Failure::Internal("SMTP content without a lane"));
        };
        let ended = match filter.pass(input, Some(out.lane(lane.id))) {
            Ok(ended) => ended,
            Err(misbehaviour) => return Err(self.smuggled(misbehaviour, out)),
        };
        if filter.octets() > self.facts.message_max {
            self.drop_lane(out);
            let mut reply = Vec::new();
            write_reply(&mut reply, 552, "5.3.4", "The message is too large for the mail bridge");
            return Ok(self.discarded(filter, reply, ended, out));
        }
        if ended {
            self.phase = Phase::AwaitingCommit;
            self.commit(out);
        } else {
            self.phase = Phase::AwaitingEndMark(filter);
        }
        Ok(Flow::More)
    }

    /// Writes the end mark. A step of its own, because from here on the provider may send the message: what must be on
    /// disk by then (filing) is committed before.
    fn commit(&mut self, out: &mut Outbox) {
        if let (Phase::AwaitingCommit, Some(lane)) = (&self.phase, &self.lane) {
            out.lane(lane.id).extend_from_slice(END_MARK);
            self.phase = Phase::AwaitingDelivery;
        }
    }

    pub(super) fn discard(
        &mut self,
        mut filter: DotFilter,
        reply: Vec<u8>,
        input: &mut &[u8],
        out: &mut Outbox,
    ) -> Result<Flow, Failure> {
        let ended = filter.pass(input, None).map_err(|misbehaviour| self.smuggled(misbehaviour, out))?;
        Ok(self.discarded(filter, reply, ended, out))
    }

    fn discarded(&mut self, filter: DotFilter, reply: Vec<u8>, ended: bool, out: &mut Outbox) -> Flow {
        if ended {
            out.client().extend_from_slice(&reply);
            self.transaction = Transaction::None;
            self.phase = Phase::AwaitingCommand;
        } else {
            self.phase = Phase::Discarding(filter, reply);
        }
        Flow::More
    }

    /// A stray CR or LF: both sides are closed, because we can no longer know that they see the same end as we do.
    fn smuggled(&mut self, misbehaviour: Misbehaviour, out: &mut Outbox) -> Failure {
        self.drop_lane(out);
        Failure::ClientMisbehaved(misbehaviour)
    }
}
