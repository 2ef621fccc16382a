//! Row revisions: what orders the versions of one row on both paths (DESIGN section 2).
//!
//! A revision is `(epoch, LSN)` packed into 63 bits: 8 bits of epoch above 55 bits of LSN, so that
//! it fits a PostgreSQL `bigint` and a search engine's external version. 55 bits hold 32 PiB of WAL.

use std::fmt;

use crate::lsn::Lsn;

const LSN_BITS: u32 = 55;
const LSN_MASK: i64 = (1 << LSN_BITS) - 1;

/// The generation of the authority. It grows at cutover, at rollback and at a failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u8);

impl Epoch {
    /// The epoch in which a migration starts.
    pub const FIRST: Self = Self(1);

    /// Epoch number `number`; 0 is none.
    pub const fn new(number: u8) -> Option<Self> {
        if number == 0 {
            None
        } else {
            Some(Self(number))
        }
    }

    /// The one that follows; none behind the last.
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The epoch's number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl TryFrom<i32> for Epoch {
    type Error = RevisionError;

    fn try_from(number: i32) -> Result<Self, RevisionError> {
        u8::try_from(number)
            .ok()
            .and_then(Self::new)
            .ok_or(RevisionError::Epoch { number })
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A value that cannot be a revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    /// The log position needs more than 55 bits.
    #[error("the log position {lsn} needs more than 55 bits")]
    Lsn {
        /// The position.
        lsn: Lsn,
    },
    /// Not an epoch.
    #[error("{number} is not an epoch between 1 and 255")]
    Epoch {
        /// The number.
        number: i32,
    },
    /// A stored revision is negative or has no epoch.
    #[error("{packed} is not a packed revision")]
    Packed {
        /// The stored number.
        packed: i64,
    },
}

/// Orders the versions of one row. Comparing revisions of different rows means nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(i64);

impl Revision {
    /// Of a version from the stream: `lsn` is the start of the WAL record that made it.
    pub fn logged(epoch: Epoch, lsn: Lsn) -> Result<Self, RevisionError> {
        match i64::try_from(lsn.as_u64()) {
            Ok(bits) if bits <= LSN_MASK => Ok(Self((i64::from(epoch.0) << LSN_BITS) | bits)),
            Ok(_) | Err(_) => Err(RevisionError::Lsn { lsn }),
        }
    }

    /// Of a version from the mirror: `insert_lsn` is `pg_current_wal_insert_lsn()` read in the
    /// statement's own RETURNING; its revision lies one byte before.
    pub fn early(epoch: Epoch, insert_lsn: Lsn) -> Result<Self, RevisionError> {
        Self::logged(epoch, Lsn::new(insert_lsn.as_u64().saturating_sub(1)))
    }

    /// Reads a stored revision.
    pub fn from_packed(packed: i64) -> Result<Self, RevisionError> {
        if packed >> LSN_BITS > 0 {
            Ok(Self(packed))
        } else {
            Err(RevisionError::Packed { packed })
        }
    }

    /// The number to store.
    pub const fn packed(self) -> i64 {
        self.0
    }

    /// The log position within the epoch.
    pub const fn lsn(self) -> Lsn {
        Lsn::new((self.0 & LSN_MASK).cast_unsigned())
    }

    /// The authority's generation.
    pub fn epoch(self) -> Epoch {
        let number = u8::try_from(self.0 >> LSN_BITS).unwrap_or(u8::MAX);
        Epoch(number)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.epoch(), self.lsn())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_orders_before_the_lsn() {
        let old = Revision::logged(Epoch::FIRST, Lsn::new(0x7f_ffff_ffff_ffff)).unwrap();
        let new = Revision::logged(Epoch(2), Lsn::ZERO).unwrap();
        assert!(old < new);
        assert_eq!(new.epoch(), Epoch(2));
        assert_eq!(old.lsn(), Lsn::new(0x7f_ffff_ffff_ffff));
    }

    #[test]
    fn an_early_revision_lies_between_its_record_and_the_next() {
        let record = Revision::logged(Epoch::FIRST, Lsn::new(1000)).unwrap();
        let early = Revision::early(Epoch::FIRST, Lsn::new(1080)).unwrap();
        let next = Revision::logged(Epoch::FIRST, Lsn::new(1080)).unwrap();
        assert!(record < early && early < next);
    }

    #[test]
    fn all_63_bits_survive_storage() {
        let revision = Revision::logged(Epoch(255), Lsn::new(0x7f_ffff_ffff_ffff)).unwrap();
        assert_eq!(revision.packed(), i64::MAX);
        assert_eq!(Revision::from_packed(i64::MAX), Ok(revision));
        assert!(Revision::from_packed(0x1234).is_err());
        assert!(Revision::logged(Epoch::FIRST, Lsn::new(1 << 55)).is_err());
    }
}
