-- +goose Up

-- What feeds that are one document gave, by digest: never changed.
CREATE TABLE feed_document (
	digest  TEXT NOT NULL PRIMARY KEY,
	content BLOB NOT NULL
) STRICT;

-- Which documents are in force beside the advisories: digests, empty for none.
ALTER TABLE snapshot ADD COLUMN exploited TEXT NOT NULL DEFAULT '';
ALTER TABLE snapshot ADD COLUMN scores TEXT NOT NULL DEFAULT '';
ALTER TABLE snapshot ADD COLUMN lifecycles TEXT NOT NULL DEFAULT '';

ALTER TABLE feed ADD COLUMN format TEXT NOT NULL DEFAULT ''; -- empty for advisories
ALTER TABLE feed ADD COLUMN dated INTEGER NOT NULL DEFAULT 0; -- when its document was published
