-- +goose Up

ALTER TABLE job ADD COLUMN trace text COLLATE "C" NOT NULL DEFAULT ''; -- W3C traceparent of what asked for it, '' for nothing that is traced
ALTER TABLE job ADD COLUMN owner bigint NOT NULL DEFAULT 0; -- the process that runs it, where there can be several; 0 otherwise
