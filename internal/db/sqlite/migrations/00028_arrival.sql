-- +goose Up

-- Who pushed what first into which repository. What was promoted stands in other
-- repositories than it was pushed into. Rows are never changed.
CREATE TABLE arrival (
	id            INTEGER PRIMARY KEY,
	content_id    INTEGER NOT NULL, -- of the manifest
	repository_id INTEGER NOT NULL, -- in which it stands
	pushed_into   INTEGER NOT NULL,
	principal     TEXT    NOT NULL,
	kind          TEXT    NOT NULL, -- '' where nobody knows
	at            INTEGER NOT NULL,
	UNIQUE (content_id, repository_id, pushed_into)
) STRICT;

-- Of what is there already nobody knows who pushed it first: it may have been
-- promoted, and pushed again.
INSERT INTO arrival (content_id, repository_id, pushed_into, principal, kind, at)
	SELECT p.manifest_id, p.repository_id, p.repository_id, p.brought_by, '', p.brought_at FROM placement p
	WHERE p.kind <> 'evidence' ORDER BY p.brought_at, p.id;
