-- What becomes of the From field of what an account sends.
ALTER TABLE accounts ADD COLUMN from_policy TEXT NOT NULL DEFAULT 'check';  -- keep | check | add-name | force
