-- +goose Up

-- Everything that has a digest, so that other tables can point at it with a
-- number: blobs, manifests, and what manifests name without our having it.
CREATE TABLE content (
	id     INTEGER PRIMARY KEY,
	digest TEXT    NOT NULL UNIQUE,
	size   INTEGER NOT NULL DEFAULT -1 -- of the blob in bytes, -1 when it is none that is stored
) STRICT;

CREATE TABLE repository (
	id   INTEGER PRIMARY KEY,
	name TEXT    NOT NULL UNIQUE
) STRICT;

CREATE TABLE manifest (
	id            INTEGER PRIMARY KEY REFERENCES content (id),
	media_type    TEXT NOT NULL,
	artifact_type TEXT NOT NULL,
	kind          TEXT NOT NULL,
	subject       TEXT NOT NULL, -- digest, '' when none
	packed        BLOB NOT NULL, -- references and annotations; see package pack
	raw           BLOB NOT NULL
) STRICT;
CREATE INDEX manifest_subject ON manifest (subject) WHERE subject <> '';

-- Which manifests name which others: the children of indexes.
CREATE TABLE child (
	content_id  INTEGER NOT NULL,
	manifest_id INTEGER NOT NULL,
	PRIMARY KEY (content_id, manifest_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE placement (
	id            INTEGER PRIMARY KEY,
	repository_id INTEGER NOT NULL REFERENCES repository (id),
	manifest_id   INTEGER NOT NULL REFERENCES manifest (id),
	digest        TEXT    NOT NULL, -- of the manifest
	kind          TEXT    NOT NULL,
	state         TEXT    NOT NULL,
	brought_by    TEXT    NOT NULL,
	brought_at    INTEGER NOT NULL, -- this and all times: microseconds since 1970, 0 for none
	admitted_at   INTEGER NOT NULL,
	stay_until    INTEGER NOT NULL,
	recheck_at    INTEGER NOT NULL,
	due_at        INTEGER NOT NULL, -- the earlier of the two before
	decision      INTEGER NOT NULL,
	sentence      TEXT    NOT NULL,
	version       INTEGER NOT NULL,
	UNIQUE (repository_id, digest)
) STRICT;
CREATE INDEX placement_manifest ON placement (manifest_id, repository_id);
CREATE INDEX placement_admitted ON placement (repository_id) WHERE state = 'admitted';
CREATE INDEX placement_due ON placement (due_at) WHERE due_at > 0;

-- Which blobs stand in which repository, and through which placements.
-- Tombstones hold nothing.
CREATE TABLE holding (
	repository_id INTEGER NOT NULL,
	content_id    INTEGER NOT NULL,
	placement_id  INTEGER NOT NULL,
	PRIMARY KEY (repository_id, content_id, placement_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE tag (
	repository_id INTEGER NOT NULL,
	name          TEXT    NOT NULL,
	placement_id  INTEGER NOT NULL REFERENCES placement (id),
	PRIMARY KEY (repository_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_placement ON tag (placement_id);

-- Tags that wait until what they should point at is admitted.
CREATE TABLE pending (
	repository_id INTEGER NOT NULL,
	name          TEXT    NOT NULL,
	principal     TEXT    NOT NULL,
	placement_id  INTEGER NOT NULL REFERENCES placement (id),
	PRIMARY KEY (repository_id, name, principal)
) STRICT, WITHOUT ROWID;
CREATE INDEX pending_placement ON pending (placement_id);
CREATE INDEX pending_principal ON pending (repository_id, principal, name);

CREATE TABLE lease (
	repository_id INTEGER NOT NULL,
	content_id    INTEGER NOT NULL,
	principal     TEXT    NOT NULL,
	until         INTEGER NOT NULL,
	PRIMARY KEY (repository_id, content_id, principal)
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_until ON lease (until);
