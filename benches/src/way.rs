//! The ways from pgbench to the database.

/// One way from pgbench to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// No proxy.
    Direct,
    /// pgbouncer in session mode.
    Pgbouncer,
    /// `segue proxy --mirror off --workers 1`: as many threads as pgbouncer has.
    PassThrough,
    /// `segue proxy --mirror off --workers 2`.
    PassThroughTwo,
    /// `segue proxy --workers 1` with a target, and a reconciler.
    DualWrite,
}

impl Way {
    /// In the order in which they are measured.
    pub const ALL: [Self; 5] = [
        Self::Direct,
        Self::Pgbouncer,
        Self::PassThrough,
        Self::PassThroughTwo,
        Self::DualWrite,
    ];

    /// As the tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Pgbouncer => "pgbouncer",
            Self::PassThrough => "segue pass-through, 1 worker",
            Self::PassThroughTwo => "segue pass-through, 2 workers",
            Self::DualWrite => "segue dual-write",
        }
    }
}
