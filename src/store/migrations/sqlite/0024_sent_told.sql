-- Whether the client of a message that was sent while it waited has heard so: one that has not sends it again, and is told.

ALTER TABLE sent ADD COLUMN told INTEGER NOT NULL DEFAULT 1;     -- 0: nothing shows that the client has heard the answer
ALTER TABLE sent ADD COLUMN sent_content BLOB;                   -- a digest of what was sent, where that was kept
