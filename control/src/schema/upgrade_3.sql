-- From version 3 at the target: what happened to partitions while no reconciler ran was not noticed.
CREATE TABLE segue.partitions (
    "table" text PRIMARY KEY,
    pieces  text NOT NULL
);
-- From version 3 at the target: a failover of the source ended everything.
ALTER TABLE segue.phase ADD COLUMN timeline integer;
CREATE TABLE segue.epoch (
    epoch       integer PRIMARY KEY,
    timeline    integer NOT NULL,
    history     text    NOT NULL DEFAULT '',
    begins_at   pg_lsn  NOT NULL,
    since       timestamptz NOT NULL DEFAULT clock_timestamp(),
    why         text    NOT NULL CHECK (why IN ('setup', 'failover')),
    verified_at timestamptz
);
CREATE TABLE segue.recheck (
    "table"   text PRIMARY KEY,
    epoch     integer NOT NULL,
    rows_read bigint  NOT NULL DEFAULT 0
);
COMMENT ON SCHEMA segue IS 'segue schema version {version}';
