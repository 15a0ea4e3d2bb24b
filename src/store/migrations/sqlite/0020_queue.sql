-- Messages that the bridge has taken for a CRM and delivers by itself. A row is one message; its recipients have rows of their
-- own, as a provider may take some and put off others.

ALTER TABLE accounts ADD COLUMN submission TEXT NOT NULL DEFAULT 'direct';  -- direct | queued
ALTER TABLE accounts ADD COLUMN uncertain  TEXT NOT NULL DEFAULT 'hold';    -- hold | resend

CREATE TABLE queue (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id    INTEGER NOT NULL REFERENCES accounts (id),
  -- waiting: for its next try; marked: the end mark may be with the provider; uncertain: nobody knows whether it was sent,
  -- and a person decides; reporting: a report of what failed is to be put into the INBOX; done: known for a day.
  state         TEXT    NOT NULL,
  sender        TEXT    NOT NULL,              -- of the envelope; empty: the null reverse-path
  body          TEXT,                          -- 7bit | 8bitmime, as the client said; NULL: nothing
  message_id    TEXT,
  envelope      BLOB    NOT NULL,              -- a digest of the recipients
  sent_id       INTEGER,                       -- its row of `sent`; NULL: nobody sees to a copy
  file          TEXT,                          -- in the spool; NULL: done
  octets        INTEGER NOT NULL,              -- of the file
  told          INTEGER NOT NULL DEFAULT 0,    -- 1: the client is known to have heard that it is queued
  began_at      INTEGER NOT NULL,
  expires_at    INTEGER NOT NULL,
  due_at        INTEGER,                       -- when it is looked at next; NULL: never by itself
  claimed_until INTEGER NOT NULL DEFAULT 0,    -- by one bridge of those on this store
  tries         INTEGER NOT NULL DEFAULT 0,
  advised       INTEGER NOT NULL DEFAULT 0,    -- 1: it waits as long as the provider has asked for
  reports       INTEGER NOT NULL DEFAULT 0,    -- so many stand in the INBOX
  words         TEXT    NOT NULL DEFAULT ''    -- why the last try came to nothing
) STRICT;

CREATE TABLE queue_recipients (
  queue_id      INTEGER NOT NULL REFERENCES queue (id) ON DELETE CASCADE,
  position      INTEGER NOT NULL,
  address       TEXT    NOT NULL,
  -- waiting; offered: the provider takes it, and may have the message; accepted; failed: for good; reported: and that was
  -- told; uncertain.
  state         TEXT    NOT NULL,
  words         TEXT    NOT NULL DEFAULT '',   -- the last reply to it
  PRIMARY KEY (queue_id, position)
) STRICT;

CREATE INDEX queue_due ON queue (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX queue_account ON queue (account_id, id);
