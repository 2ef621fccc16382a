-- The segue schema at the source. {version} is the version of this layout.
CREATE SCHEMA segue;
COMMENT ON SCHEMA segue IS 'segue schema version {version}';

-- The authority on the migration until cutover: changed only by compare-and-set of the epoch.
CREATE TABLE segue.phase (
    only_one          boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    epoch             integer NOT NULL,
    phase             text    NOT NULL,
    fence             text,
    contract          jsonb   NOT NULL,
    contract_hash     text    NOT NULL,
    system_identifier text    NOT NULL,
    -- The source's in this epoch: writes on another one are not mirrored. None until it is known.
    timeline          integer
);
