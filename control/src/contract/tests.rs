//! Surveys of small catalogs.

use protocol::contract::{Form, KeyForm};

use super::build::{Selection, Survey, survey};
use super::catalog::{
    Catalog, CatalogColumn, CatalogIndex, CatalogTable, CatalogType, Identity, Kind, Shape,
};

/// Types that users make have other OIDs at each side.
const SOURCE: u32 = 20_000;
const TARGET: u32 = 30_000;

fn catalog(base: u32, tables: Vec<(&str, CatalogTable)>) -> Catalog {
    let plain = |name: &str| CatalogType {
        name: name.into(),
        shape: Shape::Base,
        is_binary: true,
        is_one_way: false,
    };
    let shaped = |name: &str, shape| CatalogType {
        name: name.into(),
        shape,
        is_binary: true,
        is_one_way: false,
    };
    let labels = ["sad".to_owned(), "ok".to_owned()].into();
    let no_binary = CatalogType {
        name: "aclitem".into(),
        shape: Shape::Base,
        is_binary: false,
        is_one_way: false,
    };
    let types = [
        (23, plain("integer")),
        (25, plain("text")),
        (701, plain("double precision")),
        (1042, plain("character")),
        (1700, plain("numeric")),
        (2205, plain("regclass")),
        (1033, no_binary),
        (1007, shaped("integer[]", Shape::Array { element: 23 })),
        (1034, shaped("aclitem[]", Shape::Array { element: 1033 })),
        (3904, shaped("int4range", Shape::Range { bound: 23 })),
        (base, shaped("public.mood", Shape::Enum { labels })),
        (
            base + 1,
            shaped("public.mood[]", Shape::Array { element: base }),
        ),
        (
            base + 2,
            shaped("public.positive", Shape::Domain { base: 23 }),
        ),
        (
            base + 3,
            shaped(
                "public.pair",
                Shape::Composite {
                    fields: vec![("a".into(), 23), ("m".into(), base)],
                },
            ),
        ),
    ];
    Catalog {
        tables: tables
            .into_iter()
            .map(|(name, table)| (("public".to_owned(), name.to_owned()), table))
            .collect(),
        types: types.into(),
    }
}

fn column(name: &str, type_oid: u32, type_name: &str) -> CatalogColumn {
    CatalogColumn {
        name: name.into(),
        type_oid,
        type_name: type_name.into(),
        not_null: false,
        is_generated: false,
        is_identity_always: false,
        is_deterministic: true,
    }
}

/// `id integer PRIMARY KEY`, and these columns.
fn table(name: &str, mut columns: Vec<CatalogColumn>) -> CatalogTable {
    columns.insert(0, column("id", 23, "integer"));
    CatalogTable {
        name: format!("public.{name}"),
        kind: Kind::Ordinary,
        is_logged: true,
        inherits: false,
        other_owner: None,
        is_writable: true,
        is_restricted: false,
        is_reactive: false,
        is_ruled: false,
        identity: Identity::Default,
        leaf_problem: None,
        columns,
        indexes: vec![CatalogIndex {
            is_primary: true,
            is_identity: false,
            columns: vec!["id".into()],
        }],
    }
}

fn all(source: CatalogTable, target: CatalogTable) -> Survey {
    survey(
        &catalog(SOURCE, vec![("t", source)]),
        &catalog(TARGET, vec![("t", target)]),
        &Selection::All,
    )
}

/// A table `t` that differs from its like at the source in one thing is refused, and why.
#[track_caller]
fn refused(change: impl FnOnce(&mut CatalogTable), words: &str) {
    let columns = || vec![column("v", 25, "text")];
    let mut target = table("t", columns());
    change(&mut target);
    let survey = all(table("t", columns()), target);
    assert!(survey.contract.tables.is_empty());
    let told = survey.refusals.join("\n");
    assert!(
        told.starts_with("table public.t: ") && told.contains(words),
        "{told}"
    );
}

/// A table `t` that is like this at both sides is left out, and why.
#[track_caller]
fn left_out(change: impl Fn(&mut CatalogTable), words: &str) {
    let made = || {
        let mut table = table("t", vec![column("v", 25, "text")]);
        change(&mut table);
        table
    };
    let survey = all(made(), made());
    let told = &survey.left_out.first().expect("a table left out").reason;
    assert!(told.contains(words), "{told}");
    // Named, the same is refused.
    let survey = super::build::survey(
        &catalog(SOURCE, vec![("t", made())]),
        &catalog(TARGET, vec![("t", made())]),
        &Selection::Named(vec!["t".into()]),
    );
    assert!(
        survey.refusals.join("\n").contains(words),
        "{:?}",
        survey.refusals
    );
}

#[test]
fn what_the_target_does_not_receive_is_left_out_in_arrays_too() {
    for (oid, name) in [(25, "text"), (1009, "text[]")] {
        let made = || vec![("t", table("t", vec![column("v", oid, name)]))];
        let (mut here, mut there) = (catalog(SOURCE, made()), catalog(TARGET, made()));
        for side in [&mut here, &mut there] {
            let array = CatalogType {
                name: "text[]".into(),
                shape: Shape::Array { element: 25 },
                is_binary: true,
                is_one_way: false,
            };
            side.types.insert(1009, array);
        }
        there.types.get_mut(&25).unwrap().is_one_way = true;
        let survey = survey(&here, &there, &Selection::All);
        let told = &survey.left_out.first().expect("a table left out").reason;
        assert!(told.contains("does not receive an empty text"), "{told}");
    }
}

#[track_caller]
fn form(here: (u32, u32), name: &str) -> Form {
    let survey = all(
        table("t", vec![column("v", here.0, name)]),
        table("t", vec![column("v", here.1, name)]),
    );
    let table = survey.contract.tables.first();
    table.unwrap_or_else(|| panic!("{survey:?}")).columns[1]
        .form
        .clone()
}

#[test]
fn a_table_that_cannot_be_carried_is_left_out_or_refused_by_name() {
    left_out(|table| table.indexes.clear(), "no key");
    left_out(|table| table.identity = Identity::Nothing, "no key");
    left_out(|table| table.identity = Identity::Index, "no key");
    left_out(|table| table.is_logged = false, "unlogged");
    left_out(|table| table.kind = Kind::Foreign, "foreign");
    left_out(|table| table.inherits = true, "inheritance");
    left_out(
        |table| table.leaf_problem = Some("x is unlogged".into()),
        "x is unlogged",
    );
    left_out(|table| table.columns[0].is_generated = true, "generated");
    left_out(
        |table| table.columns[1] = column("v", 2205, "regclass"),
        "OIDs",
    );
    left_out(
        |table| table.columns[1] = column("v", 1034, "aclitem[]"),
        "no binary format",
    );
}

#[test]
fn a_table_that_does_not_match_at_the_target_is_refused() {
    refused(|target| target.columns.truncate(1), "has no column v");
    refused(
        |target| target.columns[1] = column("v", 23, "integer"),
        "text at the source",
    );
    refused(
        |target| target.columns.push(column("w", 23, "integer")),
        "column w",
    );
    refused(
        |target| target.indexes[0].columns.push("v".into()),
        "no unique index",
    );
    refused(|target| target.is_logged = false, "unlogged");
    refused(|target| target.is_ruled = true, "rule for UPDATE");
    refused(|target| target.kind = Kind::View, "no ordinary");
    refused(
        |target| target.columns[1].is_generated = true,
        "generated at the target",
    );
    refused(
        |target| target.columns[1].is_identity_always = true,
        "BY DEFAULT",
    );
    let here = catalog(SOURCE, vec![("t", table("t", vec![]))]);
    let survey = survey(&here, &catalog(TARGET, vec![]), &Selection::All);
    assert!(survey.refusals[0].contains("the target has no such table"));
}

#[test]
fn what_may_differ_is_a_warning() {
    let mut target = table("t", vec![column("v", 25, "text")]);
    target.columns[1].not_null = true;
    target.other_owner = Some("bob".into());
    target.is_reactive = true;
    let survey = all(table("t", vec![column("v", 25, "text")]), target);
    assert_eq!(survey.contract.tables.len(), 1);
    let told = survey.warnings.join("\n");
    assert!(
        told.contains("may be null")
            && told.contains("ENABLE ALWAYS")
            && told.contains("writes of others"),
        "{told}"
    );
    assert!(survey.target_publishable.is_empty());
}

#[test]
fn what_the_roles_lack_is_said_once_for_all_tables() {
    let tables = || {
        let names = ["a", "b", "c", "d", "e", "f", "g"].into_iter();
        names
            .map(|name| (name, table(name, vec![])))
            .collect::<Vec<_>>()
    };
    let (mut here, mut there) = (tables(), tables());
    for (_, table) in &mut here {
        table.other_owner = Some("bob".into());
    }
    there[0].1.is_writable = false;
    there[1].1.is_restricted = true;
    let survey = survey(
        &catalog(SOURCE, here),
        &catalog(TARGET, there),
        &Selection::All,
    );
    let [publish, write, hidden] = survey.refusals.as_slice() else {
        panic!("{survey:?}")
    };
    assert!(publish.contains("public.e and 2 more") && publish.contains("GRANT bob TO"));
    assert!(hidden.contains("table public.b from the role; ALTER ROLE … BYPASSRLS"));
    assert!(write.contains("table public.a at the target; GRANT SELECT"));
}

#[test]
fn values_with_oids_inside_are_rewritten_and_others_are_not() {
    assert_eq!(form((23, 23), "integer"), Form::Plain);
    let integers = Form::Array {
        element_oid: 23,
        element: Box::new(Form::Plain),
    };
    assert_eq!(form((1007, 1007), "integer[]"), integers);
    assert_eq!(form((3904, 3904), "int4range"), Form::Plain);
    assert_eq!(form((SOURCE, TARGET), "public.mood"), Form::Plain);
    assert_eq!(
        form((SOURCE + 2, TARGET + 2), "public.positive"),
        Form::Plain
    );
    assert_eq!(form((1033, 1033), "aclitem"), Form::Text);
    let array = Form::Array {
        element_oid: TARGET,
        element: Box::new(Form::Plain),
    };
    assert_eq!(form((SOURCE + 1, TARGET + 1), "public.mood[]"), array);
    let composite = Form::Composite {
        fields: vec![(23, Form::Plain), (TARGET, Form::Plain)],
    };
    assert_eq!(form((SOURCE + 3, TARGET + 3), "public.pair"), composite);
}

#[test]
fn keys_compare_as_their_types_do() {
    let check = |type_oid, name: &str, is_deterministic, expected| {
        let key = || {
            let mut table = table("t", vec![]);
            table.columns[0] = column("id", type_oid, name);
            table.columns[0].is_deterministic = is_deterministic;
            table
        };
        let survey = all(key(), key());
        assert_eq!(
            survey.contract.tables[0].columns[0].key_form, expected,
            "{name}"
        );
    };
    check(23, "integer", true, KeyForm::Bytes);
    check(25, "text", true, KeyForm::Bytes);
    check(25, "text", false, KeyForm::Unordered);
    check(1042, "character", true, KeyForm::Unordered);
    check(701, "double precision", true, KeyForm::Unordered);
    check(1700, "numeric", true, KeyForm::Numeric);
}

#[test]
fn the_key_is_the_replica_identity_in_index_order() {
    let made = || {
        let mut table = table(
            "t",
            vec![column("b", 25, "text"), column("a", 23, "integer")],
        );
        table.identity = Identity::Index;
        table.indexes.push(CatalogIndex {
            is_primary: false,
            is_identity: true,
            columns: vec!["a".into(), "b".into()],
        });
        table
    };
    assert_eq!(all(made(), made()).contract.tables[0].key, [2, 1]);
}

#[test]
fn a_generated_column_is_not_carried() {
    let made = || {
        let mut table = table(
            "t",
            vec![column("g", 23, "integer"), column("v", 25, "text")],
        );
        table.columns[1].is_generated = true;
        table
    };
    let survey = all(made(), made());
    let columns = survey.contract.tables[0].columns.iter();
    let names: Vec<_> = columns.map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["id", "v"]);
}

#[test]
fn an_unknown_name_is_refused() {
    let here = catalog(SOURCE, vec![("t", table("t", vec![]))]);
    let there = catalog(TARGET, vec![("t", table("t", vec![]))]);
    let named = |name: &str| survey(&here, &there, &Selection::Named(vec![name.into()]));
    assert!(named("nowhere").refusals[0].contains("nowhere"));
    assert_eq!(named("public.t").contract.tables.len(), 1);
    assert_eq!(named("t").contract.tables.len(), 1);
}
