//! Two writers of the log, of which the older one does not know yet that it is the older one.

use apply::logged::LoggedError;
use protocol::decide::verdict::OwedWhy;

use crate::ground::Ground;

#[tokio::test]
async fn an_older_self_owes_nothing_that_its_successor_would_not_hear_of() {
    let ground = Ground::new("CREATE TABLE t (id int PRIMARY KEY, v int)").await;
    let key = ground.key("t", &Ground::pair(1, 1));
    let mut older = ground
        .logged_writer("00000000-0000-0000-0000-000000000001")
        .await;
    older
        .owe(std::slice::from_ref(&key), OwedWhy::Foreign)
        .await
        .unwrap();
    let count = "SELECT count(*)::text FROM segue.owed";
    let owed = ground.bed.target.value(count).await.unwrap();
    assert_eq!(owed, "1");

    let mut successor = ground
        .logged_writer("00000000-0000-0000-0000-000000000002")
        .await;
    let other = ground.key("t", &Ground::pair(2, 2));
    let refused = older.owe(&[other], OwedWhy::Foreign).await.unwrap_err();
    assert!(
        matches!(refused, LoggedError::Displaced { .. }),
        "{refused}"
    );
    let owed = ground.bed.target.value(count).await.unwrap();
    assert_eq!(owed, "1");
    successor.owe(&[key], OwedWhy::Foreign).await.unwrap();
}
