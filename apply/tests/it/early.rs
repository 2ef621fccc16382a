//! Rule 2 and what an early write leaves at the target.

use apply::{EarlyOutcome, EarlyTransaction, EarlyWrite, Refusal};
use harness::{Bed, compare};
use protocol::revision::Epoch;

use crate::ground::{Ground, each, transaction};

const PAIRS: &str = "CREATE TABLE pair (id int PRIMARY KEY, v int UNIQUE)";

/// Every form that a value travels in, and names that have to be quoted.
const FORMS: &str = r#"
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
    CREATE TYPE point_mood AS (x int, m mood, more mood[]);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TABLE "Odd; Name" (
        "the key" numeric PRIMARY KEY,
        "b""c" int GENERATED ALWAYS AS (1 + 1) STORED,
        m mood, ms mood[], p point_mood, ps point_mood[], d positive, r int4range,
        doc jsonb, tags text[], n numeric(12, 2), at timestamptz, raw bytea, i interval,
        f float8, net inet, c "char", x xml, b bit varying(9), none text);
    CREATE TABLE ident (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
    CREATE TABLE only_key (a int, b text, PRIMARY KEY (b, a));
    CREATE TABLE leafy (a int, day date, v text, PRIMARY KEY (a, day)) PARTITION BY RANGE (day);
    CREATE TABLE leafy_old PARTITION OF leafy FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
    CREATE TABLE leafy_new PARTITION OF leafy DEFAULT;
"#;

const ROWS: &str = r#"
    INSERT INTO "Odd; Name" VALUES
        (1.50, DEFAULT, 'ok', '{sad,NULL,happy}', '(1,ok,{sad})', '{"(2,happy,)"}', 3, '[1,5)',
         '{"a": [1, null]}', '{a,"b,c",NULL}', 12.30, '2024-02-29 12:00:00.5+02', '\x00ff',
         '1 year 2 days', 'NaN', '10.0.0.1/8', 'z', '<a>é</a>', '10110', NULL),
        (-0.0001, DEFAULT, NULL, '{{ok,ok},{sad,sad}}', '(,,)', '{}', NULL, 'empty',
         'null', '[2:3]={x,y}', 'NaN', 'infinity', '', '-1 mon', '-0', '::1', '', NULL, '', 'é');
    INSERT INTO ident (v) VALUES ('a'), ('b');
    INSERT INTO only_key VALUES (1, 'x'), (2, 'x');
    INSERT INTO leafy VALUES (1, '2019-01-01', 'old'), (1, '2021-01-01', 'new');
"#;

const TABLES: [&str; 4] = ["Odd; Name", "ident", "only_key", "leafy"];

fn refused(refusal: Refusal) -> EarlyOutcome {
    let members = match refusal {
        Refusal::Gate => Vec::new(),
        Refusal::Floor | Refusal::Newer => vec![0],
    };
    EarlyOutcome::Refused { refusal, members }
}

#[tokio::test]
async fn rows_of_every_form_arrive_as_the_source_has_them() {
    let bed = Bed::shared("").await.unwrap();
    // The types get other OIDs than at the source, as on any two servers.
    let burn = "CREATE TYPE burn AS ENUM (); CREATE TABLE burnt (); DROP TABLE burnt";
    bed.target.execute(burn).await.unwrap();
    bed.source.execute(FORMS).await.unwrap();
    bed.target.execute(FORMS).await.unwrap();
    let oid = "SELECT 'mood'::regtype::oid";
    assert_ne!(
        bed.source.value(oid).await.unwrap(),
        bed.target.value(oid).await.unwrap()
    );
    let ground = Ground::on(bed).await;
    ground.bed.source.execute(ROWS).await.unwrap();
    let mut rows = Vec::new();
    for table in TABLES {
        for image in ground.images(table).await {
            rows.push(ground.row(table, &image, 100));
        }
    }
    let mut writer = ground.writer().await;
    let outcomes = each(&mut writer, &[transaction(1, rows.clone())]).await;
    assert_eq!(outcomes, [EarlyOutcome::Accepted]);
    let comparison = compare(&ground.bed.source, &ground.bed.target)
        .await
        .unwrap();
    comparison.expect_equal().unwrap();
    // Once more as updates, with later revisions.
    for row in &mut rows {
        row.rev = ground.revision(200);
    }
    let outcomes = each(&mut writer, &[transaction(2, rows.clone())]).await;
    assert_eq!(outcomes, [EarlyOutcome::Accepted]);
    let comparison = compare(&ground.bed.source, &ground.bed.target)
        .await
        .unwrap();
    comparison.expect_equal().unwrap();
    // A key is found by its normal form alone: 1.50 is deleted as 1.5.
    for row in &mut rows {
        row.rev = ground.revision(300);
        row.write = EarlyWrite::Delete;
    }
    assert_eq!(
        each(&mut writer, &[transaction(3, rows)]).await,
        [EarlyOutcome::Accepted]
    );
    for table in TABLES {
        let sql = format!("SELECT count(*) FROM \"{table}\"");
        assert_eq!(ground.bed.target.value(&sql).await.unwrap(), "0", "{table}");
    }
    let sql = "SELECT bool_and(tombstone AND NOT verified AND NOT from_log) FROM segue.row_rev";
    assert_eq!(ground.bed.target.value(sql).await.unwrap(), "t");
}

#[tokio::test]
async fn only_a_newer_version_above_the_floor_through_an_open_gate_is_accepted() {
    let ground = Ground::new(PAIRS).await;
    let target = &ground.bed.target;
    let mut writer = ground.writer().await;
    let write =
        |xid, v, after| transaction(xid, vec![ground.row("pair", &Ground::pair(1, v), after)]);
    let mut expect = async |xid, v, after, outcome| {
        assert_eq!(
            each(&mut writer, &[write(xid, v, after)]).await,
            [outcome],
            "xid {xid}"
        );
    };
    expect(1, 10, 100, EarlyOutcome::Accepted).await;
    expect(2, 11, 100, refused(Refusal::Newer)).await;
    expect(3, 12, 99, refused(Refusal::Newer)).await;
    expect(4, 13, 101, EarlyOutcome::Accepted).await;
    // The log has been here for the same source transaction, at an earlier record of it.
    target
        .execute("UPDATE segue.row_rev SET from_log = true")
        .await
        .unwrap();
    expect(4, 14, 102, refused(Refusal::Newer)).await;
    expect(5, 15, 102, EarlyOutcome::Accepted).await;
    let floor = ground.revision(200);
    let raise = format!("UPDATE segue.mirror_gate SET floor = {floor}");
    target.execute(&raise).await.unwrap();
    expect(6, 16, 200, refused(Refusal::Floor)).await;
    expect(7, 17, 201, EarlyOutcome::Accepted).await;
    let floor = ground.revision(300);
    let raise = format!("INSERT INTO segue.table_floor VALUES ('public.pair', {floor})");
    target.execute(&raise).await.unwrap();
    expect(8, 18, 300, refused(Refusal::Floor)).await;
    target
        .execute("UPDATE segue.mirror_gate SET epoch = 2")
        .await
        .unwrap();
    expect(9, 19, 400, refused(Refusal::Gate)).await;
    target
        .execute("DELETE FROM segue.mirror_gate")
        .await
        .unwrap();
    expect(10, 20, 500, refused(Refusal::Gate)).await;
    assert_eq!(target.value("SELECT v FROM pair").await.unwrap(), "17");
    let accepted = "SELECT count(*) FROM segue.op WHERE outcome = 'accepted'";
    assert_eq!(target.value(accepted).await.unwrap(), "4");
}

#[tokio::test]
async fn a_transaction_that_fails_takes_only_itself_along() {
    let ground = Ground::new(PAIRS).await;
    let row = |id, v, after| ground.row("pair", &Ground::pair(id, v), after);
    let mut writer = ground.writer().await;
    let mut partial = row(5, 5, 100);
    partial.write = EarlyWrite::Upsert(protocol::row::Image::new(vec![]));
    let outcomes = each(
        &mut writer,
        &[
            transaction(1, vec![row(1, 1, 100), row(2, 2, 100)]),
            // 3 would be free; 2 is taken by another row.
            transaction(2, vec![row(3, 3, 100), row(4, 2, 100)]),
            transaction(3, vec![partial]),
            transaction(4, vec![row(1, 7, 101)]),
        ],
    )
    .await;
    let [first, second, third, fourth] = outcomes.as_slice() else {
        panic!("{outcomes:?}")
    };
    assert_eq!(
        (first, fourth),
        (&EarlyOutcome::Accepted, &EarlyOutcome::Accepted)
    );
    assert!(matches!(second, EarlyOutcome::Failed { sqlstate, .. } if sqlstate == "23505"));
    assert!(matches!(third, EarlyOutcome::Failed { sqlstate, .. } if sqlstate.is_empty()));
    let rows = ground
        .bed
        .target
        .value("SELECT string_agg(id || '=' || v, ' ' ORDER BY id) FROM pair");
    assert_eq!(rows.await.unwrap(), "1=7 2=2");
    assert_eq!(
        ground
            .bed
            .target
            .value("SELECT count(*) FROM segue.row_rev")
            .await
            .unwrap(),
        "2"
    );
}

#[tokio::test]
async fn a_transaction_that_is_refused_first_leaves_its_statements_prepared() {
    let ground = Ground::new(PAIRS).await;
    let row = |after| ground.row("pair", &Ground::pair(1, 1), after);
    let mut writer = ground.writer().await;
    let both = [transaction(1, vec![row(0)]), transaction(2, vec![row(1)])];
    let outcomes = each(&mut writer, &both).await;
    assert_eq!(outcomes, [refused(Refusal::Floor), EarlyOutcome::Accepted]);
}

#[tokio::test]
async fn the_log_is_never_the_victim_of_an_early_write() {
    let ground = Ground::new(PAIRS).await;
    let log = ground.bed.target.connect().await.unwrap();
    let key = ground.key("pair", &Ground::pair(1, 1));
    log.batch_execute("BEGIN").await.unwrap();
    let hold = "INSERT INTO segue.row_rev (\"table\", key, rev, from_log, verified, tombstone) \
                VALUES ('public.pair', $1, 0, true, false, false)";
    log.execute(hold, &[&&key.bytes()[..]]).await.unwrap();
    let mut writer = ground.writer().await;
    let write = transaction(1, vec![ground.row("pair", &Ground::pair(1, 1), 100)]);
    let outcomes = each(&mut writer, std::slice::from_ref(&write)).await;
    assert!(
        matches!(&outcomes[..], [EarlyOutcome::Failed { sqlstate, .. }] if sqlstate == "55P03"),
        "{outcomes:?}"
    );
    log.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(each(&mut writer, &[write]).await, [EarlyOutcome::Accepted]);
}

#[tokio::test]
async fn a_session_that_dies_leaves_its_transactions_lost() {
    let ground = Ground::new(PAIRS).await;
    let mut writer = ground.writer().await;
    let pid = writer.connection().process_id();
    let end = format!("SELECT pg_terminate_backend({pid}, 5000)");
    ground.bed.target.value(&end).await.unwrap();
    let write = |xid| transaction(xid, vec![ground.row("pair", &Ground::pair(1, 1), xid)]);
    let outcomes = each(&mut writer, &[write(1), write(2)]).await;
    assert_eq!(outcomes, [EarlyOutcome::Lost, EarlyOutcome::Lost]);
}

#[tokio::test]
async fn an_epoch_that_the_gate_does_not_have_is_refused() {
    let ground = Ground::new(PAIRS).await;
    let mut write = transaction(1, vec![ground.row("pair", &Ground::pair(1, 1), 100)]);
    write.epoch = Epoch::new(2).unwrap();
    let outcomes = each(&mut ground.writer().await, &[write]).await;
    assert_eq!(outcomes, [refused(Refusal::Gate)]);
}

fn together(members: &[EarlyTransaction]) -> Vec<&EarlyTransaction> {
    members.iter().collect()
}

#[tokio::test]
async fn transactions_that_share_a_target_transaction_leave_what_they_would_have_left_alone() {
    let ground = Ground::new(PAIRS).await;
    let row = |id, v, after| ground.row("pair", &Ground::pair(id, v), after);
    let mut deleted = row(2, 0, 103);
    deleted.write = EarlyWrite::Delete;
    let members = [
        transaction(1, vec![row(1, 1, 100), row(2, 2, 100)]),
        transaction(2, vec![row(1, 11, 101)]),
        transaction(3, vec![deleted]),
        transaction(4, vec![row(3, 2, 104)]),
    ];
    let mut writer = ground.writer().await;
    let outcomes = writer.write(&[&together(&members)]).await;
    assert_eq!(outcomes, [EarlyOutcome::Accepted]);
    let target = &ground.bed.target;
    let rows = "SELECT string_agg(id || '=' || v, ' ' ORDER BY id) FROM pair";
    assert_eq!(target.value(rows).await.unwrap(), "1=11 3=2");
    let ops = "SELECT string_agg(xid::text || tombstone, ' ' ORDER BY xid) FROM segue.row_rev";
    assert_eq!(target.value(ops).await.unwrap(), "2false 3true 4false");
    let accepted = "SELECT count(DISTINCT xmin::text) || ' ' || count(*) FROM segue.op";
    assert_eq!(target.value(accepted).await.unwrap(), "1 4");
}

#[tokio::test]
async fn what_stands_against_a_group_is_named() {
    let ground = Ground::new(PAIRS).await;
    let row = |id, v, after| ground.row("pair", &Ground::pair(id, v), after);
    let mut writer = ground.writer().await;
    let earlier = [transaction(1, vec![row(1, 1, 200), row(3, 3, 200)])];
    assert_eq!(each(&mut writer, &earlier).await, [EarlyOutcome::Accepted]);
    let mut expect = async |members: &[EarlyTransaction], outcome| {
        assert_eq!(writer.write(&[&together(members)]).await, [outcome]);
    };
    let newer = [
        transaction(2, vec![row(2, 2, 100)]),
        transaction(3, vec![row(3, 4, 150), row(4, 5, 150)]),
        transaction(4, vec![row(5, 6, 151)]),
        transaction(5, vec![row(1, 7, 199)]),
    ];
    let refused = |refusal, members| EarlyOutcome::Refused { refusal, members };
    expect(&newer, refused(Refusal::Newer, vec![1, 3])).await;
    let floor = [
        transaction(6, vec![row(6, 8, 100)]),
        transaction(7, vec![row(7, 9, 0)]),
    ];
    expect(&floor, refused(Refusal::Floor, vec![1])).await;
    // The second's value is taken by a row that is not in the group.
    let taken = [
        transaction(8, vec![row(8, 8, 300)]),
        transaction(9, vec![row(9, 9, 300), row(10, 3, 300)]),
    ];
    let outcomes = writer.write(&[&together(&taken)]).await;
    let [
        EarlyOutcome::Failed {
            sqlstate, culprit, ..
        },
    ] = &outcomes[..]
    else {
        panic!("{outcomes:?}")
    };
    assert_eq!(sqlstate, "23505");
    assert_eq!(culprit.map(|culprit| culprit.member), Some(1));
    let rows = "SELECT string_agg(id || '=' || v, ' ' ORDER BY id) FROM pair";
    let left = ground.bed.target.value(rows).await.unwrap();
    assert_eq!(left, "1=1 3=3", "a group is all or nothing");
}

#[tokio::test]
async fn a_table_that_changed_at_the_target_is_prepared_anew_once_it_is_forgotten() {
    let ground = Ground::new(PAIRS).await;
    let write = |xid, v| {
        [transaction(
            xid,
            vec![ground.row("pair", &Ground::pair(1, v), xid)],
        )]
    };
    let mut writer = ground.writer().await;
    assert_eq!(
        each(&mut writer, &write(1, 1)).await,
        [EarlyOutcome::Accepted]
    );
    let target = &ground.bed.target;
    target
        .execute("ALTER TABLE pair ALTER v TYPE date USING NULL")
        .await
        .unwrap();
    let outcomes = each(&mut writer, &write(2, 2)).await;
    let [EarlyOutcome::Failed { culprit, .. }] = &outcomes[..] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(culprit.map(|it| it.table), Some(ground.table("pair")));
    target
        .execute("ALTER TABLE pair ALTER v TYPE int USING NULL")
        .await
        .unwrap();
    writer.forget_table(ground.table("pair"));
    assert_eq!(
        each(&mut writer, &write(3, 3)).await,
        [EarlyOutcome::Accepted]
    );
    assert_eq!(target.value("SELECT v FROM pair").await.unwrap(), "3");
}
