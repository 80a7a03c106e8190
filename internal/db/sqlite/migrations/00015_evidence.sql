-- +goose Up

-- Evidence that a tag of cosign's older form says to be about a digest: the
-- manifest itself does not say so.
CREATE TABLE about (
	subject     TEXT    NOT NULL, -- digest
	manifest_id INTEGER NOT NULL REFERENCES manifest (id),
	PRIMARY KEY (subject, manifest_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX about_manifest ON about (manifest_id, subject);

INSERT INTO about (subject, manifest_id)
SELECT DISTINCT 'sha256:' || substr(a.name, 8, 64), p.manifest_id
FROM tag a JOIN placement p ON p.id = a.placement_id
WHERE p.kind = 'evidence' AND a.name LIKE 'sha256-%' AND substr(a.name, 8, 64) NOT GLOB '*[^0-9a-f]*'
	AND (length(a.name) = 71 OR length(a.name) > 71 AND substr(a.name, 72, 1) = '.');

-- The anchors, and the table of builders, that evidence was verified by.
CREATE TABLE verifier (
	id     INTEGER PRIMARY KEY,
	digest TEXT NOT NULL UNIQUE,
	since  INTEGER NOT NULL DEFAULT 0 -- the largest is in force; 0 for what never was
) STRICT;
CREATE INDEX verifier_since ON verifier (since);

-- What came of verifying. A row is never changed but for ended: it counted from
-- its own number up to, and not including, that one.
CREATE TABLE evidence (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	ended       INTEGER NOT NULL, -- 0 while it counts
	subject     TEXT    NOT NULL, -- digest
	referrer    TEXT    NOT NULL, -- digest
	verifier_id INTEGER NOT NULL REFERENCES verifier (id),
	verified_at INTEGER NOT NULL,
	until       INTEGER NOT NULL, -- when it must be verified again, 0 for never
	result      BLOB    NOT NULL  -- assess.Checked as JSON
) STRICT;
CREATE INDEX evidence_of ON evidence (subject, ended, referrer);

-- Who signed it, so that all that somebody signed can be found.
CREATE TABLE signer (
	evidence_id INTEGER NOT NULL REFERENCES evidence (id),
	n           INTEGER NOT NULL, -- of the signature in the result
	anchor      TEXT    NOT NULL,
	issuer      TEXT    NOT NULL,
	subject     TEXT    NOT NULL, -- of the identity
	key         TEXT    NOT NULL,
	builder     TEXT    NOT NULL, -- that a provenance names, '' otherwise
	signed_at   INTEGER NOT NULL, -- proven, else when it was first verified
	PRIMARY KEY (evidence_id, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX signer_identity ON signer (subject, issuer, evidence_id) WHERE subject <> '';
CREATE INDEX signer_issuer ON signer (issuer, evidence_id) WHERE issuer <> '';
CREATE INDEX signer_key ON signer (key, evidence_id) WHERE key <> '';
CREATE INDEX signer_builder ON signer (builder, evidence_id) WHERE builder <> '';
