-- +goose Up

CREATE TABLE account (
	name     TEXT    NOT NULL PRIMARY KEY,
	human    INTEGER NOT NULL, -- 0 or 1
	grants   BLOB    NOT NULL, -- JSON
	created  INTEGER NOT NULL,
	disabled INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE enrol_code (
	hash    BLOB    NOT NULL PRIMARY KEY,
	account TEXT    NOT NULL REFERENCES account (name),
	expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
	id      TEXT    NOT NULL PRIMARY KEY,
	hash    BLOB    NOT NULL,
	account TEXT    NOT NULL REFERENCES account (name),
	label   TEXT    NOT NULL,
	scope   BLOB    NOT NULL, -- JSON, null for all
	created INTEGER NOT NULL,
	expires INTEGER NOT NULL,
	used    INTEGER NOT NULL,
	revoked INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX token_account ON token (account, created);

CREATE TABLE secret (
	name  TEXT NOT NULL PRIMARY KEY,
	value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
