//! Wall-clock time, for people to read. No decision rests on it.

use std::time::SystemTime;

/// The time of day.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where wall-clock time enters the proxy"
)]
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}
