//! What can be set: for each setting its one name, its default and when a change takes effect.
//!
//! A new setting is a variant, a line in [`Setting::ALL`] and one in [`Setting::facts`]; README's
//! table has a row for each. Does not judge values.

use std::fmt;

/// Something that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Setting {
    /// Connection string of the source.
    Source,
    /// Connection string of the target; without it the proxy only passes through.
    Target,
    /// Addresses where the proxy accepts clients.
    Listen,
    /// `off`, `dry`, `async` or `sync`.
    Mirror,
    /// What single tables ask of the mirror: `schema.table` = `off`, `async` or `sync`.
    MirrorTables,
    /// How long a client waits for the target where the mirror is `sync`.
    SyncTimeout,
    /// How it is answered if that was in vain: `warn` or `continue`.
    SyncPolicy,
    /// How long a write behind a schema change waits for the proxy to read the catalog.
    CatalogWait,
    /// The proxy's worker threads.
    Workers,
    /// Clients of the proxy at one time; more are refused.
    ClientsMax,
    /// How long a client may take to say what it wants.
    StartupTimeout,
    /// How long a client may do nothing between transactions; 0 is for ever.
    ClientIdleTimeout,
    /// How long a client may do nothing in a transaction; 0 is for ever.
    TransactionIdleTimeout,
    /// How long clients in a transaction may go on when the proxy is going down.
    DrainTimeout,
    /// Whether clients may or must encrypt: `off`, `allow` or `require`.
    ClientTls,
    /// The proxy's certificate for its clients.
    ClientTlsCert,
    /// That certificate's private key.
    ClientTlsKey,
    /// Who has to have signed the clients' own certificates.
    ClientTlsCa,
    /// How long `PAUSE` at the admin console waits for sessions in a transaction.
    PauseTimeout,
    /// Name of the admin console's database; empty: there is none.
    AdminDatabase,
    /// Roles that may use the admin console, comma-separated.
    AdminUsers,
    /// What asks the source for the SCRAM secret of a role.
    AuthQuery,
    /// File with SCRAM secrets of roles.
    AuthFile,
    /// Address of the proxy's metrics and health endpoint.
    Metrics,
    /// Address of the reconciler's metrics and health endpoint.
    Http,
    /// File with the bearer token that the endpoints ask for.
    HttpTokenFile,
    /// Whether the reconciler repairs what differs: `on` or `dry`.
    Repair,
    /// How many rows of one table it repairs in a stretch of time.
    MaxRepairs,
    /// How long the past is kept.
    Retention,
    /// Where large transactions wait for their commit.
    SpoolDir,
    /// Tables to carry, comma-separated.
    Tables,
    /// `text` or `json`.
    LogFormat,
    /// A level, or levels by part: `info,proxy=debug`.
    LogLevel,
}

/// When a change of a setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// At once, for all that goes on.
    AtOnce,
    /// For clients that connect after it.
    NewClients,
    /// At the next start.
    Restart,
}

impl Change {
    /// Whether a running process can take it.
    pub(crate) const fn is_live(self) -> bool {
        match self {
            Self::AtOnce | Self::NewClients => true,
            Self::Restart => false,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtOnce => "at once",
            Self::NewClients => "new clients",
            Self::Restart => "restart",
        })
    }
}

/// What is known of a setting before anybody sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Its name in `segue.toml`.
    pub(crate) name: &'static str,
    /// Its default: a value as it would be written, with its unit, or in words what it depends on.
    pub(crate) default: &'static str,
    /// When a change takes effect.
    pub(crate) change: Change,
}

const fn facts(name: &'static str, default: &'static str, change: Change) -> Facts {
    Facts {
        name,
        default,
        change,
    }
}

impl Setting {
    /// All of them, in the order in which problems are reported.
    pub(crate) const ALL: [Self; 33] = [
        Self::Source,
        Self::Target,
        Self::Listen,
        Self::Mirror,
        Self::MirrorTables,
        Self::SyncTimeout,
        Self::SyncPolicy,
        Self::CatalogWait,
        Self::Workers,
        Self::ClientsMax,
        Self::StartupTimeout,
        Self::ClientIdleTimeout,
        Self::TransactionIdleTimeout,
        Self::DrainTimeout,
        Self::ClientTls,
        Self::ClientTlsCert,
        Self::ClientTlsKey,
        Self::ClientTlsCa,
        Self::PauseTimeout,
        Self::AdminDatabase,
        Self::AdminUsers,
        Self::AuthQuery,
        Self::AuthFile,
        Self::Metrics,
        Self::Http,
        Self::HttpTokenFile,
        Self::Repair,
        Self::MaxRepairs,
        Self::Retention,
        Self::SpoolDir,
        Self::Tables,
        Self::LogFormat,
        Self::LogLevel,
    ];

    /// Name, default and effect.
    pub(crate) const fn facts(self) -> Facts {
        use Change::{AtOnce, NewClients, Restart};
        match self {
            Self::Source => facts("source", "none", Restart),
            Self::Target => facts("target", "none", Restart),
            // Beside 5432, and what connection poolers use.
            Self::Listen => facts("listen", "127.0.0.1:6432", Restart),
            Self::Mirror => facts("mirror", "async with a target, else off", Restart),
            Self::MirrorTables => facts("mirror_tables", "none", AtOnce),
            // Enough for a target across a continent; a client should not wait longer for a mirror.
            Self::SyncTimeout => facts("sync_timeout", "1s", NewClients),
            // What PostgreSQL does when it no longer waits for a standby.
            Self::SyncPolicy => facts("sync_policy", "warn", NewClients),
            Self::CatalogWait => facts("catalog_wait", "0s", Restart),
            Self::Workers => facts("workers", "the cores, at most 4", Restart),
            // Ten times what PostgreSQL itself admits by default.
            Self::ClientsMax => facts("clients_max", "1000", NewClients),
            // As long as PostgreSQL's authentication_timeout.
            Self::StartupTimeout => facts("startup_timeout", "1min", NewClients),
            // As PostgreSQL's own limits: the application has to be known to bear it.
            Self::ClientIdleTimeout => facts("client_idle_timeout", "0s", NewClients),
            Self::TransactionIdleTimeout => facts("transaction_idle_timeout", "0s", NewClients),
            // Longer than the transactions of a web application, shorter than an orchestrator's
            // patience.
            Self::DrainTimeout => facts("drain_timeout", "10s", AtOnce),
            Self::ClientTls => facts(
                "client_tls",
                "allow with a certificate, else off",
                NewClients,
            ),
            Self::ClientTlsCert => facts("client_tls_cert", "none", NewClients),
            Self::ClientTlsKey => facts("client_tls_key", "none", NewClients),
            Self::ClientTlsCa => facts("client_tls_ca", "none", NewClients),
            // As drain_timeout: the same transactions are waited for.
            Self::PauseTimeout => facts("pause_timeout", "10s", AtOnce),
            Self::AdminDatabase => facts("admin_database", "segue", NewClients),
            Self::AdminUsers => facts("admin_users", "none", NewClients),
            Self::AuthQuery => facts("auth_query", "pg_authid", NewClients),
            Self::AuthFile => facts("auth_file", "none", NewClients),
            Self::Metrics => facts("metrics", "none", Restart),
            Self::Http => facts("http", "none", Restart),
            Self::HttpTokenFile => facts("http_token_file", "none", Restart),
            Self::Repair => facts("repair", "on", Restart),
            // A slip of somebody's hand is put right by itself; a table that differs everywhere is
            // for a person to look at first.
            Self::MaxRepairs => facts("max_repairs", "1000/1h", Restart),
            // Longer than a migration is looked back on.
            Self::Retention => facts("retention", "90d", Restart),
            Self::SpoolDir => facts("spool_dir", "the system's temporary directory", Restart),
            Self::Tables => facts("tables", "every table with a key", Restart),
            Self::LogFormat => facts("log_format", "text", Restart),
            Self::LogLevel => facts("log_level", "info", AtOnce),
        }
    }

    /// Its name in `segue.toml`.
    pub(crate) const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Its name in the environment.
    pub(crate) fn variable(self) -> String {
        format!("SEGUE_{}", self.name().to_uppercase())
    }

    /// Its name on the command line.
    pub(crate) fn flag(self) -> String {
        if self == Self::Tables {
            return "--table".to_owned();
        }
        format!("--{}", self.name().replace('_', "-"))
    }

    /// The setting with this name in `segue.toml`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name() == name)
    }
}
