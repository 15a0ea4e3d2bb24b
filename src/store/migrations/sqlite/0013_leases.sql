-- Who renews a grant now. The serial grows with each lease: who sees it unmoved for longer than any renewal takes knows
-- that its holder is gone, whatever the clocks of several machines say.
ALTER TABLE grants ADD COLUMN lease_holder TEXT;
ALTER TABLE grants ADD COLUMN lease_serial INTEGER NOT NULL DEFAULT 0;
