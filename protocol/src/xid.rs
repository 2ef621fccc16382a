//! Transaction ids of the source.

use std::fmt;

/// A 64-bit transaction id (`xid8`), which does not wrap around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xid(u64);

impl Xid {
    /// The transaction with this 64-bit id.
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The id as a number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Extends the 32 bits that the stream carries: the id closest to `near`, a 64-bit id that the
    /// source was at a short while ago or will be soon (less than 2³¹ transactions away).
    pub fn extend(low: u32, near: Self) -> Self {
        let distance = low.wrapping_sub(near.low()).cast_signed();
        Self(near.0.saturating_add_signed(i64::from(distance)))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half is what is asked for"
    )]
    const fn low(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Which transactions a read of the source saw: `pg_current_snapshot()`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Snapshot {
    xmin: Xid,
    xmax: Xid,
    /// Sorted ids of transactions in progress, between `xmin` and `xmax`.
    running: Vec<Xid>,
}

impl Snapshot {
    /// Reads the text form, `xmin:xmax:xip,xip,…`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let xmin = parts.next()?.parse().ok().map(Xid)?;
        let xmax = parts.next()?.parse().ok().map(Xid)?;
        let list = parts.next()?;
        let mut running = list
            .split(',')
            .filter(|id| !id.is_empty())
            .map(|id| id.parse().ok().map(Xid))
            .collect::<Option<Vec<_>>>()?;
        running.sort_unstable();
        Some(Self {
            xmin,
            xmax,
            running,
        })
    }

    /// Whether what `xid` committed was seen, given that it has committed (rule 7: never by LSN).
    pub fn contains(&self, xid: Xid) -> bool {
        xid < self.xmin || (xid < self.xmax && self.running.binary_search(&xid).is_err())
    }

    /// Every transaction before this one has ended and was seen.
    pub const fn xmin(&self) -> Xid {
        self.xmin
    }

    /// The first id that had not been given out.
    pub const fn xmax(&self) -> Xid {
        self.xmax
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_half_is_extended_across_a_wrap() {
        let near = Xid::new(0x5_0000_0010);
        assert_eq!(Xid::extend(0x0000_0020, near), Xid::new(0x5_0000_0020));
        assert_eq!(Xid::extend(0xffff_fff0, near), Xid::new(0x4_ffff_fff0));
    }

    #[test]
    fn a_snapshot_contains_what_had_ended() {
        let snapshot = Snapshot::parse("10:15:12,10").unwrap();
        let seen: Vec<u64> = (8..17)
            .filter(|id| snapshot.contains(Xid::new(*id)))
            .collect();
        assert_eq!(seen, [8, 9, 11, 13, 14]);
        assert_eq!(Snapshot::parse("10:10:").unwrap().xmax(), Xid::new(10));
        assert_eq!(Snapshot::parse("10:"), None);
    }
}
