//! A streaming standby of a server, and what a failover to it looks like to everybody else: the old
//! primary is dead, and the standby takes its port.
//!
//! Does not do what a cluster manager does: nobody decides here, tests do.

use anyhow::{Result, ensure};

use crate::{
    account::Account,
    server::{Server, ServerOptions},
    wait,
};

/// The physical slot that the standby reads from.
const STANDBY_SLOT: &str = "standby";

impl Server {
    /// Stops the server for as long as it takes to copy it, and starts the copy as a streaming
    /// standby.
    pub async fn standby(&mut self, settings: &[&str]) -> Result<Self> {
        let slot = format!("SELECT pg_create_physical_replication_slot('{STANDBY_SLOT}')");
        self.database("postgres").execute(&slot).await?;
        let mut options: ServerOptions = self.options.clone();
        let own = settings.iter().map(|&setting| setting.to_owned());
        options.settings.extend(own);
        options.settings.push(format!(
            "primary_conninfo=host=127.0.0.1 port={} user=postgres dbname=postgres",
            self.port()
        ));
        options
            .settings
            .push(format!("primary_slot_name={STANDBY_SLOT}"));
        let mut standby = Self::in_new_directory(self.installation.clone(), options)?;
        self.stop().await?;
        let status = Account::for_servers()?
            .command("cp")
            .arg("-a")
            .args([self.data(), standby.data()])
            .status()?;
        ensure!(status.success(), "could not copy the server");
        // As pg_basebackup does it: slots are no part of a copy.
        for slot in std::fs::read_dir(standby.data().join("pg_replslot"))? {
            std::fs::remove_dir_all(slot?.path())?;
        }
        standby.stand_by()?;
        self.run().await?;
        standby.run_somewhere().await?;
        Ok(standby)
    }

    /// Waits until `standby` has everything that this server has written.
    pub async fn replicated(&self) -> Result<()> {
        let sql = format!(
            "SELECT restart_lsn >= pg_current_wal_lsn() FROM pg_replication_slots \
             WHERE slot_name = '{STANDBY_SLOT}'"
        );
        let database = self.database("postgres");
        wait::until_true("the standby to have everything", async || {
            Ok(database.value(&sql).await? == "t")
        })
        .await
    }

    /// The primary dies, and this standby takes its place with what it has, under its port.
    pub async fn takes_over(&mut self, primary: &mut Self) -> Result<()> {
        primary.kill()?;
        // Also what is on its way in a socket is lost.
        self.kill()?;
        self.port = primary.port();
        self.options.settings.push("primary_conninfo=".to_owned());
        self.run().await?;
        let database = self.database("postgres");
        database.execute("SELECT pg_promote()").await?;
        wait::until_true("the standby to be promoted", async || {
            Ok(database.value("SELECT pg_is_in_recovery()").await? == "f")
        })
        .await
    }
}
