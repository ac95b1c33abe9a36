-- Which process an open exchange belongs to, for the time in which a new one takes over from an old one.

ALTER TABLE exchanges ADD COLUMN owner TEXT NOT NULL DEFAULT ''; -- '' = it has ended
