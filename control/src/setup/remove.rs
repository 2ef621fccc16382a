//! `segue setup --remove`: takes away everything that Segue has made in both databases.
//!
//! Does not touch a row of the application, and does not end sessions: while the reconciler or a
//! proxy runs, their slots and origins are in use and it says so.

use serde::Serialize;
use tokio_postgres::Client;

use super::APPLICATION_NAME;
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

/// Takes away slots first: they hold the log back.
pub async fn remove(source: &Dsn, target: &Dsn) -> Result<RemoveReport, ControlError> {
    let names = names(source.database());
    let mut report = RemoveReport::default();
    let client = connect(source, Side::Source, APPLICATION_NAME).await?;
    let other = connect(target, Side::Target, APPLICATION_NAME).await?;
    let mut side = Removal::new(&client, Side::Source, &mut report);
    side.remove(&names.slot, &names.publication).await?;
    let mut side = Removal::new(&other, Side::Target, &mut report);
    side.remove(&names.target_slot, &names.target_publication)
        .await?;
    side.origins(&names).await?;
    Ok(report)
}

struct Removal<'a> {
    client: &'a Client,
    side: Side,
    report: &'a mut RemoveReport,
}

impl<'a> Removal<'a> {
    const fn new(client: &'a Client, side: Side, report: &'a mut RemoveReport) -> Self {
        Self {
            client,
            side,
            report,
        }
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
    async fn tables(&self, publication: &str) -> Result<(), ControlError> {
        let sql = format!(
            "SELECT string_agg(format('ONLY %I.%I', nspname, relname), ', ') FROM (
                 SELECT n.nspname, c.relname, row_number() OVER (ORDER BY r.oid) AS place
                 FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
                 JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE p.pubname = '{publication}') listed
             WHERE place > {LOCKED_MAX} GROUP BY place / {LOCKED_MAX}"
        );
        let failed = |error| {
            ControlError::query(
                self.side,
                format!("empty the publication {publication}"),
                &error,
            )
        };
        for row in self.client.query(&sql, &[]).await.map_err(failed)? {
            let tables: String = row.get(0);
            let sql = format!("ALTER PUBLICATION \"{publication}\" DROP TABLE {tables}");
            self.client.batch_execute(&sql).await.map_err(failed)?;
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
        let side = self.side;
        let failed = |doing: String| {
            move |error: tokio_postgres::Error| ControlError::query(side, doing, &error)
        };
        let rows = self.client.query(find, &[]).await;
        for row in rows.map_err(failed(format!("look for the {what}")))? {
            let name: String = row.get(0);
            let dropped = self.client.batch_execute(&drop(&name)).await;
            dropped.map_err(failed(format!("remove the {what} {name}")))?;
            self.report.removed.push(format!("{side}: {what} {name}"));
        }
        Ok(())
    }
}
