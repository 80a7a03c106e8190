-- +goose Up

-- The state of a repository: what its tags name, and what can be pulled from it,
-- has a number that grows with each change. The newest document that says it is
-- kept with where it is proven.
CREATE TABLE epoch (
	repository_id INTEGER PRIMARY KEY REFERENCES repository (id),
	number        INTEGER NOT NULL,
	proven        INTEGER NOT NULL, -- number of the document, 0 for none
	expires       INTEGER NOT NULL, -- of the document
	payload       BLOB    NOT NULL, -- api.Epoch as JSON
	batch         INTEGER NOT NULL, -- that proves it
	pos           INTEGER NOT NULL  -- its index there
) STRICT;
CREATE INDEX epoch_unproven ON epoch (repository_id) WHERE proven < number;
CREATE INDEX epoch_expires ON epoch (expires);
INSERT INTO epoch (repository_id, number, proven, expires, payload, batch, pos) SELECT id, 1, 0, 0, x'', 0, 0 FROM repository;
