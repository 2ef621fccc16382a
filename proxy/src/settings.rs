//! The part of a proxy's configuration that may change while it runs, and how it reaches the threads.
//!
//! Connections take the settings of the moment when they begin ([`LiveSettings::current`]); what
//! has to follow a change at once asks again. Does not read files: the binary judges new values
//! and hands them in whole, on SIGHUP and for the admin console.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// What may change while the proxy runs. What needs a restart is in [`crate::Config`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long an acknowledgement waits for the target with `MirrorMode::Sync`; after it the
    /// client is answered all the same, and the stream brings the write. Default 1 s. New clients.
    pub sync_timeout: Duration,
    /// Clients at one time; more are refused as PostgreSQL does it. Default 1000. New clients.
    pub clients_max: usize,
    /// From a client's connection to the end of its startup packet. Default 60 s, as
    /// `authentication_timeout`, which governs what follows. New clients.
    pub startup_timeout: Duration,
    /// How long clients in a transaction may go on when the proxy is going down. Default 10 s.
    /// At once.
    pub drain_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sync_timeout: Duration::from_secs(1),
            clients_max: 1000,
            startup_timeout: Duration::from_mins(1),
            drain_timeout: Duration::from_secs(10),
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
