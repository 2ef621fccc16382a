//! What setup has to know of each server and role, and what stands against it.
//!
//! Of tables it looks at the names only.

use protocol::contract::Contract;
use tokio_postgres::Client;

use super::SetupReport;
use crate::error::ControlError;
use crate::side::Side;

/// The oldest version that has what Segue needs (binary logical decoding).
const VERSION_MIN: i32 = 140_000;

/// From here on a role that is no superuser can be given `session_replication_role`.
const VERSION_SETTING_GRANTS: i32 = 150_000;

/// From here on a slot can survive the failover of its server.
const VERSION_FAILOVER_SLOTS: i32 = 170_000;

/// A proxy's and the reconciler's sessions, and some in reserve.
const ORIGINS_WANTED: i64 = 4;

/// One server, seen by one role.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts as the catalog states them, each read on its own"
)]
#[derive(Debug)]
pub(super) struct ServerFacts {
    pub(super) version: i32,
    pub(super) version_text: String,
    pub(super) wal_level: String,
    pub(super) encoding: String,
    pub(super) system_identifier: String,
    pub(super) timeline: i32,
    pub(super) database_oid: u32,
    role: String,
    is_superuser: bool,
    is_replication: bool,
    is_standby: bool,
    may_create: bool,
    may_set_replication_role: bool,
    may_use_origins: bool,
    free_slots: i64,
    free_senders: i64,
    origins: i64,
    /// `output_plugin_libraries`. Older minor versions have none, and only those who may read all
    /// settings see it: from others the server refuses the slot in its own words.
    output_plugins: Option<String>,
    has_standbys: bool,
    /// `synchronized_standby_slots`, where the version has it.
    awaited_standbys: Option<String>,
}

impl ServerFacts {
    /// Whether a slot of ours can be read here.
    pub(super) fn has_a_log(&self) -> bool {
        self.wal_level == "logical" && !self.refuses_our_plugin()
    }

    /// Whether the server itself can keep a slot of ours on its standbys.
    pub(super) const fn keeps_slots_on_standbys(&self) -> bool {
        self.version >= VERSION_FAILOVER_SLOTS
    }

    fn refuses_our_plugin(&self) -> bool {
        let listed = self.output_plugins.as_deref();
        listed.is_some_and(|list| !names(list).any(|name| name == OUTPUT_PLUGIN))
    }
}

/// The names of a list as the server takes it: exact, perhaps in quotes.
fn names(list: &str) -> impl Iterator<Item = &str> {
    let names = list.split(',').map(str::trim);
    names.map(|name| name.trim_matches('"'))
}

/// What our slots are decoded with.
const OUTPUT_PLUGIN: &str = "pgoutput";

const FACTS: &str = "\
SELECT current_setting('server_version_num')::int4, current_setting('server_version'),
       current_setting('wal_level'), current_setting('server_encoding'),
       (SELECT system_identifier::text FROM pg_control_system()),
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int4 END,
       (SELECT oid FROM pg_database WHERE datname = current_database()),
       current_user::text, r.rolsuper, r.rolreplication, pg_is_in_recovery(),
       has_database_privilege(current_database(), 'CREATE'),
       has_function_privilege('pg_replication_origin_create(text)', 'EXECUTE')
       AND has_function_privilege('pg_replication_origin_session_setup(text)', 'EXECUTE'),
       current_setting('max_replication_slots')::int8 - (SELECT count(*) FROM pg_replication_slots),
       current_setting('max_wal_senders')::int8
       - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'),
       coalesce(current_setting('max_active_replication_origins', true),
                current_setting('max_replication_slots'))::int8,
       (SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries'),
       EXISTS (SELECT FROM pg_replication_slots WHERE slot_type = 'physical')
       OR EXISTS (SELECT FROM pg_stat_activity a WHERE a.backend_type = 'walsender'
                  AND a.pid NOT IN (SELECT active_pid FROM pg_replication_slots
                                    WHERE active_pid IS NOT NULL)),
       current_setting('synchronized_standby_slots', true)
FROM pg_roles r WHERE r.rolname = current_user";

/// Looks at a server.
pub(super) async fn facts(client: &Client, side: Side) -> Result<ServerFacts, ControlError> {
    let failed = |error| ControlError::query(side, "read the server's settings", &error);
    let row = client.query_one(FACTS, &[]).await.map_err(failed)?;
    let mut facts = ServerFacts {
        version: row.get(0),
        version_text: row.get(1),
        wal_level: row.get(2),
        encoding: row.get(3),
        system_identifier: row.get(4),
        timeline: row.get(5),
        database_oid: row.get(6),
        role: row.get(7),
        is_superuser: row.get(8),
        is_replication: row.get(9),
        is_standby: row.get(10),
        may_create: row.get(11),
        may_set_replication_role: row.get(8),
        may_use_origins: row.get(12),
        free_slots: row.get(13),
        free_senders: row.get(14),
        origins: row.get(15),
        output_plugins: row.get(16),
        has_standbys: row.get(17),
        awaited_standbys: row.get(18),
    };
    if facts.version >= VERSION_SETTING_GRANTS {
        let sql = "SELECT has_parameter_privilege('session_replication_role', 'SET')";
        let row = client.query_one(sql, &[]).await.map_err(failed)?;
        facts.may_set_replication_role = row.get(0);
    }
    Ok(facts)
}

/// What both sides need.
fn common_checks(facts: &ServerFacts, side: Side, report: &mut SetupReport) {
    let mut refuse = |reason: String| report.refusals.push(reason);
    if facts.version < VERSION_MIN {
        refuse(format!(
            "the {side} is PostgreSQL {}; upgrade it to 14 or later",
            facts.version_text
        ));
    }
    if facts.is_standby {
        refuse(format!("the {side} is a standby; connect to its primary"));
    }
    if !facts.may_create {
        refuse(format!(
            "the role {} may not create a schema at the {side}; GRANT CREATE ON DATABASE … TO it",
            facts.role
        ));
    }
}

/// The statements that add our plugin to what is allowed already.
fn allow_plugin(facts: &ServerFacts) -> String {
    let listed = names(facts.output_plugins.as_deref().unwrap_or_default());
    let mut allowed: Vec<&str> = listed.filter(|name| !name.is_empty()).collect();
    allowed.push(OUTPUT_PLUGIN);
    let list = allowed.join(", ").replace('\'', "''");
    format!("ALTER SYSTEM SET output_plugin_libraries = '{list}'; SELECT pg_reload_conf()")
}

/// What the source needs: a slot, and who may use it.
pub(super) fn source_checks(facts: &ServerFacts, report: &mut SetupReport) {
    common_checks(facts, Side::Source, report);
    let mut refuse = |reason: String| report.refusals.push(reason);
    if facts.wal_level != "logical" {
        refuse(format!(
            "the source has wal_level = {}; ALTER SYSTEM SET wal_level = logical and restart it",
            facts.wal_level
        ));
    }
    if facts.refuses_our_plugin() {
        refuse(format!(
            "the source's output_plugin_libraries leaves out {OUTPUT_PLUGIN}, which its log is read \
             with; as a superuser there: {}",
            allow_plugin(facts)
        ));
    }
    if !facts.is_superuser && !facts.is_replication {
        refuse(format!(
            "the role {} may not replicate from the source; ALTER ROLE {0} REPLICATION there",
            facts.role
        ));
    }
    if facts.free_slots < 1 {
        refuse("the source has no replication slot left; raise max_replication_slots".to_owned());
    }
    if facts.free_senders < 1 {
        refuse("the source has no WAL sender left; raise max_wal_senders".to_owned());
    }
    report.warnings.extend(failover_warning(facts));
}

/// What has to be set so that the stream survives a failover of the source.
fn failover_warning(facts: &ServerFacts) -> Option<String> {
    if !facts.has_standbys {
        return None;
    }
    if !facts.keeps_slots_on_standbys() {
        return Some(
            "the source has standbys, and before version 17 a slot does not survive a failover to \
             one of them: the reconciler then makes a new one and reads every table again"
                .to_owned(),
        );
    }
    facts.awaited_standbys.as_ref().filter(|it| it.is_empty())?;
    Some(
        "the source has standbys; for the stream to survive a failover, name their slots in the \
         source's synchronized_standby_slots, and set sync_replication_slots and \
         hot_standby_feedback to on and a dbname in primary_conninfo on the standby"
            .to_owned(),
    )
}

/// What the target needs: the rights of rule 15, and a slot of its own where it can have one.
pub(super) fn target_checks(source: &ServerFacts, facts: &ServerFacts, report: &mut SetupReport) {
    common_checks(facts, Side::Target, report);
    let role = &facts.role;
    if source.encoding != facts.encoding {
        report.refusals.push(format!(
            "the source's encoding is {} and the target's {}; create the target's database with \
             the source's",
            source.encoding, facts.encoding
        ));
    }
    let same_cluster = source.system_identifier == facts.system_identifier;
    if same_cluster && source.database_oid == facts.database_oid {
        report
            .refusals
            .push("source and target are the same database".to_owned());
    }
    if !facts.may_set_replication_role {
        report.refusals.push(format!(
            "the role {role} may not set session_replication_role at the target, so triggers and \
             foreign keys would act on every row twice; use a superuser, or from version 15 on \
             GRANT SET ON PARAMETER session_replication_role TO {role}"
        ));
    }
    if !facts.may_use_origins {
        report.refusals.push(format!(
            "the role {role} may not use replication origins at the target; GRANT EXECUTE ON \
             FUNCTION pg_replication_origin_create(text), \
             pg_replication_origin_session_setup(text) TO {role}"
        ));
    }
    if facts.origins < ORIGINS_WANTED {
        report.refusals.push(format!(
            "the target has room for {} replication origins and Segue needs {ORIGINS_WANTED}; \
             raise max_replication_slots there",
            facts.origins
        ));
    }
    if facts.wal_level != "logical" {
        report.warnings.push(format!(
            "the target has wal_level = {}, so writes of others there are not found",
            facts.wal_level
        ));
        return;
    }
    if facts.refuses_our_plugin() {
        report.warnings.push(format!(
            "the target's output_plugin_libraries leaves out {OUTPUT_PLUGIN}, so writes of others \
             there are not found; as a superuser there: {}",
            allow_plugin(facts)
        ));
        return;
    }
    if facts.free_slots < 1 || facts.free_senders < 1 {
        report.refusals.push(
            "the target has no replication slot or WAL sender left; raise max_replication_slots \
             and max_wal_senders there"
                .to_owned(),
        );
    }
    if !facts.is_superuser && !facts.is_replication {
        report.refusals.push(format!(
            "the role {role} may not replicate from the target, which finds writes of others \
             there; ALTER ROLE {role} REPLICATION"
        ));
    }
}

/// Statements are sent in the server's encoding and written in UTF-8: in another encoding only
/// ASCII names mean the same in both.
pub(super) fn name_checks(facts: &ServerFacts, contract: &Contract, report: &mut SetupReport) {
    if facts.encoding == "UTF8" {
        return;
    }
    for table in &contract.tables {
        let columns = table.columns.iter().map(|column| &column.name);
        let mut names = columns.chain([&table.schema, &table.relation]);
        if let Some(name) = names.find(|name| !name.is_ascii()) {
            report.refusals.push(format!(
                "table {}: the name {name:?} is not ASCII and the database's encoding is {}, which \
                 is not supported; rename it, or name the other tables with --table",
                table.name, facts.encoding
            ));
        }
    }
}
