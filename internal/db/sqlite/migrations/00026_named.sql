-- +goose Up

-- What each tag has named, in the order of id. A row is never changed but for its
-- end.
CREATE TABLE named (
	id            INTEGER PRIMARY KEY AUTOINCREMENT,
	repository_id INTEGER NOT NULL REFERENCES repository (id),
	name          TEXT    NOT NULL,
	digest        TEXT    NOT NULL,
	from_at       INTEGER NOT NULL, -- 0 where it was before this was kept
	to_at         INTEGER NOT NULL, -- 0 while it names it
	back          INTEGER NOT NULL  -- id of the row that this goes back to, 0 for none
) STRICT;
CREATE INDEX named_tag ON named (repository_id, name, id);
INSERT INTO named (repository_id, name, digest, from_at, to_at, back)
	SELECT t.repository_id, t.name, p.digest, 0, 0, 0 FROM tag t JOIN placement p ON p.id = t.placement_id;
