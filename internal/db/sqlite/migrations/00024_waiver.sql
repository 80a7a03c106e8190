-- +goose Up

-- Permissions that were asked for. A row is never changed but for its end.
CREATE TABLE waiver (
	id       INTEGER PRIMARY KEY AUTOINCREMENT,
	zone     TEXT    NOT NULL,
	asked_by TEXT    NOT NULL,
	asked_at INTEGER NOT NULL,
	renews   INTEGER NOT NULL, -- id of the one whose place it takes, or 0
	until    INTEGER NOT NULL,
	document BLOB    NOT NULL, -- evidence.Waiver as JSON, without who granted it
	to_seq   INTEGER NOT NULL, -- number of the act that ended it, 0 while none has
	ended    BLOB    NOT NULL  -- api.WaiverEnd as JSON, empty while there is none
) STRICT;
CREATE INDEX waiver_zone ON waiver (zone, to_seq);
CREATE INDEX waiver_asked ON waiver (asked_by, to_seq);
CREATE INDEX waiver_until ON waiver (to_seq, until);

-- Who said yes, each once.
CREATE TABLE waiver_grant (
	waiver_id INTEGER NOT NULL REFERENCES waiver (id),
	name      TEXT    NOT NULL,
	zone      TEXT    NOT NULL, -- of the waiver
	seq       INTEGER NOT NULL, -- number of the act
	document  BLOB    NOT NULL, -- evidence.Grantor as JSON
	PRIMARY KEY (waiver_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX waiver_grant_seq ON waiver_grant (seq);
CREATE INDEX waiver_grant_zone ON waiver_grant (zone, seq);
