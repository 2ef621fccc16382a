//! `segue reconciler`.

use clap::Args;

use super::Context;
use super::servers::{EndpointFlags, ReconcilerFlags, reconciler_part};
use crate::config::Needs;
use crate::exit::{Exit, Failure};
use crate::serve::{Live, Loss, Serve};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  segue reconciler --source postgres://segue@old/shop --target postgres://segue@new/shop
  segue reconciler --http 127.0.0.1:9188

Follows the source's change stream from where the target's progress stands, whatever happened
before. SIGTERM ends it after the transaction in hand. SIGHUP reads log_level again.")]
pub(super) struct Arguments {
    #[command(flatten)]
    reconciler: ReconcilerFlags,
    #[command(flatten)]
    endpoint: EndpointFlags,
}

impl Arguments {
    pub(super) fn run(self, context: Context) -> Result<Exit, Failure> {
        let context = context
            .with(self.reconciler.settings())
            .with(self.endpoint.settings());
        let settings = context.settings(Needs::Both)?;
        let (live, _) = Live::new(context.0, Needs::Both, settings.clone());
        let serve = Serve {
            parts: vec![reconciler_part(&settings, Loss::EndsAll)?],
            endpoints: settings.http.map(|at| ("http", at)).into_iter().collect(),
            live,
        };
        serve.run(&settings)
    }
}
