-- +goose Up

-- How far the work that a revocation leaves has come with each placement that it
-- has withdrawn: 0 nothing but that is done, 1 its decision is recorded, 2 it was
-- given back to its gate.
ALTER TABLE revoked ADD COLUMN step INTEGER NOT NULL DEFAULT 1;
ALTER TABLE revoked ADD COLUMN how TEXT NOT NULL DEFAULT ''; -- it is one of those that are meant
CREATE INDEX revoked_step ON revoked (revocation_id, step, placement_id);
DROP INDEX revoked_by;

-- How many placements a revocation has judged again, apart from those that it
-- has withdrawn; it grows until the work that it leaves is done.
ALTER TABLE revocation ADD COLUMN rejudged INTEGER NOT NULL DEFAULT 0;
