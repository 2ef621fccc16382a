//! `segue run`: proxy and reconciler in one process.

use clap::Args;

use super::Context;
use super::servers::{EndpointFlags, ProxyFlags, ReconcilerFlags, proxy_part, reconciler_part};
use crate::config::Needs;
use crate::exit::{Exit, Failure};
use crate::serve::{Loss, Serve};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  segue run --source postgres://segue@old/shop --target postgres://segue@new/shop
  segue run --listen 0.0.0.0:6432 --http 127.0.0.1:9188

Applications connect to the proxy as to the source, with the same user, password and database. The
proxy goes on without the reconciler: what it mirrors is proven later. SIGTERM drains, SIGHUP reads
log_level again.")]
pub(super) struct Arguments {
    #[command(flatten)]
    proxy: ProxyFlags,
    #[command(flatten)]
    reconciler: ReconcilerFlags,
    #[command(flatten)]
    endpoint: EndpointFlags,
}

impl Arguments {
    pub(super) fn run(self, context: Context) -> Result<Exit, Failure> {
        let context = context
            .with(self.proxy.settings())
            .with(self.reconciler.settings())
            .with(self.endpoint.settings());
        let settings = context.settings(Needs::Both)?;
        let named = [("metrics", settings.metrics), ("http", settings.http)];
        let mut endpoints: Vec<_> = named
            .into_iter()
            .filter_map(|(setting, address)| Some((setting, address?)))
            .collect();
        // One endpoint answers for both parts.
        endpoints.dedup_by_key(|(_, address)| *address);
        let serve = Serve {
            parts: vec![
                proxy_part(&settings)?,
                reconciler_part(&settings, Loss::OthersGoOn)?,
            ],
            endpoints,
            reload: Box::new(move || context.settings(Needs::Both)),
        };
        serve.run(&settings)
    }
}
