//! From a text to its [`Analysis`]: the parts put together, statement by statement.
//!
//! Does not look into single statements: that is `dml`, `utility` and `tokens`.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the grammar has hundreds of nodes; what is not named is handled the careful way"
)]

use pg_query::NodeEnum;
use pg_query::protobuf::RawStmt;

use super::dml::{self, Capturable, Scope, Target};
use super::facts::{CatalogFacts, MirrorChoice, SessionKnowledge};
use super::rewrite::{Addition, addition, rewritten};
use super::tokens::Tokens;
use super::utility::effects;
use super::{Analysis, Captured, DeferReason, Mode, SessionEffect, Statement, Write};

/// Longer texts are loads; parsing them costs more than their being early is worth.
const TEXT_BYTES_MAX: usize = 1 << 18;

/// What `text` does in this session, and the text to send instead if any of it is captured.
pub fn analyze(
    text: &str,
    session: &SessionKnowledge,
    catalog: &CatalogFacts,
    mode: Mode,
) -> Analysis {
    if text.len() > TEXT_BYTES_MAX {
        return Analysis::unreadable(DeferReason::TextTooLong);
    }
    let read = pg_query::parse(text, 0).ok().zip(Tokens::of(text));
    let Some((tree, tokens)) = read else {
        return Analysis::unreadable(DeferReason::Unparsable);
    };
    let reader = TextReader {
        text,
        tokens,
        grounds: grounds(text, session, catalog),
        catalog,
    };
    reader.read(&tree.protobuf.stmts, mode)
}

/// What allows names to be resolved, or why nothing of the text is captured.
fn grounds<'a>(
    text: &str,
    session: &'a SessionKnowledge,
    catalog: &'a CatalogFacts,
) -> Result<Scope<'a>, DeferReason> {
    match session {
        SessionKnowledge::Unknown => Err(DeferReason::SessionUnknown),
        SessionKnowledge::Known { facts, .. } if facts.mirror == Some(MirrorChoice::Off) => {
            Err(DeferReason::MirrorOff)
        }
        SessionKnowledge::Known { .. } if !catalog.is_known() => Err(DeferReason::CatalogUnknown),
        SessionKnowledge::Known { facts, .. } => {
            if facts.allow_capture() && facts.counts_characters_of(text) {
                let session = facts;
                Ok(Scope { session, catalog })
            } else {
                Err(DeferReason::SessionSettings)
            }
        }
    }
}

struct TextReader<'a> {
    text: &'a str,
    tokens: Tokens<'a>,
    grounds: Result<Scope<'a>, DeferReason>,
    catalog: &'a CatalogFacts,
}

impl TextReader<'_> {
    fn read(mut self, trees: &[RawStmt], mode: Mode) -> Analysis {
        // A Parse of several statements is an error; it goes to the server as it is.
        if mode == Mode::Extended && trees.len() > 1 {
            self.grounds = Err(DeferReason::Unparsable);
        }
        let mut statements = Vec::with_capacity(trees.len());
        let mut additions = Vec::new();
        for tree in trees {
            let (statement, addition) = self.statement(tree);
            additions.extend(addition);
            let chooses = matches!(statement.session, SessionEffect::Chooses(_));
            if statement.session.makes_unknown() || is_set(tree) && !chooses {
                self.grounds = self.grounds.and(Err(DeferReason::BehindChange));
            }
            statements.push(statement);
        }
        let rewritten = match additions.as_slice() {
            [] => None,
            additions => rewritten(self.text, additions),
        };
        if rewritten.is_none() {
            additions.clear();
        }
        Analysis {
            statements,
            unreadable: None,
            rewritten,
            origin: 0,
        }
    }

    fn statement(&self, tree: &RawStmt) -> (Statement, Option<Addition>) {
        let Some(node) = tree.stmt.as_ref().and_then(|it| it.node.as_ref()) else {
            return (Statement::default(), None);
        };
        let (begin, end) = self.extent(tree);
        let calls = self.tokens.calls(begin, end, self.catalog);
        let mut statement = effects_of(node, self.grounds);
        for setting in calls.settings {
            statement.touches_durability |= setting.touches_durability();
            if setting.changes_meaning() {
                statement.session.at_least_changes();
            }
        }
        if calls.user_function {
            statement.session.at_least_changes();
            statement.touches_durability = true;
        }
        let capturable = match capture(node, self.grounds, calls.user_function) {
            None => None,
            Some(Ok(capturable)) => Some(capturable),
            Some(Err(reason)) => {
                statement.write = if reason.is_outside() {
                    Write::Outside(reason)
                } else {
                    Write::Deferred(reason)
                };
                None
            }
        };
        if calls.user_function && statement.write == Write::None {
            statement.write = Write::Suspect(DeferReason::UserFunction);
        }
        if matches!(statement.write, Write::Deferred(_)) {
            statement.deferred_oid = named(node, self.grounds);
        }
        let addition = capturable.map(|it| {
            statement.write = Write::Captured(Captured {
                kind: it.kind,
                client_columns: it.client_columns,
                rows_max: it.rows_max,
                table_oid: it.table_oid,
            });
            addition(end, &it.reference, it.table, it.client_columns)
        });
        (statement, addition)
    }

    /// Where the statement begins and ends, its semicolon not included.
    fn extent(&self, tree: &RawStmt) -> (usize, usize) {
        let begin = usize::try_from(tree.stmt_location).unwrap_or(0);
        match usize::try_from(tree.stmt_len) {
            Ok(0) | Err(_) => (begin, self.text.len()),
            Ok(length) => (begin, begin.saturating_add(length)),
        }
    }
}

/// The effects of all statements but INSERT, UPDATE and DELETE, whose only effect is their write.
fn effects_of(node: &NodeEnum, grounds: Result<Scope<'_>, DeferReason>) -> Statement {
    match node {
        NodeEnum::InsertStmt(_) | NodeEnum::UpdateStmt(_) | NodeEnum::DeleteStmt(_) => {
            Statement::default()
        }
        other => effects(other, grounds.ok()),
    }
}

/// Nothing for statements that are neither INSERT nor UPDATE nor DELETE.
fn capture<'a>(
    node: &NodeEnum,
    grounds: Result<Scope<'a>, DeferReason>,
    user_function: bool,
) -> Option<Result<Capturable<'a>, DeferReason>> {
    let found = match node {
        NodeEnum::InsertStmt(statement) => grounds.and_then(|scope| dml::insert(statement, scope)),
        NodeEnum::UpdateStmt(statement) => grounds.and_then(|scope| dml::update(statement, scope)),
        NodeEnum::DeleteStmt(statement) => grounds.and_then(|scope| dml::delete(statement, scope)),
        _ => return None,
    };
    Some(match found {
        Ok(_) if user_function => Err(DeferReason::UserFunction),
        other => other,
    })
}

/// The table that the statement names to write to, if the catalog knows it.
fn named(node: &NodeEnum, grounds: Result<Scope<'_>, DeferReason>) -> Option<u32> {
    let relation = match node {
        NodeEnum::InsertStmt(statement) => statement.relation.as_ref(),
        NodeEnum::UpdateStmt(statement) => statement.relation.as_ref(),
        NodeEnum::DeleteStmt(statement) => statement.relation.as_ref(),
        NodeEnum::MergeStmt(statement) => statement.relation.as_ref(),
        NodeEnum::CopyStmt(statement) if statement.is_from => statement.relation.as_ref(),
        NodeEnum::TruncateStmt(statement) => match statement.relations.first()?.node.as_ref()? {
            NodeEnum::RangeVar(name) => Some(name),
            _ => None,
        },
        _ => None,
    };
    match grounds.ok()?.target(Some(relation?)) {
        Target::Table(oid, _) => Some(oid),
        Target::Outside(_) | Target::Unclear(_) => None,
    }
}

fn is_set(tree: &RawStmt) -> bool {
    let node = tree.stmt.as_ref().and_then(|it| it.node.as_ref());
    matches!(node, Some(NodeEnum::VariableSetStmt(_)))
}

impl Analysis {
    /// Of a text that nothing is known of.
    pub const fn unreadable(reason: DeferReason) -> Self {
        Self {
            statements: Vec::new(),
            unreadable: Some(reason),
            rewritten: None,
            origin: 0,
        }
    }
}

impl SessionEffect {
    fn at_least_changes(&mut self) {
        if !self.makes_unknown() {
            *self = Self::Changes;
        }
    }
}

impl Default for Statement {
    /// A statement without any effect that the text shows.
    fn default() -> Self {
        Self {
            transaction: super::TransactionEffect::None,
            session: SessionEffect::None,
            write: Write::None,
            touches_durability: false,
            deferred_oid: None,
        }
    }
}
