use std::os::unix::fs::PermissionsExt;

use super::*;

fn defaults() -> Defaults {
    Defaults {
        user: Some("me".into()),
        ..Defaults::default()
    }
}

#[track_caller]
fn check(text: &str, shown: &str) -> Dsn {
    let dsn = Dsn::parse(text, &defaults()).unwrap();
    assert_eq!(dsn.to_string(), shown);
    dsn
}

#[track_caller]
fn refused(text: &str) -> String {
    Dsn::parse(text, &defaults()).unwrap_err().to_string()
}

#[test]
fn uris_mean_what_they_mean_to_libpq() {
    let dsn = check(
        "postgres://al%40ice:s%3Acret@db.example:6000/shop?sslmode=disable&connect_timeout=3",
        "postgres://al@ice@db.example:6000/shop",
    );
    assert_eq!(dsn.password().unwrap().reveal(), "s:cret");
    assert_eq!(dsn.connect_timeout(), Duration::from_secs(3));
    assert_eq!(dsn.encryption().mode, SslMode::Disable);
    assert!(dsn.password_in_text());
    check("postgresql://", "postgres://me@localhost:5432/me");
    check("postgres://bob@[::1]:7/x", "postgres://bob@[::1]:7/x");
    check(
        "postgres://%2Frun%2Fpg/x?port=7",
        "postgres://me@/x?host=/run/pg&port=7",
    );
    let socket = check(
        "postgres:///x?host=/tmp",
        "postgres://me@/x?host=/tmp&port=5432",
    );
    assert_eq!(socket.server(), "/tmp/.s.PGSQL.5432");
}

#[test]
fn keyword_strings_mean_what_they_mean_to_libpq() {
    let dsn = check(
        r"host = db port=7 user='al\'ice' password=a\ b dbname=shop sslrootcert=/ca.pem",
        "postgres://al'ice@db:7/shop",
    );
    assert_eq!(dsn.password().unwrap().reveal(), "a b");
    assert_eq!(dsn.encryption().roots, Roots::File("/ca.pem".into()));
}

#[test]
fn no_text_shows_the_password() {
    let dsn = Dsn::parse("postgres://me:hidden@h/d", &defaults()).unwrap();
    assert!(!format!("{dsn} {dsn:?}").contains("hidden"));
    for text in ["postgres://me:hidden@h:0/d", "postgres://me:hidden@a,b/d"] {
        assert!(!refused(text).contains("hidden"));
    }
}

#[test]
fn what_is_not_supported_is_said() {
    assert!(refused("postgres://h/d?sslmode=yes").contains("one of disable"));
    assert!(refused("postgres://h/d?colour=red").contains("colour"));
    assert!(refused("postgres://a,b/d").contains("several hosts"));
    assert!(refused("postgres://h:99999/d").contains("between 1 and 65535"));
    assert!(refused("postgres://h/d?x").contains("no value"));
    assert!(refused("postgres://h/%zz").contains("hexadecimal"));
    assert!(refused("just text").contains("equals sign"));
    assert!(refused("user='x").contains("closing quote"));
    let nobody = Dsn::parse("postgres://h/d", &Defaults::default());
    assert_eq!(nobody.unwrap_err(), DsnError::NoUser);
}

#[test]
fn the_first_matching_line_of_a_password_file_wins() {
    let dsn = Dsn::parse("postgres://alice@db:7/sh:op", &defaults()).unwrap();
    let text = "# comment\n\
                other:7:*:alice:no\n\
                \\*:*:*:*:no\n\
                db:8:*:*:no\n\
                db:*:sh\\:op:alice:y\\:e:s\n\
                *:*:*:*:late";
    assert_eq!(passfile::find(text, &dsn).as_deref(), Some("y:e:s"));
    assert_eq!(passfile::find("db:7:x", &dsn), None);
}

#[test]
fn a_password_file_that_others_can_read_is_not_used() {
    let path = std::env::temp_dir().join(format!("segue-pgpass-{}", std::process::id()));
    std::fs::write(&path, "*:*:*:*:pw\n").unwrap();
    let parse = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let text = format!("postgres://h/d?passfile={}", path.display());
        Dsn::parse(&text, &defaults()).unwrap()
    };
    let wide = parse(0o644);
    assert!(wide.password().is_none() && wide.warnings()[0].contains("chmod 600"));
    assert_eq!(parse(0o600).password().unwrap().reveal(), "pw");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn modes_that_promise_too_little_are_refused() {
    let text = refused("postgres://h/d?sslrootcert=system&sslmode=require");
    assert!(
        text.contains("too weak") && text.contains("verify-full"),
        "{text}"
    );
    assert!(refused("postgres://h/d?sslnegotiation=direct").contains("too weak"));
    assert!(refused("hostaddr=10.0.0.1 sslmode=verify-full").contains("without host"));
    assert!(refused("postgres://h/d?ssl_min_protocol_version=SSLv3").contains("TLSv1.2"));
    assert!(refused("postgres://h/d?gssencmode=require").contains("GSSAPI"));
}

#[test]
fn the_surroundings_complete_what_the_string_does_not_say() {
    let with = |keywords: &[(&'static str, &str)]| Defaults {
        keywords: keywords
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
        ..defaults()
    };
    let system = with(&[("sslrootcert", "system")]);
    let dsn = Dsn::parse("postgres://h/d", &system).unwrap();
    assert_eq!(dsn.encryption().mode, SslMode::VerifyFull);
    let required = with(&[("sslmode", "require")]);
    let dsn = Dsn::parse("postgres://h/d?sslmode=disable", &required).unwrap();
    assert_eq!(dsn.encryption().mode, SslMode::Disable);
    let both = Dsn::parse("host=db hostaddr=10.0.0.1 sslmode=verify-full", &defaults()).unwrap();
    assert_eq!(
        (both.server_name(), both.server().as_str()),
        ("db", "10.0.0.1:5432")
    );
}
