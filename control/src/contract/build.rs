//! From both catalogs to a contract, and to what cannot be in it.
//!
//! A table that cannot be carried is left out with a warning, or refused where it was named. A table
//! that can be carried and does not match at the target is always refused: left out silently, its
//! rows would be lost.

use std::collections::{BTreeSet, HashMap};

use protocol::contract::{Column, Contract, Table};
use tokio_postgres::Client;

use super::catalog::{self, Catalog, CatalogColumn, CatalogTable, Kind};
use super::form::Catalogs;
use crate::error::ControlError;
use crate::side::Side;

/// Which tables are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All that can be carried.
    All,
    /// These, written `schema.table` or, in schema `public`, `table`.
    Named(Vec<String>),
}

/// What the two catalogs allow.
#[derive(Debug)]
pub struct Survey {
    /// The contract over the tables that can be carried.
    pub contract: Contract,
    /// Tables left out, with the reason.
    pub left_out: Vec<LeftOut>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// What has to be mended first.
    pub refusals: Vec<String>,
    /// Names of the contract's tables that a publication at the target may hold: those where one
    /// does not make an application's UPDATE fail.
    pub target_publishable: Vec<String>,
}

/// A table that is not carried.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// Its canonical name.
    pub table: String,
    /// Why.
    pub reason: String,
}

impl Survey {
    pub(super) const fn empty() -> Self {
        Self {
            contract: Contract {
                version: 1,
                tables: Vec::new(),
            },
            left_out: Vec::new(),
            warnings: Vec::new(),
            refusals: Vec::new(),
            target_publishable: Vec::new(),
        }
    }
}

/// Reads both catalogs and builds the contract; `reads` is told which one is being read.
pub async fn build(
    source: &Client,
    target: &Client,
    selection: &Selection,
    reads: impl Fn(Side),
) -> Result<Survey, ControlError> {
    let named = match selection {
        Selection::All => None,
        Selection::Named(names) => Some(names.as_slice()),
    };
    reads(Side::Source);
    let source = catalog::read(source, Side::Source, named).await?;
    // Unquoted: versions differ in what they quote.
    let wanted = source.tables.keys();
    let there: Vec<_> = wanted
        .map(|(schema, relation)| format!("{schema}.{relation}"))
        .collect();
    reads(Side::Target);
    let target = catalog::read(target, Side::Target, Some(&there)).await?;
    Ok(survey(&source, &target, selection))
}

/// The contract that the source's catalog alone allows, with a target that equals it: what would be
/// carried, before there is a target.
pub async fn build_from_source(source: &Client) -> Result<Contract, ControlError> {
    let mut source = catalog::read(source, Side::Source, None).await?;
    for table in source.tables.values_mut() {
        // A target does without the source's rules.
        table.is_ruled = false;
    }
    Ok(survey(&source, &source, &Selection::All).contract)
}

pub(super) fn survey(source: &Catalog, target: &Catalog, selection: &Selection) -> Survey {
    let mut survey = Survey::empty();
    let mut lacks = Lacks::default();
    let wanted = wanted(source, selection, &mut survey.refusals);
    let catalogs = Catalogs { source, target };
    for (place, table) in &source.tables {
        if selection == &Selection::All && table.kind == Kind::View {
            continue;
        }
        if !wanted.contains(&table.name) {
            continue;
        }
        match examine(catalogs, place, table, &mut survey) {
            Ok(carried) => {
                lacks.note(table, catalogs.target.tables.get(place), &mut survey);
                survey.contract.tables.push(carried);
            }
            Err(Unfit::LeftOut(reason)) if selection == &Selection::All => {
                survey.left_out.push(LeftOut {
                    table: table.name.clone(),
                    reason,
                });
            }
            Err(Unfit::LeftOut(reason) | Unfit::Mismatch(reason)) => {
                survey
                    .refusals
                    .push(format!("table {}: {reason}", table.name));
            }
        }
    }
    survey.contract.tables.sort_by(|a, b| a.name.cmp(&b.name));
    lacks.tell(&mut survey);
    if survey.contract.tables.is_empty() && survey.refusals.is_empty() {
        survey.refusals.push(
            "the source has no table that can be carried; give a table a primary key".to_owned(),
        );
    }
    survey
}

/// The canonical names of the tables asked for.
fn wanted(source: &Catalog, selection: &Selection, refusals: &mut Vec<String>) -> BTreeSet<String> {
    let all = source.tables.iter();
    let names = match selection {
        Selection::All => return all.map(|(_, table)| table.name.clone()).collect(),
        Selection::Named(names) => names,
    };
    let mut wanted = BTreeSet::new();
    let mut known = HashMap::new();
    for ((schema, relation), table) in all {
        let bare = (schema == "public").then(|| relation.clone());
        let spellings = [
            Some(table.name.clone()),
            Some(format!("{schema}.{relation}")),
            bare,
        ];
        for spelling in spellings.into_iter().flatten() {
            known.entry(spelling).or_insert(table);
        }
    }
    for name in names {
        match known.get(name) {
            Some(table) => {
                wanted.insert(table.name.clone());
            }
            None => refusals.push(format!(
                "table {name}: the source has none of that name, or it is a partition; name the \
                 table, or the partitioned table above it, as schema.table"
            )),
        }
    }
    wanted
}

/// Why a table is not in the contract.
pub(super) enum Unfit {
    /// It cannot be carried at all.
    LeftOut(String),
    /// It could be, and the target does not match.
    Mismatch(String),
}

impl Unfit {
    /// The reason alone.
    pub(super) fn reason(self) -> String {
        let (Self::LeftOut(reason) | Self::Mismatch(reason)) = self;
        reason
    }
}

pub(super) fn examine(
    catalogs: Catalogs<'_>,
    place: &(String, String),
    table: &CatalogTable,
    survey: &mut Survey,
) -> Result<Table, Unfit> {
    can_be_carried(table).map_err(Unfit::LeftOut)?;
    let key = table.key().ok_or_else(|| {
        Unfit::LeftOut(
            "it has no key; ALTER TABLE … ADD PRIMARY KEY, or REPLICA IDENTITY USING INDEX with a \
             unique index"
                .to_owned(),
        )
    })?;
    let there = catalogs.target.tables.get(place).ok_or_else(|| {
        Unfit::Mismatch(
            "the target has no such table; create it there with the source's definition".to_owned(),
        )
    })?;
    fits(table, there).map_err(Unfit::Mismatch)?;
    let carried: Vec<_> = table
        .columns
        .iter()
        .filter(|column| !column.is_generated)
        .collect();
    let mut columns = Vec::with_capacity(carried.len());
    for column in &carried {
        columns.push(carry(catalogs, column, there, &key.columns)?);
    }
    extra_columns(table, there).map_err(Unfit::Mismatch)?;
    let places = key.columns.iter().map(|name| {
        let place = carried.iter().position(|column| column.name == *name);
        place.ok_or_else(|| Unfit::LeftOut(format!("its key column {name} is generated")))
    });
    let table = Table {
        name: table.name.clone(),
        schema: place.0.clone(),
        relation: place.1.clone(),
        columns,
        key: places.collect::<Result<_, _>>()?,
    };
    note(&carried, there, &table, survey);
    Ok(table)
}

fn can_be_carried(table: &CatalogTable) -> Result<(), String> {
    match table.kind {
        Kind::Ordinary | Kind::Partitioned => {}
        Kind::Foreign => return Err("it is a foreign table: its rows are elsewhere".to_owned()),
        Kind::View => return Err("it is a view: its rows are in other tables".to_owned()),
    }
    if !table.is_logged {
        return Err("it is unlogged: the log knows nothing of its rows".to_owned());
    }
    if table.inherits {
        return Err("it takes part in plain inheritance".to_owned());
    }
    match &table.leaf_problem {
        Some(problem) => Err(format!("its partition {problem}")),
        None => Ok(()),
    }
}

fn fits(here: &CatalogTable, there: &CatalogTable) -> Result<(), String> {
    if !matches!(there.kind, Kind::Ordinary | Kind::Partitioned) || there.inherits {
        return Err("the target's is no ordinary or partitioned table".to_owned());
    }
    if !there.is_logged {
        return Err(
            "the target's is unlogged: a crash would empty it; SET LOGGED there".to_owned(),
        );
    }
    if there.is_ruled {
        return Err(
            "the target's has a rule for UPDATE, beside which PostgreSQL refuses ON CONFLICT; drop \
             it there: it has acted at the source"
                .to_owned(),
        );
    }
    let Some(key) = here.key() else { return Ok(()) };
    let wanted: BTreeSet<_> = key.columns.iter().collect();
    let mut indexes = there.indexes.iter();
    if !indexes.any(|index| index.columns.iter().collect::<BTreeSet<_>>() == wanted) {
        return Err(format!(
            "the target has no unique index over exactly its key ({}); create it there",
            key.columns.join(", ")
        ));
    }
    Ok(())
}

fn carry(
    catalogs: Catalogs<'_>,
    column: &CatalogColumn,
    there: &CatalogTable,
    key: &[String],
) -> Result<Column, Unfit> {
    let name = &column.name;
    let theirs = there.column(name).ok_or_else(|| {
        Unfit::Mismatch(format!("the target's has no column {name}; add it there"))
    })?;
    if theirs.type_name != column.type_name {
        return Err(Unfit::Mismatch(format!(
            "column {name} is {} at the source and {} at the target; make them equal",
            column.type_name, theirs.type_name
        )));
    }
    if theirs.is_generated {
        return Err(Unfit::Mismatch(format!(
            "column {name} is generated at the target and not at the source; make them equal"
        )));
    }
    if theirs.is_identity_always && !key.contains(name) {
        return Err(Unfit::Mismatch(format!(
            "column {name} is GENERATED ALWAYS AS IDENTITY at the target, which refuses updates; \
             there: ALTER TABLE … ALTER COLUMN {name} SET GENERATED BY DEFAULT"
        )));
    }
    let form = catalogs
        .form(column.type_oid, theirs.type_oid)
        .map_err(|reason| Unfit::LeftOut(format!("column {name}: {reason}")))?;
    Ok(Column {
        name: name.clone(),
        type_name: column.type_name.clone(),
        type_oid: column.type_oid,
        form,
        key_form: catalogs.key_form(column),
    })
}

fn extra_columns(here: &CatalogTable, there: &CatalogTable) -> Result<(), String> {
    let mut columns = there.columns.iter();
    let extra = columns.find(|theirs| match here.column(&theirs.name) {
        Some(column) => column.is_generated && !theirs.is_generated,
        None => true,
    });
    match extra {
        None => Ok(()),
        Some(column) => Err(format!(
            "the target's has a column {} that the source does not fill; drop it there",
            column.name
        )),
    }
}

/// What the roles lack, gathered over all tables so that it is said once.
#[derive(Default)]
struct Lacks {
    unpublishable: Vec<String>,
    owners: BTreeSet<String>,
    unwritable: Vec<String>,
    hidden: Vec<String>,
    unwatched: Vec<String>,
}

impl Lacks {
    fn note(&mut self, here: &CatalogTable, there: Option<&CatalogTable>, survey: &mut Survey) {
        let name = || here.name.clone();
        if let Some(owner) = &here.other_owner {
            self.unpublishable.push(name());
            self.owners.insert(owner.clone());
        }
        if there.is_some_and(|there| !there.is_writable) {
            self.unwritable.push(name());
        }
        if here.is_restricted || there.is_some_and(|there| there.is_restricted) {
            self.hidden.push(name());
        }
        let is_watchable = |there: &CatalogTable| {
            there.key().is_some() && there.other_owner.is_none() && there.leaf_problem.is_none()
        };
        if there.is_some_and(is_watchable) {
            survey.target_publishable.push(name());
        } else {
            self.unwatched.push(name());
        }
    }

    fn tell(&self, survey: &mut Survey) {
        if !self.unpublishable.is_empty() {
            let owners: Vec<_> = self.owners.iter().map(String::as_str).collect();
            survey.refusals.push(format!(
                "the role may not publish {} at the source, which belong to others; GRANT {} TO it \
                 there",
                list(&self.unpublishable),
                owners.join(", ")
            ));
        }
        if !self.unwritable.is_empty() {
            survey.refusals.push(format!(
                "the role may not write {} at the target; GRANT SELECT, INSERT, UPDATE, DELETE, \
                 TRUNCATE ON them to it there",
                list(&self.unwritable)
            ));
        }
        if !self.hidden.is_empty() {
            survey.refusals.push(format!(
                "row-level security hides rows of {} from the role; ALTER ROLE … BYPASSRLS at both \
                 sides",
                list(&self.hidden)
            ));
        }
        if !self.unwatched.is_empty() {
            survey.warnings.push(format!(
                "writes of others at the target are not found in {}: there the role does not own \
                 it, or it has no replica identity",
                list(&self.unwatched)
            ));
        }
    }
}

/// `table a`, `tables a, b`, `tables a, b, c, d, e and 7 more`.
fn list(names: &[String]) -> String {
    const SHOWN_MAX: usize = 5;
    let shown: Vec<_> = names.iter().take(SHOWN_MAX).map(String::as_str).collect();
    let noun = if names.len() == 1 { "table" } else { "tables" };
    match names.len().saturating_sub(SHOWN_MAX) {
        0 => format!("{noun} {}", shown.join(", ")),
        more => format!("{noun} {} and {more} more", shown.join(", ")),
    }
}

/// What is worth a warning in a table that is carried.
fn note(carried: &[&CatalogColumn], there: &CatalogTable, table: &Table, survey: &mut Survey) {
    let name = &table.name;
    for column in carried {
        let theirs = there.column(&column.name);
        if !column.not_null && theirs.is_some_and(|theirs| theirs.not_null) {
            survey.warnings.push(format!(
                "table {name}: column {} may be null at the source and not at the target",
                column.name
            ));
        }
    }
    if there.is_reactive {
        survey.warnings.push(format!(
            "table {name}: the target's has triggers or rules that are ENABLE ALWAYS or REPLICA; \
             they act on rows that the source has decided already"
        ));
    }
    match table.unmirrorable() {
        Some("key_equality") => survey.warnings.push(format!(
            "table {name}: its key's equality is not equality of bytes; its writes come through \
             the log only"
        )),
        Some(_) => survey.warnings.push(format!(
            "table {name}: a column's type has no binary format; its writes come through the log \
             only"
        )),
        None => {}
    }
}
