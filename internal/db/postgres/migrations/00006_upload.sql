-- +goose Up

CREATE TABLE upload (
	id         text COLLATE "C" NOT NULL PRIMARY KEY,
	repository text COLLATE "C" NOT NULL,
	principal  text COLLATE "C" NOT NULL,
	size       bigint           NOT NULL, -- bytes acknowledged
	hash       bytea            NOT NULL, -- state over those bytes
	started    bigint           NOT NULL,
	touched    bigint           NOT NULL
);
CREATE INDEX upload_touched ON upload (touched);
