-- A loss that a sensor tells again, because a crash took the acknowledgement, is counted once.
ALTER TABLE loss ADD COLUMN loss_id TEXT;               -- NULL of gaps, and of sensors that give none
CREATE UNIQUE INDEX loss_once ON loss (agent, loss_id);
