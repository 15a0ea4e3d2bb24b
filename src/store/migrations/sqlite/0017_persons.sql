-- Who signed in at the provider for a mailbox, where that is neither its address nor its delegate. Of this address alone:
-- after a swap somebody else does.
CREATE TABLE persons (
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  address    TEXT    NOT NULL, -- of the mailbox, in the form that compares
  person     TEXT    NOT NULL, -- in lower case
  PRIMARY KEY (account_id, address)
) STRICT;

-- Who renews a grant that is set aside: a swap takes the lease along, and whoever goes back waits for it.
ALTER TABLE swap_grants ADD COLUMN lease_holder TEXT;
ALTER TABLE swap_grants ADD COLUMN lease_serial INTEGER NOT NULL DEFAULT 0;
