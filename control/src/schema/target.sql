-- The segue schema at the target. {version} is the version of this layout.
--
-- UNLOGGED tables are the mirror's: a crash of the target empties them, and an empty mirror_gate
-- is what switches the mirror off (rule 6). LOGGED tables are the stream's proof.
CREATE SCHEMA segue;
COMMENT ON SCHEMA segue IS 'segue schema version {version}';

-- Written by every writer of a row, with the row (rule 1). Recent versions only. xid lets a re-read
-- of the source tell by its snapshot whether it saw the version (rules 7 and 8).
CREATE UNLOGGED TABLE segue.row_rev (
    "table"    text    NOT NULL,
    key        bytea   NOT NULL,
    rev        bigint  NOT NULL,
    op_id      uuid,
    xid        bigint,
    from_log   boolean NOT NULL,
    verified   boolean NOT NULL,
    tombstone  boolean NOT NULL,
    target_rev pg_lsn,
    contract   integer,
    PRIMARY KEY ("table", key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- One row while mirroring is allowed; no row, no mirroring.
CREATE UNLOGGED TABLE segue.mirror_gate (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    epoch    integer NOT NULL,
    floor    bigint  NOT NULL
);

-- What the proxies say of each transaction: accepted, deferred or dropped, and why.
CREATE UNLOGGED TABLE segue.op (
    op_id        uuid PRIMARY KEY,
    proxy        uuid NOT NULL,
    outcome      text NOT NULL CHECK (outcome IN ('accepted', 'deferred', 'dropped')),
    reason       text,
    committed_at timestamptz,
    mirrored_at  timestamptz NOT NULL
);

-- How far the stream has been applied, written in the transaction of the writes that it covers.
CREATE TABLE segue.progress (
    stream            text PRIMARY KEY,
    epoch             integer NOT NULL,
    commit_lsn        pg_lsn  NOT NULL,
    holder            uuid,
    system_identifier text    NOT NULL,
    timeline          integer NOT NULL
);

-- Rows that have to be read again by key (rule 8). xid is the last logged transaction that touched
-- the row; a re-read counts only if its snapshot contains it.
CREATE TABLE segue.owed (
    "table" text  NOT NULL,
    key     bytea NOT NULL,
    why     text  NOT NULL,
    since   timestamptz NOT NULL DEFAULT clock_timestamp(),
    xid     bigint,
    PRIMARY KEY ("table", key)
);

CREATE TABLE segue.tombstone (
    "table" text   NOT NULL,
    key     bytea  NOT NULL,
    rev     bigint NOT NULL,
    PRIMARY KEY ("table", key)
);

-- No early write at or under this revision may enter the table (rule 11), and none under an older
-- contract than this: a proxy may not have heard yet that the table is another. While the table is
-- stopped it is a contract that never comes.
CREATE TABLE segue.table_floor (
    "table"  text PRIMARY KEY,
    floor    bigint  NOT NULL DEFAULT 0,
    contract integer NOT NULL DEFAULT 0
);

CREATE TABLE segue.divergence (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "table"     text  NOT NULL,
    key         bytea NOT NULL,
    key_columns jsonb NOT NULL,
    kind        text  NOT NULL CHECK (kind IN ('missing_row', 'extra_row', 'different_row', 'phantom',
                      'foreign_write', 'lost_mirror', 'schema_drift', 'sequence_behind')),
    state       text  NOT NULL CHECK (state IN ('open', 'repaired', 'ignored')),
    detected_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    repaired_at timestamptz,
    repair      text,
    source_rev  bigint,
    target_rev  bigint,
    op_id       uuid,
    columns     text[] NOT NULL DEFAULT '{}',
    -- Why the repair is held back: dry, limit.
    held        text,
    -- Who wrote it at the target, where that's log tells: origin, transaction and its commit.
    written_by  text,
    written_xid bigint,
    written_at  timestamptz
);
CREATE INDEX ON segue.divergence (detected_at);
CREATE INDEX ON segue.divergence ("table", key) WHERE state = 'open';

-- Tables that are not what the contract says at one side. Their changes are kept as owed rows until
-- both sides agree again, or, where keys cannot be made of them, as the duty to read the whole table.
CREATE TABLE segue.stopped (
    "table"    text PRIMARY KEY,
    what       text NOT NULL,
    reread     text NOT NULL CHECK (reread IN ('keys', 'table')),
    since      timestamptz NOT NULL DEFAULT clock_timestamp(),
    divergence bigint REFERENCES segue.divergence (id) ON DELETE SET NULL
);

-- The partitions that a carried table had at the source when they were looked at last, each as its
-- OID and the transaction that made it one.
CREATE TABLE segue.partitions (
    "table" text PRIMARY KEY,
    pieces  text NOT NULL
);

-- What a repair found and what it left, as column: text, and as the row's own text, which is enough
-- to undo it. What one that is held back would leave is proposed; JSON's null: no row.
CREATE TABLE segue.journal (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    divergence bigint REFERENCES segue.divergence (id) ON DELETE CASCADE,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    "table"    text  NOT NULL,
    key        bytea NOT NULL,
    before     jsonb,
    after      jsonb,
    proposed   jsonb,
    before_row text,
    after_row  text,
    act        text  NOT NULL DEFAULT 'repair' CHECK (act IN ('repair', 'undo'))
);
CREATE INDEX ON segue.journal (divergence);

-- Tables whose repairs have stopped at the limit. A person resumes them.
CREATE TABLE segue.repair_limit (
    "table"    text PRIMARY KEY,
    stopped_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    resumed_at timestamptz
);

-- Rows from the log by table, verdict and, where there is one, why: totals since setup.
CREATE TABLE segue.table_count (
    "table" text   NOT NULL,
    verdict text   NOT NULL,
    why     text   NOT NULL DEFAULT '',
    count   bigint NOT NULL,
    PRIMARY KEY ("table", verdict, why)
);

-- Each proxy once a second; counters are totals since the proxy started.
CREATE UNLOGGED TABLE segue.proxy (
    id       uuid PRIMARY KEY,
    lease    timestamptz NOT NULL,
    counters jsonb NOT NULL
);

-- The reconciler's own totals, once a second.
CREATE TABLE segue.reconciler (
    stream   text PRIMARY KEY,
    at       timestamptz NOT NULL,
    counters jsonb NOT NULL
);

-- What the report plots: a sample a second, old ones removed by the reconciler.
CREATE TABLE segue.sample (
    at                       timestamptz PRIMARY KEY,
    lag_bytes                bigint NOT NULL,
    lag_seconds              double precision NOT NULL,
    staleness_seconds_p50    double precision,
    staleness_seconds_p99    double precision,
    verified                 bigint NOT NULL,
    applied                  bigint NOT NULL,
    repaired                 bigint NOT NULL
);

-- What happened to the machinery itself: target lost and back, gate armed, floor refused.
CREATE TABLE segue.event (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind text NOT NULL,
    text text NOT NULL
);

-- A copy of the source's phase, which only lags.
CREATE TABLE segue.phase (
    only_one          boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    epoch             integer NOT NULL,
    phase             text    NOT NULL,
    fence             text,
    contract          jsonb   NOT NULL,
    contract_hash     text    NOT NULL,
    system_identifier text    NOT NULL,
    timeline          integer
);

-- The authority's generations. An epoch covers the source's log from begins_at on, along the history
-- of its timeline (as a history file has it). Until it is verified, rows that the failover may have
-- taken back or kept from the log are still being read again, and no certificate holds.
CREATE TABLE segue.epoch (
    epoch       integer PRIMARY KEY,
    timeline    integer NOT NULL,
    history     text    NOT NULL DEFAULT '',
    begins_at   pg_lsn  NOT NULL,
    since       timestamptz NOT NULL DEFAULT clock_timestamp(),
    why         text    NOT NULL CHECK (why IN ('setup', 'failover')),
    verified_at timestamptz
);

-- Tables of which every row is to be read again after a failover, and how many have been so far.
CREATE TABLE segue.recheck (
    "table"   text PRIMARY KEY,
    epoch     integer NOT NULL,
    rows_read bigint  NOT NULL DEFAULT 0
);
