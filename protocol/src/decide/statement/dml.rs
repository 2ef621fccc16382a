//! INSERT, UPDATE and DELETE: captured, or why not.
//!
//! Captured by default: one table, keyed, nothing that could fail only because of the rewrite.
//! Everything else is deferred with its reason. Does not look at names of functions; that has been
//! done on the tokens.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the grammar has hundreds of nodes; what is not named is handled the careful way"
)]

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AExprKind, BoolExprType, ColumnRef, DeleteStmt, InsertStmt, Node, RangeVar, ReturningClause,
    SelectStmt, UpdateStmt, WithClause,
};

use super::facts::{CatalogFacts, SessionFacts, TableFacts};
use super::{ClientColumns, DeferReason, WriteKind};

/// More rows than this in VALUES, or keys in IN, are bulk.
const ROWS_MAX: usize = 100;
/// The server's limit on the columns of a result (`MaxTupleAttributeNumber`), the hidden one included.
const RESULT_COLUMNS_MAX: usize = 1664;
/// Nesting of a constant expression that is followed.
const DEPTH_MAX: usize = 16;

/// A statement that can be captured.
#[derive(Debug)]
pub(super) struct Capturable<'a> {
    pub(super) kind: WriteKind,
    pub(super) client_columns: ClientColumns,
    pub(super) table_oid: u32,
    pub(super) table: &'a TableFacts,
    /// How the statement itself calls the table.
    pub(super) reference: String,
    /// How many rows or keys the text names.
    pub(super) rows_max: usize,
}

/// What a name in a writing statement means.
#[derive(Debug)]
pub(super) enum Target<'a> {
    /// A relation that the catalog knows.
    Table(u32, &'a TableFacts),
    /// Nothing that the stream carries: temporary, or not in the contract, or not there at all.
    Outside(DeferReason),
    /// It cannot be told.
    Unclear(DeferReason),
}

/// What the names of a text mean.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) session: &'a SessionFacts,
    pub(super) catalog: &'a CatalogFacts,
}

impl<'a> Scope<'a> {
    pub(super) fn target(self, name: Option<&RangeVar>) -> Target<'a> {
        let Some(name) = name else {
            return Target::Unclear(DeferReason::Unparsable);
        };
        if name.schemaname.starts_with("pg_temp") {
            return Target::Outside(DeferReason::TemporaryTable);
        }
        let path = &self.session.search_path;
        let mut outside = DeferReason::NotInContract;
        let oid = if name.schemaname.is_empty() {
            let Some(temporary) = &self.session.temporary else {
                return Target::Unclear(DeferReason::SessionUnknown);
            };
            let is_temporary = temporary.contains(&name.relname);
            if is_temporary && path.iter().any(|it| it.starts_with("pg_temp")) {
                outside = DeferReason::TemporaryTable;
            }
            self.catalog.resolve(&name.relname, path, is_temporary)
        } else {
            self.catalog.find(&name.schemaname, &name.relname)
        };
        let found = oid.and_then(|oid| Some((oid, self.catalog.tables.get(&oid)?)));
        match found {
            Some((_, table)) if table.obstacle == Some(DeferReason::NotInContract) => {
                Target::Outside(DeferReason::NotInContract)
            }
            Some((oid, table)) => Target::Table(oid, table),
            None => Target::Outside(outside),
        }
    }

    /// The table, if its rows can be captured by this role.
    fn capturable(self, name: Option<&RangeVar>) -> Result<(u32, &'a TableFacts), DeferReason> {
        match self.target(name) {
            Target::Outside(reason) | Target::Unclear(reason) => Err(reason),
            Target::Table(oid, table) => {
                if let Some(reason) = table.obstacle {
                    return Err(reason);
                }
                match self.catalog.readable.get(&self.session.role) {
                    None => Err(DeferReason::RoleUnknown),
                    Some(readable) if !readable.contains(&oid) => {
                        Err(DeferReason::NoSelectPrivilege)
                    }
                    Some(_) => Ok((oid, table)),
                }
            }
        }
    }
}

pub(super) fn insert<'a>(
    statement: &InsertStmt,
    scope: Scope<'a>,
) -> Result<Capturable<'a>, DeferReason> {
    let relation = statement.relation.as_ref();
    let (table_oid, table) = scope.capturable(relation)?;
    no_with(statement.with_clause.as_ref())?;
    let rows_max = match statement.select_stmt.as_deref().map(|it| &it.node) {
        None => 1,
        Some(Some(NodeEnum::SelectStmt(select))) => values(select)?,
        Some(_) => return Err(DeferReason::InsertSelect),
    };
    if let Some(conflict) = &statement.on_conflict_clause {
        keeps_key(&conflict.target_list, table)?;
    }
    let returning = statement.returning_clause.as_ref();
    let table = (table_oid, table);
    of(WriteKind::Upsert, relation, returning, table, rows_max)
}

pub(super) fn update<'a>(
    statement: &UpdateStmt,
    scope: Scope<'a>,
) -> Result<Capturable<'a>, DeferReason> {
    let relation = statement.relation.as_ref();
    let (table_oid, table) = scope.capturable(relation)?;
    no_with(statement.with_clause.as_ref())?;
    if !statement.from_clause.is_empty() {
        return Err(DeferReason::Joined);
    }
    keeps_key(&statement.target_list, table)?;
    let rows_max = keyed(statement.where_clause.as_deref(), table)?;
    let returning = statement.returning_clause.as_ref();
    let table = (table_oid, table);
    of(WriteKind::Upsert, relation, returning, table, rows_max)
}

pub(super) fn delete<'a>(
    statement: &DeleteStmt,
    scope: Scope<'a>,
) -> Result<Capturable<'a>, DeferReason> {
    let relation = statement.relation.as_ref();
    let (table_oid, table) = scope.capturable(relation)?;
    no_with(statement.with_clause.as_ref())?;
    if !statement.using_clause.is_empty() {
        return Err(DeferReason::Joined);
    }
    let rows_max = keyed(statement.where_clause.as_deref(), table)?;
    let returning = statement.returning_clause.as_ref();
    let table = (table_oid, table);
    of(WriteKind::Delete, relation, returning, table, rows_max)
}

fn of<'a>(
    kind: WriteKind,
    relation: Option<&RangeVar>,
    returning: Option<&ReturningClause>,
    (table_oid, table): (u32, &'a TableFacts),
    rows_max: usize,
) -> Result<Capturable<'a>, DeferReason> {
    let alias = relation.and_then(|it| it.alias.as_ref());
    let reference = alias.map_or(&table.relation, |it| &it.aliasname).clone();
    let client_columns = match returning {
        None => ClientColumns::None,
        Some(clause) => ClientColumns::Some(width(clause, table, &reference)?),
    };
    Ok(Capturable {
        kind,
        client_columns,
        table_oid,
        table,
        reference,
        rows_max,
    })
}

fn no_with(clause: Option<&WithClause>) -> Result<(), DeferReason> {
    clause.map_or(Ok(()), |_| Err(DeferReason::WithClause))
}

/// How many rows are listed.
fn values(select: &SelectStmt) -> Result<usize, DeferReason> {
    let plain = !select.values_lists.is_empty()
        && select.sort_clause.is_empty()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.locking_clause.is_empty()
        && select.with_clause.is_none();
    if !plain {
        Err(DeferReason::InsertSelect)
    } else if select.values_lists.len() > ROWS_MAX {
        Err(DeferReason::Bulk)
    } else {
        Ok(select.values_lists.len())
    }
}

/// A changed key is two rows to the mirror: left to the stream.
fn keeps_key(targets: &[Node], table: &TableFacts) -> Result<(), DeferReason> {
    let sets_key = targets.iter().any(|target| match &target.node {
        Some(NodeEnum::ResTarget(target)) => table.key.contains(&target.name),
        _ => true,
    });
    if sets_key {
        Err(DeferReason::KeyUpdate)
    } else {
        Ok(())
    }
}

/// How many columns the client's own RETURNING has.
fn width(
    clause: &ReturningClause,
    table: &TableFacts,
    reference: &str,
) -> Result<usize, DeferReason> {
    if !clause.options.is_empty() {
        return Err(DeferReason::ReturningShape);
    }
    let mut width = 0_usize;
    for item in &clause.exprs {
        let value = match &item.node {
            Some(NodeEnum::ResTarget(target)) => {
                target.val.as_deref().and_then(|it| it.node.as_ref())
            }
            _ => None,
        };
        let columns = match value {
            None => return Err(DeferReason::ReturningShape),
            Some(NodeEnum::ColumnRef(column)) => match star_of(column) {
                Star::No => 1,
                Star::Of(names) if names.last().is_none_or(|name| *name == reference) => {
                    table.columns.len()
                }
                Star::Of(_) => return Err(DeferReason::ReturningShape),
            },
            // `(row).*` is as wide as the row's type.
            Some(NodeEnum::AIndirection(indirection))
                if ends_with_star(&indirection.indirection) =>
            {
                return Err(DeferReason::ReturningShape);
            }
            Some(_) => 1,
        };
        width = width.saturating_add(columns);
    }
    if width < RESULT_COLUMNS_MAX {
        Ok(width)
    } else {
        Err(DeferReason::ReturningShape)
    }
}

enum Star<'a> {
    No,
    /// The names before the star.
    Of(Vec<&'a str>),
}

fn star_of(column: &ColumnRef) -> Star<'_> {
    if ends_with_star(&column.fields) {
        Star::Of(column.fields.iter().filter_map(string).collect())
    } else {
        Star::No
    }
}

fn ends_with_star(fields: &[Node]) -> bool {
    let last = fields.last().and_then(|it| it.node.as_ref());
    matches!(last, Some(NodeEnum::AStar(_)))
}

fn string(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::String(text)) => Some(&text.sval),
        _ => None,
    }
}

/// How many keys the condition leaves, if it fixes every column of the key.
fn keyed(condition: Option<&Node>, table: &TableFacts) -> Result<usize, DeferReason> {
    let condition = condition
        .and_then(|it| it.node.as_ref())
        .ok_or(DeferReason::Unkeyed)?;
    if matches!(condition, NodeEnum::CurrentOfExpr(_)) {
        return Err(DeferReason::Cursor);
    }
    let mut fixed: Vec<&str> = Vec::new();
    let mut keys = 1_usize;
    for equality in conjuncts(condition).into_iter().filter_map(equality) {
        let before = fixed.len();
        for column in equality.columns {
            if !fixed.contains(&column) {
                fixed.push(column);
            }
        }
        if fixed.len() > before {
            keys = keys.saturating_mul(equality.choices);
        }
    }
    if !table
        .key
        .iter()
        .all(|column| fixed.contains(&column.as_str()))
    {
        Err(DeferReason::Unkeyed)
    } else if keys > ROWS_MAX {
        Err(DeferReason::Bulk)
    } else {
        Ok(keys)
    }
}

fn conjuncts(condition: &NodeEnum) -> Vec<&NodeEnum> {
    let mut open = vec![condition];
    let mut found = Vec::new();
    while let Some(node) = open.pop() {
        match node {
            NodeEnum::BoolExpr(expression) if expression.boolop == BoolExprType::AndExpr as i32 => {
                open.extend(expression.args.iter().filter_map(|it| it.node.as_ref()));
            }
            other => found.push(other),
        }
    }
    found
}

/// Columns that a condition fixes, and how many values or combinations of values it allows.
struct Equality<'a> {
    columns: Vec<&'a str>,
    choices: usize,
}

/// `column = constant`, either way round, `column IN (constants)`, and both for rows of columns.
fn equality(node: &NodeEnum) -> Option<Equality<'_>> {
    let NodeEnum::AExpr(expression) = node else {
        return None;
    };
    let mut names = expression.name.iter().map(string);
    let is_equal = matches!(
        (names.next()?, names.next()),
        (Some("="), None) | (Some("pg_catalog"), Some(Some("=")))
    );
    let left = expression.lexpr.as_deref()?.node.as_ref()?;
    let right = expression.rexpr.as_deref()?.node.as_ref()?;
    if !is_equal {
        return None;
    }
    if expression.kind == AExprKind::AexprOp as i32 {
        Some(Equality {
            columns: fixed_by(left, right),
            choices: 1,
        })
    } else if expression.kind == AExprKind::AexprIn as i32
        && let NodeEnum::List(list) = right
    {
        let mut items = list.items.iter();
        let mut columns = fixed_by(left, items.next()?.node.as_ref()?);
        for item in items {
            let also = fixed_by(left, item.node.as_ref()?);
            columns.retain(|column| also.contains(column));
        }
        Some(Equality {
            columns,
            choices: list.items.len(),
        })
    } else {
        None
    }
}

/// The columns on one side that have a constant on the other.
fn fixed_by<'a>(left: &'a NodeEnum, right: &'a NodeEnum) -> Vec<&'a str> {
    let pair = |left: &'a NodeEnum, right: &'a NodeEnum| {
        [(left, right), (right, left)]
            .into_iter()
            .find_map(|(column, value)| {
                is_constant(value, DEPTH_MAX)
                    .then(|| column_name(column))
                    .flatten()
            })
    };
    match (left, right) {
        (NodeEnum::RowExpr(left), NodeEnum::RowExpr(right))
            if left.args.len() == right.args.len() =>
        {
            let sides = left.args.iter().zip(&right.args);
            sides
                .filter_map(|(left, right)| pair(left.node.as_ref()?, right.node.as_ref()?))
                .collect()
        }
        _ => pair(left, right).into_iter().collect(),
    }
}

fn column_name(node: &NodeEnum) -> Option<&str> {
    match node {
        NodeEnum::ColumnRef(column) => column.fields.last().and_then(string),
        _ => None,
    }
}

/// Whether the value is the same for all rows: constants, parameters, casts and signs of them.
fn is_constant(node: &NodeEnum, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    let inner = |node: &Node| node.node.as_ref().is_some_and(|it| is_constant(it, depth));
    match node {
        NodeEnum::AConst(_) | NodeEnum::ParamRef(_) => true,
        NodeEnum::TypeCast(cast) => cast.arg.as_deref().is_some_and(inner),
        NodeEnum::AExpr(expression) if expression.kind == AExprKind::AexprOp as i32 => {
            let sides = [&expression.lexpr, &expression.rexpr];
            sides.into_iter().flatten().all(|side| inner(side))
        }
        _ => false,
    }
}
