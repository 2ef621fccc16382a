//! The settings in force while the process runs, and their change: on SIGHUP and by the admin console.
//!
//! One lock, held while a change is made, so that changes come one after the other. What only a
//! restart can change stays as it was, and is named. Does not judge values: `config` does.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use proxy::admin::{ChangeError, Changes, Configuration, SettingRow};
use proxy::settings::SettingsSender;

use super::logging::Levels;
use crate::config::{Needs, Setting, Settings, Sources};
use crate::exit::Failure;

/// The settings in force.
#[derive(Debug)]
pub(crate) struct Live {
    needs: Needs,
    state: Mutex<State>,
    proxy: SettingsSender,
    levels: OnceLock<Levels>,
}

/// What the lock protects.
#[derive(Debug)]
struct State {
    sources: Sources,
    /// What the process was started with: in force for everything that needs a restart.
    started: Settings,
    /// In force for everything else.
    current: Settings,
}

/// What a change came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Settings that are other ones now: with the value before and the value now.
    pub(crate) now: Vec<(Setting, String, String)>,
    /// Settings whose other value waits for a restart.
    pub(crate) at_restart: Vec<Setting>,
}

impl Live {
    /// Puts `settings`, as read from `sources`, in force. The proxy follows what is returned.
    pub(crate) fn new(
        sources: Sources,
        needs: Needs,
        settings: Settings,
    ) -> (Arc<Self>, proxy::Live) {
        let (proxy, settings_of_proxy) = proxy::settings::live(settings.of_proxy());
        let state = Mutex::new(State {
            sources,
            started: settings.clone(),
            current: settings,
        });
        let live = Arc::new(Self {
            needs,
            state,
            proxy,
            levels: OnceLock::new(),
        });
        let configuration = Arc::clone(&live);
        let of_proxy = proxy::Live {
            settings: settings_of_proxy,
            configuration,
        };
        (live, of_proxy)
    }

    /// What `log_level` is put in force with, once there is a log.
    pub(super) fn log_with(&self, levels: Levels) {
        drop(self.levels.set(levels));
    }

    /// Reads the configuration again. What the console had set is forgotten: the file says again
    /// what is in force.
    pub(crate) fn reload(&self) -> Result<Changed, Failure> {
        let mut state = self.state.lock();
        let sources = Sources {
            set: Vec::new(),
            ..state.sources.clone()
        };
        self.follow(&mut state, sources)
    }

    /// As [`Live::reload`], and says in the log what came of it.
    pub(super) fn reload_aloud(&self) {
        match self.reload() {
            Ok(_) => (),
            Err(failure) => tracing::error!(
                "the configuration has been left as it was: {}",
                failure.message
            ),
        }
    }

    fn follow(&self, state: &mut State, sources: Sources) -> Result<Changed, Failure> {
        let settings = Settings::read(&sources, self.needs)?;
        let changed = Changed::between(state, &settings);
        self.proxy.replace(settings.of_proxy());
        if let Some(levels) = self.levels.get() {
            levels.set(&settings.log_level);
        }
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        state.sources = sources;
        state.current = settings;
        changed.log();
        Ok(changed)
    }
}

impl Configuration for Live {
    fn settings(&self) -> Vec<SettingRow> {
        let state = self.state.lock();
        let row = |setting: Setting| {
            let facts = setting.facts();
            let settings = if facts.change.is_live() {
                &state.current
            } else {
                &state.started
            };
            SettingRow {
                name: facts.name,
                value: settings.text(setting),
                default: facts.default,
                change: facts.change.to_string(),
                origin: settings.origin_text(setting),
            }
        };
        Setting::ALL.map(row).to_vec()
    }

    fn set(&self, name: &str, value: &str) -> Result<Changes, ChangeError> {
        let setting = Setting::named(name).ok_or_else(|| ChangeError::Unknown {
            name: name.to_owned(),
        })?;
        if !setting.facts().change.is_live() {
            return Err(ChangeError::NeedsRestart {
                name: setting.name(),
            });
        }
        let mut state = self.state.lock();
        let mut sources = state.sources.clone();
        sources.set.retain(|(set, _)| *set != setting);
        sources.set.push((setting, value.to_owned()));
        let changed = self.follow(&mut state, sources);
        changed.map(Changes::from).map_err(refused)
    }

    fn reload(&self) -> Result<Changes, ChangeError> {
        Self::reload(self).map(Changes::from).map_err(refused)
    }
}

fn refused(failure: Failure) -> ChangeError {
    ChangeError::Refused {
        problem: failure.message,
    }
}

impl From<Changed> for Changes {
    fn from(changed: Changed) -> Self {
        let now = changed.now.iter().map(in_force);
        let at_restart = changed.at_restart.iter().map(|it| waiting(*it));
        Self {
            now: now.collect(),
            at_restart: at_restart.collect(),
        }
    }
}

fn in_force((setting, before, now): &(Setting, String, String)) -> String {
    format!("{} is {now}, was {before}", setting.name())
}

fn waiting(setting: Setting) -> String {
    format!(
        "{} has changed, which takes effect at the next start",
        setting.name()
    )
}

impl Changed {
    fn between(state: &State, settings: &Settings) -> Self {
        let mut changed = Self::default();
        for setting in Setting::ALL {
            if !setting.facts().change.is_live() {
                if settings.differs(&state.started, setting) {
                    changed.at_restart.push(setting);
                }
            } else if settings.differs(&state.current, setting) {
                let (before, now) = (state.current.text(setting), settings.text(setting));
                changed.now.push((setting, before, now));
            }
        }
        changed
    }

    /// One line for each setting.
    fn log(&self) {
        for change in &self.now {
            tracing::info!("{}", in_force(change));
        }
        for setting in &self.at_restart {
            tracing::warn!("{}", waiting(*setting));
        }
        if self.now.is_empty() && self.at_restart.is_empty() {
            tracing::info!("read the configuration again: nothing has changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: (&str, &str) = ("SEGUE_SOURCE", "postgres://al@old/shop");

    fn live(file: &std::path::Path) -> (Arc<Live>, proxy::Live) {
        let sources = Sources {
            file: Some(file.to_owned()),
            environment: [SOURCE].into(),
            ..Sources::default()
        };
        let settings = Settings::read(&sources, Needs::Source).unwrap();
        Live::new(sources, Needs::Source, settings)
    }

    #[test]
    fn a_reload_names_what_changed_and_what_needs_a_restart() {
        let path = std::env::temp_dir().join(format!("segue-live-{}", std::process::id()));
        std::fs::write(&path, "clients_max = 5\nworkers = 1\n").unwrap();
        let (live, proxy) = live(&path);
        std::fs::write(&path, "clients_max = 6\nworkers = 2\n").unwrap();
        let changed = live.reload().unwrap();
        let now = vec![(Setting::ClientsMax, "5".to_owned(), "6".to_owned())];
        assert_eq!(changed.now, now);
        assert_eq!(changed.at_restart, [Setting::Workers]);
        assert_eq!(proxy.settings.current().clients_max, 6);
        let again = live.reload().unwrap();
        assert_eq!(again.now, []);
        assert_eq!(again.at_restart, [Setting::Workers], "it still waits");

        std::fs::write(&path, "clients_max = 0\n").unwrap();
        assert!(live.reload().is_err());
        assert_eq!(proxy.settings.current().clients_max, 6);
        std::fs::remove_file(path).unwrap();
    }
}
