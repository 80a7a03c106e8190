-- +goose Up

-- The gate that judges each zone, so that processes with different
-- configurations do not decide against each other.
CREATE TABLE gate (
	zone   text COLLATE "C" NOT NULL PRIMARY KEY,
	digest text COLLATE "C" NOT NULL
);
