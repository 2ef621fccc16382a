//! `segue.admit` with one rule of DESIGN section 3 broken, so that a test can show that the target
//! diverges without it.
//!
//! A variant is the installed function with one piece of its text replaced: it stays as near to the
//! real one as can be, and a change of the real one that takes the piece away is an error here.

use anyhow::{Result, ensure};

use crate::Database;

/// The advisory lock at which [`Variant::Paused`] and [`Variant::XidAfterGate`] wait.
pub const PAUSE_LOCK: i64 = 5_003;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Rule 1: the entries are tested before they are locked.
    TestBeforeLock,
    /// Rule 2: no test at all of what the entry holds.
    NoTest,
    /// Nothing is broken: it waits at [`PAUSE_LOCK`] once it has read the gate.
    Paused,
    /// Rule 5: the gate is read before the transaction has an xid of its own; waits like
    /// [`Self::Paused`].
    XidAfterGate,
}

const TEST: &str = "
    WHERE held.rev < excluded.rev
      AND NOT (held.from_log AND held.op_id IS NOT DISTINCT FROM excluded.op_id);";

const TEST_OF_ITS_OWN: &str = "
    IF EXISTS (
        SELECT FROM ROWS FROM (pg_catalog.unnest(p_tables), pg_catalog.unnest(p_keys),
                               pg_catalog.unnest(p_revs)) AS n(\"table\", key, rev)
        JOIN segue.row_rev held ON held.\"table\" = n.\"table\" AND held.key = n.key
        WHERE held.rev >= n.rev
    ) THEN
        RAISE EXCEPTION 'a newer version has been written' USING ERRCODE = 'SG003';
    END IF;";

const TAKE_XID: &str = "PERFORM pg_catalog.pg_current_xact_id();";

const READ_GATE: &str = "SELECT g.epoch, g.floor INTO gate FROM segue.mirror_gate g;
    IF NOT FOUND OR gate.epoch <> p_epoch THEN
        RAISE EXCEPTION 'the mirror gate is shut' USING ERRCODE = 'SG001';
    END IF;";

/// Replaces `segue.admit` at the target by the variant.
pub async fn install(target: &Database, variant: Variant) -> Result<()> {
    let real = target
        .value("SELECT pg_get_functiondef('segue.admit'::regproc)")
        .await?;
    let pause = format!("PERFORM pg_catalog.pg_advisory_xact_lock_shared({PAUSE_LOCK});");
    let text = match variant {
        Variant::NoTest => replaced(&real, TEST, ";")?,
        Variant::TestBeforeLock => {
            let text = replaced(&real, TEST, ";")?;
            replaced(&text, TAKE_XID, &format!("{TAKE_XID}{TEST_OF_ITS_OWN}"))?
        }
        Variant::Paused => replaced(&real, READ_GATE, &format!("{READ_GATE}\n    {pause}"))?,
        Variant::XidAfterGate => {
            let text = replaced(&real, READ_GATE, "")?;
            replaced(&text, TAKE_XID, &format!("{READ_GATE}\n    {pause}"))?
        }
    };
    target.execute(&text).await
}

fn replaced(text: &str, piece: &str, by: &str) -> Result<String> {
    let count = text.matches(piece).count();
    ensure!(count == 1, "segue.admit has {count} times: {piece}");
    Ok(text.replace(piece, by))
}
