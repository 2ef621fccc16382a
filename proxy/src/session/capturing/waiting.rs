//! A request that waits until the catalog has been read again behind a schema change.
//!
//! Only where the configuration says so: else such a write is left to the log. Does not wait longer
//! than the capture allows, and never twice for one request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Capturing;
use crate::capture::Capture;

/// Whether the next request waits.
#[derive(Default)]
pub(super) enum Waiting {
    #[default]
    No,
    For(Pin<Box<dyn Future<Output = ()>>>),
    /// It has waited: now it goes on, whatever is known.
    Over,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::No => "No",
            Self::For(_) => "For",
            Self::Over => "Over",
        })
    }
}

impl Waiting {
    pub(super) const fn is_on(&self) -> bool {
        matches!(self, Self::For(_))
    }

    /// Begins to wait, if there is something to wait for.
    pub(super) fn begin(&mut self, capture: &Capture) -> bool {
        match self {
            Self::Over => {
                *self = Self::No;
                false
            }
            Self::For(_) => true,
            Self::No => {
                let read = capture.catalog_wait();
                if let Some(read) = read {
                    *self = Self::For(Box::pin(read));
                }
                self.is_on()
            }
        }
    }
}

impl Capturing {
    /// Whether a request that waited may go on.
    pub(in crate::session) fn poll_waiting(&mut self, context: &mut Context<'_>) -> bool {
        let Waiting::For(read) = &mut self.waiting else {
            return false;
        };
        if read.as_mut().poll(context) == Poll::Pending {
            return false;
        }
        self.waiting = Waiting::Over;
        true
    }
}
