//! `segue setup --remove`: takes away everything that Segue has made in both databases.
//!
//! Does not touch a row of the application, and does not end sessions: while the reconciler or a
//! proxy runs, their slots and origins are in use and it says so.

use serde::Serialize;
use tokio_postgres::Client;

use super::APPLICATION_NAME;
use super::progress::{Moment, Unwatched, Watch, tell_waits};
use super::sql::LOCKED_MAX;
use crate::connect::connect;
use crate::dsn::Dsn;
use crate::error::ControlError;
use crate::names::{Names, names};
use crate::side::Side;

/// What was taken away.
#[derive(Debug, Default, Serialize)]
pub struct RemoveReport {
    /// An object each, with its side.
    pub removed: Vec<String>,
}

/// What each side has: slot, published tables, publication, schema.
const STEPS_PER_SIDE: usize = 4;

/// Of both sides, and the target's origins.
const STEPS: usize = 2 * STEPS_PER_SIDE + 1;

/// Takes away slots first: they hold the log back.
pub async fn remove(source: &Dsn, target: &Dsn) -> Result<RemoveReport, ControlError> {
    remove_watched(source, target, &Unwatched).await
}

/// As [`remove`], telling `watch` what it is at.
pub async fn remove_watched(
    source: &Dsn,
    target: &Dsn,
    watch: &dyn Watch,
) -> Result<RemoveReport, ControlError> {
    let names = names(source.database());
    let mut report = RemoveReport::default();
    let client = connect(source, Side::Source, APPLICATION_NAME).await?;
    let other = connect(target, Side::Target, APPLICATION_NAME).await?;
    let mut side = Removal::new(&client, Side::Source, source, watch, &mut report).await?;
    side.remove(&names.slot, &names.publication).await?;
    let mut side = Removal::new(&other, Side::Target, target, watch, &mut report).await?;
    side.begun = STEPS_PER_SIDE;
    side.remove(&names.target_slot, &names.target_publication)
        .await?;
    side.origins(&names).await?;
    Ok(report)
}

struct Removal<'a> {
    client: &'a Client,
    side: Side,
    dsn: &'a Dsn,
    /// The session's, for who keeps it waiting.
    pid: i32,
    watch: &'a dyn Watch,
    /// Steps that have begun.
    begun: usize,
    report: &'a mut RemoveReport,
}

impl<'a> Removal<'a> {
    async fn new(
        client: &'a Client,
        side: Side,
        dsn: &'a Dsn,
        watch: &'a dyn Watch,
        report: &'a mut RemoveReport,
    ) -> Result<Self, ControlError> {
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await;
        let failed = |error| ControlError::query(side, "begin to remove", &error);
        Ok(Self {
            client,
            side,
            dsn,
            pid: pid.map_err(failed)?.get(0),
            watch,
            begun: 0,
            report,
        })
    }

    /// Runs a statement of the step that is under way, telling what it waits for.
    async fn run(&self, doing: String, sql: &str) -> Result<(), ControlError> {
        let moment = Moment {
            step: Some((self.begun, STEPS)),
            ..Moment::of(&doing, self.side)
        };
        self.watch.at(&moment);
        let ran = tokio::select! {
            ran = self.client.batch_execute(sql) => ran,
            never = tell_waits(self.watch, &moment, self.dsn, self.pid) => match never {},
        };
        ran.map_err(|error| ControlError::query(self.side, doing, &error))
    }

    async fn remove(&mut self, slot: &str, publication: &str) -> Result<(), ControlError> {
        self.each(
            "slot",
            &format!("SELECT slot_name::text FROM pg_replication_slots WHERE slot_name = '{slot}'"),
            |name| format!("SELECT pg_drop_replication_slot('{name}')"),
        )
        .await?;
        self.tables(publication).await?;
        self.each(
            "publication",
            &format!("SELECT pubname::text FROM pg_publication WHERE pubname = '{publication}'"),
            |name| format!("DROP PUBLICATION \"{name}\""),
        )
        .await?;
        self.each(
            "schema",
            "SELECT nspname::text FROM pg_namespace WHERE nspname = 'segue' \
             AND obj_description(oid, 'pg_namespace') LIKE 'segue schema version %'",
            |name| format!("DROP SCHEMA {name} CASCADE"),
        )
        .await
    }

    /// Empties the publication in parts: what goes in one transaction is locked in it.
    async fn tables(&mut self, publication: &str) -> Result<(), ControlError> {
        self.begun += 1;
        let sql = format!(
            "SELECT string_agg(format('ONLY %I.%I', nspname, relname), ', ') FROM (
                 SELECT n.nspname, c.relname, row_number() OVER (ORDER BY r.oid) AS place
                 FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
                 JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE p.pubname = '{publication}') listed
             WHERE place > {LOCKED_MAX} GROUP BY place / {LOCKED_MAX}"
        );
        let parts = self.client.query(&sql, &[]).await.map_err(|error| {
            let doing = format!("look what the publication {publication} has");
            ControlError::query(self.side, doing, &error)
        })?;
        for (place, row) in parts.iter().enumerate() {
            let tables: String = row.get(0);
            let sql = format!("ALTER PUBLICATION \"{publication}\" DROP TABLE {tables}");
            let doing = format!(
                "empty the publication {publication}, part {} of {}",
                place + 1,
                parts.len()
            );
            self.run(doing, &sql).await?;
        }
        Ok(())
    }

    async fn origins(&mut self, names: &Names) -> Result<(), ControlError> {
        let prefix = &names.origin_prefix;
        self.each(
            "replication origin",
            &format!(
                "SELECT roname FROM pg_replication_origin \
                 WHERE roname ~ ('^' || '{prefix}' || '[0-9]+$')"
            ),
            |name| format!("SELECT pg_replication_origin_drop('{name}')"),
        )
        .await
    }

    async fn each(
        &mut self,
        what: &str,
        find: &str,
        drop: impl Fn(&str) -> String,
    ) -> Result<(), ControlError> {
        self.begun += 1;
        let side = self.side;
        let rows = self.client.query(find, &[]).await;
        let rows = rows
            .map_err(|error| ControlError::query(side, format!("look for the {what}"), &error))?;
        for row in rows {
            let name: String = row.get(0);
            self.run(format!("remove the {what} {name}"), &drop(&name))
                .await?;
            self.report.removed.push(format!("{side}: {what} {name}"));
        }
        Ok(())
    }
}
