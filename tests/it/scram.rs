//! Logins by password through the proxy, encrypted on neither, either and both sides.

use harness::{Authority, Database, Issued, Segue, Server, wait};

use crate::tls::{fails, path, proxy, server, shows, works};

const HBA: &str =
    "host all postgres all trust\nhost all by_md5 all md5\nhost all all all scram-sha-256";

const ROLES: &str = "CREATE ROLE al LOGIN PASSWORD 'open sesame';
    CREATE ROLE \"öd \"\"x\" LOGIN PASSWORD 'ünïcödé';
    CREATE ROLE secretless LOGIN;
    CREATE ROLE watcher LOGIN PASSWORD 'watch';
    SET password_encryption = 'md5';
    CREATE ROLE by_md5 LOGIN PASSWORD 'open sesame';";

/// A source that asks for SCRAM, and what the proxies before it show of themselves.
struct Ground {
    authority: Authority,
    source: Server,
    ours: Issued,
}

impl Ground {
    async fn new() -> Self {
        let authority = Authority::new("segue test").unwrap();
        let theirs = authority.issue(&["localhost"]).unwrap();
        let source = server(HBA, &theirs, &authority).await;
        source.database("postgres").execute(ROLES).await.unwrap();
        let ours = authority.issue(&["localhost"]).unwrap();
        Self {
            authority,
            source,
            ours,
        }
    }

    /// A proxy whose own role is a superuser, with these flags more.
    async fn proxy(&self, sslmode: &str, flags: &[&str]) -> Segue {
        let uri = format!(
            "{}?sslmode={sslmode}",
            self.source.database("postgres").uri()
        );
        proxy(&uri, &[&shows(&self.ours), flags].concat()).await
    }

    fn through(&self, proxy: &Segue, role: &str, password: &str) -> Database {
        let database = self
            .source
            .database("postgres")
            .through(proxy.port())
            .as_user(role);
        database.with_password(Some(password.to_owned()))
    }
}

const WHO: &str = "SELECT current_user";

#[tokio::test]
async fn passwords_work_however_the_two_sides_are_encrypted_and_bound() {
    let ground = Ground::new().await;
    let root = path(ground.authority.path());
    for to_source in ["disable", "require"] {
        let proxy = ground.proxy(to_source, &[]).await;
        let al = ground.through(&proxy, "al", "open sesame");
        for binding in ["disable", "prefer", "require"] {
            let keywords =
                format!("sslmode=verify-full sslrootcert={root} channel_binding={binding}");
            assert_eq!(works(&al, &keywords, WHO), "al", "{to_source} {keywords}");
        }
        for binding in ["disable", "prefer"] {
            let keywords = format!("sslmode=disable channel_binding={binding}");
            assert_eq!(works(&al, &keywords, WHO), "al", "{to_source} {keywords}");
        }
        fails(
            &al,
            "sslmode=disable channel_binding=require",
            "channel binding required",
        );
        // psql's defaults.
        assert_eq!(works(&al, "", WHO), "al");
        let other = ground.through(&proxy, "öd \"x", "ünïcödé");
        let quoted = other.clone().as_user("'öd \"x'");
        assert_eq!(works(&quoted, "", WHO), "öd \"x");
    }
}

#[tokio::test]
async fn who_proves_nothing_is_refused_in_the_servers_own_words() {
    let ground = Ground::new().await;
    for to_source in ["disable", "require"] {
        let proxy = ground.proxy(to_source, &[]).await;
        for keywords in [
            "sslmode=require",
            "sslmode=disable",
            "sslmode=require channel_binding=disable",
        ] {
            for (role, password) in [("al", "wrong"), ("nobody_at_all", "x"), ("secretless", "x")] {
                let client = ground.through(&proxy, role, password);
                let words = format!("password authentication failed for user \"{role}\"");
                fails(&client, keywords, &words);
            }
            let by_md5 = ground.through(&proxy, "by_md5", "open sesame");
            assert_eq!(works(&by_md5, keywords, WHO), "by_md5");
            fails(
                &by_md5.clone().with_password(Some("wrong".into())),
                keywords,
                "authentication failed",
            );
        }
    }
    // The source has heard of each: its log and its delays see what they would have seen.
    let log = ground.source.log();
    assert!(
        log.contains("password authentication failed for user \"nobody_at_all\""),
        "{log}"
    );
}

#[tokio::test]
async fn a_password_that_has_just_changed_is_the_one_that_counts() {
    let ground = Ground::new().await;
    let proxy = ground.proxy("require", &[]).await;
    let old = ground.through(&proxy, "al", "open sesame");
    assert_eq!(works(&old, "sslmode=require", WHO), "al");
    let change = "ALTER ROLE al PASSWORD 'another one'";
    ground
        .source
        .database("postgres")
        .execute(change)
        .await
        .unwrap();
    let new = ground.through(&proxy, "al", "another one");
    assert_eq!(works(&new, "sslmode=require", WHO), "al");
    fails(&old, "sslmode=require", "password authentication failed");
}

#[tokio::test]
async fn without_a_secret_a_client_that_could_bind_is_told_what_is_missing() {
    let ground = Ground::new().await;
    let proxy = ground.proxy("require", &["--auth-query", "off"]).await;
    let al = ground.through(&proxy, "al", "open sesame");
    fails(
        &al,
        "sslmode=require",
        "cannot pass through the segue proxy",
    );
    fails(&al, "sslmode=require", "set auth_query or auth_file");
    assert_eq!(
        works(&al, "sslmode=require channel_binding=disable", WHO),
        "al"
    );
    assert_eq!(works(&al, "sslmode=disable", WHO), "al");
}

#[tokio::test]
async fn secrets_come_from_a_file_and_an_old_one_lets_nobody_in() {
    let ground = Ground::new().await;
    let database = ground.source.database("postgres");
    let secret = database
        .value("SELECT rolpassword FROM pg_authid WHERE rolname = 'al'")
        .await
        .unwrap();
    let file = ground.ours.key.with_extension("users");
    std::fs::write(&file, format!("\"al\" \"{secret}\"\n\"old\" \"md5abc\"\n")).unwrap();
    let by_file = ground
        .proxy(
            "require",
            &["--auth-query", "off", "--auth-file", path(&file)],
        )
        .await;
    let al = ground.through(&by_file, "al", "open sesame");
    assert_eq!(
        works(&al, "sslmode=require channel_binding=require", WHO),
        "al"
    );
    fails(
        &al.clone().with_password(Some("wrong".into())),
        "sslmode=require",
        "password authentication failed",
    );

    // A secret that is no longer the server's lets nobody in, and the log says why.
    database
        .execute("ALTER ROLE al PASSWORD 'another one'")
        .await
        .unwrap();
    let changed = al.clone().with_password(Some("another one".into()));
    fails(
        &changed,
        "sslmode=require",
        "password authentication failed",
    );
    let said = "is not the one that the source has";
    wait::until_true("the reason in the log", async || {
        Ok(by_file.log().contains(said))
    })
    .await
    .unwrap();
    let secret = database
        .value("SELECT rolpassword FROM pg_authid WHERE rolname = 'al'")
        .await
        .unwrap();
    std::fs::write(&file, format!("\"al\" \"{secret}\"\n")).unwrap();
    by_file.signal("HUP").unwrap();
    wait::until_true("the new file in the log", async || {
        Ok(by_file.log().contains("auth_file is"))
    })
    .await
    .unwrap();
    assert_eq!(works(&changed, "sslmode=require", WHO), "al");
}

#[tokio::test]
async fn secrets_come_from_a_query_where_the_proxys_role_is_no_superuser() {
    let ground = Ground::new().await;
    let database = ground.source.database("postgres");
    let function = "CREATE FUNCTION public.secret_of(text) RETURNS TABLE (role text, secret text)
        SECURITY DEFINER LANGUAGE sql AS
        'SELECT rolname, rolpassword FROM pg_catalog.pg_authid WHERE rolname = $1'";
    database.execute(function).await.unwrap();
    let watcher = database
        .as_user("watcher")
        .with_password(Some("watch".into()));
    let uri = format!("{}?sslmode=require", watcher.uri());
    let certificate = shows(&ground.ours);
    let query = ["--auth-query", "SELECT * FROM public.secret_of($1)"];
    let by_query = proxy(&uri, &[&certificate[..], &query].concat()).await;
    let al = ground.through(&by_query, "al", "open sesame");
    assert_eq!(
        works(&al, "sslmode=require channel_binding=require", WHO),
        "al"
    );
    // The watcher may not read pg_authid itself.
    let by_default = proxy(&uri, &certificate).await;
    let al = ground.through(&by_default, "al", "open sesame");
    fails(
        &al,
        "sslmode=require",
        "cannot pass through the segue proxy",
    );
    assert!(
        by_default.log().contains("permission denied"),
        "{}",
        by_default.log()
    );
}

#[tokio::test]
async fn the_servers_own_certificate_on_the_proxy_needs_no_secret() {
    let authority = Authority::new("segue test").unwrap();
    let shared = authority.issue(&["localhost"]).unwrap();
    let source = server(HBA, &shared, &authority).await;
    source.database("postgres").execute(ROLES).await.unwrap();
    let ground = Ground {
        authority,
        source,
        ours: shared,
    };
    let proxy = ground.proxy("require", &["--auth-query", "off"]).await;
    let al = ground.through(&proxy, "al", "open sesame");
    assert_eq!(
        works(&al, "sslmode=require channel_binding=require", WHO),
        "al"
    );
}

#[tokio::test]
async fn administrators_authenticate_over_tls_on_both_sides_too() {
    let ground = Ground::new().await;
    for to_source in ["disable", "require"] {
        let proxy = ground.proxy(to_source, &["--admin-users", "al"]).await;
        let console = ground.through(&proxy, "al", "open sesame").of_name("segue");
        for keywords in ["sslmode=require channel_binding=require", "sslmode=disable"] {
            let shown = works(&console, keywords, "SHOW VERSION");
            assert!(shown.contains("segue"), "{to_source} {keywords}: {shown}");
        }
        let wrong = console.clone().with_password(Some("wrong".to_owned()));
        fails(
            &wrong,
            "sslmode=require",
            "password authentication failed for user \"al\"",
        );
    }
}
