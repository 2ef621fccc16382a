//! Rule 15: what a target session is like.

use apply::session::{self, SessionError, SessionKind};
use control::{Defaults, Dsn};

use crate::ground::Ground;

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY);
    CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'a trigger fired'; END $$;
    CREATE TRIGGER forbid BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION forbid()";

#[tokio::test]
async fn sessions_have_fixed_settings_and_an_origin_each() {
    let ground = Ground::new(SCHEMA).await;
    let setting = "SELECT current_setting('lock_timeout'), current_setting('synchronous_commit')";
    for (kind, expected) in [
        (SessionKind::Early, ["200ms", "off"]),
        (SessionKind::Logged, ["0", "on"]),
    ] {
        let mut session = session::open_target(&ground.target, &ground.names, kind)
            .await
            .unwrap();
        let rows = session.query_simple(setting).await.unwrap();
        let found: Vec<_> = rows[0].iter().map(|value| value.clone().unwrap()).collect();
        assert_eq!(found, expected);
        session
            .query_simple("INSERT INTO public.t VALUES (1)")
            .await
            .unwrap();
        session.query_simple("DELETE FROM public.t").await.unwrap();
        session.close().await;
    }
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let session = session::open_target(&ground.target, &ground.names, SessionKind::Early);
        sessions.push(session.await.unwrap());
    }
    for session in &mut sessions {
        session
            .query_simple("SELECT pg_current_xact_id()")
            .await
            .unwrap();
    }
    let sql = format!(
        "SELECT count(*) FROM pg_replication_origin WHERE roname LIKE '{}%'",
        ground.names.origin_prefix
    );
    let count: u32 = ground
        .bed
        .target
        .value(&sql)
        .await
        .unwrap()
        .parse()
        .unwrap();
    assert!(count >= 3, "{count} origins");
    drop(sessions);
}

#[tokio::test]
async fn a_role_without_the_right_to_origins_is_told_which_grant_it_lacks() {
    let ground = Ground::new(SCHEMA).await;
    let role = format!("plain_{}", ground.bed.target.name);
    let version: i32 = ground
        .bed
        .target
        .value("SHOW server_version_num")
        .await
        .unwrap()
        .parse()
        .unwrap();
    if version < 150_000 {
        return;
    }
    let sql = format!(
        "CREATE ROLE {role} LOGIN; GRANT SET ON PARAMETER session_replication_role TO {role}"
    );
    ground.bed.target.execute(&sql).await.unwrap();
    let uri = ground.bed.target.as_user(&role).uri();
    let dsn = Dsn::parse(&uri, &Defaults::default()).unwrap();
    let opened = session::open_target(&dsn, &ground.names, SessionKind::Early).await;
    assert!(matches!(opened, Err(SessionError::OriginForbidden { role: told }) if told == role));
}
