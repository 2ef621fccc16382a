//! Real PostgreSQL servers, the `segue` binary and the means to compare two databases: what the
//! end-to-end tests, the demo and the benchmarks share.
//!
//! Everything started here dies with the process that started it, however that ends (see
//! [`guardian`]). Does not know what Segue ought to do: that is said by the tests.

pub mod account;
pub mod bed;
pub mod broken;
pub mod certificates;
pub mod chaos;
pub mod compare;
pub mod database;
pub mod guardian;
pub mod installation;
pub mod ports;
pub mod process;
pub mod raw_client;
pub mod revisions;
pub mod segue;
pub mod server;
pub mod shop;
pub mod small_disk;
mod standby;
pub mod tool;
pub mod valve;
pub mod wait;

pub use bed::{Bed, Pair};
pub use certificates::{Authority, Issued};
pub use compare::{Comparison, compare};
pub use database::Database;
pub use installation::Installation;
pub use process::Process;
pub use segue::{Launch, Segue};
pub use server::{Authentication, Durability, Server, ServerOptions};
pub use small_disk::SmallDisk;
pub use valve::Valve;
