-- From version 2 at the target: no table could be stopped by itself.
ALTER TABLE segue.table_floor ALTER COLUMN floor SET DEFAULT 0, ADD COLUMN contract integer NOT NULL DEFAULT 0;
CREATE TABLE segue.stopped (
    "table"    text PRIMARY KEY,
    what       text NOT NULL,
    reread     text NOT NULL CHECK (reread IN ('keys', 'table')),
    since      timestamptz NOT NULL DEFAULT clock_timestamp(),
    divergence bigint REFERENCES segue.divergence (id) ON DELETE SET NULL
);
ALTER TABLE segue.divergence ADD COLUMN held text, ADD COLUMN written_by text,
    ADD COLUMN written_xid bigint, ADD COLUMN written_at timestamptz;
ALTER TABLE segue.journal ADD COLUMN proposed jsonb, ADD COLUMN before_row text, ADD COLUMN after_row text,
    ADD COLUMN act text NOT NULL DEFAULT 'repair' CHECK (act IN ('repair', 'undo'));
CREATE TABLE segue.repair_limit (
    "table"    text PRIMARY KEY,
    stopped_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    resumed_at timestamptz
);
CREATE TABLE segue.table_count (
    "table" text   NOT NULL,
    verdict text   NOT NULL,
    why     text   NOT NULL DEFAULT '',
    count   bigint NOT NULL,
    PRIMARY KEY ("table", verdict, why)
);
