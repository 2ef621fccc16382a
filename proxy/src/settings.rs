//! The part of a proxy's configuration that may change while it runs, and how it reaches the threads.
//!
//! Connections take the settings of the moment when they begin ([`LiveSettings::current`]); what
//! has to follow a change at once asks again. Does not read files: the binary judges new values
//! and hands them in whole, on SIGHUP and for the admin console.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use protocol::decide::statement::MirrorChoice;

use tokio::sync::watch;

use crate::authentication::settings::AuthenticationSettings;
use crate::tls::ClientTls;

/// What may change while the proxy runs. What needs a restart is in [`crate::Config`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How acknowledgements wait for the target. New clients.
    pub sync: SyncSettings,
    /// What single tables ask of the mirror, by `schema.table`; a session's own choice comes first,
    /// but a table that is off stays off. Default: what the proxy does. At once.
    pub mirror_tables: BTreeMap<String, MirrorChoice>,
    /// Clients at one time; more are refused as PostgreSQL does it. Default 1000. New clients.
    pub clients_max: usize,
    /// From a client's connection to the end of its startup packet. Default 60 s, as
    /// `authentication_timeout`, which governs what follows. New clients.
    pub startup_timeout: Duration,
    /// How long a client may do nothing. Default: for ever. New clients.
    pub idle: IdleLimits,
    /// How long clients in a transaction may go on when the proxy is going down. Default 10 s.
    /// At once.
    pub drain_timeout: Duration,
    /// Whether clients may, or must, encrypt, and with which certificate. Default off. New clients.
    pub client_tls: ClientTls,
    /// Where the secrets of roles come from. Default: `pg_authid`. New clients.
    pub authentication: AuthenticationSettings,
    /// The name of the admin console's database; empty: there is none. Default `segue`. New
    /// clients.
    pub admin_database: String,
    /// Who may use the console, having proved it to the source. Default nobody in particular:
    /// whoever is on this machine may, without a password. New clients.
    pub admin_users: Vec<String>,
    /// How long `PAUSE` waits for sessions in a transaction. Default 10 s. At once.
    pub pause_timeout: Duration,
}

/// How long a client may do nothing; zero is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IdleLimits {
    /// Between transactions, as PostgreSQL's `idle_session_timeout`.
    pub session: Duration,
    /// In a transaction, as its `idle_in_transaction_session_timeout`.
    pub transaction: Duration,
}

/// How acknowledgements wait for the target, where they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncSettings {
    /// How long at most; after it the client is answered all the same, and the stream brings the
    /// write. Default 1 s.
    pub timeout: Duration,
    /// How the client is answered then.
    pub policy: SyncPolicy,
}

impl Default for SyncSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            policy: SyncPolicy::Warn,
        }
    }
}

/// How a client is answered whose commit the target has not confirmed. Never with an error: the
/// source has committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// With a WARNING before the acknowledgement.
    Warn,
    /// As if it had.
    Continue,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sync: SyncSettings::default(),
            mirror_tables: BTreeMap::new(),
            clients_max: 1000,
            startup_timeout: Duration::from_mins(1),
            idle: IdleLimits::default(),
            drain_timeout: Duration::from_secs(10),
            client_tls: ClientTls::Off,
            admin_database: "segue".to_owned(),
            admin_users: Vec::new(),
            pause_timeout: Duration::from_secs(10),
            authentication: AuthenticationSettings::default(),
        }
    }
}

/// Where new settings are put in force.
#[derive(Debug)]
pub struct SettingsSender(watch::Sender<Arc<Settings>>);

/// The settings in force; cheap to clone, and to be read on any thread.
#[derive(Debug, Clone)]
pub struct LiveSettings(watch::Receiver<Arc<Settings>>);

/// Puts `settings` in force, to be replaced through the sender.
pub fn live(settings: Settings) -> (SettingsSender, LiveSettings) {
    let (sender, receiver) = watch::channel(Arc::new(settings));
    (SettingsSender(sender), LiveSettings(receiver))
}

impl SettingsSender {
    /// Puts these in force.
    pub fn replace(&self, settings: Settings) {
        self.0.send_replace(Arc::new(settings));
    }
}

impl LiveSettings {
    /// The settings of now. Takes a lock for a moment: once per connection, not per frame.
    pub fn current(&self) -> Arc<Settings> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits until other settings are in force; for ever if none can come any more. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_replaced_is_what_a_later_connection_gets() {
        let (sender, mut settings) = live(Settings::default());
        let earlier = settings.current();
        let clients_max = earlier.clients_max + 1;
        sender.replace(Settings {
            clients_max,
            ..Settings::default()
        });
        settings.changed().await;
        assert_eq!(earlier.clients_max, 1000);
        assert_eq!(settings.current().clients_max, clients_max);
    }
}
