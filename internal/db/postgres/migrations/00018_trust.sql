-- +goose Up

-- Files of the TUF repository, as they are served.
CREATE TABLE tuf_file (
	name text COLLATE "C" NOT NULL PRIMARY KEY,
	body bytea            NOT NULL
);

-- Sign-ins under way, for minutes. What is secret of one is here as a hash.
CREATE TABLE sign_in (
	id        text COLLATE "C" NOT NULL PRIMARY KEY, -- hash of what the client holds
	user_code text COLLATE "C" NOT NULL UNIQUE,
	from_addr text COLLATE "C" NOT NULL, -- address of who started it
	expires   bigint           NOT NULL,
	version   bigint           NOT NULL, -- grows with each change
	flow      bytea            NOT NULL  -- JSON
);
CREATE INDEX sign_in_ends ON sign_in (expires);
CREATE INDEX sign_in_from ON sign_in (from_addr);
