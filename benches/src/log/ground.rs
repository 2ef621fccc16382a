//! The databases whose log is read, what is written there, and the readers.
//!
//! The target's log holds no images of whole pages: they would hide what a row costs behind what
//! the last checkpoint costs. Does not judge.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::{
    Bed, Durability, Launch, Pair, Process, Segue, ServerOptions, guardian::Guardian, tool, wait,
};
use tokio::time::Instant;
use tokio_postgres::Client;

use super::{
    LogFigure, LogPlan, Reader, Shape,
    watch::{Crew, pids},
};
use crate::{
    field::{SUBSCRIPTION, fill, receive_to_nowhere, subscribe},
    load,
};

/// Rows of a bulk transaction.
const BULK: u32 = 1_000;

/// Clients that write through the mirror.
const CLIENTS: u32 = 8;

/// Between two looks at whether a reader has come to an end.
const PAUSE: Duration = Duration::from_millis(4);

/// The first and the last transaction of a pile write to `mark`; corruptions go to `planted`.
const MARK: &str = "CREATE TABLE mark (id int PRIMARY KEY, at int NOT NULL);\
                    INSERT INTO mark VALUES (1, 0), (2, 0);\
                    CREATE TABLE planted (id int PRIMARY KEY, word text);\
                    INSERT INTO planted SELECT n, 'right' FROM generate_series(1, 10000) AS n;";

/// Both servers, with a database for each kind of reader.
pub(super) struct Ground {
    plan: LogPlan,
    pub(super) mirrored: Bed,
    replicated: Bed,
    pub(super) launch: Launch,
    /// Numbers the piles: the marks say which one.
    pile: u32,
    _pair: Pair,
}

/// A reader at work.
enum Running {
    Nowhere(Process),
    Native,
    Segue(Segue),
}

impl Ground {
    pub(super) async fn prepare(binary: &Path, plan: LogPlan) -> Result<Self> {
        let settings = [
            "full_page_writes=off",
            "max_wal_size=8GB",
            "checkpoint_timeout=1h",
        ];
        let pair = Pair::start(ServerOptions {
            durability: Durability::Durable,
            settings: settings.map(str::to_owned).into(),
            ..ServerOptions::default()
        })
        .await?;
        let both = |name| Bed {
            source: pair.source.database(name),
            target: pair.target.database(name),
        };
        let (mirrored, replicated) = (both("mirrored"), both("replicated"));
        for bed in [&mirrored, &replicated] {
            for database in [&bed.source, &bed.target] {
                let maintenance = database.clone().of_name("postgres");
                let create = format!("CREATE DATABASE {}", database.name);
                maintenance.execute(&create).await?;
                fill(database, plan.scale)?;
                database.execute(load::SCHEMA).await?;
                database.execute(MARK).await?;
            }
        }
        let launch = mirrored.launch(binary);
        launch.setup().await?;
        subscribe(&replicated).await?;
        Ok(Self {
            plan,
            mirrored,
            replicated,
            launch,
            pile: 0,
            _pair: pair,
        })
    }

    fn bed(&self, reader: Reader) -> &Bed {
        match reader {
            Reader::Nowhere | Reader::Native => &self.replicated,
            Reader::Verifying | Reader::Applying => &self.mirrored,
        }
    }

    /// Lets writes pile up and has them read.
    pub(super) async fn measure(&mut self, shape: Shape, reader: Reader) -> Result<LogFigure> {
        self.read_what_there_is(reader).await?;
        self.pile += 1;
        let target = self.bed(reader).target.connect().await?;
        let before = wal_position(&target).await?;
        let marks = self.write(shape, reader).await?;
        let running = self.start(reader).await?;
        let crew = self.crew(reader, &running).await?;
        let control = match reader {
            Reader::Nowhere => self.replicated.source.connect().await?,
            Reader::Native | Reader::Verifying | Reader::Applying => target,
        };
        self.reach(&control, reader, &marks, Mark::First).await?;
        let (begun, used) = (Instant::now(), crew.cpu()?);
        self.reach(&control, reader, &marks, Mark::Last).await?;
        let (seconds, now) = (begun.elapsed().as_secs_f64(), crew.cpu()?);
        let wal_bytes = match reader {
            Reader::Nowhere => None,
            Reader::Native | Reader::Verifying | Reader::Applying => {
                Some(wal_position(&control).await? - before)
            }
        };
        if reader == Reader::Verifying {
            self.expect_verified().await?;
        }
        self.stop(running).await?;
        let rows = f64::from(self.plan.rows);
        Ok(LogFigure {
            shape,
            reader,
            rows_per_second: rows / seconds,
            cpu: now.since(used, rows),
            wal_bytes: wal_bytes.map(|bytes| bytes / rows),
        })
    }

    /// So that what is read later is the pile alone.
    async fn read_what_there_is(&mut self, reader: Reader) -> Result<()> {
        let source = &self.bed(reader).source;
        // Where a slot may begin to read moves with what a checkpoint logs.
        source.execute("CHECKPOINT").await?;
        let advance = "SELECT pg_replication_slot_advance(slot_name, pg_current_wal_insert_lsn()) \
                       FROM pg_replication_slots WHERE NOT active AND slot_name = 'nowhere' \
                       AND database = current_database()";
        source.execute(advance).await?;
        let reader = match reader {
            Reader::Nowhere | Reader::Native => Reader::Native,
            Reader::Verifying | Reader::Applying => Reader::Applying,
        };
        let running = self.start(reader).await?;
        match reader {
            Reader::Applying | Reader::Verifying => {
                self.mirrored.caught_up().await?;
                let armed = "SELECT count(*) FROM segue.mirror_gate";
                let gate = &self.mirrored.target;
                wait::until_true("the mirror gate to be armed", async || {
                    Ok(gate.value(armed).await? == "1")
                })
                .await?;
            }
            Reader::Nowhere | Reader::Native => {
                let source = &self.replicated.source;
                let now = source.value("SELECT pg_current_wal_insert_lsn()").await?;
                let sent = format!(
                    "SELECT confirmed_flush_lsn >= '{now}' FROM pg_replication_slots \
                     WHERE slot_name = '{SUBSCRIPTION}'"
                );
                wait::until_true("native replication to catch up", async || {
                    Ok(source.value(&sent).await? == "t")
                })
                .await?;
            }
        }
        self.stop(running).await
    }

    /// Writes the pile; where it begins and where it ends.
    async fn write(&self, shape: Shape, reader: Reader) -> Result<[String; 2]> {
        let source = self.bed(reader).source.connect().await?;
        source.batch_execute("SET synchronous_commit = off").await?;
        let first = self.mark(&source, 1).await?;
        if reader == Reader::Verifying {
            self.write_twice().await?;
        } else {
            source.batch_execute(&script(shape, self.plan)).await?;
        }
        let last = self.mark(&source, 2).await?;
        Ok([first, last])
    }

    async fn mark(&self, source: &Client, id: u32) -> Result<String> {
        let sql = format!("UPDATE mark SET at = {} WHERE id = {id}", self.pile);
        source.batch_execute(&sql).await?;
        let here = "SELECT pg_current_wal_insert_lsn()";
        first_value(source, here).await
    }

    /// Through a mirroring proxy, which ends before the log is read.
    async fn write_twice(&self) -> Result<()> {
        let arguments = ["--mirror", "async", "--workers", "1"];
        let proxy = self.launch.proxy(&arguments).await?;
        let directory = Guardian::of_this_process()?.directory();
        let file = directory.join("once.sql");
        // Every client has rows of its own, each of them once.
        let share = self.plan.rows / CLIENTS;
        std::fs::write(
            &file,
            format!(
                "\\set n :n + 1\n\
                 UPDATE pgbench_accounts SET abalance = abalance + 1 \
                 WHERE aid = 1 + ((:client_id * {share} + :n) * 7919) % {};\n",
                self.plan.scale * 100_000
            ),
        )?;
        let database = self.mirrored.source.through(proxy.port());
        let file = file.to_string_lossy();
        let (clients, share) = (CLIENTS.to_string(), share.to_string());
        let summary = tool::pgbench(
            &database,
            &[
                "-n", "-M", "prepared", "-j", "1", "-D", "n=0", "-c", &clients, "-t", &share, "-f",
                &file,
            ],
        )?;
        ensure!(summary.failed == 0, "pgbench: {} failed", summary.failed);
        let code = proxy.terminate().await?;
        ensure!(code == 0, "the proxy did not end well");
        Ok(())
    }

    async fn start(&self, reader: Reader) -> Result<Running> {
        Ok(match reader {
            Reader::Nowhere => Running::Nowhere(receive_to_nowhere(&self.replicated.source)?),
            Reader::Native => {
                let enable = format!("ALTER SUBSCRIPTION {SUBSCRIPTION} ENABLE");
                self.replicated.target.execute(&enable).await?;
                Running::Native
            }
            Reader::Verifying | Reader::Applying => {
                Running::Segue(self.launch.reconciler(&[]).await?)
            }
        })
    }

    async fn stop(&self, running: Running) -> Result<()> {
        match running {
            Running::Nowhere(mut process) => process.kill(),
            Running::Native => {
                let disable = format!("ALTER SUBSCRIPTION {SUBSCRIPTION} DISABLE");
                self.replicated.target.execute(&disable).await?;
                let source = &self.replicated.source;
                let active = format!(
                    "SELECT active FROM pg_replication_slots WHERE slot_name = '{SUBSCRIPTION}'"
                );
                wait::until_true("the subscription to rest", async || {
                    Ok(source.value(&active).await? == "f")
                })
                .await
            }
            Running::Segue(segue) => {
                let code = segue.terminate().await?;
                ensure!(code == 0, "the reconciler did not end well");
                Ok(())
            }
        }
    }

    async fn crew(&self, reader: Reader, running: &Running) -> Result<Crew> {
        let bed = self.bed(reader);
        let slot = match reader {
            Reader::Nowhere => "nowhere".to_owned(),
            Reader::Native => SUBSCRIPTION.to_owned(),
            Reader::Verifying | Reader::Applying => bed.stream(),
        };
        let sender = format!(
            "SELECT active_pid FROM pg_replication_slots \
             WHERE slot_name = '{slot}' AND active_pid IS NOT NULL"
        );
        wait::until("the walsender", async || {
            let source = pids(&bed.source, &sender).await?;
            Ok((!source.is_empty()).then_some(()))
        })
        .await?;
        let mut crew = Crew {
            source: pids(&bed.source, &sender).await?,
            ..Crew::default()
        };
        match running {
            Running::Nowhere(process) => crew.program.push(process.pid()),
            Running::Native => {
                let worker = "SELECT pid FROM pg_stat_subscription WHERE pid IS NOT NULL";
                crew.target = pids(&bed.target, worker).await?;
            }
            Running::Segue(segue) => crew = self.reconciler_crew(crew, segue.pid()).await?,
        }
        ensure!(
            !crew.target.is_empty() || reader == Reader::Nowhere,
            "nobody writes at the target"
        );
        Ok(crew)
    }

    /// The reconciler's processes.
    pub(super) async fn reconciler_crew(&self, mut crew: Crew, pid: u32) -> Result<Crew> {
        let (source, target) = (&self.mirrored.source, &self.mirrored.target);
        let backends = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                        AND backend_type = 'client backend' AND application_name = 'segue reconciler'";
        let senders = "SELECT active_pid FROM pg_replication_slots WHERE active_pid IS NOT NULL \
                       AND database = current_database()";
        crew.program = vec![pid];
        crew.source.extend(pids(source, backends).await?);
        crew.target = pids(target, backends).await?;
        crew.watching = pids(target, senders).await?;
        Ok(crew)
    }

    async fn reach(
        &self,
        client: &Client,
        reader: Reader,
        marks: &[String; 2],
        mark: Mark,
    ) -> Result<()> {
        let [first, last] = marks;
        let (id, lsn) = match mark {
            Mark::First => (1, first),
            Mark::Last => (2, last),
        };
        let sql = match reader {
            Reader::Nowhere => format!(
                "SELECT coalesce(bool_and(sent_lsn >= '{lsn}'), false) FROM pg_stat_replication \
                 JOIN pg_replication_slots ON active_pid = pid WHERE slot_name = 'nowhere'"
            ),
            Reader::Native | Reader::Verifying | Reader::Applying => {
                format!("SELECT at = {} FROM mark WHERE id = {id}", self.pile)
            }
        };
        let deadline = Instant::now() + wait::PATIENCE;
        while first_value(client, &sql).await? != "t" {
            ensure!(Instant::now() < deadline, "{} is stuck", reader.name());
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The figure would be of something else if the mirror had been late, or refused. The reconciler
    /// tells once a second what it has done since it started.
    async fn expect_verified(&self) -> Result<()> {
        let enough = 0.95 * f64::from(self.plan.rows);
        let what = format!("{enough} rows to have been verified");
        wait::until_true(&what, async || {
            let status = self.launch.status().await?;
            let verified = status["rows"]["verified"].as_f64();
            Ok(verified.context("no count of verified rows")? >= enough)
        })
        .await
    }
}

#[derive(Debug, Clone, Copy)]
enum Mark {
    First,
    Last,
}

fn script(shape: Shape, plan: LogPlan) -> String {
    let LogPlan { rows, scale, .. } = plan;
    let (statement, count) = match shape {
        Shape::Single => (
            // Spread over the table, no row twice.
            format!(
                "UPDATE pgbench_accounts SET abalance = abalance + 1 \
                 WHERE aid = 1 + (i::bigint * 7919) % {}",
                scale * 100_000
            ),
            rows,
        ),
        Shape::BulkUpdate => (
            format!(
                "UPDATE pgbench_accounts SET abalance = abalance + 1 \
                 WHERE aid > (i - 1) * {BULK} AND aid <= i * {BULK}"
            ),
            rows / BULK,
        ),
        Shape::BulkInsert => (
            format!(
                "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime, filler) \
                 SELECT 1, 1, n, n, now(), 'something' FROM generate_series(1, {BULK}) AS n"
            ),
            rows / BULK,
        ),
    };
    format!("DO $$ BEGIN FOR i IN 1..{count} LOOP {statement}; COMMIT; END LOOP; END $$")
}

async fn wal_position(client: &Client) -> Result<f64> {
    let sql = "SELECT pg_current_wal_insert_lsn() - '0/0'";
    Ok(first_value(client, sql).await?.parse()?)
}

/// The first column of the first row, on a connection that stays open.
async fn first_value(client: &Client, sql: &str) -> Result<String> {
    let rows = harness::database::rows(client, sql).await?;
    let first = rows.into_iter().next();
    let value = first.and_then(|row| row.into_iter().next()).flatten();
    Ok(value.unwrap_or_default())
}
