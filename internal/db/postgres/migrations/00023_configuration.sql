-- +goose Up

-- What decides, as servers on this database were configured: gates, zones,
-- anchors, builders and feeds. The one with the largest seq is in force; who has
-- another decides nothing.
CREATE TABLE configuration (
	digest  text   COLLATE "C" PRIMARY KEY,
	parts   text   COLLATE "C" NOT NULL,        -- JSON: digest of each part, by name
	seq     bigint NOT NULL UNIQUE, -- of its application
	applied bigint NOT NULL,
	alive   bigint NOT NULL         -- when a server that has it was last heard
);
