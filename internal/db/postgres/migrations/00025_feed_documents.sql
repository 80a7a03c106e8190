-- +goose Up

-- What feeds that are one document gave, by digest: never changed.
CREATE TABLE feed_document (
	digest  text COLLATE "C" NOT NULL PRIMARY KEY,
	content bytea            NOT NULL
);

-- Which documents are in force beside the advisories: digests, empty for none.
ALTER TABLE snapshot ADD COLUMN exploited text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE snapshot ADD COLUMN scores text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE snapshot ADD COLUMN lifecycles text COLLATE "C" NOT NULL DEFAULT '';

ALTER TABLE feed ADD COLUMN format text COLLATE "C" NOT NULL DEFAULT ''; -- empty for advisories
ALTER TABLE feed ADD COLUMN dated bigint NOT NULL DEFAULT 0; -- when its document was published
