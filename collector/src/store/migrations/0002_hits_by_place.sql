-- Hits of a town in order of arrival, and hits of an origin: what operators ask for most. Each index ends in
-- the row's number, which is the order of arrival.
CREATE INDEX hit_of_comune ON hit (comune);
CREATE INDEX hit_of_remote ON hit (remote) WHERE remote IS NOT NULL;
CREATE INDEX hit_of_host ON hit (comune, host) WHERE host IS NOT NULL;
