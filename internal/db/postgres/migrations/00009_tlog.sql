-- +goose Up

-- The transparency logs of this instance: "audit", "rekor", "ct".
CREATE TABLE tlog (
	name       text COLLATE "C" NOT NULL PRIMARY KEY,
	origin     text COLLATE "C" NOT NULL,
	size       bigint           NOT NULL, -- entries
	root       bytea            NOT NULL, -- hash of the tree
	checkpoint bytea            NOT NULL, -- both, signed by the log
	published_size bigint       NOT NULL, -- at most size
	published  bytea            NOT NULL  -- checkpoint of that size, with the cosignatures
);

-- Full tiles: 256 hashes each, and at level 0 the 256 entries beside them.
CREATE TABLE tlog_tile (
	log     text COLLATE "C" NOT NULL,
	level   bigint           NOT NULL,
	n       bigint           NOT NULL,
	root    bytea            NOT NULL, -- of the subtree
	hashes  text COLLATE "C" NOT NULL, -- digest of the blob
	entries text COLLATE "C" NOT NULL, -- digest of the blob, empty above level 0
	PRIMARY KEY (log, level, n)
);

-- Entries that are in no full tile: one row for what one commit appended.
CREATE TABLE tlog_tail (
	log    text COLLATE "C" NOT NULL,
	start  bigint           NOT NULL, -- index of the first
	leaves bytea            NOT NULL, -- their hashes
	bundle bytea            NOT NULL, -- the entries
	PRIMARY KEY (log, start)
);

-- The index of each leaf, the first where there are several, in logs that ask
-- for it.
CREATE TABLE tlog_leaf (
	log  text COLLATE "C" NOT NULL,
	hash bytea            NOT NULL,
	pos  bigint           NOT NULL,
	PRIMARY KEY (log, hash)
);

-- The newest checkpoints of other logs that this instance has cosigned.
CREATE TABLE witnessed (
	origin     text COLLATE "C" NOT NULL PRIMARY KEY,
	size       bigint           NOT NULL,
	root       bytea            NOT NULL,
	checkpoint bytea            NOT NULL -- as the log signed it
);
