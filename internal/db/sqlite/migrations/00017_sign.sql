-- +goose Up

-- What the server signs: what was intended, and what came of it.
CREATE TABLE intent (
	id           INTEGER PRIMARY KEY AUTOINCREMENT,
	kind         TEXT    NOT NULL,
	about        TEXT    NOT NULL, -- what it is for
	subject      TEXT    NOT NULL, -- digest
	digest       TEXT    NOT NULL, -- of the statement
	statement    BLOB    NOT NULL, -- empty once it is released and in content
	why          TEXT    NOT NULL,
	principal    TEXT    NOT NULL,
	at           INTEGER NOT NULL,
	state        INTEGER NOT NULL, -- 0 open, 1 signed, 2 released, 3 abandoned
	holder       TEXT    NOT NULL, -- the process that is at it, until held_until
	held_until   INTEGER NOT NULL,
	bundle       BLOB    NOT NULL, -- empty until it is signed, and once it is released and in content
	bundled      TEXT    NOT NULL  -- digest of the bundle, '' until it is signed
) STRICT;
CREATE UNIQUE INDEX intent_about ON intent (kind, about) WHERE state < 3;
CREATE INDEX intent_unfinished ON intent (id) WHERE state < 2;

-- Batches of decisions under one signature.
CREATE TABLE batch (
	number   INTEGER PRIMARY KEY,
	intent   INTEGER NOT NULL UNIQUE REFERENCES intent (id),
	leaves   BLOB    NOT NULL, -- SHA-256 of each payload, in order
	epochs   BLOB    NOT NULL, -- the same of states of repositories
	origin   TEXT    NOT NULL, -- of the audit log
	audit    INTEGER NOT NULL, -- its size
	previous TEXT    NOT NULL  -- digest of the statement before, '' for the first
) STRICT;

-- In which batch a decision is, from its commit on. A row changes once.
CREATE TABLE proof (
	decision INTEGER PRIMARY KEY REFERENCES decision (id),
	batch    INTEGER NOT NULL, -- 0 while it is in none
	pos      INTEGER NOT NULL  -- index of its leaf
) STRICT;
CREATE INDEX proof_wanted ON proof (decision) WHERE batch = 0;
INSERT INTO proof (decision, batch, pos) SELECT id, 0, 0 FROM decision;

-- Manifests that are the server's own evidence.
CREATE TABLE made (
	intent   INTEGER PRIMARY KEY REFERENCES intent (id),
	manifest TEXT    NOT NULL UNIQUE, -- digest
	subject  TEXT    NOT NULL -- digest
) STRICT;
CREATE INDEX made_about ON made (subject, intent);
