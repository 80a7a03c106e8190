-- +goose Up

-- Which VEX documents of which feed are in force: the digest of a list, empty for none.
ALTER TABLE snapshot ADD COLUMN vex text COLLATE "C" NOT NULL DEFAULT '';
