-- What people chose for folders beside the map, and what the bridge keeps where a provider does not.

-- Mailboxes that no CRM sees, nor what is below them.
CREATE TABLE hidden_folders (
  account_id  INTEGER NOT NULL REFERENCES accounts (id),
  remote_name BLOB    NOT NULL,
  PRIMARY KEY (account_id, remote_name)
) STRICT;

-- Whether CRMs subscribed to a mailbox of a provider that keeps no subscriptions, or refused this one.
CREATE TABLE subscriptions (
  account_id  INTEGER NOT NULL REFERENCES accounts (id),
  remote_name BLOB    NOT NULL,
  subscribed  INTEGER NOT NULL,         -- 0 | 1
  PRIMARY KEY (account_id, remote_name)
) STRICT;
