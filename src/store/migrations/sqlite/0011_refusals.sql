-- Accounts whose credentials their provider refuses, as far as the bridge has seen. A row of an older generation says
-- nothing of the credentials that are there now.
CREATE TABLE refusals (
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  service    TEXT    NOT NULL, -- imap | smtp
  generation INTEGER NOT NULL,
  since      INTEGER NOT NULL, -- Unix seconds
  words      TEXT    NOT NULL, -- the provider's, without any secret
  PRIMARY KEY (account_id, service)
) STRICT;
