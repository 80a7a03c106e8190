-- +goose Up

-- Layers in the order in which they lie on each other, from the lowest on.
CREATE TABLE chain (
	id        INTEGER PRIMARY KEY,
	parent_id INTEGER NOT NULL, -- without the last layer; 0 when there is but one
	layers    INTEGER NOT NULL,
	digest    TEXT    NOT NULL UNIQUE -- ChainID of the image specification
) STRICT;
CREATE INDEX chain_parent ON chain (parent_id);

CREATE TABLE image_chain (
	content_id INTEGER NOT NULL PRIMARY KEY, -- of the manifest
	chain_id   INTEGER NOT NULL, -- 0 when nothing was compared
	whole      INTEGER NOT NULL  -- 1 when those are all its layers
) STRICT;
CREATE INDEX image_chain_chain ON image_chain (chain_id);

-- What was analysed before this was kept; rows go as that is made up for.
CREATE TABLE unchained (
	content_id INTEGER NOT NULL PRIMARY KEY
) STRICT;
INSERT INTO unchained (content_id) SELECT DISTINCT i.content_id FROM image_record i WHERE 1 = 1;

-- Changes of what stands as a base of something, in the order of id.
CREATE TABLE base_change (
	id     INTEGER PRIMARY KEY AUTOINCREMENT,
	digest TEXT    NOT NULL,
	at     INTEGER NOT NULL
) STRICT;

CREATE INDEX named_digest ON named (repository_id, digest, id);
