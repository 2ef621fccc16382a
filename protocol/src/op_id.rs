//! The idempotency key of a source transaction, which both paths derive alone (DESIGN section 2).

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

use crate::revision::Epoch;
use crate::xid::Xid;

/// `xxh3_128(system identifier, epoch, 64-bit xid)`; shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(u128);

impl OpId {
    /// The key of transaction `xid` of the cluster with this system identifier.
    pub fn of(system_identifier: u64, epoch: Epoch, xid: Xid) -> Self {
        let mut input = [0_u8; 17];
        let (identifier, rest) = input.split_at_mut(8);
        let (number, id) = rest.split_at_mut(1);
        identifier.copy_from_slice(&system_identifier.to_be_bytes());
        number.copy_from_slice(&[epoch.number()]);
        id.copy_from_slice(&xid.as_u64().to_be_bytes());
        Self(xxh3_128(&input))
    }

    /// The 16 bytes, as the `uuid` columns of the `segue` schema hold them.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From the 16 bytes of a `uuid` column.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_changes_the_key() {
        let base = OpId::of(7, Epoch::FIRST, Xid::new(900));
        let epoch = Epoch::new(2).unwrap();
        assert_ne!(base, OpId::of(8, Epoch::FIRST, Xid::new(900)));
        assert_ne!(base, OpId::of(7, epoch, Xid::new(900)));
        assert_ne!(base, OpId::of(7, Epoch::FIRST, Xid::new(901)));
        assert_eq!(base, OpId::from_bytes(base.to_bytes()));
        assert_eq!(base.to_string().len(), 32);
    }
}
