//! The questions to the source's catalog, asked where [`super::signs`] tell of a change.
//!
//! Every session that asks them has `search_path = pg_catalog`. What would lock a table
//! (`pg_partition_tree`, in newer servers `pg_get_expr`) is not called: a client's ALTER TABLE could
//! end in a deadlock with the reading. Does not interpret the answers.

/// The relations that matter: the publication's tables (all, if there is no publication) with their
/// partitions; views and tables with rules; and what takes part in plain inheritance. A write to any
/// other reaches nothing that is carried.
pub(super) const WATCHED: &str = "\
WITH RECURSIVE carried AS (
    SELECT r.prrelid AS oid
    FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = $1
    UNION
    SELECT c.oid FROM pg_class c
    WHERE NOT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)
      AND c.relkind IN ('r', 'p') AND c.oid >= 16384 AND c.relpersistence <> 't'
    UNION
    SELECT i.inhrelid FROM carried JOIN pg_inherits i ON i.inhparent = carried.oid
)
SELECT oid FROM carried
UNION
SELECT r.ev_class FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
WHERE r.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'f') AND c.relpersistence <> 't'
UNION
SELECT side.oid FROM pg_inherits i JOIN pg_class parent ON parent.oid = i.inhparent,
    LATERAL (VALUES (i.inhparent), (i.inhrelid)) AS side (oid)
WHERE parent.relkind <> 'p' AND parent.relpersistence <> 't'";

/// Every relation with the name of one of `$1`: what such a name in a statement can mean.
pub(super) const NAMES: &str = "\
SELECT c.oid, n.nspname::text, c.relname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname IN (SELECT relname FROM pg_class WHERE oid = ANY ($1))
  AND c.relkind NOT IN ('i', 'I', 't') AND n.nspname !~ '^pg_(toast|temp)'";

/// Tables that are not among `$1`, for who wants to see them.
pub(super) const OTHERS: &str = "\
SELECT n.nspname::text, c.relname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f') AND c.oid >= 16384 AND c.relpersistence <> 't'
  AND c.oid NOT IN (SELECT unnest($1::oid[]))";

/// Per family among `$1`, which is a table with all its partitions, its root, its members and a mark
/// that differs once any of them has changed.
pub(super) const FAMILIES: &str = "\
WITH members AS (
    SELECT c.oid, c.xmin AS version, n.nspname,
        CASE WHEN c.relispartition THEN coalesce(pg_partition_root(c.oid)::oid, c.oid)
             ELSE c.oid END AS root
    FROM unnest($1::oid[]) w (oid)
    JOIN pg_class c ON c.oid = w.oid JOIN pg_namespace n ON n.oid = c.relnamespace
), marks AS (
    SELECT oid AS relation, hash_record_extended(ROW(1, oid, version, nspname), 0) AS mark FROM members
    UNION ALL
    SELECT attrelid, hash_record_extended(ROW(2, attrelid, attnum, xmin), 0)
    FROM pg_attribute WHERE attrelid = ANY ($1) AND attnum > 0
    UNION ALL
    SELECT adrelid, hash_record_extended(ROW(3, oid, xmin), 0)
    FROM pg_attrdef WHERE adrelid = ANY ($1)
    UNION ALL
    SELECT tgrelid, hash_record_extended(ROW(4, oid, xmin), 0)
    FROM pg_trigger WHERE tgrelid = ANY ($1)
    UNION ALL
    SELECT ev_class, hash_record_extended(ROW(5, oid, xmin), 0)
    FROM pg_rewrite WHERE ev_class = ANY ($1)
    UNION ALL
    SELECT inhrelid, hash_record_extended(ROW(6, inhrelid, inhseqno, xmin), 0)
    FROM pg_inherits WHERE inhrelid = ANY ($1)
    UNION ALL
    SELECT inhparent, hash_record_extended(ROW(7, inhrelid, inhseqno, xmin), 0)
    FROM pg_inherits WHERE inhparent = ANY ($1)
    UNION ALL
    SELECT r.prrelid, hash_record_extended(ROW(8, r.oid, r.xmin), 0)
    FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = $2
)
SELECT m.root, array_agg(m.oid), sum(s.mark)::text
FROM members m
JOIN (SELECT relation, sum(mark) AS mark FROM marks GROUP BY relation) s ON s.relation = m.oid
GROUP BY m.root";

/// Functions that are sensitive: their source mentions the statement's text, the session's settings,
/// or a function that does.
pub(super) const SENSITIVE: &str = "\
WITH RECURSIVE sensitive AS (
    SELECT p.oid, p.proname::text FROM pg_proc p
    WHERE p.oid >= 16384
      AND p.prosrc ~* 'current_query|pg_stat_activity|set_config|synchronous_commit|\\mset\\s+(local\\s+|session\\s+)?(role|search_path)'
    UNION
    SELECT p.oid, p.proname::text FROM sensitive s JOIN pg_proc p
      ON p.oid >= 16384 AND strpos(p.prosrc, s.proname) > 0
)
SELECT oid FROM sensitive ORDER BY oid";

/// The relations `$2`, whole families, with what stands against capturing their rows; `$3` are the
/// sensitive functions.
pub(super) const TABLES: &str = "\
WITH RECURSIVE pieces AS (
    SELECT inhparent AS root, inhrelid AS relid FROM pg_inherits WHERE inhparent = ANY ($2)
    UNION
    SELECT p.root, i.inhrelid FROM pieces p JOIN pg_inherits i ON i.inhparent = p.relid
), watching AS (
    SELECT DISTINCT tgrelid FROM pg_trigger WHERE tgrelid = ANY ($2) AND tgfoid = ANY ($3)
), telling AS (
    SELECT DISTINCT d.adrelid FROM pg_attrdef d
    WHERE d.adrelid = ANY ($2)
      AND EXISTS (SELECT FROM (SELECT unnest($3::oid[]) AS oid
                               UNION SELECT oid FROM pg_proc WHERE proname = 'current_query') f
                  WHERE strpos(d.adbin::text, concat('funcid ', f.oid, ' ')) > 0)
), written AS (
    SELECT c.oid, c.relnamespace, c.relname, c.relkind::text AS kind, c.relrowsecurity,
           CASE WHEN c.relispartition THEN coalesce(pg_partition_root(c.oid)::oid, c.oid)
                ELSE c.oid END AS root
    FROM pg_class c
    WHERE c.relkind IN ('r', 'p', 'v', 'f') AND c.oid = ANY ($2)
)
SELECT w.oid, n.nspname::text, w.relname::text, w.kind, rn.nspname::text, rc.relname::text,
    w.relrowsecurity,
    EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = w.oid AND r.rulename <> '_RETURN') AS rules,
    EXISTS (SELECT FROM pg_inherits i JOIN pg_class parent ON parent.oid = i.inhparent
            WHERE parent.relkind <> 'p' AND i.inhrelid = w.oid)
    OR w.kind <> 'p' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = w.oid) AS inherited,
    w.kind = 'p' AND EXISTS (SELECT FROM pieces p JOIN pg_class l ON l.oid = p.relid
            WHERE p.root = w.oid AND l.relkind = 'f') AS foreign_leaves,
    w.oid IN (SELECT tgrelid FROM watching) OR w.oid IN (SELECT adrelid FROM telling)
    OR w.kind = 'p' AND EXISTS (SELECT FROM pieces p JOIN watching t ON t.tgrelid = p.relid
            WHERE p.root = w.oid) AS sensitive,
    NOT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)
    OR EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
               WHERE p.pubname = $1 AND r.prrelid IN (w.oid, w.root)) AS published
FROM written w
JOIN pg_namespace n ON n.oid = w.relnamespace
JOIN pg_class rc ON rc.oid = w.root
JOIN pg_namespace rn ON rn.oid = rc.relnamespace
WHERE n.nspname !~ '^pg_(toast|temp)'";

/// The columns of these tables in the order of `*`. Wide is what can hold more than a few
/// kilobytes.
pub(super) const COLUMNS: &str = "\
SELECT a.attrelid, a.attname::text, a.atttypid,
    a.attlen = -1 AND a.atttypid <> 1700
        AND NOT (a.atttypid IN (1042, 1043) AND a.atttypmod BETWEEN 4 AND 1028) AS wide,
    t.typsend = 0 OR e.typsend = 0 AS unsendable
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typlen = -1
WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum";

/// Names behind which volatile functions that are not built in, or functions that change settings,
/// can be called: their own, those of operators and aggregates on them, and (second column) those of
/// types with casts and of views, which call them wherever they are named.
pub(super) const FUNCTIONS: &str = "\
WITH RECURSIVE calls AS (
    SELECT oid, proname::text FROM pg_proc
    WHERE oid >= 16384 AND prorettype <> 2279
      AND (provolatile = 'v' OR prosrc ~* 'set_config')
), callers AS (
    SELECT oid, proname FROM calls
    UNION
    SELECT p.oid, p.proname::text
    FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid
    WHERE EXISTS (SELECT FROM calls WHERE calls.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn,
                  a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn))
), views AS (
    SELECT r.ev_class
    FROM pg_depend d
    JOIN callers ON callers.oid = d.refobjid
    JOIN pg_rewrite r ON r.oid = d.objid
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_proc'::regclass
    UNION
    SELECT r.ev_class
    FROM views v
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = v.ev_class
    JOIN pg_rewrite r ON r.oid = d.objid
    WHERE d.classid = 'pg_rewrite'::regclass
)
SELECT proname, false FROM callers
UNION
SELECT o.oprname::text, false FROM pg_operator o JOIN callers ON callers.oid = o.oprcode
UNION
SELECT t.typname::text, true
FROM pg_cast k JOIN callers ON callers.oid = k.castfunc JOIN pg_type t ON t.oid = k.casttarget
UNION
SELECT c.relname::text, true FROM views v JOIN pg_class c ON c.oid = v.ev_class";

/// Per role the tables among `$1` whose every column it may read, if it may call what the hidden
/// column calls. `$2` are roles wanted besides those that can log in; at most `$3` roles.
pub(super) const READABLE: &str = "\
WITH roles AS MATERIALIZED (
    SELECT oid, rolname::text AS name,
        has_function_privilege(oid, 'pg_catalog.record_send(record)', 'EXECUTE')
        AND has_function_privilege(oid, 'pg_catalog.substr(bytea,integer,integer)', 'EXECUTE')
        AND has_function_privilege(oid, 'pg_catalog.pg_current_wal_insert_lsn()', 'EXECUTE')
        AND has_function_privilege(oid, 'pg_catalog.pg_current_xact_id()', 'EXECUTE')
        AND has_function_privilege(oid, 'pg_catalog.pg_column_size(\"any\")', 'EXECUTE')
        AND has_function_privilege(oid, 'pg_catalog.current_setting(text)', 'EXECUTE') AS may_call
    FROM (SELECT oid, rolname, rolcanlogin FROM pg_roles
          WHERE rolname::text = ANY ($2) OR rolname !~ '^pg_'
          ORDER BY rolname::text = ANY ($2) DESC, rolcanlogin DESC, oid LIMIT $3) r
)
SELECT r.name,
    ARRAY(SELECT t.oid FROM unnest($1::oid[]) t (oid)
          WHERE r.may_call AND has_table_privilege(r.oid, t.oid, 'SELECT'))
FROM roles r";
