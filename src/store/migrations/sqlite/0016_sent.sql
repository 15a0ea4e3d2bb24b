-- Sent copies. A row is one message that is to stand once in the Sent mailbox of its account, whoever puts it there.

ALTER TABLE accounts ADD COLUMN sent_copy TEXT NOT NULL DEFAULT 'never';  -- auto | always | never
-- What was seen after messages were sent, where the provider table does not know: yes | no; NULL: nothing yet.
ALTER TABLE accounts ADD COLUMN files_sent TEXT;

CREATE TABLE sent (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id    INTEGER NOT NULL REFERENCES accounts (id),
  -- What is known of its sending. none: a CRM gave its copy alone; marked: the end mark may be with the provider;
  -- accepted: the provider has said 250; uncertain: it was lost before it answered.
  sending       TEXT    NOT NULL,
  message_id    TEXT,                          -- as in its Message-ID; NULL: none that could be searched for
  alike         BLOB,                          -- a digest of From, To and Subject; NULL: they are not all there
  envelope      BLOB,                          -- a digest of the recipients; NULL: no retry is known by them
  dated         INTEGER,                       -- its Date
  began_at      INTEGER NOT NULL,
  file          TEXT,                          -- in the spool; NULL: nothing is kept, or no more
  octets        INTEGER NOT NULL DEFAULT 0,    -- of the file
  flags         TEXT    NOT NULL DEFAULT '',   -- beside \Seen, as the CRM gave them
  internal_date TEXT,                          -- as the CRM gave it
  seen          INTEGER NOT NULL DEFAULT 1,    -- 0: the CRM's copy came without \Seen
  copied        INTEGER NOT NULL DEFAULT 0,    -- 1: the CRM has given its own copy
  files         INTEGER NOT NULL DEFAULT 0,    -- 1: the provider is known to file by itself
  tries         INTEGER NOT NULL DEFAULT 0,
  due_at        INTEGER,                       -- when it is looked at next; NULL: never
  claimed_until INTEGER NOT NULL DEFAULT 0,    -- by one bridge of those on this store
  filed_at      INTEGER,                       -- it was seen in Sent, or put there
  uid_validity  INTEGER,                       -- where; the provider's
  uid           INTEGER,
  ours          INTEGER NOT NULL DEFAULT 0     -- 1: we put it there
) STRICT;

CREATE INDEX sent_due ON sent (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX sent_account ON sent (account_id, began_at);
