//! A relation as the stream describes it, beside the contract's table. Does not know the catalogs:
//! the stream is about the past.

use control::Side;
use protocol::contract::Table;
use protocol::pgoutput::{Relation, RelationColumn};

/// For each column of the contract, its place in the stream's tuples.
pub(super) fn places(table: &Table, columns: &[RelationColumn]) -> Vec<Option<usize>> {
    let place = |name: &str| columns.iter().position(|found| found.name == name);
    let columns = table.columns.iter();
    columns.map(|column| place(&column.name)).collect()
}

/// What is not as the contract says, and which columns that is about. What a type is called at the
/// target, the contract does not know; and what the target has besides is no concern of the stream.
pub(super) fn difference(
    table: &Table,
    relation: &Relation,
    side: Side,
) -> Option<(String, Vec<String>)> {
    let find = |name: &str| relation.columns.iter().find(|found| found.name == name);
    let mut texts = Vec::new();
    let mut columns = Vec::new();
    let mut say = |text: String, name: &str| {
        texts.push(text);
        columns.push(name.to_owned());
    };
    for column in &table.columns {
        let name = &column.name;
        match find(name) {
            None => say(format!("column {name} is gone"), name),
            Some(found) if side == Side::Source && found.type_oid != column.type_oid => {
                say(format!("column {name} has another type"), name);
            }
            Some(_) => {}
        }
    }
    if side == Side::Source {
        let is_new = |found: &&RelationColumn| {
            let mut columns = table.columns.iter();
            columns.all(|column| column.name != found.name)
        };
        for added in relation.columns.iter().filter(is_new) {
            say(format!("column {} is new", added.name), &added.name);
        }
    }
    if texts.is_empty() && side == Side::Source && !identifies(table, relation) {
        let key = key_names(table);
        texts.push("the replica identity is no longer its key".to_owned());
        columns.extend(key.map(str::to_owned));
    }
    (!texts.is_empty()).then(|| (texts.join(", "), columns))
}

/// Whether the contract's keys can be made of the changes.
pub(super) fn has_key(table: &Table, relation: &Relation, side: Side) -> bool {
    let key = table
        .key
        .iter()
        .filter_map(|place| table.columns.get(*place));
    let mut key = key.map(|column| {
        let mut found = relation.columns.iter();
        found.any(|found| {
            let same_type = side == Side::Target || found.type_oid == column.type_oid;
            found.name == column.name && same_type
        })
    });
    key.all(|is_there| is_there) && (side == Side::Target || identifies(table, relation))
}

/// Whether old rows come with the contract's key.
fn identifies(table: &Table, relation: &Relation) -> bool {
    match relation.replica_identity {
        // All of the row; or nothing, and then the source takes no update and no delete.
        b'f' | b'n' => true,
        _ => key_names(table).all(|name| {
            let mut columns = relation.columns.iter();
            columns.any(|found| found.name == name && found.is_key)
        }),
    }
}

fn key_names(table: &Table) -> impl Iterator<Item = &str> {
    let key = table
        .key
        .iter()
        .filter_map(|place| table.columns.get(*place));
    key.map(|column| column.name.as_str())
}

#[cfg(test)]
mod tests {
    use protocol::contract::{Column, Form, KeyForm};

    use super::*;

    fn table() -> Table {
        let column = |name: &str, type_oid| Column {
            name: name.to_owned(),
            type_name: String::new(),
            type_oid,
            form: Form::Plain,
            key_form: KeyForm::Bytes,
        };
        Table {
            name: "public.t".to_owned(),
            schema: "public".to_owned(),
            relation: "t".to_owned(),
            columns: vec![column("id", 23), column("word", 25)],
            key: vec![0],
        }
    }

    /// Columns as name, type, and whether it is part of the identity.
    fn relation(replica_identity: u8, columns: &[(&str, u32, bool)]) -> Relation {
        let columns = columns
            .iter()
            .map(|(name, type_oid, is_key)| RelationColumn {
                name: (*name).to_owned(),
                type_oid: *type_oid,
                is_key: *is_key,
            });
        Relation {
            oid: 1,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            replica_identity,
            columns: columns.collect(),
        }
    }

    #[track_caller]
    fn check(side: Side, found: &Relation, what: Option<&str>, keyed: bool) {
        let difference = difference(&table(), found, side);
        assert_eq!(difference.as_ref().map(|(what, _)| what.as_str()), what);
        assert_eq!(has_key(&table(), found, side), keyed);
    }

    #[test]
    fn the_order_of_columns_does_not_matter() {
        let swapped = relation(b'd', &[("word", 25, false), ("id", 23, true)]);
        check(Side::Source, &swapped, None, true);
        assert_eq!(places(&table(), &swapped.columns), [Some(1), Some(0)]);
    }

    #[test]
    fn columns_that_came_went_or_changed_are_named() {
        let added = [("id", 23, true), ("word", 25, false), ("note", 25, false)];
        check(
            Side::Source,
            &relation(b'd', &added),
            Some("column note is new"),
            true,
        );
        check(Side::Target, &relation(b'd', &added), None, true);
        let other = [("id", 20, true), ("said", 25, false)];
        check(
            Side::Source,
            &relation(b'd', &other),
            Some("column id has another type, column word is gone, column said is new"),
            false,
        );
    }

    #[test]
    fn an_identity_that_is_no_longer_the_key_leaves_no_keys() {
        let others = [("id", 23, false), ("word", 25, true)];
        let what = "the replica identity is no longer its key";
        check(Side::Source, &relation(b'i', &others), Some(what), false);
        // All of the old row comes, or nothing that would need one.
        check(Side::Source, &relation(b'f', &others), None, true);
        check(Side::Source, &relation(b'n', &others), None, true);
    }
}
