-- The authorization server that describes itself, by which the owner of a mailbox has signed in: asked again where no table
-- knows the provider's page. Of this address alone.
CREATE TABLE issuers (
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  address    TEXT    NOT NULL, -- of the mailbox, in the form that compares
  issuer     TEXT    NOT NULL,
  PRIMARY KEY (account_id, address)
) STRICT;
