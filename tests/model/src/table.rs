//! Which configurations are explored, and which of them catches what is left out.
//!
//! Does not explore them.

use crate::config::Feature::{
    AsyncCommits, Backfill, Collection, Crashes, Exchange, Floors, Foreign, GateFirst, Groups,
    Lies, Phantoms, Rereads, Rotation, SecondKey, Spellings, Statements, Toast, Truncate,
    TwoReconcilers, Visibility, Written,
};
use crate::config::{Config, Feature, Omission};

/// The base with each feature alone, and how many states there are at least: a world that has become
/// smaller proves less. Collection needs a floor, and a commit is taken back only by a crash.
pub const ALONE: [(Config, usize); 22] = [
    (Config::with(&[]), 40_000),
    (Config::with(&[SecondKey]).sized(2, 1), 20_000),
    (Config::with(&[Statements]).sized(2, 1), 180_000),
    (Config::with(&[Visibility]).sized(2, 1), 6_000),
    (Config::with(&[Crashes]).sized(2, 1), 17_000),
    (Config::with(&[AsyncCommits, Crashes]).sized(2, 1), 33_000),
    (Config::with(&[TwoReconcilers]).sized(2, 1), 60_000),
    (Config::with(&[Floors]).sized(1, 2), 6_000),
    (Config::with(&[Floors, Collection]).sized(2, 1), 100_000),
    (
        Config::with(&[Floors, Collection, GateFirst, Written]),
        23_000,
    ),
    (Config::with(&[Backfill]).sized(2, 1), 11_000),
    (Config::with(&[Rereads]).sized(2, 1), 14_000),
    (Config::with(&[Truncate]).sized(2, 1), 3_000),
    (Config::with(&[Toast]).sized(2, 1), 5_000),
    (Config::with(&[Exchange]).sized(2, 1), 45_000),
    (Config::with(&[Phantoms]).sized(1, 1), 6_000),
    (Config::with(&[Lies]).sized(2, 1), 7_000),
    (Config::with(&[Groups]).sized(2, 1), 3_000),
    (Config::with(&[Exchange, Rotation]).sized(1, 1), 800),
    (Config::with(&[Foreign]).sized(2, 1), 47_000),
    (Config::with(&[Spellings]).sized(2, 1), 2_500),
    (Config::with(&[Backfill, SecondKey]).sized(1, 2), 16_000),
];

/// Pairs that have something to do with each other, for `make model`.
pub const PAIRS: [&[Feature]; 34] = [
    &[Visibility, Rereads],
    &[Visibility, Backfill],
    &[Visibility, Crashes],
    &[Visibility, Phantoms],
    &[Visibility, Truncate],
    &[Toast, Rereads],
    &[Toast, Crashes],
    &[Toast, Backfill],
    &[Toast, Phantoms],
    &[Toast, Lies],
    &[Truncate, Rereads],
    &[Truncate, Backfill],
    &[Truncate, Crashes],
    &[Truncate, Statements],
    &[Truncate, Floors],
    &[Crashes, Rereads],
    &[Crashes, TwoReconcilers],
    &[Crashes, Backfill],
    &[TwoReconcilers, Rereads],
    &[TwoReconcilers, Floors],
    &[Statements, Floors],
    &[Statements, Rereads],
    &[Groups, SecondKey],
    &[Groups, Exchange],
    &[Groups, Phantoms],
    &[Groups, Truncate],
    &[Foreign, Rereads],
    &[Foreign, Visibility],
    &[Foreign, Toast],
    &[Foreign, Truncate],
    &[Foreign, Backfill],
    &[Foreign, Crashes],
    &[Spellings, Rereads],
    &[Spellings, Crashes],
];

/// Where chance leads through the product.
pub const PRODUCTS: [&[Feature]; 3] = [
    &[
        SecondKey,
        Statements,
        Visibility,
        Crashes,
        AsyncCommits,
        TwoReconcilers,
        Floors,
        Collection,
        Rereads,
        Truncate,
        Toast,
        Groups,
        Foreign,
    ],
    &[
        SecondKey, Statements, Visibility, Floors, Collection, Rereads, Phantoms, Toast, Groups,
    ],
    &[
        Statements,
        Crashes,
        Floors,
        Collection,
        Rereads,
        Exchange,
        Rotation,
        TwoReconcilers,
        Groups,
    ],
];

/// What can be left out, and where that is caught.
pub const CAUGHT: &[(Omission, Config)] = &[
    (Omission::Lock, Config::with(&[Statements]).sized(2, 1)),
    (Omission::EntryTest, Config::with(&[]).sized(2, 1)),
    (Omission::FloorTest, LATE),
    (
        Omission::Progress,
        Config::with(&[TwoReconcilers, Floors, Collection, Written]),
    ),
    (Omission::Entries, Config::with(&[]).sized(2, 1)),
    (Omission::Drain, GATE_FIRST),
    (Omission::DrainByOwnXid, GATE_FIRST),
    (Omission::XidFirst, GATE_FIRST),
    (Omission::ArmAbove, Config::with(&[Crashes]).sized(2, 1)),
    (
        Omission::Visibility,
        Config::with(&[Visibility, Rereads]).sized(2, 1),
    ),
    (Omission::RereadTest, Config::with(&[Rereads]).sized(2, 1)),
    (
        Omission::RereadUnverified,
        Config::with(&[Rereads]).sized(2, 1),
    ),
    (Omission::Tombstones, Config::with(&[Backfill]).sized(2, 1)),
    (Omission::InsertOnly, Config::with(&[Backfill]).sized(2, 1)),
    (
        Omission::SlotSnapshot,
        Config::with(&[Backfill, Visibility]).sized(1, 1),
    ),
    (Omission::Violation, Config::with(&[Exchange]).sized(1, 1)),
    (Omission::AsASet, Config::with(&[Exchange]).sized(1, 1)),
    (Omission::TableFloor, Config::with(&[Truncate]).sized(2, 1)),
    (Omission::Survivors, Config::with(&[Truncate]).sized(2, 1)),
    (
        Omission::DeferAsync,
        Config::with(&[AsyncCommits, Crashes]).sized(2, 1),
    ),
    (
        Omission::FlushedReads,
        Config::with(&[AsyncCommits, Crashes, Rereads]).sized(1, 1),
    ),
    (Omission::Sweep, Config::with(&[Phantoms]).sized(1, 1)),
    (Omission::NormalForm, Config::with(&[Spellings]).sized(2, 1)),
    (Omission::ReplicaRole, Config::with(&[]).sized(1, 1)),
    (Omission::Origins, Config::with(&[Foreign]).sized(1, 1)),
];

const LATE: Config = Config::with(&[Floors, Collection, Written]);

const GATE_FIRST: Config = Config::with(&[Floors, Collection, GateFirst, Written]);
