//! `segue proxy`.

use clap::Args;

use super::Context;
use super::servers::{EndpointFlags, ProxyFlags, proxy_part};
use crate::config::Needs;
use crate::exit::{Exit, Failure};
use crate::serve::{Live, Serve};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  segue proxy --source postgres://segue@old/shop --target postgres://segue@new/shop
  segue proxy --source postgres://segue@old/shop --mirror dry --metrics 127.0.0.1:9187
  segue proxy --source postgres://segue@old/shop    a pure pass-through

Applications connect to it as to the source, with the same user, password and database.
SIGTERM drains: clients may end their transactions. SIGHUP reads the configuration again.")]
pub(super) struct Arguments {
    #[command(flatten)]
    proxy: ProxyFlags,
    #[command(flatten)]
    endpoint: EndpointFlags,
}

impl Arguments {
    pub(super) fn run(self, context: Context) -> Result<Exit, Failure> {
        let context = context
            .with(self.proxy.settings())
            .with(self.endpoint.settings());
        let settings = context.settings(Needs::Source)?;
        let (live, proxy_settings) = Live::new(context.0, Needs::Source, settings.clone());
        let serve = Serve {
            parts: vec![proxy_part(&settings, proxy_settings)?],
            endpoints: settings
                .metrics
                .map(|at| ("metrics", at))
                .into_iter()
                .collect(),
            live,
        };
        serve.run(&settings)
    }
}
