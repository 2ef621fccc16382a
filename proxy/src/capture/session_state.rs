//! Reading what gives a session's texts their meaning.
//!
//! Does not decide when: the relay asks at an idle `ReadyForQuery`, and drops the replies.

use bytes::Bytes;
use protocol::decide::statement::{MirrorChoice, SessionFacts, SessionKnowledge};

/// More temporary relations than this are not listed.
const TEMPORARY_MAX: usize = 100;

/// Levels of `client_min_messages` at which the client does not get what goes to the server's log.
const QUIET_LEVELS: [&str; 3] = ["notice", "warning", "error"];

/// One row of texts. Every name is qualified, so that the search path cannot change its meaning;
/// an array is made JSON, so that no setting changes its form. Where `pg_temp` is the first schema of
/// the search path that is there, and the session has no temporary schema yet, `current_schemas`
/// would make one: it is called only if `pg_temp` is not named or the first schema named is another
/// one that is there.
pub(super) const SESSION_QUERY: &str = "\
SELECT current_user::pg_catalog.text, \
CASE WHEN pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0 \
OR pg_catalog.strpos(pg_catalog.lower(pg_catalog.current_setting('search_path')), 'pg_temp') \
OPERATOR(pg_catalog.=) 0 \
OR EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) \
pg_catalog.lower(pg_catalog.btrim(pg_catalog.split_part(\
pg_catalog.current_setting('search_path'), ',', 1))) \
AND pg_catalog.has_schema_privilege(oid, 'USAGE') \
AND nspname OPERATOR(pg_catalog.!~) '^pg_') \
THEN pg_catalog.array_to_json(pg_catalog.current_schemas(true))::pg_catalog.text END, \
(SELECT pg_catalog.json_agg(c.relname)::pg_catalog.text FROM (SELECT relname \
FROM pg_catalog.pg_class \
WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() \
AND relkind OPERATOR(pg_catalog.<>) 'i' LIMIT 101) c), \
pg_catalog.current_setting('client_encoding'), \
pg_catalog.current_setting('server_encoding'), \
pg_catalog.current_setting('standard_conforming_strings'), \
pg_catalog.current_setting('client_min_messages'), \
pg_catalog.current_setting('segue.mirror', true), \
CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN (('x' OPERATOR(pg_catalog.||) \
pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8))\
::pg_catalog.bit(32))::pg_catalog.int4::pg_catalog.text END";

/// Reads the row; anything unexpected leaves the session unknown, and so uncaptured.
pub(super) fn read(columns: &[Option<Bytes>]) -> SessionKnowledge {
    facts(columns).map_or(SessionKnowledge::Unknown, SessionKnowledge::known)
}

fn facts(columns: &[Option<Bytes>]) -> Option<SessionFacts> {
    let text = |place: usize| std::str::from_utf8(columns.get(place)?.as_ref()?).ok();
    let temporary: Vec<String> = match columns.get(2)? {
        None => Vec::new(),
        Some(json) => serde_json::from_slice(json).ok()?,
    };
    Some(SessionFacts {
        role: text(0)?.to_owned(),
        search_path: serde_json::from_str(text(1)?).ok()?,
        temporary: (temporary.len() <= TEMPORARY_MAX).then_some(temporary),
        client_encoding: text(3)?.to_owned(),
        server_encoding: text(4)?.to_owned(),
        standard_strings: text(5)? == "on",
        hears_log: !QUIET_LEVELS.contains(&text(6)?),
        mirror: text(7).and_then(MirrorChoice::named),
        timeline: text(8).and_then(|timeline| timeline.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(temporary: Option<&'static str>) -> Vec<Option<Bytes>> {
        let texts = [
            "al",
            r#"["pg_catalog","public"]"#,
            "",
            "UTF8",
            "UTF8",
            "on",
            "notice",
        ];
        let mut row: Vec<_> = texts
            .map(|text| Some(Bytes::from_static(text.as_bytes())))
            .into();
        row.push(Some(Bytes::from_static(b"Sync")));
        row.push(Some(Bytes::from_static(b"2")));
        row[2] = temporary.map(|text| Bytes::from_static(text.as_bytes()));
        row
    }

    #[test]
    fn the_row_becomes_the_facts() {
        let SessionKnowledge::Known { facts, fingerprint } = read(&row(Some(r#"["t"]"#))) else {
            panic!("unknown");
        };
        assert_eq!(facts.role, "al");
        assert_eq!(facts.search_path, ["pg_catalog", "public"]);
        assert_eq!(facts.temporary, Some(vec!["t".to_owned()]));
        assert_eq!(facts.mirror, Some(MirrorChoice::Sync));
        assert_eq!(facts.timeline, Some(2));
        assert_ne!(fingerprint, read(&row(None)).fingerprint());
        let mut unset = row(Some(r#"["t"]"#));
        unset[7] = None;
        assert_eq!(read(&unset).mirror(), None);
        assert_ne!(fingerprint, read(&unset).fingerprint());
    }

    #[test]
    fn another_row_leaves_the_session_unknown() {
        assert_eq!(read(&[]), SessionKnowledge::Unknown);
        assert_eq!(read(&row(Some("nonsense"))), SessionKnowledge::Unknown);
    }
}
