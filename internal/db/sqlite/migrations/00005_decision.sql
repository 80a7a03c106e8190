-- +goose Up

CREATE TABLE decision (
	id            INTEGER PRIMARY KEY AUTOINCREMENT,
	repository_id INTEGER NOT NULL REFERENCES repository (id),
	digest        TEXT    NOT NULL,
	outcome       TEXT    NOT NULL,
	decided_at    INTEGER NOT NULL,
	confirmed_at  INTEGER NOT NULL,
	snapshot      INTEGER NOT NULL,
	document      BLOB    NOT NULL -- api.Decision as JSON
) STRICT;
CREATE INDEX decision_placement ON decision (repository_id, digest, id);
