-- What must be known of a Sent copy so that ours is never taken for the provider's, nor one message for another.

ALTER TABLE sent ADD COLUMN tried INTEGER NOT NULL DEFAULT 0;     -- 1: an APPEND of ours may have been stored
ALTER TABLE sent ADD COLUMN plain INTEGER NOT NULL DEFAULT 0;     -- 1: the provider has refused the CRM's flags or date
ALTER TABLE sent ADD COLUMN alone INTEGER NOT NULL DEFAULT 0;     -- 1: another version of a copy that the CRM gave before
ALTER TABLE sent ADD COLUMN doubted INTEGER NOT NULL DEFAULT 0;   -- 1: an earlier try to send it ended nobody knows how
ALTER TABLE sent ADD COLUMN copy_id TEXT;                         -- the copy's Message-ID, where it is another
ALTER TABLE sent ADD COLUMN content BLOB;                         -- a digest of the CRM's copy
ALTER TABLE sent ADD COLUMN fallback TEXT;                        -- a file: what was sent, where the CRM's copy is filed first
ALTER TABLE sent ADD COLUMN fallback_octets INTEGER NOT NULL DEFAULT 0;

UPDATE sent SET tried = 1 WHERE tries > 0 OR ours = 1;
