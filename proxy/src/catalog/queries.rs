//! The questions to the source's catalog.
//!
//! Every session that asks them has `search_path = pg_catalog`. Does not interpret the answers.

/// One value that changes with everything that the other questions depend on. In-place updates by
/// VACUUM and ANALYZE do not count; a row that is written again has another `xmin`.
pub(super) const FINGERPRINT: &str = "\
SELECT concat_ws(':',
    (SELECT concat(count(*), '-', sum(xmin::text::bigint)) FROM pg_class WHERE oid >= 16384),
    (SELECT concat(count(*), '-', sum(xmin::text::bigint)) FROM pg_attribute WHERE attrelid >= 16384),
    (SELECT concat(count(*), '-', sum(xmin::text::bigint)) FROM pg_attrdef),
    (SELECT concat(count(*), '-', sum(xmin::text::bigint)) FROM pg_proc WHERE oid >= 16384 OR proacl IS NOT NULL),
    (SELECT concat(count(*), '-', sum(xmin::text::bigint)) FROM pg_trigger),
    (SELECT concat(count(*), '-', sum(xmin::text::bigint)) FROM pg_rewrite WHERE oid >= 16384),
    (SELECT concat(count(*), '-', sum(xmin::text::bigint)) FROM pg_inherits),
    (SELECT concat(count(*), '-', sum(xmin::text::bigint)) FROM pg_namespace),
    (SELECT concat(count(*), '-', sum(xmin::text::bigint)) FROM pg_auth_members),
    (SELECT md5(string_agg(concat(rolname, rolsuper, rolinherit), ',' ORDER BY oid)) FROM pg_roles))";

/// The same for the contract that setup has stored.
pub(super) const PHASE_FINGERPRINT: &str = "\
SELECT concat_ws(':',
    (SELECT concat(xmin, ctid) FROM segue.phase),
    (SELECT concat(count(*), '-', sum(xmin::text::bigint)) FROM pg_publication_rel))";

/// The same for what a contract is built from where setup has not been here.
pub(super) const KEYS_FINGERPRINT: &str = "\
SELECT concat_ws(':',
    (SELECT concat(count(*), '-', sum(xmin::text::bigint)) FROM pg_index),
    (SELECT concat(count(*), '-', sum(xmin::text::bigint)) FROM pg_type WHERE oid >= 16384),
    (SELECT concat(count(*), '-', sum(xmin::text::bigint)) FROM pg_enum))";

/// The database that is read.
pub(super) const DATABASE: &str = "SELECT current_database()::text";

/// Whether setup has been here.
pub(super) const IS_SET_UP: &str = "\
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = 'segue' AND c.relname = 'phase')";

/// Every relation that a name in a statement can mean.
pub(super) const RELATIONS: &str = "\
SELECT c.oid, n.nspname::text, c.relname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind NOT IN ('i', 'I', 't') AND n.nspname !~ '^pg_(toast|temp)'";

/// Relations that can be written to, with what stands against capturing their rows. A function is
/// sensitive if its source mentions the statement's text, the session's settings, or a function
/// that does. What would lock a table (`pg_partition_tree`, in newer servers `pg_get_expr`) is not
/// called: a client's ALTER TABLE could end in a deadlock with the reading.
pub(super) const TABLES: &str = "\
WITH RECURSIVE sensitive AS (
    SELECT p.oid, p.proname::text FROM pg_proc p
    WHERE p.oid >= 16384
      AND p.prosrc ~* 'current_query|pg_stat_activity|set_config|synchronous_commit|\\mset\\s+(local\\s+|session\\s+)?(role|search_path)'
    UNION
    SELECT p.oid, p.proname::text FROM sensitive s JOIN pg_proc p
      ON p.oid >= 16384 AND strpos(p.prosrc, s.proname) > 0
), pieces AS (
    SELECT inhparent AS root, inhrelid AS relid FROM pg_inherits
    UNION
    SELECT p.root, i.inhrelid FROM pieces p JOIN pg_inherits i ON i.inhparent = p.relid
), written AS (
    SELECT c.oid, c.relnamespace, c.relname, c.relkind::text AS kind, c.relpersistence::text AS persistence,
           c.relrowsecurity, coalesce(pg_partition_root(c.oid)::oid, c.oid) AS root
    FROM pg_class c
    WHERE c.relkind IN ('r', 'p', 'v', 'f') AND c.oid >= 16384
)
SELECT w.oid, n.nspname::text, w.relname::text, w.kind, rn.nspname::text, rc.relname::text,
    w.relrowsecurity,
    EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = w.oid AND r.rulename <> '_RETURN') AS rules,
    EXISTS (SELECT FROM pg_inherits i JOIN pg_class parent ON parent.oid = i.inhparent
            WHERE parent.relkind <> 'p' AND w.oid IN (i.inhparent, i.inhrelid)) AS inherited,
    w.kind = 'p' AND EXISTS (SELECT FROM pieces p JOIN pg_class l ON l.oid = p.relid
            WHERE p.root = w.oid AND l.relkind = 'f') AS foreign_leaves,
    EXISTS (SELECT FROM pg_trigger t JOIN sensitive s ON s.oid = t.tgfoid
            WHERE t.tgrelid = w.oid
               OR w.kind = 'p' AND t.tgrelid IN (SELECT relid FROM pieces WHERE root = w.oid))
    OR EXISTS (SELECT FROM pg_attrdef d WHERE d.adrelid = w.oid
            AND EXISTS (SELECT FROM (SELECT oid FROM sensitive
                                     UNION SELECT oid FROM pg_proc WHERE proname = 'current_query') f
                        WHERE strpos(d.adbin::text, concat('funcid ', f.oid, ' ')) > 0))
    AS sensitive,
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
SELECT r.rolname::text,
    coalesce(array_agg(t.oid) FILTER (WHERE has_table_privilege(r.oid, t.oid, 'SELECT')
        AND has_function_privilege(r.oid, 'pg_catalog.record_send(record)', 'EXECUTE')
        AND has_function_privilege(r.oid, 'pg_catalog.substr(bytea,integer,integer)', 'EXECUTE')
        AND has_function_privilege(r.oid, 'pg_catalog.pg_current_wal_insert_lsn()', 'EXECUTE')
        AND has_function_privilege(r.oid, 'pg_catalog.pg_current_xact_id()', 'EXECUTE')
        AND has_function_privilege(r.oid, 'pg_catalog.pg_column_size(\"any\")', 'EXECUTE')
        AND has_function_privilege(r.oid, 'pg_catalog.current_setting(text)', 'EXECUTE')), '{}')
FROM (SELECT oid, rolname FROM pg_roles
      WHERE rolname::text = ANY ($2) OR rolname !~ '^pg_'
      ORDER BY rolname::text = ANY ($2) DESC, rolcanlogin DESC, oid LIMIT $3) r
LEFT JOIN unnest($1::oid[]) t(oid) ON true
GROUP BY r.rolname";
