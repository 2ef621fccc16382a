-- From version 3 at the target: what happened to partitions while no reconciler ran was not noticed.
CREATE TABLE segue.partitions (
    "table" text PRIMARY KEY,
    pieces  text NOT NULL
);
COMMENT ON SCHEMA segue IS 'segue schema version {version}';
