-- No question asks by these, and every hit had to be written into them: the list of origins sums up all of them
-- before it sorts, and an indicator is looked up from its hit, not the other way round.
DROP INDEX hit_by_indicator;
DROP INDEX origin_by_time;
