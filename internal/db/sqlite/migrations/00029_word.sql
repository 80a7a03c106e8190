-- +goose Up

-- What people have said about placements: approvals, and that they are not to be
-- promoted. A row is never changed but for its end.
CREATE TABLE word (
	id            INTEGER PRIMARY KEY AUTOINCREMENT,
	kind          TEXT    NOT NULL,
	repository_id INTEGER NOT NULL REFERENCES repository (id),
	digest        TEXT    NOT NULL,
	by_name       TEXT    NOT NULL,
	by_groups     BLOB    NOT NULL, -- JSON: as its issuer said then
	reason        TEXT    NOT NULL,
	made_at       INTEGER NOT NULL,
	from_seq      INTEGER NOT NULL, -- number of the act that made it
	to_seq        INTEGER NOT NULL, -- of the one that ended it, 0 while it holds
	ended_by      TEXT    NOT NULL,
	ended_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX word_on ON word (repository_id, digest, kind, to_seq);
CREATE INDEX word_from ON word (from_seq);
CREATE INDEX word_to ON word (to_seq);
