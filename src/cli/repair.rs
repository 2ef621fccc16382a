//! `segue repair`.

use apply::undo::{UndoError, undo};
use clap::{Args, Subcommand};
use control::{ControlError, Names, Side, contract, repair, schema};

use super::{Context, block_on};
use crate::config::{Needs, Settings};
use crate::exit::{Exit, Failure};
use crate::output;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  segue repair resume public.item
  segue repair resume --all
  segue repair undo 17

The reconciler repairs what differs, but of one table no more than max_repairs: then it stops and
waits. Writes at the target, with the reconciler running or not.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Let a table's repairs go on that have stopped at `max_repairs`, with a whole new share
    #[command(
        after_help = "Examples:\n  segue repair resume public.item\n  segue repair resume --all"
    )]
    Resume {
        /// The table, as `segue status` names it
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        table: Option<String>,
        /// All tables whose repairs have stopped
        #[arg(long)]
        all: bool,
    },
    /// Put back what stood there before a repair, if the row is still what the repair left; it
    /// differs from then on, until its next change at the source
    #[command(after_help = "Example:\n  segue repair undo 17")]
    Undo {
        /// The divergence's number in the report
        id: i64,
    },
}

impl Arguments {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let settings = context.settings_aloud(Needs::Target)?;
        block_on(async {
            match self.command {
                Command::Resume { table, .. } => resume(&settings, table.as_deref()).await,
                Command::Undo { id } => undo_one(&settings, id).await,
            }
        })
    }
}

async fn resume(settings: &Settings, table: Option<&str>) -> Result<Exit, Failure> {
    let resumed = async {
        let dsn = settings.target()?;
        let client = connect(dsn).await?;
        repair::resume(&client, table).await.map_err(failure)
    };
    let resumed = resumed.await?;
    match (resumed.as_slice(), table) {
        ([], Some(table)) => {
            return Err(Failure::failed(format!(
                "no repairs of {table} have stopped; segue status names the tables where they have"
            )));
        }
        ([], None) => output::text("no table's repairs have stopped")?,
        (tables, _) => {
            for table in tables {
                output::text(&format!("repairs of {table} go on"))?;
            }
        }
    }
    Ok(Exit::Well)
}

async fn undo_one(settings: &Settings, id: i64) -> Result<Exit, Failure> {
    let dsn = settings.target()?;
    let client = connect(dsn).await?;
    let phase = contract::load_from_target(&client).await.map_err(failure)?;
    // The stream is named after the source's database.
    let stream = repair::stream(&client).await.map_err(failure)?;
    let names = Names::of_stream(stream);
    undo(dsn, &phase.contract, &names, id)
        .await
        .map_err(|error: UndoError| Failure::with_code(&error, error.exit_code()))?;
    output::text(&format!(
        "undone: the row differs now, and is ignored until its next change at the source; segue \
         report show {id}"
    ))?;
    Ok(Exit::Well)
}

async fn connect(dsn: &control::Dsn) -> Result<tokio_postgres::Client, Failure> {
    let client = control::connect(dsn, Side::Target, "segue repair")
        .await
        .map_err(|error| failure(error.into()))?;
    schema::check_version(&client, Side::Target, dsn.database())
        .await
        .map_err(failure)?;
    Ok(client)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "for `map_err`, which gives it away"
)]
fn failure(error: ControlError) -> Failure {
    Failure::with_code(&error, error.exit_code())
}
