-- +goose Up

-- The texts that decisions were made by, by digest: never changed, never deleted.
CREATE TABLE policy_text (
	digest TEXT NOT NULL PRIMARY KEY,
	kind   TEXT NOT NULL, -- Gate or Data
	text   BLOB NOT NULL
) STRICT;
