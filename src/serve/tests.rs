//! Parts that end, in every order, without a process around them.

use super::*;

fn part(
    name: &'static str,
    loss: Loss,
    ready: bool,
    result: impl FnOnce() -> Result<(), Failure> + Send + 'static,
) -> Part {
    Part::new(name, loss, move |stopping, announce: Announce| async move {
        if ready {
            announce("");
        }
        let result = result();
        if result.is_ok() {
            stopping.cancelled().await;
        }
        result
    })
}

fn stays(name: &'static str) -> Part {
    part(name, Loss::EndsAll, true, || Ok(()))
}

fn broken(name: &'static str, loss: Loss, ready: bool) -> Part {
    part(name, loss, ready, || Err(Failure::failed("no server")))
}

/// Runs the parts to their end; `stop` asks them to end once all are ready or gone.
async fn run(parts: Vec<Part>, stop: bool) -> Result<Exit, Failure> {
    let readiness = Arc::new(Readiness::of(&parts));
    let parts = Parts::start(parts, &readiness).unwrap();
    if stop {
        while readiness
            .states()
            .any(|(_, state)| state == parts::State::Starting)
        {
            tokio::task::yield_now().await;
        }
        parts.stop();
    }
    attend(parts, &mut Signals::listen().unwrap(), &|| {}).await
}

#[tokio::test]
async fn parts_that_drain_when_asked_end_well() {
    let exit = run(vec![stays("proxy"), stays("reconciler")], true).await;
    assert_eq!(exit, Ok(Exit::Well));
}

#[tokio::test]
async fn a_part_that_cannot_start_ends_all_and_is_named() {
    let parts = vec![
        stays("proxy"),
        broken("reconciler", Loss::OthersGoOn, false),
    ];
    let failure = run(parts, false).await.unwrap_err();
    assert_eq!(failure.message, "the reconciler could not start: no server");
}

#[tokio::test]
async fn losing_a_vital_part_later_ends_all() {
    let parts = vec![broken("proxy", Loss::EndsAll, true), stays("reconciler")];
    assert_eq!(run(parts, false).await, Ok(Exit::Failed));
}

#[tokio::test]
async fn the_proxy_outlives_the_reconciler_and_the_loss_shows_at_the_end() {
    let parts = vec![stays("proxy"), broken("reconciler", Loss::OthersGoOn, true)];
    let readiness = Arc::new(Readiness::of(&parts));
    let parts = Parts::start(parts, &readiness).unwrap();
    let mut signals = Signals::listen().unwrap();
    let stopping = parts.stopping();
    let attended = attend(parts, &mut signals, &|| {});
    let stop = async {
        while readiness.states().last() != Some(("reconciler", parts::State::Ended)) {
            tokio::task::yield_now().await;
        }
        // The proxy's thread may be slower than the reconciler's.
        while !readiness.is_ready() {
            tokio::task::yield_now().await;
        }
        stopping.cancel();
    };
    let (exit, ()) = tokio::join!(attended, stop);
    assert_eq!(exit, Ok(Exit::Failed));
}

#[tokio::test]
async fn a_process_that_drains_can_be_given_no_work() {
    let parts = vec![stays("proxy")];
    let readiness = Arc::new(Readiness::of(&parts));
    assert!(!readiness.is_ready(), "it has not begun");
    let mut parts = Parts::start(parts, &readiness).unwrap();
    while !readiness.is_ready() {
        tokio::task::yield_now().await;
    }
    parts.stop();
    assert!(!readiness.is_ready());
    let ended = parts.next_end().await.unwrap();
    assert!(ended.was_ready && ended.result.is_ok());
    assert_eq!(
        readiness.states().last(),
        Some(("proxy", parts::State::Ended))
    );
}

#[tokio::test]
async fn a_panic_is_a_failure_of_its_part() {
    let parts = vec![part("proxy", Loss::EndsAll, false, || panic!("ours"))];
    let failure = run(parts, false).await.unwrap_err();
    assert!(failure.message.contains("mistake in Segue"), "{failure:?}");
}
