//! What setup makes, takes away again and refuses.

use control::contract::Selection;
use control::setup::{self, Options, Outcome, SetupReport};
use control::{ControlError, Defaults, Dsn, Side};
use harness::{Bed, Database};

const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TABLE item (id int PRIMARY KEY, name text, m mood[]);
    CREATE TABLE leafy (a int, day date, PRIMARY KEY (a, day)) PARTITION BY RANGE (day);
    CREATE TABLE leafy_all PARTITION OF leafy DEFAULT;
    CREATE TABLE keyless (n int);
";

const FOOTPRINT: &str = "
    SELECT count(*) FROM (
        SELECT FROM pg_namespace WHERE nspname = 'segue'
        UNION ALL SELECT FROM pg_publication
        UNION ALL SELECT FROM pg_replication_slots WHERE database = current_database()
    ) AS made";

fn options(source: &Database, target: &Database) -> Options {
    let parse = |database: &Database| Dsn::parse(&database.uri(), &Defaults::default()).unwrap();
    Options {
        source: parse(source),
        target: parse(target),
        tables: Selection::All,
    }
}

async fn run(bed: &Bed) -> Result<SetupReport, ControlError> {
    setup::run(&options(&bed.source, &bed.target)).await
}

/// How many objects of Segue's there are at the source and at the target.
async fn footprint(bed: &Bed) -> [String; 2] {
    [
        bed.source.value(FOOTPRINT).await.unwrap(),
        bed.target.value(FOOTPRINT).await.unwrap(),
    ]
}

#[tokio::test]
async fn what_setup_makes_agrees_on_both_sides_and_is_removed_again() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let report = run(&bed).await.unwrap();
    assert_eq!(report.outcome, Outcome::SetUp);
    assert_eq!(report.tables, ["public.item", "public.leafy"]);
    assert_eq!(report.left_out[0].table, "public.keyless");
    assert_eq!(footprint(&bed).await, ["3", "3"]);
    let start = report.start_lsn.unwrap();
    let armed = "SELECT commit_lsn, floor & ((1::bigint << 55) - 1), g.epoch \
                 FROM segue.progress, segue.mirror_gate g";
    let row = bed.target.rows(armed).await.unwrap();
    let expected = [
        start.to_string(),
        start.as_u64().to_string(),
        "1".to_owned(),
    ];
    assert_eq!(row, [expected.map(Some)]);
    let slot = "SELECT confirmed_flush_lsn FROM pg_replication_slots \
                WHERE database = current_database()";
    assert_eq!(bed.source.value(slot).await.unwrap(), start.to_string());
    let contract = "SELECT contract_hash || epoch || phase FROM segue.phase";
    let (source, target) = (
        bed.source.value(contract).await,
        bed.target.value(contract).await,
    );
    assert_eq!(source.unwrap(), target.unwrap());
    assert_eq!(run(&bed).await.unwrap().outcome, Outcome::AlreadySetUp);
    let Options { source, target, .. } = options(&bed.source, &bed.target);
    let removed = setup::remove(&source, &target).await.unwrap().removed;
    assert_eq!(removed.len(), 6, "{removed:?}");
    assert_eq!(footprint(&bed).await, ["0", "0"]);
    assert!(
        setup::remove(&source, &target)
            .await
            .unwrap()
            .removed
            .is_empty()
    );
}

#[tokio::test]
async fn a_setup_that_fails_half_way_leaves_nothing() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    // Nothing that could be looked at before stands against it.
    let forbid = "CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS
                  $$ BEGIN RAISE EXCEPTION 'not today'; END $$;
                  CREATE EVENT TRIGGER forbid ON ddl_command_start
                  WHEN TAG IN ('CREATE PUBLICATION') EXECUTE FUNCTION forbid()";
    bed.target.execute(forbid).await.unwrap();
    let error = run(&bed).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    let told = error.to_string();
    assert!(
        told.contains("at the target") && told.contains("not today"),
        "{told}"
    );
    assert_eq!(footprint(&bed).await, ["0", "0"]);
}

#[tokio::test]
async fn a_changed_schema_and_a_setup_in_part_are_refused_with_what_changed() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    run(&bed).await.unwrap();
    for database in [&bed.source, &bed.target] {
        database
            .execute("ALTER TABLE item ADD COLUMN price int")
            .await
            .unwrap();
    }
    let report = run(&bed).await.unwrap();
    assert_eq!((report.outcome, report.exit_code()), (Outcome::Refused, 4));
    assert!(report.refusals[0].contains("column public.item.price is new"));
    bed.target
        .execute("DROP SCHEMA segue CASCADE")
        .await
        .unwrap();
    let report = run(&bed).await.unwrap();
    let told = &report.refusals[0];
    assert!(told.contains("without the target's segue schema"), "{told}");
}

#[tokio::test]
async fn roles_with_exactly_the_privileges_that_are_printed_are_enough() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let role = format!("mover_{}", bed.source.name);
    let version = bed.target.value("SHOW server_version_num").await.unwrap();
    if version.parse::<u32>().unwrap() < 150_000 {
        return;
    }
    let common = format!(
        "CREATE ROLE {role} LOGIN REPLICATION; GRANT CREATE ON DATABASE {} TO {role};",
        bed.source.name
    );
    let source =
        format!("{common} ALTER TABLE item OWNER TO {role}; ALTER TABLE leafy OWNER TO {role}");
    let target = format!(
        "{common} GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON item, leafy TO {role};
         GRANT SET ON PARAMETER session_replication_role TO {role};
         GRANT EXECUTE ON FUNCTION pg_replication_origin_create(text),
                                   pg_replication_origin_session_setup(text) TO {role}"
    );
    bed.source.execute(&source).await.unwrap();
    bed.target.execute(&target).await.unwrap();
    let options = options(&bed.source.as_user(&role), &bed.target.as_user(&role));
    let report = setup::run(&options).await.unwrap();
    assert_eq!(report.outcome, Outcome::SetUp, "{:?}", report.refusals);
    let told = report.warnings.join("\n");
    assert!(
        told.contains("writes of others at the target are not found"),
        "{told}"
    );
}

#[tokio::test]
async fn rows_that_are_hidden_from_the_role_are_not_taken_for_missing() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let role = format!("blind_{}", bed.source.name);
    let restrict = format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON item TO {role};
         ALTER TABLE item ENABLE ROW LEVEL SECURITY;
         ALTER TABLE leafy ENABLE ROW LEVEL SECURITY"
    );
    bed.target.execute(&restrict).await.unwrap();
    let options = options(&bed.source, &bed.target.as_user(&role));
    let report = setup::check(&options).await.unwrap();
    let told = report.refusals.join("\n");
    assert!(
        told.contains("hides rows of tables public.item, public.leafy"),
        "{told}"
    );
    // Its owner sees everything.
    assert_eq!(run(&bed).await.unwrap().outcome, Outcome::SetUp);
}

#[tokio::test]
async fn a_schema_that_is_not_ours_is_refused_by_its_version() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let other = "CREATE SCHEMA segue; COMMENT ON SCHEMA segue IS 'segue schema version 999'";
    bed.source.execute(other).await.unwrap();
    let error = run(&bed).await.unwrap_err();
    assert_eq!(error.exit_code(), 4);
    let told = error.to_string();
    assert!(told.contains("999") && told.contains("version 4"), "{told}");
    let target = options(&bed.source, &bed.target).target;
    let client = control::connect(&target, Side::Target, "test")
        .await
        .unwrap();
    let missing = control::schema::check_version(&client, Side::Target, "d").await;
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .contains("run segue setup first")
    );
}

/// What version 3 had in place of this version's.
const VERSION_3: &str = "
    ALTER TABLE segue.phase DROP COLUMN timeline;
    DROP TABLE segue.partitions, segue.epoch, segue.recheck;
    COMMENT ON SCHEMA segue IS 'segue schema version 3';
";

/// What version 2 had in place of version 3's.
const VERSION_2: &str = "
    DROP TABLE segue.stopped, segue.repair_limit, segue.table_count;
    ALTER TABLE segue.divergence DROP COLUMN held, DROP COLUMN written_by,
        DROP COLUMN written_xid, DROP COLUMN written_at;
    ALTER TABLE segue.journal DROP COLUMN proposed, DROP COLUMN before_row,
        DROP COLUMN after_row, DROP COLUMN act;
    ALTER TABLE segue.table_floor DROP COLUMN contract, ALTER COLUMN floor DROP DEFAULT;
    COMMENT ON SCHEMA segue IS 'segue schema version 2';
";

/// What version 1 had in place of version 2's.
const VERSION_1: &str = "
    DROP FUNCTION segue.admit;
    CREATE FUNCTION segue.admit(
        p_epoch integer, p_op uuid, p_xid bigint, p_proxy uuid, p_committed_at timestamptz,
        p_contract integer, p_tables text[], p_keys bytea[], p_revs bigint[], p_tombstones boolean[]
    ) RETURNS void LANGUAGE sql AS 'SELECT';
    COMMENT ON SCHEMA segue IS 'segue schema version 1';
";

/// Everything of the schema: columns with their defaults, constraints, the function.
const LAYOUT: &str = "
    SELECT string_agg(part, E'\\n' ORDER BY part) FROM (
        SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default)
        FROM information_schema.columns WHERE table_schema = 'segue'
        UNION ALL
        SELECT concat(conrelid::regclass, ' ', pg_get_constraintdef(oid)) FROM pg_constraint
        WHERE connamespace = 'segue'::regnamespace
        UNION ALL
        SELECT pg_get_functiondef('segue.admit'::regproc)) AS layout (part)";

#[tokio::test]
async fn version_1_is_upgraded_and_keeps_what_it_holds() {
    upgraded_from(1, &format!("{VERSION_3}{VERSION_2}{VERSION_1}")).await;
}

#[tokio::test]
async fn version_2_is_upgraded_and_keeps_what_it_holds() {
    upgraded_from(2, &format!("{VERSION_3}{VERSION_2}")).await;
}

#[tokio::test]
async fn version_3_is_upgraded_and_keeps_what_it_holds() {
    upgraded_from(3, VERSION_3).await;
}

async fn upgraded_from(version: u32, back: &str) {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let first = run(&bed).await.unwrap();
    let whole = bed.target.value(LAYOUT).await.unwrap();
    bed.target.execute(back).await.unwrap();
    let older = format!(
        "ALTER TABLE segue.phase DROP COLUMN timeline; \
         COMMENT ON SCHEMA segue IS 'segue schema version {version}'"
    );
    bed.source.execute(&older).await.unwrap();
    let seen = setup::check(&options(&bed.source, &bed.target)).await;
    let seen = seen.unwrap();
    assert_eq!(seen.outcome, Outcome::Possible);
    let sides: Vec<Side> = seen.steps.iter().map(|step| step.side).collect();
    assert_eq!(sides, [Side::Target, Side::Source]);
    let report = run(&bed).await.unwrap();
    assert_eq!(report.outcome, Outcome::Upgraded);
    assert_eq!(bed.target.value(LAYOUT).await.unwrap(), whole);
    let progress = "SELECT commit_lsn FROM segue.progress";
    assert_eq!(
        bed.target.value(progress).await.unwrap(),
        first.start_lsn.unwrap().to_string()
    );
    assert_eq!(run(&bed).await.unwrap().outcome, Outcome::AlreadySetUp);
}
