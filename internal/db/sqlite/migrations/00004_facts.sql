-- +goose Up

CREATE TABLE extractor_set (
	id   INTEGER PRIMARY KEY,
	name TEXT    NOT NULL UNIQUE
) STRICT;

CREATE TABLE layer_facts (
	content_id       INTEGER NOT NULL,
	extractor_set_id INTEGER NOT NULL,
	facts            BLOB    NOT NULL,
	PRIMARY KEY (content_id, extractor_set_id)
) STRICT;

CREATE TABLE package_set (
	id      INTEGER PRIMARY KEY,
	digest  TEXT    NOT NULL UNIQUE,
	encoded BLOB    NOT NULL
) STRICT;

CREATE TABLE component (
	id      INTEGER PRIMARY KEY,
	family  TEXT    NOT NULL,
	name    TEXT    NOT NULL,
	version TEXT    NOT NULL,
	UNIQUE (name, family, version)
) STRICT;

CREATE TABLE set_component (
	component_id   INTEGER NOT NULL,
	package_set_id INTEGER NOT NULL,
	PRIMARY KEY (component_id, package_set_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE image_record (
	content_id       INTEGER NOT NULL,
	extractor_set_id INTEGER NOT NULL,
	record           BLOB    NOT NULL,
	PRIMARY KEY (content_id, extractor_set_id)
) STRICT;

CREATE TABLE image_set (
	package_set_id INTEGER NOT NULL,
	content_id     INTEGER NOT NULL, -- of the manifest
	PRIMARY KEY (package_set_id, content_id)
) STRICT, WITHOUT ROWID;
