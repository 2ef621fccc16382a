//! Replication connections through the proxy: physical and logical, COPY in both directions.

use std::path::PathBuf;
use std::process::Command;

use harness::guardian::Guardian;
use harness::raw_client::{RawClient, message::*};
use harness::tool::client_program;
use harness::{Bed, Database, ports};

use crate::ways::Ways;

const SCHEMA: &str = "CREATE TABLE kept (id int PRIMARY KEY, word text)";

fn unused(name: &str) -> PathBuf {
    let directory = Guardian::of_this_process().unwrap().directory();
    directory.join(format!("{name}-{}", ports::free().unwrap()))
}

fn succeeds(way: &str, command: &mut Command) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{way}: {command:?}: {errors}");
}

#[tokio::test]
async fn a_base_backup_goes_through() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let ways = Ways::to(&bed.source).await;
    for (way, database) in ways.all() {
        let backup = unused("backup");
        let mut command = client_program("pg_basebackup", &database).unwrap();
        command
            .env_remove("PGDATABASE")
            .args([
                "--checkpoint=fast",
                "--wal-method=stream",
                "--no-sync",
                "--pgdata",
            ])
            .arg(&backup);
        succeeds(way, &mut command);
        // The manifest has a checksum of every file that was sent.
        let mut verify = client_program("pg_verifybackup", &database).unwrap();
        verify.arg("--no-parse-wal").arg(&backup);
        succeeds(way, &mut verify);
        std::fs::remove_dir_all(&backup).unwrap();
    }
    ways.finish().await;
}

/// What `pg_recvlogical` gets of three rows.
async fn decoded(way: &str, database: &Database, slot: &str) -> String {
    let file = unused("decoded");
    let recv = |arguments: &[&str]| {
        let mut command = client_program("pg_recvlogical", database).unwrap();
        command
            .args(["--dbname", &database.name, "--slot", slot])
            .args(arguments);
        command
    };
    succeeds(way, &mut recv(&["--create-slot", "--plugin=pgoutput"]));
    database
        .execute(
            "TRUNCATE kept; INSERT INTO kept SELECT n, 'row ' || n FROM generate_series(1, 3) n",
        )
        .await
        .unwrap();
    let end = database.fence().await.unwrap();
    let path = file.to_str().unwrap();
    succeeds(
        way,
        &mut recv(&[
            "--start",
            "--no-loop",
            "--option=proto_version=1",
            "--option=publication_names=kept",
            "--endpos",
            &end,
            "--file",
            path,
        ]),
    );
    succeeds(way, &mut recv(&["--drop-slot"]));
    let bytes = std::fs::read(&file).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_logical_stream_goes_through() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    bed.source
        .execute("CREATE PUBLICATION kept FOR TABLE kept")
        .await
        .unwrap();
    let ways = Ways::to(&bed.source).await;
    for (number, (way, database)) in ways.all().into_iter().enumerate() {
        let slot = format!("{}_{number}", bed.source.name);
        let stream = decoded(way, &database, &slot).await;
        for word in ["row 1", "row 2", "row 3"] {
            assert!(stream.contains(word), "{way}: {stream:?}");
        }
    }
    ways.finish().await;
}

#[tokio::test]
async fn a_replication_connection_looks_the_same() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let ways = Ways::to(&bed.source).await;
    let mut seen = Vec::new();
    for (_, database) in ways.all() {
        let mut client = RawClient::connect_with(&database, &[("replication", "database")])
            .await
            .unwrap();
        let mut frames = Vec::new();
        for sql in [
            "SHOW wal_level",
            "SELECT 1 AS plain",
            "READ_REPLICATION_SLOT nobody",
            "NONSENSE",
        ] {
            client.send(&query(sql)).await.unwrap();
            frames.extend(client.until_ready(1).await.unwrap());
        }
        // A stream that begins, is acknowledged and is ended by the client.
        let flushed = bed
            .source
            .value("SELECT pg_current_wal_flush_lsn()")
            .await
            .unwrap();
        let start = format!("START_REPLICATION {flushed}");
        client.send(&query(&start)).await.unwrap();
        frames.extend(client.until_tag(b'W', 1).await.unwrap());
        let mut status = vec![b'r'];
        status.extend([0; 32]);
        status.push(1);
        client.send(&copy_data(&status)).await.unwrap();
        client.until_tag(b'd', 1).await.unwrap();
        client.send(&copy_done()).await.unwrap();
        let end = client.until_ready(1).await.unwrap();
        frames.extend(end.into_iter().filter(|frame| frame.tag != b'd'));
        seen.push(frames);
    }
    assert_eq!(seen[1], seen[0], "relayed");
    assert_eq!(seen[2], seen[0], "captured");
    ways.finish().await;
}
