//! Statements and what becomes of them, each table through one `check`.

mod captured;
mod deferred;
mod effects;
mod texts;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::*;
use crate::contract::{Column, Contract, Table};

/// Stands for the hidden column in the expected texts.
const HIDDEN: &str = "<hidden>";

fn contract() -> Contract {
    let table = |relation: &str, columns: &[&str], key: Vec<usize>| Table {
        name: format!("public.{relation}"),
        schema: "public".into(),
        relation: relation.into(),
        columns: columns
            .iter()
            .map(|name| Column::plain(name, "integer", 23))
            .collect(),
        key,
    };
    Contract {
        version: 1,
        tables: vec![
            table("Odd Table", &["Key", "v"], vec![0]),
            table("item", &["id", "name"], vec![0]),
            table("line", &["order_id", "no", "quantity"], vec![0, 1]),
            table("secret", &["id"], vec![0]),
        ],
    }
}

fn facts() -> CatalogFacts {
    let contract = Arc::new(contract());
    let mut facts = CatalogFacts::unknown();
    facts.generation = 1;
    let mut public = HashMap::new();
    for (index, table) in contract.tables() {
        let oid = 16_400 + u32::try_from(index.as_usize()).unwrap();
        let columns = table.columns.iter().enumerate();
        let mut columns: Vec<_> = columns
            .map(|(place, column)| ColumnFacts {
                name: column.name.clone(),
                type_oid: column.type_oid,
                wide: false,
                place: Some(place),
            })
            .collect();
        if table.relation == "item" {
            columns.push(ColumnFacts {
                name: "shouted".into(),
                type_oid: 25,
                wide: false,
                place: None,
            });
        }
        let key = table
            .key
            .iter()
            .map(|place| table.columns[*place].name.clone());
        facts.tables.insert(
            oid,
            TableFacts {
                relation: table.relation.clone(),
                table: Some(index),
                columns,
                key: key.collect(),
                obstacle: None,
            },
        );
        public.insert(table.relation.clone(), oid);
    }
    for (oid, relation, obstacle) in [
        (16_500, "audit", DeferReason::NotInContract),
        (16_501, "shown", DeferReason::View),
        (16_502, "guarded", DeferReason::RowLevelSecurity),
    ] {
        public.insert(relation.into(), oid);
        facts.tables.insert(
            oid,
            TableFacts {
                relation: relation.into(),
                table: None,
                columns: Vec::new(),
                key: Vec::new(),
                obstacle: Some(obstacle),
            },
        );
    }
    let readable: HashSet<u32> = [16_400, 16_401, 16_402].into();
    facts.readable.insert("al".into(), readable);
    facts.relations.insert("public".into(), public);
    facts.functions = ["charge".into(), "###".into()].into();
    facts.calling_relations = ["charges".into()].into();
    facts.contract = contract;
    facts
}

fn session() -> SessionFacts {
    SessionFacts {
        role: "al".into(),
        search_path: ["pg_temp_3", "pg_catalog", "public"]
            .map(str::to_owned)
            .into(),
        temporary: Some(vec!["scratch".into()]),
        client_encoding: "UTF8".into(),
        server_encoding: "UTF8".into(),
        standard_strings: true,
        hears_log: false,
        mirror: None,
        timeline: None,
    }
}

fn analyzed(text: &str, mode: Mode) -> Analysis {
    analyze(text, &SessionKnowledge::known(session()), &facts(), mode)
}

fn hidden(reference: &str) -> String {
    format!(
        "pg_catalog.record_send(ROW(pg_catalog.pg_current_wal_insert_lsn(),\
         pg_catalog.pg_current_xact_id(),pg_catalog.current_setting('synchronous_commit'),\
         {reference}.tableoid,{reference}.*)) AS \"__segue\""
    )
}

/// The rewritten text with the hidden columns shortened, and the number of client columns.
#[track_caller]
fn check(text: &str, reference: &str, expected: &str, client_columns: Option<usize>) {
    let analysis = analyzed(text, Mode::Extended);
    let [statement] = analysis.statements.as_slice() else {
        panic!("{text}: {analysis:?}");
    };
    let Write::Captured(captured) = &statement.write else {
        panic!("{text}: {:?}", statement.write);
    };
    let width = match captured.client_columns {
        ClientColumns::None => None,
        ClientColumns::Some(width) => Some(width),
    };
    assert_eq!(width, client_columns, "{text}");
    let rewritten = analysis.rewritten.unwrap();
    let sent = std::str::from_utf8(&rewritten.text).unwrap();
    assert!(pg_query::parse(sent, 0).is_ok(), "{sent}");
    assert_eq!(sent.replace(&hidden(reference), HIDDEN), expected, "{text}");
}
