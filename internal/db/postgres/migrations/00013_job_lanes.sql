-- +goose Up

-- On whose behalf a job runs: a principal, or '' for the server itself. The same
-- work may be queued once in each lane, and lanes take turns.
ALTER TABLE job ADD COLUMN lane text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE job DROP CONSTRAINT job_kind_key_key;
ALTER TABLE job ADD CONSTRAINT job_kind_key_lane_key UNIQUE (kind, key, lane);
CREATE INDEX job_lane ON job (lane, due_at, id) WHERE state < 2;
