-- +goose Up

-- The transparency logs of this instance: "audit", "rekor", "ct".
CREATE TABLE tlog (
	name       TEXT    NOT NULL PRIMARY KEY,
	origin     TEXT    NOT NULL,
	size       INTEGER NOT NULL, -- entries
	root       BLOB    NOT NULL, -- hash of the tree
	checkpoint BLOB    NOT NULL, -- both, signed by the log
	published_size INTEGER NOT NULL, -- at most size
	published  BLOB    NOT NULL  -- checkpoint of that size, with the cosignatures
) STRICT, WITHOUT ROWID;

-- Full tiles: 256 hashes each, and at level 0 the 256 entries beside them.
CREATE TABLE tlog_tile (
	log     TEXT    NOT NULL,
	level   INTEGER NOT NULL,
	n       INTEGER NOT NULL,
	root    BLOB    NOT NULL, -- of the subtree
	hashes  TEXT    NOT NULL, -- digest of the blob
	entries TEXT    NOT NULL, -- digest of the blob, empty above level 0
	PRIMARY KEY (log, level, n)
) STRICT, WITHOUT ROWID;

-- Entries that are in no full tile: one row for what one commit appended.
CREATE TABLE tlog_tail (
	log    TEXT    NOT NULL,
	start  INTEGER NOT NULL, -- index of the first
	leaves BLOB    NOT NULL, -- their hashes
	bundle BLOB    NOT NULL, -- the entries
	PRIMARY KEY (log, start)
) STRICT;

-- The index of each leaf, the first where there are several, in logs that ask
-- for it.
CREATE TABLE tlog_leaf (
	log  TEXT    NOT NULL,
	hash BLOB    NOT NULL,
	pos  INTEGER NOT NULL,
	PRIMARY KEY (log, hash)
) STRICT, WITHOUT ROWID;

-- The newest checkpoints of other logs that this instance has cosigned.
CREATE TABLE witnessed (
	origin     TEXT    NOT NULL PRIMARY KEY,
	size       INTEGER NOT NULL,
	root       BLOB    NOT NULL,
	checkpoint BLOB    NOT NULL -- as the log signed it
) STRICT, WITHOUT ROWID;
