-- The first schema. Frozen: what ships is changed by a later file, never here.
--
-- Times are Unix seconds. `..._key` is the form that compares: ASCII lower case. `sealed_...` was sealed by the vault with
-- table, row id and column bound to it, so it opens nowhere else. AUTOINCREMENT: a row id is never used twice.

-- Facts of the store itself, by name.
CREATE TABLE properties (
  name  TEXT NOT NULL PRIMARY KEY,
  value BLOB NOT NULL
) STRICT;

CREATE TABLE users (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT    NOT NULL,
  name_key   TEXT    NOT NULL UNIQUE,
  role       TEXT    NOT NULL,          -- administrator | member
  created_at INTEGER NOT NULL
) STRICT;

-- A removed account keeps its row, without secrets: should its address come back, the UIDVALIDITY rows under it still
-- say what CRMs were told, and no old number can be taken for a new one.
CREATE TABLE accounts (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  owner_id        INTEGER NOT NULL REFERENCES users (id),
  address         TEXT    NOT NULL,
  address_key     TEXT    NOT NULL UNIQUE,
  display_name    TEXT    NOT NULL DEFAULT '',
  sign_in_name    TEXT    NOT NULL,     -- what the provider calls the user
  sealed_password BLOB,
  generation      INTEGER NOT NULL DEFAULT 1,
  epoch           INTEGER NOT NULL DEFAULT 1,
  created_at      INTEGER NOT NULL,
  checked_at      INTEGER,              -- the last sign-in that worked; NULL: never tried
  removed_at      INTEGER
) STRICT;

CREATE TABLE endpoints (
  account_id   INTEGER NOT NULL REFERENCES accounts (id),
  service      TEXT    NOT NULL,        -- imap | smtp
  host         TEXT    NOT NULL,
  port         INTEGER NOT NULL,
  security     TEXT    NOT NULL,        -- tls | starttls | none
  certificates TEXT    NOT NULL,        -- verify | accept-any | ca=FILE
  PRIMARY KEY (account_id, service)
) STRICT;

CREATE TABLE logins (
  id                INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id           INTEGER NOT NULL REFERENCES users (id),
  account_id        INTEGER NOT NULL REFERENCES accounts (id),
  name              TEXT    NOT NULL,
  name_key          TEXT    NOT NULL,
  label             TEXT    NOT NULL DEFAULT '',
  password_hmac     BLOB,               -- of a generated password, keyed by the vault
  sealed_cram_state BLOB,               -- RFC 2195, kept from birth: it cannot be worked out later
  created_at        INTEGER NOT NULL,
  revoked_at        INTEGER
) STRICT;
-- A revoked name may be given again; its old password stays dead.
CREATE UNIQUE INDEX logins_by_name ON logins (name_key) WHERE revoked_at IS NULL;
CREATE INDEX logins_by_account ON logins (account_id);

-- One to one in both directions.
CREATE TABLE folder_map (
  account_id  INTEGER NOT NULL REFERENCES accounts (id),
  local_name  TEXT    NOT NULL,
  remote_name BLOB    NOT NULL,
  origin      TEXT    NOT NULL,         -- role | user
  PRIMARY KEY (account_id, local_name),
  UNIQUE (account_id, remote_name)
) STRICT;

-- What was last told as UIDVALIDITY under a LocalName, and of what.
CREATE TABLE uid_validity (
  account_id  INTEGER NOT NULL REFERENCES accounts (id),
  local_name  TEXT    NOT NULL,
  epoch       INTEGER NOT NULL,
  remote_name BLOB    NOT NULL,
  upstream    INTEGER NOT NULL,
  told        INTEGER NOT NULL,
  rewritten   INTEGER NOT NULL,         -- 1 once epoch or remote_name have changed, for ever
  PRIMARY KEY (account_id, local_name)
) STRICT;
