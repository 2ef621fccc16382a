//! `segue run`: proxy and reconciler in one process.

use clap::Args;
use control::{ControlError, Side, schema};

use super::servers::{EndpointFlags, ProxyFlags, ReconcilerFlags, proxy_part, reconciler_part};
use super::{Context, block_on};
use crate::config::{Needs, Settings};
use crate::exit::{Exit, Failure};
use crate::serve::{Live, Loss, Serve};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  segue run --source postgres://segue@old/shop --target postgres://segue@new/shop
  segue run --listen 0.0.0.0:6432 --http 127.0.0.1:9188

Applications connect to the proxy as to the source, with the same user, password and database. The
proxy goes on without the reconciler: what it mirrors is proven later. SIGTERM drains, SIGHUP reads
the configuration again.")]
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
        block_on(check_set_up(&settings))?;
        let (live, proxy_settings) = Live::new(context.0, Needs::Both, settings.clone());
        let named = [("metrics", settings.metrics), ("http", settings.http)];
        let mut endpoints: Vec<_> = named
            .into_iter()
            .filter_map(|(setting, address)| Some((setting, address?)))
            .collect();
        // One endpoint answers for both parts.
        endpoints.dedup_by_key(|(_, address)| *address);
        let serve = Serve {
            parts: vec![
                proxy_part(&settings, proxy_settings)?,
                reconciler_part(&settings, Loss::OthersGoOn)?,
            ],
            endpoints,
            live,
        };
        serve.run(&settings)
    }
}

/// Both parts need what `segue setup` makes: said before either starts, and in one sentence.
async fn check_set_up(settings: &Settings) -> Result<(), Failure> {
    // The target first: where its schema is of another version, to set up is the wrong advice.
    for (side, dsn) in [
        (Side::Target, settings.target()?),
        (Side::Source, settings.source()?),
    ] {
        let checked = async {
            let client = control::connect(dsn, side, "segue run").await?;
            schema::check_version(&client, side, dsn.database()).await
        };
        checked
            .await
            .map_err(|error: ControlError| Failure::with_code(&error, error.exit_code()))?;
    }
    Ok(())
}
