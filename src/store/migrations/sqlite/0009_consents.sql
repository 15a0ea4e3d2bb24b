-- Sign-ins that are under way: a person was sent to a provider, or is about to be. Of each secret of a browser there is
-- only the hash; it is taken away by the answer that fits, which is so the only one.
CREATE TABLE consents (
  id               INTEGER NOT NULL PRIMARY KEY,
  address          TEXT    NOT NULL,             -- whose mailbox
  place            TEXT    NOT NULL,             -- the path where the answer comes back, one for each provider
  sealed_order     BLOB    NOT NULL,             -- what is asked, and what becomes of it
  ticket_hash      BLOB    UNIQUE,               -- of the one-time link; null once it is answered, and where there is none
  expires_at       INTEGER NOT NULL,             -- of the link
  state_hash       BLOB    UNIQUE,               -- null until a person is sent, and once it is answered
  cookie_hash      BLOB,                         -- of the browser that was sent; null where none was
  sealed_verifier  BLOB,
  state_expires_at INTEGER NOT NULL DEFAULT 0,
  outcome          TEXT                          -- null: under way; else empty or what went wrong
) STRICT;
