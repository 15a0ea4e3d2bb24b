-- Clients (applications) that are registered at a provider. Grants that name one follow it: a renewed secret is given once.
CREATE TABLE registrations (
  id             INTEGER NOT NULL PRIMARY KEY,
  provider       TEXT    NOT NULL,             -- a name of the provider table
  means          TEXT    NOT NULL,             -- refresh-token: people consent | own, behalf: for all mailboxes of its domains
  tenant         TEXT    NOT NULL DEFAULT '',
  token_endpoint TEXT    NOT NULL,
  client_id      TEXT    NOT NULL,
  proof          TEXT    NOT NULL,             -- none | secret | key
  sealed_proof   BLOB,                         -- the secret; or the private key, PKCS #8 in base64
  key_name       TEXT    NOT NULL DEFAULT '',  -- what the provider calls the key
  scope          TEXT    NOT NULL DEFAULT '',
  created_at     INTEGER NOT NULL,
  UNIQUE (provider, means, tenant)
) STRICT;

-- Whose mailboxes a registration opens by itself.
CREATE TABLE registration_domains (
  domain          TEXT    NOT NULL PRIMARY KEY, -- lower case
  registration_id INTEGER NOT NULL REFERENCES registrations (id)
) STRICT;

-- With a registration, the client's columns of the grant itself say only what was so when it was made.
ALTER TABLE grants ADD COLUMN registration_id INTEGER REFERENCES registrations (id);
ALTER TABLE grants ADD COLUMN means TEXT NOT NULL DEFAULT 'refresh-token'; -- as in registrations
ALTER TABLE swap_grants ADD COLUMN registration_id INTEGER REFERENCES registrations (id);
ALTER TABLE swap_grants ADD COLUMN means TEXT NOT NULL DEFAULT 'refresh-token';
