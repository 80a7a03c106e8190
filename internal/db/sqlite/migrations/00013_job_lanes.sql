-- +goose Up

-- On whose behalf a job runs: a principal, or '' for the server itself. The same
-- work may be queued once in each lane, and lanes take turns. SQLite changes the
-- constraints of a table by making another.
CREATE TABLE job_in_lanes (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	kind    TEXT    NOT NULL,
	key     TEXT    NOT NULL,
	state   INTEGER NOT NULL, -- 0 queued, 1 running, 2 buried
	run_at  INTEGER NOT NULL, -- when it was asked to run; of a buried one, when it was buried
	due_at  INTEGER NOT NULL, -- when it may be claimed: as run_at, but of a running one when its lease ends
	again   INTEGER NOT NULL, -- when it was asked to run again while it ran, 0 for not at all
	attempt INTEGER NOT NULL, -- how often it was claimed
	claim   INTEGER NOT NULL, -- grows with each claim, and so tells who holds it
	error   TEXT    NOT NULL,
	trace   TEXT    NOT NULL DEFAULT '', -- W3C traceparent of what asked for it, '' for nothing that is traced
	owner   INTEGER NOT NULL DEFAULT 0,  -- the process that runs it, where there can be several; 0 otherwise
	lane    TEXT    NOT NULL DEFAULT '',
	UNIQUE (kind, key, lane)
) STRICT;
INSERT INTO job_in_lanes (id, kind, key, state, run_at, due_at, again, attempt, claim, error, trace, owner)
	SELECT id, kind, key, state, run_at, due_at, again, attempt, claim, error, trace, owner FROM job;
DROP TABLE job;
ALTER TABLE job_in_lanes RENAME TO job;
CREATE INDEX job_due ON job (due_at, id) WHERE state < 2;
CREATE INDEX job_buried ON job (due_at, id) WHERE state = 2;
CREATE INDEX job_lane ON job (lane, due_at, id) WHERE state < 2;
