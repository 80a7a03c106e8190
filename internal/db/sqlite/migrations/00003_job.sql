-- +goose Up

CREATE TABLE job (
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
	UNIQUE (kind, key)
) STRICT;
CREATE INDEX job_due ON job (due_at, id) WHERE state < 2;
CREATE INDEX job_buried ON job (due_at, id) WHERE state = 2;
