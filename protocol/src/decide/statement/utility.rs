//! What statements other than INSERT, UPDATE and DELETE do to transaction, session and rows.
//!
//! What is not listed is taken for a schema change. Does not look at names of functions.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the grammar has hundreds of nodes; what is not named is handled the careful way"
)]

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CopyStmt, DiscardMode, ExplainStmt, Node, RangeVar, SelectStmt, TransactionStmt,
    TransactionStmtKind, TruncateStmt, VariableSetKind, VariableSetStmt, a_const,
};

use super::dml::{Scope, Target};
use super::tokens::Setting;
use super::{DeferReason, MirrorChoice, SessionEffect, Statement, TransactionEffect, Write};

/// What the parse tree says. `scope` is missing while the session or the catalog is unknown.
pub(super) fn effects(node: &NodeEnum, scope: Option<Scope<'_>>) -> Statement {
    let plain = Statement::default();
    let session = |session| Statement {
        session,
        ..Statement::default()
    };
    match node {
        NodeEnum::TransactionStmt(statement) => Statement {
            transaction: transaction(statement),
            ..plain
        },
        NodeEnum::SelectStmt(select) => of_select(select),
        NodeEnum::MergeStmt(merge) => Statement {
            write: write_to(merge.relation.as_ref(), scope, DeferReason::Merge),
            ..plain
        },
        NodeEnum::CopyStmt(statement) => Statement {
            write: copy(statement, scope),
            ..plain
        },
        NodeEnum::TruncateStmt(statement) => Statement {
            write: truncate(statement, scope),
            ..plain
        },
        NodeEnum::VariableSetStmt(statement) => set(statement),
        NodeEnum::CallStmt(_) | NodeEnum::DoStmt(_) => Statement {
            transaction: TransactionEffect::Uncertain,
            session: SessionEffect::Changes,
            write: Write::Suspect(DeferReason::Procedure),
            touches_durability: true,
            deferred_oid: None,
        },
        NodeEnum::ExecuteStmt(_) => Statement {
            session: SessionEffect::Changes,
            write: Write::Suspect(DeferReason::Indirect),
            touches_durability: true,
            ..plain
        },
        NodeEnum::ExplainStmt(statement) => Statement {
            write: explain(statement),
            ..plain
        },
        NodeEnum::DeallocateStmt(statement) if statement.name.is_empty() => {
            session(SessionEffect::DeallocatesAll)
        }
        NodeEnum::DeallocateStmt(statement) => {
            session(SessionEffect::Deallocates(statement.name.clone()))
        }
        NodeEnum::DiscardStmt(statement) => session(discard(statement.target)),
        NodeEnum::LoadStmt(_) => Statement {
            session: SessionEffect::Changes,
            touches_durability: true,
            ..plain
        },
        NodeEnum::CreateStmt(statement) => session(creation(statement.relation.as_ref())),
        NodeEnum::CreateTableAsStmt(statement) => {
            let into = statement.into.as_deref();
            session(creation(into.and_then(|it| it.rel.as_ref())))
        }
        node if is_harmless(node) => plain,
        _ => session(SessionEffect::Ddl),
    }
}

const fn is_harmless(node: &NodeEnum) -> bool {
    matches!(
        node,
        NodeEnum::DeclareCursorStmt(_)
            | NodeEnum::FetchStmt(_)
            | NodeEnum::ClosePortalStmt(_)
            | NodeEnum::PrepareStmt(_)
            | NodeEnum::VariableShowStmt(_)
            | NodeEnum::ListenStmt(_)
            | NodeEnum::UnlistenStmt(_)
            | NodeEnum::NotifyStmt(_)
            | NodeEnum::LockStmt(_)
            | NodeEnum::ConstraintsSetStmt(_)
            | NodeEnum::CheckPointStmt(_)
            | NodeEnum::RefreshMatViewStmt(_)
            | NodeEnum::VacuumStmt(_)
            | NodeEnum::ClusterStmt(_)
            | NodeEnum::ReindexStmt(_)
    )
}

fn transaction(statement: &TransactionStmt) -> TransactionEffect {
    use TransactionStmtKind as Kind;
    let name = || statement.savepoint_name.clone();
    match Kind::try_from(statement.kind) {
        Ok(Kind::TransStmtBegin | Kind::TransStmtStart) => TransactionEffect::Begin,
        Ok(Kind::TransStmtCommit) => TransactionEffect::Commit,
        Ok(Kind::TransStmtRollback) => TransactionEffect::Rollback,
        Ok(Kind::TransStmtSavepoint) => TransactionEffect::Savepoint(name()),
        Ok(Kind::TransStmtRelease) => TransactionEffect::Release(name()),
        Ok(Kind::TransStmtRollbackTo) => TransactionEffect::RollbackTo(name()),
        Ok(Kind::TransStmtPrepare) => TransactionEffect::Prepare,
        Ok(Kind::TransStmtCommitPrepared | Kind::TransStmtRollbackPrepared) => {
            TransactionEffect::None
        }
        Ok(Kind::Undefined) | Err(_) => TransactionEffect::Uncertain,
    }
}

fn of_select(select: &SelectStmt) -> Statement {
    if let Some(into) = &select.into_clause {
        return Statement {
            session: creation(into.rel.as_ref()),
            ..Statement::default()
        };
    }
    let ctes = select.with_clause.iter().flat_map(|clause| &clause.ctes);
    let writes = ctes.into_iter().any(|cte| match &cte.node {
        Some(NodeEnum::CommonTableExpr(cte)) => cte.ctequery.as_deref().is_none_or(is_write),
        _ => true,
    });
    Statement {
        write: if writes {
            Write::Deferred(DeferReason::WithClause)
        } else {
            Write::None
        },
        ..Statement::default()
    }
}

/// Whether the query inside another statement writes rows.
fn is_write(node: &Node) -> bool {
    match &node.node {
        Some(NodeEnum::SelectStmt(select)) => of_select(select).write != Write::None,
        _ => true,
    }
}

fn write_to(relation: Option<&RangeVar>, scope: Option<Scope<'_>>, reason: DeferReason) -> Write {
    match scope.map(|scope| scope.target(relation)) {
        Some(Target::Outside(reason)) => Write::Outside(reason),
        Some(Target::Table(..) | Target::Unclear(_)) | None => Write::Deferred(reason),
    }
}

fn copy(statement: &CopyStmt, scope: Option<Scope<'_>>) -> Write {
    match &statement.query {
        Some(query) if is_write(query) => Write::Deferred(DeferReason::Copy),
        None if statement.is_from => {
            write_to(statement.relation.as_ref(), scope, DeferReason::Copy)
        }
        Some(_) | None => Write::None,
    }
}

fn truncate(statement: &TruncateStmt, scope: Option<Scope<'_>>) -> Write {
    let mut outside = None;
    for relation in &statement.relations {
        let Some(NodeEnum::RangeVar(name)) = &relation.node else {
            return Write::Deferred(DeferReason::Truncate);
        };
        match write_to(Some(name), scope, DeferReason::Truncate) {
            Write::Outside(reason) => outside = Some(reason),
            other => return other,
        }
    }
    outside.map_or(Write::Deferred(DeferReason::Truncate), Write::Outside)
}

fn explain(statement: &ExplainStmt) -> Write {
    let runs = statement.options.iter().any(|option| match &option.node {
        Some(NodeEnum::DefElem(option)) => option.defname == "analyze",
        _ => true,
    });
    match &statement.query {
        Some(query) if runs && is_write(query) => Write::Deferred(DeferReason::Indirect),
        Some(_) | None => Write::None,
    }
}

fn set(statement: &VariableSetStmt) -> Statement {
    let setting = match VariableSetKind::try_from(statement.kind) {
        // SET TRANSACTION and SET SESSION CHARACTERISTICS.
        Ok(VariableSetKind::VarSetMulti) => Setting::Other,
        Ok(VariableSetKind::VarResetAll) | Err(_) => Setting::Any,
        Ok(_) => Setting::of(&statement.name),
    };
    Statement {
        session: if let (Setting::Mirror, Some(value)) = (setting, constant(statement)) {
            SessionEffect::Chooses(MirrorChoice::named(value))
        } else if setting.changes_meaning() {
            SessionEffect::Changes
        } else {
            SessionEffect::None
        },
        touches_durability: setting.touches_durability(),
        ..Statement::default()
    }
}

/// The one constant that a SET gives; nothing for RESET and SET TO DEFAULT.
fn constant(statement: &VariableSetStmt) -> Option<&str> {
    match statement.args.as_slice() {
        [
            Node {
                node: Some(NodeEnum::AConst(constant)),
            },
        ] => match constant.val.as_ref()? {
            a_const::Val::Sval(text) => Some(&text.sval),
            _ => None,
        },
        _ => None,
    }
}

fn discard(target: i32) -> SessionEffect {
    match DiscardMode::try_from(target) {
        Ok(DiscardMode::DiscardPlans | DiscardMode::DiscardSequences) => SessionEffect::None,
        Ok(DiscardMode::DiscardTemp) => SessionEffect::Changes,
        Ok(DiscardMode::DiscardAll | DiscardMode::Undefined) | Err(_) => SessionEffect::DiscardsAll,
    }
}

/// A temporary table is of this session only: the catalog that all share stays as it is.
fn creation(relation: Option<&RangeVar>) -> SessionEffect {
    match relation {
        Some(name) if name.relpersistence == "t" => SessionEffect::Changes,
        Some(_) | None => SessionEffect::Ddl,
    }
}
