//! Portals that a client's statement would have left as they are, and the proxy's has not.
//!
//! A portal without RETURNING cannot be run again; with the hidden column it could, so another one
//! takes its name. A savepoint that is rolled back takes back portals, the proxy's too. Does not
//! keep rows.

use bytes::Bytes;
use protocol::decide::names::Change;
use protocol::decide::reply_queue::Request;
use protocol::decide::statement::TransactionEffect;
use protocol::wire::frame::Header;
use protocol::wire::frontend::{Bind, Close, Describe, Execute, Named, Parse};

use super::note::Ran;
use super::{Capturing, Note, Outbound};
use crate::session::Step;

/// A statement of the proxy's own, for a moment, and its text: it returns no rows and changes
/// nothing, and a portal of it can be run once only.
const SPENT_NAME: &str = "segue: a portal that has been run";
const SPENT_TEXT: &str = "UNLISTEN \"segue: nobody listens here\"";

/// The savepoints of a transaction.
#[derive(Debug, Default)]
pub(super) struct Savepoints {
    /// How many have been made.
    made: u64,
    /// Names of those that stand, and how many had been made with each.
    standing: Vec<(String, u64)>,
}

impl Savepoints {
    /// The transaction has ended.
    pub(super) fn clear(&mut self) {
        self.made = 0;
        self.standing.clear();
    }

    fn make(&mut self, name: &str) {
        self.made += 1;
        self.standing.push((name.to_owned(), self.made));
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.standing.iter().rposition(|(one, _)| one == name)
    }

    fn release(&mut self, name: &str) {
        if let Some(place) = self.place(name) {
            self.standing.truncate(place);
        }
    }

    /// What was made when so many savepoints had been, or more, is gone.
    fn roll_back_to(&mut self, name: &str) -> Option<u64> {
        let place = self.place(name)?;
        self.standing.truncate(place + 1);
        self.standing.last().map(|(_, made)| *made)
    }
}

impl Capturing {
    pub(super) fn confirm_portal(&mut self, change: &Change) {
        self.portals.confirm(change);
        if let Some(portal) = self.portals.confirmed(change) {
            portal.savepoints.set(self.savepoints.made);
        }
    }

    pub(super) fn follow_savepoints(&mut self, effect: &TransactionEffect) {
        match effect {
            TransactionEffect::Savepoint(name) => self.savepoints.make(name),
            TransactionEffect::Release(name) => self.savepoints.release(name),
            TransactionEffect::RollbackTo(name) => {
                if let Some(made) = self.savepoints.roll_back_to(name) {
                    let is_gone = |made_before: u64| made_before >= made;
                    self.portals.forget_where(|it| is_gone(it.savepoints.get()));
                }
                self.give_back_portals();
            }
            TransactionEffect::None
            | TransactionEffect::Begin
            | TransactionEffect::Commit
            | TransactionEffect::Rollback
            | TransactionEffect::Prepare
            | TransactionEffect::Uncertain => (),
        }
    }

    /// A savepoint has taken back what stood in for portals from before it.
    fn give_back_portals(&self) {
        for portal in self.portals.values() {
            if portal.ran.get() == Ran::StandIn {
                portal.ran.set(Ran::TakenBack);
            }
        }
    }

    /// One that has been run and cannot be again takes the portal's name, so that what the client
    /// asks for fails as it would have.
    #[cold]
    pub(super) fn spent(
        &mut self,
        (name, ran): (&Bytes, Ran),
        header: Header,
        outbound: &mut Outbound<'_>,
    ) -> Step {
        if ran == Ran::Itself {
            // It may have ended with its transaction: what is said to this, the client would have heard.
            Describe(Named::Portal(name.clone())).encode(outbound.channel.insert());
            let request = Request::DescribePortal;
            outbound.queue.push_own(request, Note::Nothing);
        }
        stand_in(name, outbound);
        self.opaque(Request::Execute, header, outbound)
    }
}

/// Puts a portal that has been run in the place of what has this name.
#[cold]
pub(super) fn stand_in(name: &Bytes, outbound: &mut Outbound<'_>) {
    let statement = Parse {
        name: SPENT_NAME.into(),
        query: SPENT_TEXT.into(),
        types: Bytes::from_static(&[0; 2]),
    };
    let bind = Bind {
        portal: name.clone(),
        statement: statement.name.clone(),
        parameters: Bytes::from_static(&[0; 4]),
        result_formats: Vec::new(),
    };
    let execute = Execute {
        portal: name.clone(),
        rows_max: 0,
    };
    let out = outbound.channel.insert();
    Close(Named::Portal(name.clone())).encode(out);
    statement.encode(out);
    bind.encode(out);
    // The portal holds what it needs of its statement.
    Close(Named::Statement(statement.name)).encode(out);
    execute.encode(out);
    for request in [
        Request::Close,
        Request::Parse,
        Request::Bind,
        Request::Close,
        Request::Execute,
    ] {
        outbound.queue.push_own(request, Note::Nothing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_savepoint_takes_back_what_was_made_behind_it() {
        let mut savepoints = Savepoints::default();
        savepoints.make("a");
        savepoints.make("b");
        savepoints.make("a");
        assert_eq!(savepoints.roll_back_to("a"), Some(3));
        savepoints.release("a");
        assert_eq!(savepoints.roll_back_to("a"), Some(1));
        assert_eq!(savepoints.roll_back_to("b"), None);
        savepoints.make("b");
        assert_eq!(savepoints.roll_back_to("b"), Some(4));
    }
}
