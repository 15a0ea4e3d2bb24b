-- An account may have some thousands of messages in the queue, and the queue is looked at whenever one comes: each look goes to
-- those that are next, and passes over no others.

CREATE INDEX queue_turns ON queue (account_id, tries, id, due_at, claimed_until, state) WHERE state <> 'done';
CREATE INDEX queue_done ON queue (due_at) WHERE state = 'done';
CREATE INDEX queue_claimed ON queue (claimed_until) WHERE claimed_until > 0;
