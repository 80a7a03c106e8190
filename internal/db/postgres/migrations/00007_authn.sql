-- +goose Up

CREATE TABLE account (
	name     text COLLATE "C" NOT NULL PRIMARY KEY,
	human    bigint           NOT NULL, -- 0 or 1
	grants   bytea            NOT NULL, -- JSON
	created  bigint           NOT NULL,
	disabled bigint           NOT NULL
);

CREATE TABLE enrol_code (
	hash    bytea            NOT NULL PRIMARY KEY,
	account text COLLATE "C" NOT NULL REFERENCES account (name),
	expires bigint           NOT NULL
);

CREATE TABLE token (
	id      text COLLATE "C" NOT NULL PRIMARY KEY,
	hash    bytea            NOT NULL,
	account text COLLATE "C" NOT NULL REFERENCES account (name),
	label   text COLLATE "C" NOT NULL,
	scope   bytea            NOT NULL, -- JSON, null for all
	created bigint           NOT NULL,
	expires bigint           NOT NULL,
	used    bigint           NOT NULL,
	revoked bigint           NOT NULL
);
CREATE INDEX token_account ON token (account, created);

CREATE TABLE secret (
	name  text COLLATE "C" NOT NULL PRIMARY KEY,
	value bytea            NOT NULL
);
