-- +goose Up

-- The texts that decisions were made by, by digest: never changed, never deleted.
CREATE TABLE policy_text (
	digest text COLLATE "C" NOT NULL PRIMARY KEY,
	kind   text COLLATE "C" NOT NULL, -- Gate or Data
	text   bytea            NOT NULL
);
