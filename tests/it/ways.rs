//! One database, reached directly, through a proxy that relays and through one that captures.
//!
//! For what concerns a connection and not its writes: nothing is mirrored, and nothing set up.

use harness::{Database, Installation, Launch, Segue, Server, ServerOptions};

use crate::SEGUE;

/// The ways to one database.
pub(crate) struct Ways {
    direct: Database,
    proxies: [(&'static str, Segue); 2],
}

impl Ways {
    /// To a database that is there.
    pub(crate) async fn to(database: &Database) -> Self {
        Self::with(database, &[]).await
    }

    /// The same, with more arguments for the proxies.
    pub(crate) async fn with(database: &Database, arguments: &[&str]) -> Self {
        let uri = database.uri();
        let launch = Launch::new(SEGUE, database, database).with_uris(Some(&uri), None);
        let off = [&["--mirror", "off"], arguments].concat();
        let dry = [&["--mirror", "dry"], arguments].concat();
        Self {
            direct: database.clone(),
            proxies: [
                ("relayed", launch.proxy(&off).await.unwrap()),
                ("captured", launch.proxy(&dry).await.unwrap()),
            ],
        }
    }

    /// Directly first.
    pub(crate) fn all(&self) -> Vec<(&'static str, Database)> {
        let direct = ("directly", self.direct.clone());
        let proxied = self.proxies.iter();
        let proxied = proxied.map(|(way, proxy)| (*way, self.direct.through(proxy.port())));
        std::iter::once(direct).chain(proxied).collect()
    }

    /// The proxies' process ids, in the order of [`Self::all`].
    pub(crate) fn pids(&self) -> Vec<(&'static str, u32)> {
        let proxies = self.proxies.iter();
        proxies.map(|(way, proxy)| (*way, proxy.pid())).collect()
    }

    /// Ends the proxies, which must have survived.
    pub(crate) async fn finish(self) {
        for (way, proxy) in self.proxies {
            assert_eq!(proxy.terminate().await.unwrap(), 0, "{way}");
        }
    }
}

/// A server of its own with these settings.
pub(crate) async fn server(settings: &[&str]) -> Server {
    let options = ServerOptions {
        settings: settings.iter().map(|&it| it.to_owned()).collect(),
        ..ServerOptions::default()
    };
    let installation = Installation::for_source().unwrap();
    Server::start(installation, options).await.unwrap()
}
