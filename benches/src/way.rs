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
    /// `segue proxy --mirror dry --workers 1`: rows are captured, and go nowhere.
    Dry,
    /// As [`Self::PassThrough`], of a database whose log is decoded and thrown away: what any
    /// reader of a log costs the source.
    Decoded,
    /// As [`Self::PassThrough`], of a database that PostgreSQL replicates to the target by itself.
    Replicated,
    /// `segue proxy --workers 1` with a target, and a reconciler.
    DualWrite,
}

impl Way {
    /// As fast as they go, in the order in which they are measured.
    pub const FULL: [Self; 5] = [
        Self::Direct,
        Self::Pgbouncer,
        Self::PassThrough,
        Self::PassThroughTwo,
        Self::DualWrite,
    ];

    /// At half load: what a dual write costs, and whose part of it is whose.
    pub const HALF: [Self; 5] = [
        Self::PassThrough,
        Self::Dry,
        Self::Decoded,
        Self::Replicated,
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
            Self::Dry => "segue, captured and thrown away",
            Self::Decoded => "segue pass-through, log decoded to nowhere",
            Self::Replicated => "segue pass-through, native replication beside",
        }
    }
}
