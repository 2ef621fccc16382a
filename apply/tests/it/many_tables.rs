//! Sessions over more tables than a server should hold statements for.

use std::fmt::Write as _;

use apply::connection::Connection;
use apply::logged::SourceTransaction;
use apply::{EarlyOutcome, EarlyWrite};
use protocol::decide::assembly::{LoggedRow, LoggedWrite};
use protocol::decide::floor::Floor;
use protocol::lsn::Lsn;
use protocol::op_id::OpId;
use protocol::revision::Epoch;
use protocol::row::Image;
use protocol::xid::Xid;

use crate::ground::{Ground, each, transaction};

/// Each is read, written and deleted from: three statements.
const TABLE_COUNT: u64 = 350;

/// What a session may hold of the tables' statements, and its own few.
const STATEMENTS_MAX: i64 = 1_000 + 16;

const HOLDER: &str = "00000000-0000-0000-0000-000000000007";

fn schema() -> String {
    let mut sql = String::new();
    for table in 0..TABLE_COUNT {
        writeln!(
            sql,
            "CREATE TABLE t{table} (id int PRIMARY KEY, v int UNIQUE);"
        )
        .unwrap();
    }
    sql
}

async fn held(connection: &mut Connection) -> i64 {
    let rows = connection
        .query_simple("SELECT count(*) FROM pg_prepared_statements")
        .await
        .unwrap();
    let count = rows[0][0].as_ref().unwrap();
    String::from_utf8_lossy(count).parse().unwrap()
}

/// The logged transaction that writes row 1 of a table, or deletes it.
fn logged(ground: &Ground, table: u64, after: u64, v: Option<i32>) -> SourceTransaction {
    let image = Ground::pair(1, v.unwrap_or_default());
    let row = v.map_or(LoggedRow::Absent, |_| LoggedRow::Present(image.clone()));
    // The mirror has said nothing of these.
    let xid = Xid::new(1_000_000 + after);
    SourceTransaction {
        op_id: OpId::of(1, Epoch::FIRST, xid),
        xid,
        end_lsn: Lsn::new(ground.start.as_u64() + after + 1),
        writes: vec![LoggedWrite {
            key: ground.key(&format!("t{table}"), &image),
            lsn: Lsn::new(ground.start.as_u64() + after),
            row,
        }],
    }
}

#[tokio::test]
async fn a_session_over_many_tables_holds_few_statements_and_forgets_none_that_it_needs() {
    let ground = Ground::new(&schema()).await;
    early(&ground).await;
    log(&ground).await;
}

async fn early(ground: &Ground) {
    let mut writer = ground.writer().await;
    let before = held(writer.connection()).await;
    assert!(before < 8, "{before} statements before any is needed");
    let row = |table: u64, image: &Image, after| ground.row(&format!("t{table}"), image, after);
    for round in 0..2 {
        let after = |table| 1 + round * TABLE_COUNT * 4 + table * 4;
        let write = |table| {
            transaction(
                after(table),
                vec![row(table, &Ground::pair(1, 1), after(table))],
            )
        };
        let delete = |table| {
            let mut gone = row(table, &Ground::pair(1, 1), after(table) + 1);
            gone.write = EarlyWrite::Delete;
            transaction(after(table) + 1, vec![gone])
        };
        // One group over all tables, and many over one each.
        let all: Vec<_> = (0..TABLE_COUNT).map(write).collect();
        let group: Vec<_> = all.iter().collect();
        assert_eq!(writer.write(&[&group]).await, [EarlyOutcome::Accepted]);
        let deletes: Vec<_> = (0..TABLE_COUNT).map(delete).collect();
        let outcomes = each(&mut writer, &deletes).await;
        let refused = outcomes.iter().find(|it| **it != EarlyOutcome::Accepted);
        assert_eq!(refused, None);
        assert!(held(writer.connection()).await <= STATEMENTS_MAX);
    }
    writer.close().await;
    let forget = "DELETE FROM segue.row_rev";
    ground.bed.target.execute(forget).await.unwrap();
}

async fn log(ground: &Ground) {
    let floor = Floor::unknown();
    let mut writer = ground.logged_writer(HOLDER).await;
    let before = held(writer.connection()).await;
    assert!(before < 16, "{before} statements before any is needed");
    let all = |first: u64, v: Option<i32>| -> Vec<SourceTransaction> {
        (0..TABLE_COUNT)
            .map(|table| logged(ground, table, first + 2 * table, v))
            .collect()
    };
    // A batch that fails half way: what was prepared behind the failure was not.
    let block = "INSERT INTO t200 VALUES (2, 9)";
    ground.bed.target.execute(block).await.unwrap();
    let applied = writer.apply(&all(1, Some(9)), &floor).await.unwrap();
    assert_eq!(applied.owed.len(), 1);
    for (first, v) in [(2_001, Some(2)), (4_001, None), (6_001, Some(4))] {
        writer.apply(&all(first, v), &floor).await.unwrap();
        assert!(held(writer.connection()).await <= STATEMENTS_MAX);
    }
    for table in [0, 199, 200, 201, 349] {
        let value = format!("SELECT v FROM t{table} WHERE id = 1");
        assert_eq!(ground.bed.target.value(&value).await.unwrap(), "4");
    }
}
