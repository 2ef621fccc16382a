//! The names of the settings: one name each, in the file, the environment and the flags.

/// Something that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Setting {
    /// Connection string of the source. Default: none.
    Source,
    /// Connection string of the target. Default: none; the proxy then only passes through.
    Target,
    /// Addresses where the proxy accepts clients. Default: 127.0.0.1:6432.
    Listen,
    /// `off`, `dry`, `async` or `sync`. Default: `async` where there is a target, else `off`.
    Mirror,
    /// How long a client waits for the target under `mirror = "sync"`. Default: 1s.
    SyncTimeout,
    /// The proxy's worker threads. Default: the cores, at most 4.
    Workers,
    /// Clients of the proxy at one time; more are refused. Default: 1000.
    ClientsMax,
    /// How long clients in a transaction may go on when the proxy is going down. Default: 10s.
    DrainTimeout,
    /// Address of the proxy's metrics and health endpoint. Default: none.
    Metrics,
    /// Address of the reconciler's metrics and health endpoint. Default: none.
    Http,
    /// File with the bearer token that the endpoints ask for. Default: none.
    HttpTokenFile,
    /// Tables to carry, comma-separated. Default: every table with a key.
    Tables,
    /// `text` or `json`. Default: `text`.
    LogFormat,
    /// A level, or levels by part: `info,proxy=debug`. Default: `info`. Reloaded on SIGHUP.
    LogLevel,
}

impl Setting {
    /// All of them, in the order in which problems are reported.
    pub(crate) const ALL: [Self; 14] = [
        Self::Source,
        Self::Target,
        Self::Listen,
        Self::Mirror,
        Self::SyncTimeout,
        Self::Workers,
        Self::ClientsMax,
        Self::DrainTimeout,
        Self::Metrics,
        Self::Http,
        Self::HttpTokenFile,
        Self::Tables,
        Self::LogFormat,
        Self::LogLevel,
    ];

    /// Its name in `segue.toml`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::Listen => "listen",
            Self::Mirror => "mirror",
            Self::SyncTimeout => "sync_timeout",
            Self::Workers => "workers",
            Self::ClientsMax => "clients_max",
            Self::DrainTimeout => "drain_timeout",
            Self::Metrics => "metrics",
            Self::Http => "http",
            Self::HttpTokenFile => "http_token_file",
            Self::Tables => "tables",
            Self::LogFormat => "log_format",
            Self::LogLevel => "log_level",
        }
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
