-- The way back of a swap: where an account was before, for as long as `until` says. One a account; a further swap takes
-- its place. Sealed secrets are copied as they are: they open in the account's own row only, and so only once they are
-- back there.

CREATE TABLE swaps (
  account_id           INTEGER NOT NULL PRIMARY KEY REFERENCES accounts (id),
  swapped_at           INTEGER NOT NULL,
  until                INTEGER NOT NULL,
  address              TEXT    NOT NULL,
  address_key          TEXT    NOT NULL,
  sign_in_name         TEXT    NOT NULL,
  provider             TEXT    NOT NULL,
  user_format          TEXT    NOT NULL,
  smtp_auth            TEXT    NOT NULL,
  smtp_user            TEXT    NOT NULL,
  sealed_password      BLOB,
  sealed_smtp_password BLOB,
  checked_at           INTEGER
) STRICT;

CREATE TABLE swap_endpoints (
  account_id   INTEGER NOT NULL REFERENCES accounts (id),
  service      TEXT    NOT NULL,
  host         TEXT    NOT NULL,
  port         INTEGER NOT NULL,
  security     TEXT    NOT NULL,
  certificates TEXT    NOT NULL,
  PRIMARY KEY (account_id, service)
) STRICT;

CREATE TABLE swap_folder_map (
  account_id  INTEGER NOT NULL REFERENCES accounts (id),
  local_name  TEXT    NOT NULL,
  remote_name BLOB    NOT NULL,
  origin      TEXT    NOT NULL,
  PRIMARY KEY (account_id, local_name)
) STRICT;

CREATE TABLE swap_hidden_folders (
  account_id  INTEGER NOT NULL REFERENCES accounts (id),
  remote_name BLOB    NOT NULL,
  PRIMARY KEY (account_id, remote_name)
) STRICT;

CREATE TABLE swap_subscriptions (
  account_id  INTEGER NOT NULL REFERENCES accounts (id),
  remote_name BLOB    NOT NULL,
  subscribed  INTEGER NOT NULL,
  PRIMARY KEY (account_id, remote_name)
) STRICT;
