
-- Rules 1 and 2: admits the rows of some source transactions or refuses all of them, naming those
-- that stand against it, numbered from 1, in the error's detail. The statements of a volatile function
-- take a snapshot each, so the tests of a later statement see what was committed while an earlier
-- one waited for a lock. The caller's data statements follow in the transaction. p_owners has for
-- each row the number of its transaction; no key comes twice.
--
-- SQLSTATEs: SG001 the gate is shut or of another epoch, SG002 at or under a floor, or of a contract
-- that was before the table's, SG003 an entry
-- holds something newer, or the log has written this op already.
CREATE OR REPLACE FUNCTION segue.admit(
    p_epoch integer, p_proxy uuid, p_contract integer,
    p_ops uuid[], p_xids bigint[], p_committed_at timestamptz[],
    p_tables text[], p_keys bytea[], p_revs bigint[], p_tombstones boolean[], p_owners integer[]
) RETURNS void LANGUAGE plpgsql VOLATILE AS $body$
DECLARE
    admitted bigint;
    gate record;
    refused text;
BEGIN
    -- A log that is behind shuts all early writers out for the length of a batch.
    PERFORM pg_catalog.pg_advisory_xact_lock_shared({rows_lock});
    -- Rule 5: an xid of its own before the gate is read.
    PERFORM pg_catalog.pg_current_xact_id();
    INSERT INTO segue.row_rev AS held
        ("table", key, rev, op_id, xid, from_log, verified, tombstone, target_rev, contract)
    SELECT n."table", n.key, n.rev, p_ops[n.owner], p_xids[n.owner], false, false, n.tombstone,
           pg_catalog.pg_current_wal_insert_lsn(), p_contract
    FROM ROWS FROM (pg_catalog.unnest(p_tables), pg_catalog.unnest(p_keys),
                    pg_catalog.unnest(p_revs), pg_catalog.unnest(p_tombstones),
                    pg_catalog.unnest(p_owners))
         AS n("table", key, rev, tombstone, owner)
    ORDER BY n."table" COLLATE "C", n.key
    ON CONFLICT ("table", key) DO UPDATE
    SET rev = excluded.rev, op_id = excluded.op_id, xid = excluded.xid, from_log = false,
        verified = false, tombstone = excluded.tombstone, target_rev = excluded.target_rev,
        contract = excluded.contract
    WHERE held.rev < excluded.rev
      AND NOT (held.from_log AND held.op_id IS NOT DISTINCT FROM excluded.op_id);
    GET DIAGNOSTICS admitted = ROW_COUNT;
    IF admitted < pg_catalog.cardinality(p_keys) THEN
        -- What was not admitted is locked and as it was: this transaction did not write it.
        SELECT pg_catalog.string_agg(DISTINCT n.owner::text, ',') INTO refused
        FROM ROWS FROM (pg_catalog.unnest(p_tables), pg_catalog.unnest(p_keys),
                        pg_catalog.unnest(p_owners)) AS n("table", key, owner)
        JOIN segue.row_rev held ON held."table" = n."table" AND held.key = n.key
        WHERE held.xmin <> pg_catalog.pg_current_xact_id()::xid;
        RAISE EXCEPTION 'a newer version has been written'
            USING ERRCODE = 'SG003', DETAIL = coalesce(refused, '');
    END IF;
    SELECT g.epoch, g.floor INTO gate FROM segue.mirror_gate g;
    IF NOT FOUND OR gate.epoch <> p_epoch THEN
        RAISE EXCEPTION 'the mirror gate is shut' USING ERRCODE = 'SG001';
    END IF;
    SELECT pg_catalog.string_agg(DISTINCT n.owner::text, ',') INTO refused
    FROM ROWS FROM (pg_catalog.unnest(p_tables), pg_catalog.unnest(p_revs),
                    pg_catalog.unnest(p_owners)) AS n("table", rev, owner)
    LEFT JOIN segue.table_floor f ON f."table" = n."table"
    WHERE n.rev <= gate.floor OR n.rev <= f.floor OR p_contract < f.contract;
    IF refused IS NOT NULL THEN
        RAISE EXCEPTION 'the version is at or under the floor'
            USING ERRCODE = 'SG002', DETAIL = refused;
    END IF;
    INSERT INTO segue.op (op_id, proxy, outcome, committed_at, mirrored_at)
    SELECT n.op_id, p_proxy, 'accepted', n.committed_at, pg_catalog.clock_timestamp()
    FROM ROWS FROM (pg_catalog.unnest(p_ops), pg_catalog.unnest(p_committed_at))
         AS n(op_id, committed_at)
    ORDER BY n.op_id
    ON CONFLICT (op_id) DO UPDATE
    SET outcome = 'accepted', reason = NULL, mirrored_at = excluded.mirrored_at;
END
$body$;
