-- +goose Up

-- When a tag was asked for, so that a later wish voids the ones before; and the
-- decision because of which it does not point yet at what is admitted, 0 where
-- none was made.
ALTER TABLE pending ADD COLUMN asked bigint NOT NULL DEFAULT 0;
ALTER TABLE pending ADD COLUMN decision bigint NOT NULL DEFAULT 0;
