//! Noting a divergence with the row as it is, and completing it with the row as it is afterwards.
//!
//! Does not say what a divergence is.

use super::TableSql;

/// An alias that no column has: a column would be meant before the row.
const THIS_ROW: &str = "\"segue: row\"";

impl TableSql {
    /// One open divergence says that others write to a row, however often they do.
    /// Parameters: table, key, key columns, kind, revisions, op, columns; who wrote it: origin, xid,
    /// microseconds since 2000; then the key's values.
    pub(super) fn note(&self) -> String {
        let (row, whole) = (self.as_text(12), self.whole(12));
        format!(
            r#"WITH noted AS (
                 INSERT INTO segue.divergence
                     ("table", key, key_columns, kind, state, source_rev, target_rev, op_id, columns,
                      written_by, written_xid, written_at)
                 SELECT $1::text, $2::bytea, $3::jsonb, $4::text, 'open', $5::int8, $6::int8, $7::uuid,
                        $8::text[], $9::text, $10::int8,
                        timestamptz '2000-01-01 00:00:00+00' + $11::int8 * interval '1 microsecond'
                 WHERE $4 <> 'foreign_write' OR NOT EXISTS (
                     SELECT FROM segue.divergence AS before
                     WHERE before."table" = $1 AND before.key = $2 AND before.state = 'open'
                       AND before.kind = 'foreign_write')
                 RETURNING id)
               INSERT INTO segue.journal (divergence, "table", key, before, before_row)
               SELECT noted.id, $1, $2, {row}, {whole} FROM noted"#
        )
    }

    /// Parameters: table, key, the key's column names, state, repair, source revision, columns,
    /// why it is held back; then the key's values. Completes every open divergence of the row.
    pub(super) fn complete(&self) -> String {
        let (row, whole) = (self.as_text(9), self.whole(9));
        format!(
            r#"WITH completed AS (
                 UPDATE segue.journal AS entry
                 SET after = CASE WHEN $4::text <> 'open' THEN {row} END,
                     after_row = CASE WHEN $4::text <> 'open' THEN {whole} END
                 FROM segue.divergence AS open
                 WHERE open."table" = $1::text AND open.key = $2::bytea AND open.state = 'open'
                   AND entry.divergence = open.id
                 RETURNING entry.divergence, entry.before, entry.after)
               UPDATE segue.divergence AS found
               SET state = CASE
                       WHEN $4::text <> 'compare' THEN $4
                       WHEN found.kind = 'foreign_write'
                            AND completed.before IS NOT DISTINCT FROM completed.after THEN 'ignored'
                       ELSE 'repaired' END,
                   repair = $5::text,
                   held = $8::text,
                   repaired_at = CASE WHEN $4 <> 'open' THEN clock_timestamp() END,
                   source_rev = coalesce(found.source_rev, $6::int8),
                   columns = CASE cardinality(found.columns) WHEN 0 THEN $7::text[]
                             ELSE found.columns END,
                   key_columns = coalesce(
                       (SELECT jsonb_object_agg(part.key, part.value)
                        FROM jsonb_each(coalesce(completed.before, completed.after)) AS part
                        WHERE part.key = ANY ($3::text[])), found.key_columns)
               FROM completed WHERE found.id = completed.divergence"#
        )
    }

    /// The row as column and text, rendered by the server that knows its types; the key's values are
    /// the parameters from `first` on.
    fn as_text(&self, first: usize) -> String {
        format!(
            "(SELECT jsonb_object_agg(part.key, part.value) FROM jsonb_each_text(\
             (SELECT to_jsonb({THIS_ROW}) FROM {} AS {THIS_ROW} WHERE {})) AS part)",
            self.table.name,
            self.with_key(first)
        )
    }

    /// The row as the server writes and reads it.
    fn whole(&self, first: usize) -> String {
        format!(
            "(SELECT {THIS_ROW}::text FROM {} AS {THIS_ROW} WHERE {})",
            self.table.name,
            self.with_key(first)
        )
    }

    /// What a repair that is held back would write. Parameters: table, key, whether there is a row;
    /// then its columns, which get their types from the table's.
    pub(super) fn propose(&self) -> String {
        let last = 3 + self.table.columns.len();
        let values: Vec<_> = (4..=last).map(|number| format!("${number}")).collect();
        format!(
            r#"UPDATE segue.journal AS entry
               SET proposed = CASE WHEN $3::bool THEN (
                   SELECT jsonb_object_agg(part.key, part.value) FROM jsonb_each_text((
                       SELECT to_jsonb({THIS_ROW}) FROM (
                           SELECT {} FROM {} WHERE false UNION ALL SELECT {}) AS {THIS_ROW}
                   )) AS part) ELSE 'null' END
               FROM segue.divergence AS open
               WHERE open."table" = $1::text AND open.key = $2::bytea AND open.state = 'open'
                 AND entry.divergence = open.id"#,
            self.columns,
            self.table.name,
            values.join(", ")
        )
    }
}
