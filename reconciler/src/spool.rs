//! The spool: where transactions wait that arrive before they end, a file each.
//!
//! A file loses its name as soon as it is open, so that whatever ends this process leaves nothing
//! behind, and a new stream starts with none: the source sends again what has not been confirmed.
//! What lies where, and what an abort takes back, is decided by [`protocol::decide::streamed`]. Does
//! not read what it keeps.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use protocol::decide::streamed::{Disorder, Record, Records, Replay, Streams, TakenBack};
use protocol::lsn::Lsn;
use protocol::pgoutput::{StreamAbort, StreamStart};
use rand::Rng;

use crate::error::ReconcilerError;

/// What the names begin with that files have for a moment.
const PREFIX: &str = "segue-spool-";

/// Written and read at once.
const PART_BYTES: usize = 1 << 20;

/// What the reconciler keeps of transactions that have not ended.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    streams: Streams,
    files: HashMap<u32, Arc<File>>,
    pending: Pending,
}

/// The end of the block under way, which has not been written.
#[derive(Debug, Default)]
struct Pending {
    xid: u32,
    offset: u64,
    bytes: BytesMut,
}

/// Something to be written to a file.
pub(crate) struct Write {
    file: Arc<File>,
    offset: u64,
    bytes: Bytes,
}

/// A committed transaction's spool, being read.
#[derive(Debug)]
pub(crate) struct Reading {
    file: Option<Arc<File>>,
    replay: Replay,
    offset: u64,
    records: Records,
}

impl Spool {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            streams: Streams::default(),
            files: HashMap::new(),
            pending: Pending::default(),
        }
    }

    /// Makes sure that something can be written there, and takes away what a process has left that
    /// was killed between making a file and taking its name: it is empty.
    pub(crate) fn check(&self) -> Result<(), ReconcilerError> {
        self.remove_leftovers();
        let probe = self.open().and_then(|file| file.write_all_at(b"segue", 0));
        probe.map_err(|source| self.failed(source))
    }

    /// Whether what comes is part of a block.
    pub(crate) const fn in_block(&self) -> bool {
        self.streams.in_block()
    }

    pub(crate) fn start(&mut self, start: StreamStart) -> Result<(), ReconcilerError> {
        self.streams.start(start).map_err(disorder)?;
        if !self.files.contains_key(&start.xid) {
            let file = self.open().map_err(|source| self.failed(source))?;
            self.files.insert(start.xid, Arc::new(file));
        }
        Ok(())
    }

    /// Keeps a message of the block; what is to be written then, if it is enough.
    pub(crate) fn add(
        &mut self,
        owner: u32,
        lsn: Lsn,
        payload: Bytes,
    ) -> Result<Option<Write>, ReconcilerError> {
        let record = Record { lsn, payload };
        let place = self.streams.add(owner, record.length()).map_err(disorder)?;
        let pending = &mut self.pending;
        if pending.bytes.is_empty() {
            (pending.xid, pending.offset) = (place.xid, place.offset);
        }
        record.put(&mut pending.bytes);
        Ok(if pending.bytes.len() >= PART_BYTES {
            self.take_pending()
        } else {
            None
        })
    }

    /// The block ends; what is to be written of it.
    pub(crate) fn stop(&mut self) -> Result<Option<Write>, ReconcilerError> {
        self.streams.stop().map_err(disorder)?;
        Ok(self.take_pending())
    }

    fn take_pending(&mut self) -> Option<Write> {
        let Pending { xid, offset, bytes } = &mut self.pending;
        if bytes.is_empty() {
            return None;
        }
        Some(Write {
            file: Arc::clone(self.files.get(xid)?),
            offset: *offset,
            // A buffer of its own each time: one that is split and filled again would double.
            bytes: std::mem::take(bytes).freeze(),
        })
    }

    pub(crate) fn abort(&mut self, abort: StreamAbort) -> Result<(), ReconcilerError> {
        match self.streams.abort(abort).map_err(disorder)? {
            TakenBack::Nothing => {}
            TakenBack::Whole => drop(self.files.remove(&abort.xid)),
            TakenBack::Part { length } => {
                if let Some(file) = self.files.get(&abort.xid) {
                    file.set_len(length).map_err(|source| self.failed(source))?;
                }
            }
        }
        Ok(())
    }

    /// A transaction has committed: what there is of it is read, and nothing of it is left here.
    pub(crate) fn commit(&mut self, xid: u32) -> Result<Reading, ReconcilerError> {
        Ok(Reading {
            replay: self.streams.commit(xid).map_err(disorder)?,
            file: self.files.remove(&xid),
            offset: 0,
            records: Records::default(),
        })
    }

    /// Somebody else's that is being made loses its name a moment earlier, which is all the same.
    fn remove_leftovers(&self) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else {
            return;
        };
        for entry in entries.flatten() {
            let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
            let is_empty = entry
                .metadata()
                .is_ok_and(|file| file.is_file() && file.len() == 0);
            // What cannot be removed is in nobody's way.
            if is_ours && is_empty {
                drop(std::fs::remove_file(entry.path()));
            }
        }
    }

    /// A file without a name that nobody else may read.
    fn open(&self) -> io::Result<File> {
        let number: u64 = rand::rng().random();
        let path = self.directory.join(format!("{PREFIX}{number:016x}"));
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(file),
        }
    }

    pub(crate) fn failed(&self, source: io::Error) -> ReconcilerError {
        ReconcilerError::Spool {
            directory: self.directory.clone(),
            source,
        }
    }
}

const fn disorder(source: Disorder) -> ReconcilerError {
    ReconcilerError::Disorder { source }
}

impl Write {
    /// Writes it, on a thread that may wait for the disk.
    pub(crate) async fn run(self) -> io::Result<()> {
        let write = move || self.file.write_all_at(&self.bytes, self.offset);
        tokio::task::spawn_blocking(write).await?
    }
}

impl Reading {
    /// The next message that counts, of what has been read; with its owner.
    pub(crate) fn next(&mut self) -> Option<Record> {
        self.records.next()
    }

    /// What counts and what was rolled back.
    pub(crate) const fn replay(&self) -> &Replay {
        &self.replay
    }

    /// Reads on; nothing when all has been read. The result goes to [`Self::feed`].
    pub(crate) fn more(&self) -> Option<impl Future<Output = io::Result<Vec<u8>>> + use<>> {
        let left = usize::try_from(self.replay.length - self.offset).unwrap_or(usize::MAX);
        let file = Arc::clone(self.file.as_ref().filter(|_| left > 0)?);
        let offset = self.offset;
        let read = move || {
            let mut part = vec![0; left.min(PART_BYTES)];
            file.read_exact_at(&mut part, offset)?;
            Ok(part)
        };
        Some(async { tokio::task::spawn_blocking(read).await? })
    }

    pub(crate) fn feed(&mut self, part: &[u8]) {
        self.offset += u64::try_from(part.len()).unwrap_or(u64::MAX);
        self.records.feed(part);
    }
}

#[cfg(test)]
mod tests {
    use protocol::pgoutput::BlockPlace;

    use super::*;

    fn start(xid: u32, place: BlockPlace) -> StreamStart {
        StreamStart { xid, place }
    }

    /// One of the test's own.
    fn directory(name: &str) -> PathBuf {
        let number: u64 = rand::rng().random();
        let path = std::env::temp_dir().join(format!("segue-test-{name}-{number:016x}"));
        std::fs::create_dir(&path).unwrap();
        path
    }

    async fn block(spool: &mut Spool, xid: u32, place: BlockPlace, texts: &[(u32, String)]) {
        spool.start(start(xid, place)).unwrap();
        for (owner, text) in texts {
            let payload = Bytes::from(text.clone());
            let write = spool.add(*owner, Lsn::new(7), payload).unwrap();
            if let Some(write) = write {
                write.run().await.unwrap();
            }
        }
        if let Some(write) = spool.stop().unwrap() {
            write.run().await.unwrap();
        }
    }

    async fn all(mut reading: Reading) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            while let Some(record) = reading.next() {
                texts.push(String::from_utf8(record.payload.to_vec()).unwrap());
            }
            let Some(more) = reading.more() else {
                return texts;
            };
            let part = more.await.unwrap();
            reading.feed(&part);
        }
    }

    #[tokio::test]
    async fn what_was_written_in_blocks_is_read_again_and_nothing_has_a_name() {
        let directory = directory("blocks");
        let mut spool = Spool::new(directory.clone());
        spool.check().unwrap();
        // Longer than what is written and read at once.
        let long = "x".repeat(PART_BYTES + 5);
        let first = [
            (1, "a".to_owned()),
            (1, long.clone()),
            (2, "gone".to_owned()),
        ];
        block(&mut spool, 1, BlockPlace::First, &first).await;
        block(&mut spool, 9, BlockPlace::First, &[(9, "other".to_owned())]).await;
        spool.abort(StreamAbort { xid: 1, subxid: 2 }).unwrap();
        block(&mut spool, 1, BlockPlace::Later, &[(1, "b".to_owned())]).await;
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
        std::fs::remove_dir(directory).unwrap();
        assert_eq!(all(spool.commit(1).unwrap()).await, ["a", &long, "b"]);
        spool.abort(StreamAbort { xid: 9, subxid: 9 }).unwrap();
        assert!(spool.files.is_empty());
        assert_eq!(spool.streams.count(), 0);
        assert!(all(spool.commit(5).unwrap()).await.is_empty());
    }

    #[test]
    fn what_a_killed_process_has_left_is_taken_away_and_nothing_else() {
        let directory = directory("leftovers");
        for (name, text) in [
            ("segue-spool-0123456789abcdef", ""),
            ("segue-spool-of-somebody-else", "text"),
            ("other", ""),
        ] {
            std::fs::write(directory.join(name), text).unwrap();
        }
        Spool::new(directory.clone()).check().unwrap();
        let names = std::fs::read_dir(&directory).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["other", "segue-spool-of-somebody-else"]);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_written_to_is_named_with_the_mend() {
        let spool = Spool::new("/nowhere/at/all".into());
        let error = spool.check().unwrap_err().to_string();
        assert!(
            error.contains("/nowhere/at/all") && error.contains("--spool-dir"),
            "{error}"
        );
    }
}
