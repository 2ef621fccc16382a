//! Owed rows with what the source holds of them now, as `apply::logged::reread` settles them.
//!
//! Does not read the source.

use std::collections::BTreeSet;

use super::reconciler::{Reconciler, Step, rev};
use super::{Kind, Rule, World};
use crate::decide::reread::{Reread, Turn};
use crate::decide::verdict::{Entry, Path, Proof};
use crate::lsn::Lsn;
use crate::row::Image;
use crate::xid::Snapshot;

impl Reconciler {
    pub(super) fn settle(
        &mut self,
        world: &mut World,
        fresh: &[(u8, Option<Image>)],
        snapshot: &Snapshot,
    ) -> Step<()> {
        self.begin(world)?;
        let keys: BTreeSet<u8> = fresh.iter().map(|(id, _)| *id).collect();
        self.lock(world, &keys)?;
        for (id, row) in fresh {
            self.settle_row(world, *id, row.as_ref(), snapshot)?;
        }
        let position = self.position;
        self.commit(world, position)
    }

    fn settle_row(
        &mut self,
        world: &mut World,
        id: u8,
        row: Option<&Image>,
        snapshot: &Snapshot,
    ) -> Step<()> {
        let entry = self.entry(world, id);
        world.others()?;
        let found = self.row(world, id);
        let owed = self.owed[&id];
        let passed_rev = self
            .sweep
            .passed_rev(&super::source::key(id), Lsn::new(self.passed));
        let is_phantom = entry
            .as_ref()
            .is_some_and(|held| held.proof == Proof::Unverified && passed_rev == Some(held.rev));
        let turn = if is_phantom {
            Turn::Passed
        } else {
            Turn::ToCome
        };
        let judged = self.horizon.judge(snapshot, entry.as_ref(), owed.xid, turn);
        if judged != Reread::Usable && !world.broken.is(Rule::Reread) {
            return Ok(());
        }
        if found.as_ref() != row {
            let op_id = entry.as_ref().and_then(|held| held.op_id);
            if is_phantom {
                self.transaction.findings.push((id, Kind::Phantom(op_id)));
            } else if owed.is_foreign {
                self.transaction.findings.push((id, Kind::Foreign));
            }
            self.transaction.rows.insert(id, row.cloned());
        }
        if let (Some(entry), true) = (entry, is_phantom) {
            let proven = Entry {
                rev: rev(self.passed),
                op_id: None,
                xid: None,
                path: Path::Logged,
                proof: Proof::Verified,
                kind: entry.kind,
            };
            self.transaction.entries.insert(id, Some(proven));
        }
        self.transaction.owed.insert(id, None);
        Ok(())
    }
}
