//! Where clients are let in, and what a client may not do.

use std::path::PathBuf;
use std::process::Command;

use harness::guardian::Guardian;
use harness::tool::client_program;
use harness::{Bed, Segue, server};

use crate::SEGUE;

/// A proxy before a database that only relays.
async fn relaying(arguments: &[&str]) -> (Bed, Segue) {
    let bed = Bed::shared("CREATE TABLE kept (id int PRIMARY KEY, word text)")
        .await
        .unwrap();
    let launch = bed.launch(SEGUE).with_uris(Some(&bed.source.uri()), None);
    let proxy = launch.proxy(arguments).await.unwrap();
    (bed, proxy)
}

fn directory() -> PathBuf {
    let guarded = Guardian::of_this_process().unwrap().directory();
    let directory = guarded.join(format!("socket-{}", server::free_port().unwrap()));
    std::fs::create_dir(&directory).unwrap();
    directory
}

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn clients_come_in_over_a_unix_domain_socket() {
    let directory = directory();
    let (bed, proxy) = relaying(&["--listen", directory.to_str().unwrap()]).await;
    let proxied = bed.source.through(proxy.port());
    let socket = directory.join(format!(".s.PGSQL.{}", proxy.port()));
    assert!(socket.exists());
    let mut psql = client_program("psql", &proxied).unwrap();
    psql.env("PGHOST", &directory)
        .args(["-XAtc", "SELECT 'in'"]);
    assert_eq!(printed(&mut psql), "in\n");
    assert_eq!(proxy.terminate().await.unwrap(), 0);
    assert!(!socket.exists());
}
