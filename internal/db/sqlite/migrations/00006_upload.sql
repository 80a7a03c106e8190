-- +goose Up

CREATE TABLE upload (
	id         TEXT    NOT NULL PRIMARY KEY,
	repository TEXT    NOT NULL,
	principal  TEXT    NOT NULL,
	size       INTEGER NOT NULL, -- bytes acknowledged
	hash       BLOB    NOT NULL, -- state over those bytes
	started    INTEGER NOT NULL,
	touched    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX upload_touched ON upload (touched);
