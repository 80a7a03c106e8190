-- +goose Up

CREATE TABLE snapshot (
	seq        bigint           PRIMARY KEY,
	digest     text COLLATE "C" NOT NULL,
	at         bigint           NOT NULL,
	advisories bigint           NOT NULL,
	ecosystems bytea            NOT NULL -- JSON
);

-- The load under way: at most one row.
CREATE TABLE advisory_load (
	seq   bigint           NOT NULL PRIMARY KEY,
	token text COLLATE "C" NOT NULL
);

CREATE TABLE feed (
	name          text COLLATE "C" NOT NULL PRIMARY KEY,
	source        text COLLATE "C" NOT NULL,
	ecosystems    bytea            NOT NULL, -- JSON
	records       bigint           NOT NULL,
	skipped       bigint           NOT NULL,
	reasons       bytea            NOT NULL, -- JSON
	digest        text COLLATE "C" NOT NULL,
	seq           bigint           NOT NULL,
	etag          text COLLATE "C" NOT NULL,
	last_modified text COLLATE "C" NOT NULL,
	loaded_at     bigint           NOT NULL,
	checked_at    bigint           NOT NULL,
	problem       text COLLATE "C" NOT NULL,
	held          bigint           NOT NULL -- 0 or 1
);

CREATE TABLE advisory (
	feed      text COLLATE "C" NOT NULL,
	id        text COLLATE "C" NOT NULL,
	from_seq  bigint           NOT NULL,
	to_seq    bigint           NOT NULL, -- 0 while in force
	modified  bigint           NOT NULL,
	withdrawn bigint           NOT NULL,
	known     bigint           NOT NULL,
	digest    text COLLATE "C" NOT NULL,
	format    bigint           NOT NULL,
	packed    bytea            NOT NULL,
	PRIMARY KEY (feed, id, from_seq)
);
CREATE INDEX advisory_id ON advisory (id);
CREATE INDEX advisory_from ON advisory (from_seq);
CREATE INDEX advisory_to ON advisory (to_seq) WHERE to_seq > 0;
