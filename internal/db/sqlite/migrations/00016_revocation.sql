-- +goose Up

-- What trust has ended in. A row is never changed but for its end.
CREATE TABLE revocation (
	id       INTEGER PRIMARY KEY AUTOINCREMENT,
	kind     TEXT    NOT NULL,
	target   BLOB    NOT NULL, -- evidence.Revocation as JSON
	reason   TEXT    NOT NULL,
	made_by  TEXT    NOT NULL,
	made_at  INTEGER NOT NULL,
	from_seq INTEGER NOT NULL, -- number of the act that made it
	to_seq   INTEGER NOT NULL, -- of the one that lifted it, 0 while it is in force
	lifted   BLOB    NOT NULL  -- api.Lifted as JSON, empty while it is in force
) STRICT;
CREATE INDEX revocation_from ON revocation (from_seq);
CREATE INDEX revocation_to ON revocation (to_seq);

-- What may stand nowhere while a revocation is in force.
CREATE TABLE barred (
	digest        TEXT    NOT NULL,
	revocation_id INTEGER NOT NULL REFERENCES revocation (id),
	PRIMARY KEY (digest, revocation_id)
) STRICT, WITHOUT ROWID;

-- Placements that a revocation has withdrawn, and what they were before.
CREATE TABLE revoked (
	revocation_id INTEGER NOT NULL REFERENCES revocation (id),
	placement_id  INTEGER NOT NULL REFERENCES placement (id),
	state         TEXT    NOT NULL,
	sentence      TEXT    NOT NULL,
	decision      INTEGER NOT NULL,
	PRIMARY KEY (placement_id, revocation_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX revoked_by ON revoked (revocation_id, placement_id);
