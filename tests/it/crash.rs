//! kill -9 of each part under load: nothing is lost, nothing is reported that was not.
//!
//! Each test has servers of its own.

use harness::{Database, Pair, Segue, ServerOptions, wait};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::task::JoinHandle;

use crate::ground::{Ground, seed};

const SCHEMA: &str = "
    CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL, word text);
    CREATE TABLE entry (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account int, delta int);
    INSERT INTO account SELECT n, 0, '' FROM generate_series(1, 200) n;
";

/// Writers that go on, reconnecting, until they are told to stop.
struct Load {
    stop: tokio::sync::watch::Sender<bool>,
    writers: Vec<JoinHandle<u64>>,
}

impl Load {
    fn start(databases: &[&Database], seed: u64) -> Self {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let writers = databases.iter().zip(seed..).map(|(database, seed)| {
            tokio::spawn(write((*database).clone(), seed, stopped.clone()))
        });
        Self {
            writers: writers.collect(),
            stop,
        }
    }

    /// Stops the writers; how many transactions they saw committed.
    async fn stop(self) -> u64 {
        self.stop.send(true).unwrap();
        let mut committed = 0;
        for writer in self.writers {
            committed += writer.await.unwrap();
        }
        committed
    }
}

async fn write(database: Database, seed: u64, stopped: tokio::sync::watch::Receiver<bool>) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let mut committed = 0;
    while !*stopped.borrow() {
        let Ok(client) = database.connect().await else {
            tokio::time::sleep(wait::PAUSE).await;
            continue;
        };
        while !*stopped.borrow() {
            let id: i32 = random.random_range(1..=200);
            let delta: i32 = random.random_range(-9..=9);
            let sql = format!(
                "BEGIN; UPDATE account SET balance = balance + {delta} WHERE id = {id}; \
                 INSERT INTO entry (account, delta) VALUES ({id}, {delta}); COMMIT"
            );
            if client.batch_execute(&sql).await.is_err() {
                break;
            }
            committed += 1;
        }
    }
    committed
}

async fn ground() -> (Pair, Ground) {
    let pair = Pair::start(ServerOptions::default()).await.unwrap();
    let bed = pair.bed(SCHEMA).await.unwrap();
    let ground = Ground::on(bed).await;
    (pair, ground)
}

/// Waits until the source has so many more entries: the load is really running.
async fn progress(ground: &Ground, more: u64) {
    let count = async || -> anyhow::Result<u64> {
        Ok(ground
            .bed
            .source
            .value("SELECT coalesce(max(id), 0) FROM entry")
            .await?
            .parse()?)
    };
    let begun = count().await.unwrap_or_default();
    wait::until_true("the load to go on", async || {
        Ok(count().await? >= begun + more)
    })
    .await
    .unwrap();
}

/// Every balance is the sum of its entries, on both sides, and both sides are equal.
async fn sound(ground: &Ground) {
    ground.bed.converged().await.unwrap();
    let wrong = "SELECT count(*) FROM account a WHERE balance <> \
                 (SELECT coalesce(sum(delta), 0) FROM entry WHERE account = a.id)";
    assert_eq!(ground.bed.target.value(wrong).await.unwrap(), "0");
}

#[tokio::test]
async fn a_killed_reconciler_goes_on_where_it_was() {
    let (_pair, ground) = ground().await;
    let mut reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.armed().await;
    let proxy = ground.launch.proxy(&[]).await.unwrap();
    let proxied = ground.bed.source.through(proxy.port());
    let mut random = StdRng::seed_from_u64(seed(21));
    let load = Load::start(&[&proxied, &ground.bed.source], 210);
    for _ in 0..5 {
        progress(&ground, random.random_range(20..200)).await;
        reconciler.kill().unwrap();
        progress(&ground, random.random_range(1..100)).await;
        reconciler.run_again().await.unwrap();
    }
    assert!(load.stop().await > 0);
    sound(&ground).await;
    let divergences = ground.divergences().await;
    assert!(divergences.is_empty(), "{divergences:#?}");
}

#[tokio::test]
async fn a_killed_proxy_loses_nothing_that_was_committed() {
    let (_pair, ground) = ground().await;
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.armed().await;
    let mut proxy = ground.launch.proxy(&[]).await.unwrap();
    let proxied = ground.bed.source.through(proxy.port());
    let mut random = StdRng::seed_from_u64(seed(22));
    let load = Load::start(&[&proxied, &proxied, &ground.bed.source], 220);
    for _ in 0..5 {
        progress(&ground, random.random_range(20..200)).await;
        proxy.kill().unwrap();
        proxy.run_again().await.unwrap();
    }
    progress(&ground, 50).await;
    assert!(load.stop().await > 0);
    sound(&ground).await;
    let divergences = ground.divergences().await;
    assert!(divergences.is_empty(), "{divergences:#?}");
}

#[tokio::test]
async fn a_killed_target_is_caught_up_and_mirrored_again() {
    let (mut pair, ground) = ground().await;
    let (mut segue, proxied) = ground.run().await;
    let load = Load::start(&[&proxied, &proxied], seed(23));
    for _ in 0..3 {
        progress(&ground, 100).await;
        pair.target.kill().unwrap();
        // The application does not notice.
        progress(&ground, 100).await;
        pair.target.run().await.unwrap();
    }
    progress(&ground, 50).await;
    assert!(load.stop().await > 0);
    sound(&ground).await;
    ground.armed().await;
    assert_eq!(segue.ended().unwrap(), None, "{}", segue.log());
    proxied
        .execute("UPDATE account SET word = 'early' WHERE id = 1")
        .await
        .unwrap();
    sound(&ground).await;
}

#[tokio::test]
async fn a_killed_source_is_taken_up_again() {
    let (mut pair, ground) = ground().await;
    let (mut segue, proxied) = ground.run().await;
    let load = Load::start(&[&proxied, &ground.bed.source], seed(24));
    for _ in 0..3 {
        progress(&ground, 100).await;
        pair.source.kill().unwrap();
        // A client that comes now is told in its own protocol.
        let error = proxied.connect().await.unwrap_err();
        let told = error
            .downcast_ref::<tokio_postgres::Error>()
            .and_then(|error| error.as_db_error());
        assert!(told.is_some(), "{error:#}");
        pair.source.run().await.unwrap();
    }
    progress(&ground, 50).await;
    assert!(load.stop().await > 0);
    sound(&ground).await;
    assert_eq!(segue.ended().unwrap(), None, "{}", segue.log());
}

#[tokio::test]
async fn everything_killed_at_once_comes_back_equal() {
    let (mut pair, ground) = ground().await;
    let (mut segue, proxied) = ground.run().await;
    let load = Load::start(&[&proxied, &ground.bed.source], seed(25));
    progress(&ground, 200).await;
    kill_all(&mut pair, &mut segue);
    pair.source.run().await.unwrap();
    pair.target.run().await.unwrap();
    segue.run_again().await.unwrap();
    progress(&ground, 50).await;
    assert!(load.stop().await > 0);
    sound(&ground).await;
}

fn kill_all(pair: &mut Pair, segue: &mut Segue) {
    pair.target.kill().unwrap();
    segue.kill().unwrap();
    pair.source.kill().unwrap();
}

#[tokio::test]
async fn sigterm_drains_and_ends_well() {
    let (_pair, ground) = ground().await;
    let (segue, proxied) = ground.run().await;
    let client = proxied.connect().await.unwrap();
    client
        .batch_execute("BEGIN; UPDATE account SET word = 'x' WHERE id = 1; COMMIT")
        .await
        .unwrap();
    drop(client);
    assert_eq!(segue.terminate().await.unwrap(), 0);
    let (_again, _) = ground.run().await;
    sound(&ground).await;
}
