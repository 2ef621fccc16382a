-- From version 2 at the target: no table could be stopped by itself.
ALTER TABLE segue.table_floor ALTER COLUMN floor SET DEFAULT 0, ADD COLUMN contract integer NOT NULL DEFAULT 0;
CREATE TABLE segue.stopped (
    "table"    text PRIMARY KEY,
    what       text NOT NULL,
    reread     text NOT NULL CHECK (reread IN ('keys', 'table')),
    since      timestamptz NOT NULL DEFAULT clock_timestamp(),
    divergence bigint REFERENCES segue.divergence (id) ON DELETE SET NULL
);
COMMENT ON SCHEMA segue IS 'segue schema version {version}';
