-- +goose Up

-- What stands in a repository, by state, the newest first; it does the work of
-- placement_admitted too. The minus keeps PostgreSQL from taking that order from
-- the primary key, through all that is newer elsewhere.
CREATE INDEX placement_listed ON placement (repository_id, state, (-id));
DROP INDEX placement_admitted;
