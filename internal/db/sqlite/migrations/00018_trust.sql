-- +goose Up

-- Files of the TUF repository, as they are served.
CREATE TABLE tuf_file (
	name TEXT NOT NULL PRIMARY KEY,
	body BLOB NOT NULL
) STRICT;

-- Sign-ins under way, for minutes. What is secret of one is here as a hash.
CREATE TABLE sign_in (
	id        TEXT    NOT NULL PRIMARY KEY, -- hash of what the client holds
	user_code TEXT    NOT NULL UNIQUE,
	from_addr TEXT    NOT NULL, -- address of who started it
	expires   INTEGER NOT NULL,
	version   INTEGER NOT NULL, -- grows with each change
	flow      BLOB    NOT NULL  -- JSON
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_ends ON sign_in (expires);
CREATE INDEX sign_in_from ON sign_in (from_addr);
