-- +goose Up

-- The gate that judges each zone, so that processes with different
-- configurations do not decide against each other.
CREATE TABLE gate (
	zone   TEXT NOT NULL PRIMARY KEY,
	digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;
