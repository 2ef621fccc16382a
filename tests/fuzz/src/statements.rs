//! Texts of clients: their analysis, and the template that stands for many of them.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::contract::{Column, Contract, Table, TableIndex};
use protocol::decide::statement::{
    Analysis, CatalogFacts, ColumnFacts, Mode, Rewritten, SessionFacts, SessionKnowledge,
    TableFacts, Template, analyze,
};

/// The tables `t(id, v)` and `u(a, b, v)`, with one and two key columns.
fn facts() -> CatalogFacts {
    let tables = [
        ("t", &["id", "v"][..], vec![0]),
        ("u", &["a", "b", "v"], vec![0, 1]),
    ];
    let mut facts = CatalogFacts::unknown();
    let mut contract = Vec::new();
    let mut public = HashMap::new();
    for (index, (relation, columns, key)) in (0..).zip(tables) {
        let oid = 100 + index;
        public.insert(relation.to_owned(), oid);
        let names = columns.iter().enumerate();
        let known = TableFacts {
            relation: relation.into(),
            table: Some(TableIndex::new(index)),
            columns: names
                .map(|(place, name)| column_facts(place, name))
                .collect(),
            key: columns
                .iter()
                .take(key.len())
                .map(|name| (*name).to_owned())
                .collect(),
            obstacle: None,
        };
        facts.tables.insert(oid, known);
        contract.push(Table {
            name: format!("public.{relation}"),
            schema: "public".into(),
            relation: relation.into(),
            columns: columns
                .iter()
                .map(|name| Column::plain(name, "integer", 23))
                .collect(),
            key,
        });
    }
    facts.generation = 1;
    facts.relations.insert("public".into(), public);
    facts.functions = ["charge".into(), "###".into()].into();
    facts.readable.insert("me".into(), [100, 101].into());
    facts.contract = Arc::new(Contract {
        version: 1,
        tables: contract,
    });
    facts
}

fn column_facts(place: usize, name: &str) -> ColumnFacts {
    ColumnFacts {
        name: name.into(),
        type_oid: 23,
        wide: name == "v",
        place: Some(place),
    }
}

fn session() -> SessionKnowledge {
    SessionKnowledge::known(SessionFacts {
        role: "me".into(),
        search_path: vec!["pg_catalog".into(), "public".into()],
        temporary: Some(vec!["scratch".into()]),
        client_encoding: "UTF8".into(),
        server_encoding: "UTF8".into(),
        standard_strings: true,
        hears_log: false,
        mirror: None,
        timeline: None,
    })
}

fn text_of(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data)
        .ok()
        .filter(|text| !text.contains('\0'))
}

/// A rewritten text is the client's with insertions, and positions in it lead back.
pub(super) fn statement(data: &[u8]) {
    let Some(text) = text_of(data) else {
        return;
    };
    let facts = facts();
    for session in [session(), SessionKnowledge::Unknown] {
        for mode in [Mode::Simple, Mode::Extended] {
            let analysis = analyze(text, &session, &facts, mode);
            if let Some(rewritten) = &analysis.rewritten {
                check_rewritten(text, rewritten);
                let sent = String::from_utf8_lossy(&rewritten.text).into_owned();
                let read = analyze(&sent, &SessionKnowledge::Unknown, &facts, mode);
                assert_eq!(read.unreadable, None, "{text:?} became {sent:?}");
                assert_eq!(read.statements.len(), analysis.statements.len(), "{text:?}");
            }
        }
    }
}

fn check_rewritten(text: &str, rewritten: &Rewritten) {
    let mut original = rewritten.text.to_vec();
    for insertion in rewritten.insertions.iter().rev() {
        let end = insertion.byte_offset + insertion.text.len();
        let before = rewritten
            .insertions
            .iter()
            .take_while(|it| *it != insertion);
        let shift: usize = before.map(|it| it.text.len()).sum();
        original.drain(insertion.byte_offset + shift..end + shift);
    }
    assert_eq!(original, text.as_bytes());
    let count = String::from_utf8_lossy(&rewritten.text).chars().count();
    let mut last = 0;
    for position in 1..=count {
        let found = rewritten.client_position(position);
        assert!(
            found >= last && found <= text.chars().count() + 1,
            "{text:?}: {position}"
        );
        last = found;
    }
}

/// A text means what its template, filled again, means.
pub(super) fn template(data: &[u8]) {
    let Some(text) = text_of(data) else {
        return;
    };
    let Some(template) = Template::of(text) else {
        return;
    };
    let (facts, session) = (facts(), session());
    let shared = analyze(template.text(), &session, &facts, Mode::Simple);
    // What a placeholder makes unreadable is analysed no further: that harms nothing.
    if shared.unreadable.is_some() {
        return;
    }
    let filled = template.fill(text, &shared);
    let expected = analyze(text, &session, &facts, Mode::Simple);
    if expected.unreadable.is_none() {
        assert_eq!(filled.map(bare), Some(bare(expected)), "{text:?}");
    }
}

/// Without what says only where an analysis is kept.
fn bare(analysis: Analysis) -> Analysis {
    Analysis {
        origin: 0,
        ..analysis
    }
}
