//! What tells that the catalog has changed, and which part of it: asked often, so cheap.
//!
//! Only relations that matter to an analysis are looked at (they are *watched*): however many tables
//! the database has besides, looking costs nothing for them, and other sessions' temporary tables
//! change nothing. A row of a catalog counts by its identity and its `xmin`; in-place updates by
//! VACUUM and ANALYZE do not count. Does not read what the rows say.

use tokio_postgres::{Client, Row};

use super::load::{Found, LoadError};

/// Equal snapshots see equal catalogs: then nothing else has to be asked.
const SNAPSHOT: &str = "SELECT pg_current_snapshot()::text";

/// Whether setup has been here.
const IS_SET_UP: &str = "\
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = 'segue' AND c.relname = 'phase')";

/// The contract that setup has stored.
const STORED_CONTRACT: &str = "SELECT concat('stored ', xmin, ctid) FROM segue.phase";

/// What a contract is built from where setup has not been here.
const CATALOG_CONTRACT: &str = "\
WITH passing AS (SELECT oid FROM pg_class WHERE relpersistence = 't'),
passing_schemas AS (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(toast_)?temp_')
SELECT concat_ws(':',
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(oid, xmin), 0))) FROM pg_class
     WHERE oid >= 16384 AND relkind NOT IN ('i', 'I', 't') AND relpersistence <> 't'),
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(attrelid, attnum, xmin), 0)))
     FROM pg_attribute WHERE attrelid >= 16384 AND attrelid NOT IN (SELECT oid FROM passing)),
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(indexrelid, xmin), 0)))
     FROM pg_index WHERE indrelid NOT IN (SELECT oid FROM passing)),
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(oid, xmin), 0))) FROM pg_type
     WHERE oid >= 16384 AND typnamespace NOT IN (SELECT oid FROM passing_schemas)),
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(oid, xmin), 0))) FROM pg_enum))";

/// Functions and what calls them; roles and what they may do; and which relations are watched, with
/// what binds them: the publication, inheritance, rules, schemas.
const PARTS: &str = "\
WITH rewrites AS (
    SELECT r.oid, r.xmin AS version FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
    WHERE r.oid >= 16384 AND c.relpersistence <> 't'
), rules AS (
    SELECT concat(count(*), '/', sum(hash_record_extended(ROW(oid, version), 0))) AS sign FROM rewrites
)
SELECT concat_ws(':', (SELECT sign FROM rules),
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(oid, xmin), 0)))
     FROM pg_proc WHERE oid >= 16384),
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(oid, xmin), 0)))
     FROM pg_operator WHERE oid >= 16384),
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(k.oid, k.xmin, t.xmin), 0)))
     FROM pg_cast k JOIN pg_type t ON t.oid = k.casttarget WHERE k.oid >= 16384),
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(aggfnoid::oid, xmin), 0)))
     FROM pg_aggregate WHERE aggfnoid >= 16384)) AS functions,
concat_ws(':',
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(roleid, member, grantor, xmin), 0)))
     FROM pg_auth_members),
    (SELECT md5(string_agg(concat(rolname, rolsuper, rolinherit), ',' ORDER BY oid)) FROM pg_roles),
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(oid, xmin), 0)))
     FROM pg_proc WHERE oid < 16384 AND proacl IS NOT NULL)) AS roles,
concat_ws(':', (SELECT sign FROM rules),
    (SELECT concat(oid, '-', xmin) FROM pg_publication WHERE pubname = $1),
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(r.oid, r.xmin), 0)))
     FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = $1),
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(c.oid, c.xmin), 0))) FROM pg_class c
     WHERE NOT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)
       AND c.relkind IN ('r', 'p') AND c.oid >= 16384 AND c.relpersistence <> 't'),
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(i.inhrelid, i.inhseqno, i.xmin), 0)))
     FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent WHERE c.relpersistence <> 't'),
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(oid, nspname), 0)))
     FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)')) AS structure";

/// The watched relations themselves: names (theirs, and others' that hide them or are hidden), and
/// what hangs on them.
const RELATIONS: &str = "\
SELECT (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(c.oid, c.xmin), 0)))
        FROM pg_class c
        WHERE c.relname IN (SELECT relname FROM pg_class WHERE oid = ANY ($1))
          AND c.relkind NOT IN ('i', 'I', 't') AND c.relpersistence <> 't') AS names,
concat_ws(':',
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(attrelid, attnum, xmin), 0)))
     FROM pg_attribute WHERE attrelid = ANY ($1) AND attnum > 0),
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(oid, xmin), 0)))
     FROM pg_attrdef WHERE adrelid = ANY ($1)),
    (SELECT concat(count(*), '/', sum(hash_record_extended(ROW(oid, xmin), 0)))
     FROM pg_trigger WHERE tgrelid = ANY ($1))) AS columns";

/// Where the contract is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContractFrom {
    /// What setup has stored.
    Setup,
    /// The same, or the catalog itself where setup has not been here: nothing is sent anywhere.
    SetupOrCatalog,
}

/// Differs, part by part, once something has changed. Empty before anything was read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Signs {
    pub(super) contract: String,
    pub(super) functions: String,
    pub(super) roles: String,
    pub(super) structure: String,
    /// Of the watched relations.
    pub(super) names: String,
    pub(super) columns: String,
}

/// What the source's transactions have come to: nothing has been committed between two equal ones.
pub(super) async fn snapshot(client: &Client) -> Result<String, LoadError> {
    Ok(client.query_one(SNAPSHOT, &[]).await?.try_get(0)?)
}

/// Whether there is a stored contract to be used.
pub(super) async fn find(client: &Client, from: ContractFrom) -> Result<Found, LoadError> {
    if from == ContractFrom::Setup {
        return Ok(Found::Stored);
    }
    let row = client.query_one(IS_SET_UP, &[]).await?;
    Ok(if row.try_get(0)? {
        Found::Stored
    } else {
        Found::Missing
    })
}

impl Signs {
    /// Looks at all but the watched relations, which may be others by then.
    pub(super) async fn look(
        client: &Client,
        publication: &str,
        found: Found,
    ) -> Result<Self, LoadError> {
        let contract = match found {
            Found::Stored => STORED_CONTRACT,
            Found::Missing => CATALOG_CONTRACT,
        };
        let contract = client.query_opt(contract, &[]).await?;
        let text = |row: &Row, place: usize| row.try_get::<_, String>(place);
        let row = client.query_one(PARTS, &[&publication]).await?;
        Ok(Self {
            contract: contract.map_or_else(|| Ok(String::new()), |it| text(&it, 0))?,
            functions: text(&row, 0)?,
            roles: text(&row, 1)?,
            structure: text(&row, 2)?,
            ..Self::default()
        })
    }

    /// Looks at the watched relations.
    pub(super) async fn look_at(
        &mut self,
        client: &Client,
        watched: &[u32],
    ) -> Result<(), LoadError> {
        let row = client.query_one(RELATIONS, &[&watched]).await?;
        (self.names, self.columns) = (row.try_get(0)?, row.try_get(1)?);
        Ok(())
    }
}
