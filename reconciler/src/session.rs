//! One session: from the first connection until something breaks.
//!
//! The slot is taken first, then `progress`: an older self that still writes is waited for by its
//! row lock, and whoever holds the slot is the only one that gets this far. Does not retry.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apply::logged::{LoggedError, LoggedWriter, Stream as LoggedStream};
use apply::session::{SessionKind, open_target};
use control::contract::Phase;
use control::{Names, Side, connect, contract, names, schema};
use protocol::contract::{Contract, TableIndex};
use protocol::lsn::Lsn;
use protocol::revision::Epoch;
use tokio::sync::{mpsc, watch};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::applier::{Applier, Identity, PartQueue, Queues};
use crate::error::{ReconcilerError, Sending};
use crate::foreign::ForeignIntake;
use crate::intake::{Incoming, Intake, QUEUE_PARTS_MAX};
use crate::relations::Relations;
use crate::replication::{Replication, Slot, Stream};
use crate::source::Source;
use crate::spool::Spool;
use crate::stats::Stats;
use crate::succession::{self, Course, Progress, Sides};

/// A killed reconciler's walsender ends within moments; one that is alive stays.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);

/// After a lost connection the walsender may last for `wal_sender_timeout`, 60 s by default.
const LATER_PATIENCE: Duration = Duration::from_secs(90);

const FOREIGN_PARTS_MAX: usize = 64;

/// What a session is told by the supervisor.
pub(crate) struct Attempt<'a> {
    pub(crate) config: &'a Config,
    /// The same for all sessions of a process.
    pub(crate) holder: &'a str,
    pub(crate) stats: &'a mut Stats,
    /// What the source is asked for.
    pub(crate) sending: Sending,
    /// What ended the session before, and for how long there was none.
    pub(crate) before: Option<(String, Duration)>,
}

/// The source's stream, and the target's own where it has one.
struct Streams {
    stream: Stream,
    spool: Spool,
    foreign: Option<Stream>,
    /// The published tables by their OIDs.
    oids: HashMap<u32, TableIndex>,
}

/// Runs a session until `shutdown` or an error. `begun` is called when everything runs.
pub(crate) async fn run(
    attempt: Attempt<'_>,
    shutdown: &CancellationToken,
    begun: impl FnOnce(),
) -> Result<(), ReconcilerError> {
    let config = attempt.config;
    let names = names(config.source.database());
    let spool = open_spool(config, attempt.sending)?;
    let (phase, source) = load_phase(config).await?;
    let contract = Arc::new(phase.contract.clone());
    let mut target = open_target(&config.target, &names, SessionKind::Logged).await?;
    let progress = Progress::read(&mut target, &names.stream).await?;
    let slot = Slot {
        side: Side::Source,
        name: names.slot.clone(),
        publication: names.publication.clone(),
    };
    let mut replication = Replication::connect(&config.source, slot).await?;
    let sides = Sides {
        source: &source,
        target: &mut target,
        names: &names,
        phase: &phase,
    };
    match succession::look(sides, &mut replication, &progress).await? {
        Course::Follow => replication.keep_on_standbys().await?,
        Course::Anew => return Ok(()),
    }
    drop(source);
    let Progress { followed, epochs } = progress;
    let patience = match attempt.before {
        None => FIRST_PATIENCE,
        Some(_) => LATER_PATIENCE,
    };
    let stream = replication
        .start(followed.position, attempt.sending, patience)
        .await?;
    let position = take_over(&mut target, &names, attempt.holder, epochs.current()).await?;
    let logged = LoggedStream {
        name: names.stream.clone(),
        epochs: epochs.clone(),
        holder: attempt.holder.to_owned(),
    };
    let writer = LoggedWriter::open(target, Arc::clone(&contract), logged, position).await?;
    let source = Source::open(&config.source, Arc::clone(&contract)).await?;
    let identity = Identity {
        system_identifier: phase.system_identifier,
        epochs,
        stream: names.stream.clone(),
        slot: names.slot.clone(),
        foreign_stream: names.target_slot.clone(),
        names: names.clone(),
        databases: [config.source.clone(), config.target.clone()],
    };
    let mut applier = Applier::open(
        writer,
        source,
        Arc::clone(&contract),
        identity,
        attempt.stats,
    )
    .await?;
    let oids = take_up(&mut applier, config, attempt.before).await?;
    let foreign = start_foreign(config, &names, &mut applier).await?;
    begun();
    let streams = Streams {
        stream,
        spool,
        foreign,
        oids,
    };
    Box::pin(drive(config, contract, streams, applier, shutdown)).await
}

/// Brings an applier to where the sessions before it were: gate, stopped tables, repairs, owed rows.
async fn take_up(
    applier: &mut Applier<'_>,
    config: &Config,
    before: Option<(String, Duration)>,
) -> Result<HashMap<u32, TableIndex>, ReconcilerError> {
    if let Some((error, away)) = before {
        let away = away.as_secs_f64();
        let text = format!("{error}; the stream goes on after {away:.1} s");
        applier.event("resumed", &text).await?;
    }
    applier.load_stopped().await?;
    let oids = applier.compare_catalogs().await?;
    applier.recall_repairs(config).await?;
    applier.load_owed().await?;
    applier.load_recheck().await?;
    applier.arm_or_wait().await?;
    Ok(oids)
}

/// Runs the three parts until one of them ends, then the others with it.
async fn drive(
    config: &Config,
    contract: Arc<Contract>,
    streams: Streams,
    applier: Applier<'_>,
    shutdown: &CancellationToken,
) -> Result<(), ReconcilerError> {
    let Streams {
        stream,
        spool,
        foreign,
        oids,
    } = streams;
    let stop = shutdown.child_token();
    let (parts, part_queue) = mpsc::channel(QUEUE_PARTS_MAX);
    let (foreign_parts, foreign_queue) = mpsc::channel(FOREIGN_PARTS_MAX);
    let (source, target) = (config.source.clone(), config.target.clone());
    let incoming = Incoming {
        stream,
        relations: Relations::new(Arc::clone(&contract), source, Side::Source, oids),
        spool,
    };
    let intake = Intake::new(incoming, parts, applier.durable.subscribe());
    let relations = Relations::new(contract, target, Side::Target, HashMap::new());
    let durable: watch::Receiver<Lsn> = applier.foreign_durable.subscribe();
    let queues = Queues {
        parts: PartQueue::new(part_queue),
        foreign: foreign_queue,
    };
    let intake = async {
        let result = intake.run(stop.clone()).await;
        stop.cancel();
        result
    };
    let foreign = async {
        let result = if let Some(stream) = foreign {
            let intake = ForeignIntake::new(stream, relations, foreign_parts, durable);
            intake.run(stop.clone()).await
        } else {
            stop.cancelled().await;
            drop(foreign_parts);
            Ok(())
        };
        stop.cancel();
        result
    };
    let applier = async {
        let result = Box::pin(applier.run(queues, stop.clone())).await;
        stop.cancel();
        result
    };
    let (written, read, read_foreign) = tokio::join!(applier, intake, foreign);
    written.and(read).and(read_foreign)
}

/// Where it will be needed, something can be written there.
fn open_spool(config: &Config, sending: Sending) -> Result<Spool, ReconcilerError> {
    let spool = Spool::new(config.spool_directory.clone());
    if sending == Sending::Early {
        spool.check()?;
    }
    Ok(spool)
}

/// The phase, and a session at the source that has said it.
async fn load_phase(config: &Config) -> Result<(Phase, Client), ReconcilerError> {
    let application = "segue reconciler";
    let source = connect(&config.source, Side::Source, application)
        .await
        .map_err(control_error)?;
    let target = connect(&config.target, Side::Target, application)
        .await
        .map_err(control_error)?;
    // The target first: where its schema is of another version, setup would be the wrong advice.
    schema::check_version(&target, Side::Target, config.target.database()).await?;
    schema::check_version(&source, Side::Source, config.source.database()).await?;
    let phase = contract::load_from_source(&source).await?;
    Ok((phase, source))
}

fn control_error(error: control::ConnectError) -> ReconcilerError {
    ReconcilerError::Control(error.into())
}

/// Becomes the holder of `progress`, after whoever still writes has ended its transaction.
async fn take_over(
    target: &mut apply::connection::Connection,
    names: &Names,
    holder: &str,
    epoch: Epoch,
) -> Result<Lsn, ReconcilerError> {
    let sql = format!(
        "UPDATE segue.progress SET holder = '{holder}' \
         WHERE stream = '{}' AND epoch = {epoch} RETURNING commit_lsn::text",
        names.stream
    );
    let rows = target.query_simple(&sql).await?;
    let column = rows
        .into_iter()
        .next()
        .and_then(|row| row.into_iter().next().flatten());
    let position = column.and_then(|text| String::from_utf8_lossy(&text).parse().ok());
    position.ok_or_else(|| {
        ReconcilerError::Logged(LoggedError::Displaced {
            stream: names.stream.clone(),
            expected: Lsn::ZERO,
        })
    })
}

/// The target's own stream, where it has one.
async fn start_foreign(
    config: &Config,
    names: &Names,
    applier: &mut Applier<'_>,
) -> Result<Option<Stream>, ReconcilerError> {
    let slot = Slot {
        side: Side::Target,
        name: names.target_slot.clone(),
        publication: names.target_publication.clone(),
    };
    let mut replication = Replication::connect(&config.target, slot).await?;
    let loss = replication.slot_loss().await?;
    let had_one = applier.has_progress(&names.target_slot).await?;
    if let (Some(why), true) = (&loss, had_one) {
        let text = format!(
            "the slot {} at the target is lost: {why}; writes of others there are not found from \
             now on, nor those since; run segue setup, which makes it again",
            names.target_slot
        );
        tracing::warn!("{text}");
        applier.event("foreign_slot_lost", &text).await?;
        return Ok(None);
    }
    if loss.is_some() {
        tracing::warn!("the target has no slot: writes of others there are not found");
        return Ok(None);
    }
    let Some(position) = applier.foreign_position(&names.target_slot).await? else {
        return Ok(None);
    };
    applier.foreign_durable.send_replace(position);
    // Of the target's transactions only foreign ones are kept, and these a piece at a time.
    replication
        .start(position, Sending::Committed, LATER_PATIENCE)
        .await
        .map(Some)
}
