//! `segue setup` and its neighbours: what they make, and what they refuse in one sentence.

use harness::{
    Authentication, Bed, Database, Installation, Launch, Pair, Server, ServerOptions, ports,
    segue::Ended, server,
};

use crate::SEGUE;

const SCHEMA: &str = "
    CREATE TABLE item (id int PRIMARY KEY, name text);
    CREATE TABLE keyless (n int);
";

/// What setup would have made on a server.
const FOOTPRINT: &str = "
    SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = 'segue'
    UNION ALL SELECT 'publication ' || pubname FROM pg_publication
    UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
    UNION ALL SELECT 'origin ' || roname FROM pg_replication_origin WHERE roname LIKE '%' || current_database() || '%'
    ORDER BY 1";

async fn footprint(database: &Database) -> Vec<Vec<Option<String>>> {
    database.rows(FOOTPRINT).await.unwrap()
}

/// It failed with this code and one clear sentence that names what matters.
#[track_caller]
fn refused(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, code, "{ended:?}");
    // Besides the log, whose lines begin with the time.
    let sentence = |line: &&str| !line.starts_with("20") && !line.trim().is_empty();
    let told: Vec<&str> = ended.errors.lines().filter(sentence).collect();
    let told = told.join("\n");
    assert!(
        !told.is_empty() && told.lines().count() <= 4,
        "not one clear sentence: {told}"
    );
    assert!(
        !told.contains("panicked") && !told.contains("backtrace"),
        "{told}"
    );
    for word in words {
        assert!(
            told.to_lowercase().contains(&word.to_lowercase()),
            "{word:?} is not in: {told}"
        );
    }
}

#[tokio::test]
async fn setup_makes_what_is_needed_and_once_more_changes_nothing() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let launch = bed.launch(SEGUE);
    let looked = launch.run_to_end(&["setup", "--check"]).await.unwrap();
    assert_eq!(looked.code, 0, "{looked:?}");
    let printed = launch.run_to_end(&["setup", "--print"]).await.unwrap();
    assert_eq!(printed.code, 0, "{printed:?}");
    assert!(
        printed.output.contains("CREATE SCHEMA segue"),
        "{}",
        printed.output
    );
    assert!(
        printed.output.contains("CREATE PUBLICATION"),
        "{}",
        printed.output
    );
    assert!(
        footprint(&bed.source).await.is_empty(),
        "--check and --print only look"
    );
    assert!(
        footprint(&bed.target).await.is_empty(),
        "--check and --print only look"
    );
    let made = launch.run_to_end(&["setup"]).await.unwrap();
    assert_eq!(made.code, 0, "{made:?}");
    let told = format!("{}{}", made.output, made.errors);
    assert!(
        told.contains("keyless"),
        "a table left out is named: {told}"
    );
    let (source, target) = (footprint(&bed.source).await, footprint(&bed.target).await);
    let slot = Some(format!("slot {}", bed.stream()));
    assert!(source.iter().any(|row| row[0] == slot), "{source:?}");
    assert!(!target.is_empty());
    launch.setup().await.unwrap();
    assert_eq!(footprint(&bed.source).await, source);
    assert_eq!(footprint(&bed.target).await, target);
}

#[tokio::test]
async fn setup_refuses_what_cannot_work_and_changes_nothing() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    bed.source
        .execute("CREATE TABLE only_here (id int PRIMARY KEY)")
        .await
        .unwrap();
    let launch = bed.launch(SEGUE);
    let missing = launch.run_to_end(&["setup"]).await.unwrap();
    refused(&missing, 4, &["only_here", "target"]);
    bed.target
        .execute("CREATE TABLE only_here (id int PRIMARY KEY)")
        .await
        .unwrap();
    let keyless = launch
        .run_to_end(&["setup", "--table", "public.keyless"])
        .await
        .unwrap();
    refused(&keyless, 4, &["keyless", "key"]);
    let unknown = launch
        .run_to_end(&["setup", "--table", "public.nowhere"])
        .await
        .unwrap();
    assert!(matches!(unknown.code, 1 | 2 | 4), "{unknown:?}");
    refused(&unknown, unknown.code, &["nowhere"]);
    assert!(footprint(&bed.source).await.is_empty());
    assert!(footprint(&bed.target).await.is_empty());
}

#[tokio::test]
async fn a_schema_of_another_version_is_left_alone() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let other = "CREATE SCHEMA segue; COMMENT ON SCHEMA segue IS 'segue schema version 999'";
    bed.target.execute(other).await.unwrap();
    let before = footprint(&bed.target).await;
    let launch = bed.launch(SEGUE);
    for command in [["setup"], ["run"], ["reconciler"], ["status"], ["report"]] {
        let ended = launch.run_to_end(&command).await.unwrap();
        assert!(matches!(ended.code, 1 | 4), "{command:?}: {ended:?}");
        refused(&ended, ended.code, &["version"]);
    }
    assert!(footprint(&bed.source).await.is_empty());
    assert_eq!(footprint(&bed.target).await, before);
}

#[tokio::test]
async fn commands_before_setup_say_that_setup_is_missing() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let launch = bed.launch(SEGUE);
    for command in [["reconciler"], ["run"], ["status"], ["report"]] {
        let ended = launch.run_to_end(&command).await.unwrap();
        assert!(matches!(ended.code, 1 | 4), "{command:?}: {ended:?}");
        refused(&ended, ended.code, &["segue setup"]);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_and_a_wrong_password_are_said_plainly() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let port = ports::free().unwrap();
    let nobody = Database::new(port, "nobody");
    let launch = bed.launch(SEGUE);
    let no_source = launch.with_uris(Some(&nobody.uri()), Some(&bed.target.uri()));
    let no_target = launch.with_uris(Some(&bed.source.uri()), Some(&nobody.uri()));
    for (launch, side) in [(&no_source, "source"), (&no_target, "target")] {
        let ended = launch.run_to_end(&["setup"]).await.unwrap();
        refused(&ended, 1, &[side, &port.to_string()]);
    }
    for command in ["status", "report"] {
        let ended = no_target.run_to_end(&[command]).await.unwrap();
        refused(&ended, 1, &["target", &port.to_string()]);
    }
    assert!(footprint(&bed.source).await.is_empty());
    assert!(footprint(&bed.target).await.is_empty());
}

#[tokio::test]
async fn passwords_privileges_and_wal_level_are_said_plainly() {
    let settings = vec!["wal_level=replica".to_owned()];
    let options = ServerOptions {
        authentication: Authentication::Scram,
        settings,
        ..ServerOptions::default()
    };
    let source = Server::start(Installation::for_source().unwrap(), options)
        .await
        .unwrap();
    let database = source.database("postgres");
    database.execute(SCHEMA).await.unwrap();
    database
        .execute("CREATE ROLE guest LOGIN PASSWORD 'open sesame'")
        .await
        .unwrap();
    let target = Bed::shared(SCHEMA).await.unwrap().target;
    let wrong = database.with_password(Some("not the password".to_owned()));
    let ended = Launch::new(SEGUE, &wrong, &target)
        .run_to_end(&["setup"])
        .await
        .unwrap();
    refused(&ended, 1, &["source", "password"]);
    assert!(
        !ended.errors.contains("not the password"),
        "the password is told: {}",
        ended.errors
    );
    let database = source.database("postgres");
    let ended = Launch::new(SEGUE, &database, &target)
        .run_to_end(&["setup"])
        .await
        .unwrap();
    refused(&ended, 4, &["wal_level", "logical"]);
    // From the environment, as libpq has it.
    let bare = database.with_password(None);
    let launch = Launch::new(SEGUE, &bare, &target).with_variable("PGPASSWORD", server::PASSWORD);
    refused(
        &launch.run_to_end(&["setup"]).await.unwrap(),
        4,
        &["wal_level"],
    );
    assert!(footprint(&source.database("postgres")).await.is_empty());
    assert!(footprint(&target).await.is_empty());
}

#[tokio::test]
async fn a_server_that_refuses_our_output_plugin_is_told_from_one_that_allows_it() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let known = "SELECT current_setting('output_plugin_libraries', true) IS NOT NULL";
    for database in [&bed.source, &bed.target] {
        if database.value(known).await.unwrap() != "t" {
            println!("skipped: a server from before output_plugin_libraries");
            return;
        }
    }
    let allow = async |database: &Database, plugins: &str| {
        let name = &database.name;
        let sql = format!("ALTER DATABASE {name} SET output_plugin_libraries = {plugins}");
        database.execute(&sql).await.unwrap();
    };
    let launch = bed.launch(SEGUE);
    allow(&bed.source, "test_decoding").await;
    let ended = launch.run_to_end(&["setup"]).await.unwrap();
    let mend = "ALTER SYSTEM SET output_plugin_libraries = 'test_decoding, pgoutput'";
    refused(&ended, 4, &["source", "output_plugin_libraries", mend]);
    assert!(footprint(&bed.source).await.is_empty());
    allow(&bed.source, "DEFAULT").await;
    allow(&bed.target, "test_decoding").await;
    let ended = launch.run_to_end(&["setup"]).await.unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let said = [ended.output.as_str(), &ended.errors].concat();
    assert!(
        said.contains("the target's output_plugin_libraries"),
        "{said}"
    );
    let slots = format!(
        "SELECT count(*) FROM pg_replication_slots WHERE database = '{}'",
        bed.target.name
    );
    assert_eq!(bed.target.value(&slots).await.unwrap(), "0");
    let segue = launch.run(&[]).await.unwrap();
    bed.caught_up().await.unwrap();
    assert_eq!(segue.terminate().await.unwrap(), 0);
}

#[tokio::test]
async fn a_role_that_may_not_is_refused_with_what_it_needs() {
    let pair = Pair::shared().await.unwrap();
    let bed = pair.bed(SCHEMA).await.unwrap();
    let role = format!("guest_{}", bed.source.name);
    for server in [&pair.source, &pair.target] {
        server
            .database("postgres")
            .execute(&format!("CREATE ROLE {role} LOGIN"))
            .await
            .unwrap();
    }
    let (guest, owner) = (bed.source.as_user(&role), &bed.source);
    let ended = Launch::new(SEGUE, &guest, &bed.target)
        .run_to_end(&["setup"])
        .await
        .unwrap();
    assert!(matches!(ended.code, 1 | 4), "{ended:?}");
    refused(&ended, ended.code, &["source", &role]);
    let guest = bed.target.as_user(&role);
    let ended = Launch::new(SEGUE, owner, &guest)
        .run_to_end(&["setup"])
        .await
        .unwrap();
    assert!(matches!(ended.code, 1 | 4), "{ended:?}");
    refused(&ended, ended.code, &["target", &role]);
    assert!(footprint(&bed.source).await.is_empty());
    assert!(footprint(&bed.target).await.is_empty());
}

#[tokio::test]
async fn wrong_usage_ends_with_two() {
    let nothing =
        Launch::new(SEGUE, &Database::new(1, "x"), &Database::new(1, "x")).with_uris(None, None);
    for arguments in [
        ["setup"].as_slice(),
        &["run"],
        &["frobnicate"],
        &[
            "setup",
            "--source",
            "not a uri",
            "--target",
            "postgresql://127.0.0.1:1/x",
        ],
        &[
            "proxy",
            "--source",
            "postgresql://127.0.0.1:1/x",
            "--listen",
            "nowhere",
        ],
        &[
            "proxy",
            "--source",
            "postgresql://127.0.0.1:1/x",
            "--mirror",
            "perhaps",
        ],
    ] {
        let ended = nothing.run_to_end(arguments).await.unwrap();
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert!(!ended.errors.trim().is_empty(), "{arguments:?}");
    }
    for command in ["setup", "proxy", "reconciler", "run", "status", "report"] {
        let help = nothing.run_to_end(&[command, "--help"]).await.unwrap();
        assert_eq!(help.code, 0, "{command}");
        assert!(
            help.output.contains(&format!("segue {command}")),
            "an example: {}",
            help.output
        );
    }
}
