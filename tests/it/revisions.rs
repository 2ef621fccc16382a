//! A short form of `make revisions`.

use std::time::Duration;

use harness::Bed;
use harness::revisions::{self, Plan};

use crate::ground::seed;

#[tokio::test]
async fn what_a_statement_sees_lies_between_its_version_and_the_next_one() {
    let bed = Bed::shared("").await.unwrap();
    let plan = Plan {
        seed: seed(41),
        duration: Duration::from_secs(5),
    };
    let summary = revisions::run(&bed.source, plan).await.unwrap();
    println!("{summary}");
    assert!(summary.versions > 100 && summary.deletes > 0 && summary.rolled_back > 0);
}
