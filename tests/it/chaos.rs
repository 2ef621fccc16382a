//! A short form of `make chaos`.

use std::{path::Path, time::Duration};

use harness::chaos::{self, Plan};

use crate::{SEGUE, ground::seed};

#[tokio::test]
async fn whatever_is_killed_nothing_is_lost_and_nothing_false_is_reported() {
    let plan = Plan {
        seed: seed(31),
        duration: Duration::from_secs(15),
    };
    let summary = chaos::run(Path::new(SEGUE), plan).await.unwrap();
    println!("{summary}");
}
