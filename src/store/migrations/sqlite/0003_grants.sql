-- Accounts that sign in by a grant: they have no sealed_password, and a row here.
CREATE TABLE grants (
  account_id            INTEGER NOT NULL PRIMARY KEY REFERENCES accounts (id),
  token_endpoint        TEXT    NOT NULL,
  client_id             TEXT    NOT NULL,
  sealed_client_secret  BLOB,             -- NULL: a public client
  scope                 TEXT    NOT NULL DEFAULT '',
  old_tokens_stay_valid INTEGER NOT NULL DEFAULT 0,
  sealed_refresh_token  BLOB    NOT NULL,
  sealed_previous_token BLOB,             -- the one before, until the current one has worked
  state                 TEXT    NOT NULL DEFAULT 'good', -- good | consent-needed
  version               INTEGER NOT NULL DEFAULT 1       -- grows with every change: who has an older one changes nothing
) STRICT;

-- The grant of where a swapped account was before; sealed as it was, so it opens in its own place only.
CREATE TABLE swap_grants (
  account_id            INTEGER NOT NULL PRIMARY KEY REFERENCES accounts (id),
  token_endpoint        TEXT    NOT NULL,
  client_id             TEXT    NOT NULL,
  sealed_client_secret  BLOB,
  scope                 TEXT    NOT NULL,
  old_tokens_stay_valid INTEGER NOT NULL,
  sealed_refresh_token  BLOB    NOT NULL,
  sealed_previous_token BLOB,
  state                 TEXT    NOT NULL,
  version               INTEGER NOT NULL
) STRICT;
