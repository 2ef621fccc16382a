//! Where `segue status` and `segue report` get their facts from.

use clap::Args;

use super::Context;
use crate::api::Api;
use crate::config::{Needs, Setting};
use crate::exit::Failure;
use crate::target::Target;

#[derive(Debug, Args)]
pub(super) struct From {
    /// Ask the endpoint of a proxy or reconciler (http://HOST:PORT) instead of the target
    #[arg(long, global = true, value_name = "URL")]
    api: Option<String>,
    /// File with the bearer token that the endpoint asks for
    #[arg(long, global = true, value_name = "FILE")]
    http_token_file: Option<String>,
}

impl From {
    pub(super) fn target(&self, context: &Context) -> Result<Target, Failure> {
        let token_file = [(Setting::HttpTokenFile, self.http_token_file.clone())];
        let context = context.clone().with(token_file);
        match &self.api {
            None => {
                let settings = context.settings_aloud(Needs::Target)?;
                Ok(Target::new(settings.target()?, settings.source.as_ref()))
            }
            Some(url) => {
                let settings = context.settings_aloud(Needs::Nothing)?;
                Ok(Target::Api(Api::new(url, settings.http_token)?))
            }
        }
    }
}
