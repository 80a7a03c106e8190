-- +goose Up

CREATE TABLE snapshot (
	seq        INTEGER PRIMARY KEY,
	digest     TEXT    NOT NULL,
	at         INTEGER NOT NULL,
	advisories INTEGER NOT NULL,
	ecosystems BLOB    NOT NULL -- JSON
) STRICT;

-- The load under way: at most one row.
CREATE TABLE advisory_load (
	seq   INTEGER NOT NULL PRIMARY KEY,
	token TEXT    NOT NULL
) STRICT;

CREATE TABLE feed (
	name          TEXT    NOT NULL PRIMARY KEY,
	source        TEXT    NOT NULL,
	ecosystems    BLOB    NOT NULL, -- JSON
	records       INTEGER NOT NULL,
	skipped       INTEGER NOT NULL,
	reasons       BLOB    NOT NULL, -- JSON
	digest        TEXT    NOT NULL,
	seq           INTEGER NOT NULL,
	etag          TEXT    NOT NULL,
	last_modified TEXT    NOT NULL,
	loaded_at     INTEGER NOT NULL,
	checked_at    INTEGER NOT NULL,
	problem       TEXT    NOT NULL,
	held          INTEGER NOT NULL -- 0 or 1
) STRICT, WITHOUT ROWID;

CREATE TABLE advisory (
	feed      TEXT    NOT NULL,
	id        TEXT    NOT NULL,
	from_seq  INTEGER NOT NULL,
	to_seq    INTEGER NOT NULL, -- 0 while in force
	modified  INTEGER NOT NULL,
	withdrawn INTEGER NOT NULL,
	known     INTEGER NOT NULL,
	digest    TEXT    NOT NULL,
	format    INTEGER NOT NULL,
	packed    BLOB    NOT NULL,
	PRIMARY KEY (feed, id, from_seq)
) STRICT;
CREATE INDEX advisory_id ON advisory (id);
CREATE INDEX advisory_from ON advisory (from_seq);
CREATE INDEX advisory_to ON advisory (to_seq) WHERE to_seq > 0;
