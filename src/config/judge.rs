//! Turning the layers' texts into settings, with everything that is wrong with them.
//!
//! Does not stop at the first problem: all are told at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use control::dsn::{Defaults, Dsn, Password};
use control::server::Route;
use proxy::MirrorMode;
use proxy::settings::{IdleLimits, SyncSettings};

use super::layers::{Environment, Given, Layers, Origin, Place};
use super::setting::Setting;
use super::values::{
    address, addresses, admin_database, clients, default_workers, directory, duration, list,
    log_level, max_repairs, mirror, mirror_tables, repair, retention, roles, sync_policy, workers,
};
use super::{Needs, Settings, missing_text};

/// Turns texts into values and gathers what is wrong with them.
pub(super) struct Judge {
    pub(super) layers: Layers,
    defaults: Defaults,
    /// The system's temporary directory.
    temporary: PathBuf,
}

impl Judge {
    pub(super) fn new(layers: Layers, environment: &Environment) -> Self {
        let home = environment.value("HOME");
        let defaults = Defaults {
            user: environment
                .value("PGUSER")
                .or_else(|| environment.value("USER"))
                .map(str::to_owned),
            password: environment.value("PGPASSWORD").map(Password::new),
            passfile: environment
                .value("PGPASSFILE")
                .map(PathBuf::from)
                .or_else(|| home.map(|home| Path::new(home).join(".pgpass"))),
            certificates: home.map(|home| Path::new(home).join(".postgresql")),
            keywords: Defaults::VARIABLES
                .into_iter()
                .filter_map(|(name, keyword)| Some((keyword, environment.value(name)?.to_owned())))
                .collect(),
        };
        let temporary = environment.value("TMPDIR").unwrap_or("/tmp").into();
        Self {
            layers,
            defaults,
            temporary,
        }
    }

    pub(super) fn settings(&mut self, needs: Needs) -> Settings {
        let source = self.dsn(Setting::Source, needs.source());
        let target = self.dsn(Setting::Target, needs.target());
        let http_token = self.http_token();
        let settings = Settings {
            listen: self.or_default(Setting::Listen, addresses),
            mirror: self.mirror(),
            mirror_tables: self
                .value(Setting::MirrorTables, mirror_tables)
                .unwrap_or_default(),
            sync: SyncSettings {
                timeout: self.or_default(Setting::SyncTimeout, duration),
                policy: self.or_default(Setting::SyncPolicy, sync_policy),
            },
            catalog_wait: self.or_default(Setting::CatalogWait, duration),
            workers: self
                .value(Setting::Workers, workers)
                .unwrap_or_else(default_workers),
            clients_max: self.or_default(Setting::ClientsMax, clients),
            startup_timeout: self.or_default(Setting::StartupTimeout, duration),
            idle: IdleLimits {
                session: self.or_default(Setting::ClientIdleTimeout, duration),
                transaction: self.or_default(Setting::TransactionIdleTimeout, duration),
            },
            drain_timeout: self.or_default(Setting::DrainTimeout, duration),
            client_tls: self.client_tls(),
            pause_timeout: self.or_default(Setting::PauseTimeout, duration),
            admin_database: self.or_default(Setting::AdminDatabase, admin_database),
            admin_users: self.value(Setting::AdminUsers, roles).unwrap_or_default(),
            authentication: self.authentication(),
            metrics: self.endpoint(Setting::Metrics, http_token.is_some()),
            http: self.endpoint(Setting::Http, http_token.is_some()),
            repair: self.or_default(Setting::Repair, repair),
            max_repairs: self.or_default(Setting::MaxRepairs, max_repairs),
            retention: self.or_default(Setting::Retention, retention),
            spool_dir: self
                .value(Setting::SpoolDir, directory)
                .unwrap_or_else(|| self.temporary.clone()),
            tables: self.value(Setting::Tables, list).unwrap_or_default(),
            log_format: self.or_default(Setting::LogFormat, str::parse),
            log_level: self.or_default(Setting::LogLevel, log_level),
            file: self.layers.file.clone(),
            warnings: Vec::new(),
            given: BTreeMap::new(),
            http_token,
            source,
            target,
        };
        Settings {
            warnings: std::mem::take(&mut self.layers.warnings),
            given: self.given(),
            ..settings
        }
    }

    /// What was given, without the texts that may hold a password.
    fn given(&mut self) -> BTreeMap<Setting, Given> {
        let mut given = std::mem::take(&mut self.layers.given);
        for setting in [Setting::Source, Setting::Target] {
            if let Some(given) = given.get_mut(&setting) {
                given.value.clear();
            }
        }
        given
    }

    /// A setting's value; a problem with it is kept with the name of the place that gave it.
    pub(super) fn value<T>(
        &mut self,
        setting: Setting,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Given { value, origin } = self.layers.get(setting)?.clone();
        match parse(value.trim()) {
            Ok(parsed) => Some(parsed),
            Err(problem) => {
                let place = Place(setting, &origin);
                self.layers
                    .problems
                    .push(format!("{place}: {value:?} {problem}"));
                None
            }
        }
    }

    /// As [`Judge::value`], or the default, which a test parses for every setting that has one.
    pub(super) fn or_default<T>(
        &mut self,
        setting: Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let given = self.value(setting, &parse);
        given.unwrap_or_else(|| {
            parse(setting.facts().default).expect("the default of a setting is one of its values")
        })
    }

    /// The value itself never appears in a message: it may hold a password.
    fn dsn(&mut self, setting: Setting, needed: bool) -> Option<Dsn> {
        let Some(Given { value, origin }) = self.layers.get(setting).cloned() else {
            if needed {
                self.layers.problems.push(missing_text(setting));
            }
            return None;
        };
        let place = Place(setting, &origin);
        match Dsn::parse(&value, &self.defaults) {
            Ok(dsn) => {
                // Certificates and keys that it names are read now, so that all problems are told
                // at once; those who connect read them again.
                if let Err(fault) = Route::new(&dsn) {
                    self.layers.problems.push(format!("{place}: {fault}"));
                }
                if dsn.password_in_text() && origin == Origin::Flag {
                    self.layers.warnings.push(format!(
                        "{place} holds a password, which other users of this machine can read; \
                         use PGPASSWORD, ~/.pgpass or {} instead",
                        setting.variable()
                    ));
                }
                let said = dsn.warnings().iter();
                self.layers
                    .warnings
                    .extend(said.map(|warning| format!("{place}: {warning}")));
                Some(dsn)
            }
            Err(error) => {
                self.layers.problems.push(format!("{place}: {error}"));
                None
            }
        }
    }

    /// Judged by whether a target was named, not by whether its string could be read: one mistake
    /// should not be reported twice.
    fn mirror(&mut self) -> MirrorMode {
        let has_target = self.layers.get(Setting::Target).is_some();
        let given = self.value(Setting::Mirror, |text| {
            let mirror = mirror(text)?;
            if matches!(mirror, MirrorMode::Async | MirrorMode::Sync) && !has_target {
                return Err("needs a target; dry and off do not".to_owned());
            }
            Ok(mirror)
        });
        given.unwrap_or(if has_target {
            MirrorMode::Async
        } else {
            MirrorMode::Off
        })
    }

    fn http_token(&mut self) -> Option<Password> {
        self.value(Setting::HttpTokenFile, |path| {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot be read: {error}"))?;
            match text.trim() {
                "" => Err("holds no token".to_owned()),
                token => Ok(Password::new(token)),
            }
        })
    }

    /// An endpoint shows rows' keys, so strangers must not reach it unasked.
    fn endpoint(&mut self, setting: Setting, has_token: bool) -> Option<SocketAddr> {
        let has_token = has_token || self.layers.get(Setting::HttpTokenFile).is_some();
        self.value(setting, |text| {
            let address = address(text)?;
            if address.ip().is_loopback() || has_token {
                return Ok(address);
            }
            Err(format!(
                "is open to other machines; use 127.0.0.1:{}, or set {} so that only holders of \
                 the token are answered",
                address.port(),
                Setting::HttpTokenFile.name()
            ))
        })
    }
}
