//! What the serving commands share: flags, and the parts that they are made of.

use clap::Args;

use crate::config::{Setting, Settings};
use crate::exit::Failure;
use crate::serve::{Announce, Loss, Part};

/// The proxy's flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings of the proxy")]
pub(super) struct ProxyFlags {
    /// Where clients connect, comma-separated: IP:PORT, or a directory for a Unix-domain socket
    /// such as /run/segue or /run/segue:6432 [default: 127.0.0.1:6432]
    #[arg(long, value_name = "ADDR[,ADDR]")]
    listen: Option<String>,
    /// off, dry (capture and count, send nothing), async, or sync (the client waits for the
    /// target) [default: async where there is a target, else off]
    #[arg(long, value_name = "MODE")]
    mirror: Option<String>,
    /// What single tables ask of the mirror, before what the proxy does: off, async or sync, such
    /// as public.audit=off,public.payment=sync; a session's own choice (SET segue.mirror) comes
    /// before both [default: none]
    #[arg(long, value_name = "SCHEMA.TABLE=MODE,...")]
    mirror_tables: Option<String>,
    /// How long a client waits for the target under sync [default: 1s]
    #[arg(long, value_name = "DURATION")]
    sync_timeout: Option<String>,
    /// How it is answered if that was in vain: warn (with a WARNING) or continue (as if it had not
    /// been); never with an error, since the source has committed [default: warn]
    #[arg(long, value_name = "POLICY")]
    sync_policy: Option<String>,
    /// How long a write behind a schema change waits until the proxy has read the catalog again;
    /// else it is left to the log [default: 0s]
    #[arg(long, value_name = "DURATION")]
    catalog_wait: Option<String>,
    /// Worker threads [default: the cores, at most 4]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Clients at one time; more are refused [default: 1000]
    #[arg(long, value_name = "N")]
    clients_max: Option<String>,
    /// How long a client may take to send its startup packet [default: 1min]
    #[arg(long, value_name = "DURATION")]
    startup_timeout: Option<String>,
    /// How long a client may do nothing between transactions; 0s is for ever [default: 0s]
    #[arg(long, value_name = "DURATION")]
    client_idle_timeout: Option<String>,
    /// How long a client may do nothing in a transaction; 0s is for ever [default: 0s]
    #[arg(long, value_name = "DURATION")]
    transaction_idle_timeout: Option<String>,
    /// How long clients in a transaction may go on at the end [default: 10s]
    #[arg(long, value_name = "DURATION")]
    drain_timeout: Option<String>,
    /// Whether clients may or must encrypt: off, allow or require [default: allow with a
    /// certificate, else off]
    #[arg(long, value_name = "MODE")]
    client_tls: Option<String>,
    /// The proxy's certificate for its clients, in PEM, with those that lead to its authority
    #[arg(long, value_name = "FILE")]
    client_tls_cert: Option<String>,
    /// That certificate's private key, in PEM, readable by nobody else
    #[arg(long, value_name = "FILE")]
    client_tls_key: Option<String>,
    /// Ask clients for a certificate that an authority in this file has signed
    #[arg(long, value_name = "FILE")]
    client_tls_ca: Option<String>,
    /// How long PAUSE waits for sessions in a transaction [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pause_timeout: Option<String>,
    /// Name of the admin console's database; empty for none [default: segue]
    #[arg(long, value_name = "NAME")]
    admin_database: Option<String>,
    /// Roles that may use the admin console, comma-separated, having authenticated at the source
    /// [default: whoever is on this machine, without a password]
    #[arg(long, value_name = "ROLE[,ROLE]")]
    admin_users: Option<String>,
    /// What asks the source for a role's SCRAM secret: `pg_authid`, off, or a query with the role's
    /// name as $1 [default: `pg_authid`]
    #[arg(long, value_name = "SQL")]
    auth_query: Option<String>,
    /// File with lines of "role" "SCRAM-SHA-256$…", looked into before the source is asked
    #[arg(long, value_name = "FILE")]
    auth_file: Option<String>,
    /// Serve /metrics, /healthz, /readyz, /status and /report there [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
}

impl ProxyFlags {
    pub(super) fn settings(self) -> [(Setting, Option<String>); 22] {
        [
            (Setting::Listen, self.listen),
            (Setting::Mirror, self.mirror),
            (Setting::MirrorTables, self.mirror_tables),
            (Setting::SyncTimeout, self.sync_timeout),
            (Setting::SyncPolicy, self.sync_policy),
            (Setting::CatalogWait, self.catalog_wait),
            (Setting::Workers, self.workers),
            (Setting::ClientsMax, self.clients_max),
            (Setting::StartupTimeout, self.startup_timeout),
            (Setting::ClientIdleTimeout, self.client_idle_timeout),
            (
                Setting::TransactionIdleTimeout,
                self.transaction_idle_timeout,
            ),
            (Setting::DrainTimeout, self.drain_timeout),
            (Setting::ClientTls, self.client_tls),
            (Setting::ClientTlsCert, self.client_tls_cert),
            (Setting::ClientTlsKey, self.client_tls_key),
            (Setting::ClientTlsCa, self.client_tls_ca),
            (Setting::PauseTimeout, self.pause_timeout),
            (Setting::AdminDatabase, self.admin_database),
            (Setting::AdminUsers, self.admin_users),
            (Setting::AuthQuery, self.auth_query),
            (Setting::AuthFile, self.auth_file),
            (Setting::Metrics, self.metrics),
        ]
    }
}

/// The reconciler's flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings of the reconciler")]
pub(super) struct ReconcilerFlags {
    /// Serve /metrics, /healthz, /readyz, /status and /report there [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Whether differences are repaired: on, or dry (they are only reported, with what a repair
    /// would write) [default: on]
    #[arg(long, value_name = "MODE")]
    repair: Option<String>,
    /// How many rows of one table are repaired in a stretch of time, such as 1000/1h; past it the
    /// table's repairs stop until `segue repair resume`; unlimited for no bound [default: 1000/1h]
    #[arg(long, value_name = "N/DURATION")]
    max_repairs: Option<String>,
    /// How long divergences that are over, their journal, and events are kept [default: 90d]
    #[arg(long, value_name = "DURATION")]
    retention: Option<String>,
    /// Where large transactions wait for their commit: on a disk with room for as much as the
    /// source's running transactions write [default: the system's temporary directory]
    #[arg(long, value_name = "DIRECTORY")]
    spool_dir: Option<String>,
}

impl ReconcilerFlags {
    pub(super) fn settings(self) -> [(Setting, Option<String>); 5] {
        [
            (Setting::Http, self.http),
            (Setting::Repair, self.repair),
            (Setting::MaxRepairs, self.max_repairs),
            (Setting::Retention, self.retention),
            (Setting::SpoolDir, self.spool_dir),
        ]
    }
}

/// What both endpoints need.
#[derive(Debug, Args)]
pub(super) struct EndpointFlags {
    /// File with the bearer token that the endpoints ask for; needed where other machines can
    /// reach them [default: none]
    #[arg(long, value_name = "FILE")]
    http_token_file: Option<String>,
}

impl EndpointFlags {
    pub(super) fn settings(self) -> [(Setting, Option<String>); 1] {
        [(Setting::HttpTokenFile, self.http_token_file)]
    }
}

/// The proxy as a part of this process, under settings that may change.
pub(super) fn proxy_part(settings: &Settings, live: proxy::Live) -> Result<Part, Failure> {
    let config = proxy::Config {
        listen: settings.listen.clone(),
        target: settings.target.clone(),
        mirror: settings.mirror,
        catalog_wait: settings.catalog_wait,
        workers: settings.workers,
        ..proxy::Config::new(settings.source()?.clone())
    };
    Ok(Part::new(
        "proxy",
        Loss::EndsAll,
        async move |stopping, announce: Announce| {
            let ready = |places: Vec<String>| {
                announce(&format!("segue proxy ready on {}", places.join(",")));
            };
            proxy::run(config, live, stopping, ready)
                .await
                .map_err(|error| Failure::with_code(&error, error.exit_code()))
        },
    ))
}

/// The reconciler as a part of this process.
pub(super) fn reconciler_part(settings: &Settings, loss: Loss) -> Result<Part, Failure> {
    let config = reconciler::Config {
        source: settings.source()?.clone(),
        target: settings.target()?.clone(),
        repair: settings.repair,
        max_repairs: settings.max_repairs,
        retention: settings.retention,
        spool_directory: settings.spool_dir.clone(),
    };
    Ok(Part::new(
        "reconciler",
        loss,
        async move |stopping, announce: Announce| {
            let ready = || announce("segue reconciler ready");
            reconciler::run(config, stopping, ready)
                .await
                .map_err(|error| Failure::with_code(&error, error.exit_code()))
        },
    ))
}
