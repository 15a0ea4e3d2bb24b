-- What is chosen for an account beside where it is. Accounts that are there already have been given their endpoints by
-- hand, so their provider is the one without habits of its own.

ALTER TABLE accounts ADD COLUMN provider TEXT NOT NULL DEFAULT 'generic';  -- a name of the provider table
ALTER TABLE accounts ADD COLUMN sender TEXT NOT NULL DEFAULT '';           -- what to send as; '': the address
ALTER TABLE accounts ADD COLUMN user_format TEXT NOT NULL DEFAULT 'manual'; -- address | mailbox-name | manual
ALTER TABLE accounts ADD COLUMN smtp_auth TEXT NOT NULL DEFAULT 'same';    -- same | none | separate
ALTER TABLE accounts ADD COLUMN smtp_user TEXT NOT NULL DEFAULT '';        -- for separate
ALTER TABLE accounts ADD COLUMN sealed_smtp_password BLOB;                 -- for separate
ALTER TABLE accounts ADD COLUMN receives INTEGER NOT NULL DEFAULT 1;
ALTER TABLE accounts ADD COLUMN sends INTEGER NOT NULL DEFAULT 1;
ALTER TABLE accounts ADD COLUMN unread_scope TEXT NOT NULL DEFAULT 'all';  -- all | inbox

UPDATE accounts SET user_format = 'address' WHERE lower(sign_in_name) = address_key;

-- What an account may send as beside `address` and `sender`.
CREATE TABLE account_aliases (
  account_id  INTEGER NOT NULL REFERENCES accounts (id),
  address     TEXT    NOT NULL,
  address_key TEXT    NOT NULL,
  PRIMARY KEY (account_id, address_key)
) STRICT;
