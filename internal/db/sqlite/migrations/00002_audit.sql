-- +goose Up

-- Events of committed transactions that have no number yet, in the order of
-- their insertion. The sequencer moves them to entry.
CREATE TABLE outbox (
	id    INTEGER PRIMARY KEY AUTOINCREMENT,
	bytes BLOB NOT NULL,
	hash  BLOB NOT NULL -- SHA-256 of bytes
) STRICT;

-- The chain. What is beside bytes and hash is taken from bytes, to find
-- entries by.
CREATE TABLE entry (
	seq        INTEGER PRIMARY KEY, -- dense, from 1
	bytes      BLOB NOT NULL,
	hash       BLOB NOT NULL,       -- of the chain up to this entry
	kind       TEXT NOT NULL,
	principal  TEXT NOT NULL,
	repository TEXT NOT NULL,
	digest     TEXT NOT NULL
) STRICT;
CREATE INDEX entry_kind ON entry (kind, seq);
CREATE INDEX entry_principal ON entry (principal, seq);
CREATE INDEX entry_repository ON entry (repository, seq);
CREATE INDEX entry_digest ON entry (digest, seq);
