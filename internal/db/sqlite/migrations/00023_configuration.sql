-- +goose Up

-- What decides, as servers on this database were configured: gates, zones,
-- anchors, builders and feeds. The one with the largest seq is in force; who has
-- another decides nothing.
CREATE TABLE configuration (
	digest  TEXT   PRIMARY KEY,
	parts   TEXT   NOT NULL,        -- JSON: digest of each part, by name
	seq     INTEGER NOT NULL UNIQUE, -- of its application
	applied INTEGER NOT NULL,
	alive   INTEGER NOT NULL         -- when a server that has it was last heard
) STRICT;
