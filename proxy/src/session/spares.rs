//! Read buffers that no session of a worker needs at the moment.
//!
//! A session that is at rest lends its buffers to whoever has something to read: an idle connection
//! holds none, and a busy worker reads into few, which the processor has at hand. Does not keep more
//! than a worker usually needs at one time.

use std::cell::RefCell;

use bytes::BytesMut;

/// Sessions of one worker that are between their first and their last byte of a transaction at one
/// time are fewer than this even on a busy server; others make their own.
const SPARES_MAX: usize = 64;

/// The spare buffers of one worker.
#[derive(Debug, Default)]
pub(crate) struct Spares(RefCell<Vec<BytesMut>>);

impl Spares {
    /// The buffer that was given back last.
    pub(super) fn take(&self) -> BytesMut {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes an empty buffer back.
    pub(super) fn put(&self, buffer: BytesMut) {
        let mut spares = self.0.borrow_mut();
        if spares.len() < SPARES_MAX {
            spares.push(buffer);
        }
    }
}
