-- +goose Up

-- Whether the components of a set are found by the versions that advisories
-- compare; 0 for what was stored before, until it is looked through again.
ALTER TABLE package_set ADD COLUMN indexed bigint NOT NULL DEFAULT 0;
CREATE INDEX package_set_unindexed ON package_set (id) WHERE indexed = 0;
