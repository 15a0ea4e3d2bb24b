-- Which kind of CRM opens an account with this login: a name of the table of CRM profiles.

ALTER TABLE logins ADD COLUMN profile TEXT NOT NULL DEFAULT 'generic';
