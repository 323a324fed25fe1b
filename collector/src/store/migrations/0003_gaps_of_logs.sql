-- Where lines of a log were lost: the log, and from which byte up to which; no end where none is known.
ALTER TABLE loss ADD COLUMN input TEXT;
ALTER TABLE loss ADD COLUMN from_byte INTEGER;
ALTER TABLE loss ADD COLUMN to_byte INTEGER;
