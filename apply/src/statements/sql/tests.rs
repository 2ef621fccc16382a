use protocol::contract::{Column, TableIndex};

use super::*;

const INDEX: TableIndex = TableIndex::new(0);

fn table(columns: &[(&str, KeyForm)], key: &[usize]) -> TableSql {
    let columns: Vec<_> = columns
        .iter()
        .map(|(name, key_form)| Column {
            key_form: *key_form,
            ..Column::plain(name, "integer", 23)
        })
        .collect();
    let found: Vec<_> = columns
        .iter()
        .map(|column| KeyColumn {
            schema: "My".into(),
            relation: "t".into(),
            column: column.name.clone(),
            type_name: "pg_catalog.int4".into(),
            operator: "OPERATOR(pg_catalog.=)".into(),
        })
        .collect();
    let table = Table {
        name: "\"My\".t".into(),
        schema: "My".into(),
        relation: "t".into(),
        columns,
        key: key.to_vec(),
    };
    TableSql::new(table, &found.iter().collect::<Vec<_>>()).unwrap()
}

#[track_caller]
fn check(sql: &str, expected: &str) {
    assert_eq!(
        sql,
        expected
            .replace(" = K", " OPERATOR(pg_catalog.=) ")
            .replace('#', "::pg_catalog.int4")
    );
}

#[test]
fn a_row_is_found_by_all_its_key_columns_in_index_order() {
    let table = table(&[("a", KeyForm::Bytes), ("b\"", KeyForm::Bytes)], &[1, 0]);
    check(
        &table.text(Statement::Select(INDEX)),
        r#"SELECT "a", "b""" FROM "My"."t" WHERE "b""" = K$1# AND "a" = K$2#"#,
    );
    check(
        &table.text(Statement::Delete(INDEX)),
        r#"DELETE FROM "My"."t" WHERE "b""" = K$1# AND "a" = K$2#"#,
    );
}

#[test]
fn an_upsert_changes_what_the_key_does_not_fix() {
    let columns = [
        ("id", KeyForm::Bytes),
        ("n", KeyForm::Numeric),
        ("v", KeyForm::Bytes),
    ];
    check(
        &table(&columns, &[0, 1]).text(Statement::Upsert(INDEX)),
        r#"INSERT INTO "My"."t" AS held ("id", "n", "v") OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3) ON CONFLICT ("id", "n") DO UPDATE SET "n" = excluded."n", "v" = excluded."v""#,
    );
    check(
        &table(&columns[..1], &[0]).text(Statement::Upsert(INDEX)),
        r#"INSERT INTO "My"."t" AS held ("id") OVERRIDING SYSTEM VALUE VALUES ($1) ON CONFLICT ("id") DO NOTHING"#,
    );
}

#[test]
fn an_update_of_known_columns_leaves_the_others_alone() {
    let columns = [
        ("id", KeyForm::Bytes),
        ("big", KeyForm::Bytes),
        ("v", KeyForm::Bytes),
    ];
    check(
        &table(&columns, &[0]).update(&[2]),
        r#"UPDATE "My"."t" SET "v" = $1 WHERE "id" = K$2#"#,
    );
}

#[test]
fn a_key_without_its_index_is_said() {
    let whole = table(&[("id", KeyForm::Bytes)], &[0]).table;
    let error = TableSql::new(whole, &[]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no unique index over its key column id")
    );
}
