-- Stands in for what `segue setup` stores, in the database of a suite whose tables come and go: a
-- contract of every table that is there now. A table without a primary key is taken to have its
-- first column for one, so that most of what the suite writes can be captured; nothing is sent
-- anywhere, so it does not matter that this is no key.
CREATE SCHEMA segue;
CREATE VIEW segue.phase AS
SELECT 1 AS epoch, 'dual_write'::text AS phase, '1'::text AS system_identifier,
       -- What the proxy takes for signs that the row has changed.
       (SELECT sum(hashtextextended(concat(c.oid, ' ', c.xmin), 0)) FROM pg_class c)::text AS xmin,
       ''::text AS ctid,
       jsonb_build_object('version', 1, 'tables', coalesce(jsonb_agg(t.carried), '[]')) AS contract
FROM (
    SELECT jsonb_build_object(
        'name', quote_ident(n.nspname) || '.' || quote_ident(c.relname),
        'schema', n.nspname, 'relation', c.relname,
        'columns', jsonb_agg(jsonb_build_object(
            'name', a.attname, 'type_name', format_type(a.atttypid, a.atttypmod),
            'type_oid', a.atttypid::bigint,
            'form', CASE WHEN y.typsend = 0 THEN 'text' ELSE 'plain' END,
            'key_form', 'bytes') ORDER BY a.attnum),
        'key', coalesce(
            (SELECT jsonb_agg((SELECT count(*) FROM pg_attribute b
                               WHERE b.attrelid = c.oid AND b.attnum > 0 AND b.attnum < k.attnum
                                 AND NOT b.attisdropped AND b.attgenerated = '') ORDER BY k.place)
             FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
             WHERE i.indrelid = c.oid AND i.indisprimary AND k.place <= i.indnkeyatts),
            '[0]')) AS carried
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                       AND a.attgenerated = ''
    JOIN pg_type y ON y.oid = a.atttypid
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    GROUP BY c.oid, c.relname, n.nspname
) t;
