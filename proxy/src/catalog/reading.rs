//! What is known of the catalog, brought up to date by reading only what has changed.
//!
//! Signs are looked at before what they stand for is read: what changes in between is noticed the
//! next time. A table is read again with its whole family, and only if its family's mark differs.
//! Does not publish, and does not decide when to look.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use protocol::decide::statement::CatalogFacts;
use protocol::revision::Epoch;
use tokio_postgres::Client;

use super::CatalogView;
use super::load::{self, Family, Found, LoadError};
use super::signs::{self, ContractFrom, Signs};
use super::tables::{self, Wanted};
use crate::metrics;

/// Pairs of role and table whose privileges are read at once.
const PRIVILEGES_MAX: usize = 200_000;

/// What has been read, and the signs that it was read under.
#[derive(Debug)]
pub(super) struct Reading {
    publication: String,
    from: ContractFrom,
    /// What the facts say, before the configuration's choices.
    facts: Arc<CatalogFacts>,
    epoch: Epoch,
    system_identifier: u64,
    timeline: Option<i32>,
    signs: Signs,
    /// As of before the signs were looked at; empty if they have to be.
    snapshot: String,
    watched: Vec<u32>,
    families: HashMap<u32, Family>,
    sensitive: Vec<u32>,
    /// Whose privileges the facts hold besides those of roles that can log in, and of how many.
    roles: Vec<String>,
    roles_max: i64,
    /// The facts differ from the last ones that were taken.
    is_new: bool,
}

impl Reading {
    pub(super) fn new(publication: String, from: ContractFrom) -> Self {
        Self {
            publication,
            from,
            facts: Arc::new(CatalogFacts::unknown()),
            epoch: Epoch::FIRST,
            system_identifier: 0,
            timeline: None,
            signs: Signs::default(),
            snapshot: String::new(),
            watched: Vec::new(),
            families: HashMap::new(),
            sensitive: Vec::new(),
            roles: Vec::new(),
            roles_max: 0,
            is_new: false,
        }
    }

    /// Looks at every sign the next time, and reads everything again. What is known stays, so that
    /// nothing counts as changed that is as it was.
    pub(super) fn distrust(&mut self) {
        self.signs = Signs::default();
        self.snapshot.clear();
        self.families.clear();
    }

    /// The facts as a view, if they differ from the last ones that were taken.
    pub(super) fn take(&mut self) -> Option<CatalogView> {
        std::mem::take(&mut self.is_new).then(|| CatalogView {
            stamp: 0,
            facts: Arc::clone(&self.facts),
            epoch: self.epoch,
            system_identifier: self.system_identifier,
            timeline: self.timeline,
            choices: Arc::default(),
        })
    }

    /// Relations that matter, for who wants to name the others.
    pub(super) fn watched(&self) -> &[u32] {
        &self.watched
    }

    /// Looks, and reads what has changed. `roles` are wanted besides those that can log in. After an
    /// error nothing that was read may be relied on before [`Self::distrust`].
    pub(super) async fn refresh(
        &mut self,
        client: &Client,
        roles: &[String],
    ) -> Result<(), LoadError> {
        let snapshot = signs::snapshot(client).await?;
        if snapshot == self.snapshot && roles == self.roles {
            return Ok(());
        }
        let found = signs::find(client, self.from).await?;
        let mut now = Signs::look(client, &self.publication, found).await?;
        if now.contract != self.signs.contract {
            self.read_contract(client, found).await?;
        }
        if now.contract != self.signs.contract || now.structure != self.signs.structure {
            self.watched = load::watched(client, &self.publication).await?;
        }
        now.look_at(client, &self.watched).await?;
        if now != self.signs || roles != self.roles {
            metrics::catalog_read();
            self.read(client, &now, roles).await?;
        }
        self.signs = now;
        self.roles = roles.to_vec();
        self.snapshot = snapshot;
        Ok(())
    }

    async fn read_contract(&mut self, client: &Client, found: Found) -> Result<(), LoadError> {
        let stored = load::contract(client, found).await?;
        if stored.contract != self.facts.contract {
            // Every table's place may be another.
            self.families.clear();
            self.facts_mut().contract = stored.contract;
        }
        let identity = (stored.epoch, stored.system_identifier, stored.timeline);
        if identity != (self.epoch, self.system_identifier, self.timeline) {
            (self.epoch, self.system_identifier, self.timeline) = identity;
            self.renew();
        }
        Ok(())
    }

    async fn read(
        &mut self,
        client: &Client,
        now: &Signs,
        roles: &[String],
    ) -> Result<(), LoadError> {
        let structure = now.structure != self.signs.structure;
        let functions = now.functions != self.signs.functions;
        let names = structure || now.names != self.signs.names;
        if functions {
            let sensitive = load::sensitive(client).await?;
            if sensitive != self.sensitive {
                self.families.clear();
                self.sensitive = sensitive;
            }
        }
        if names {
            let names = load::names(client, &self.watched).await?;
            if names != self.facts.relations {
                self.facts_mut().relations = names;
            }
        }
        if names || functions {
            let (functions, relations) = load::functions(client).await?;
            if functions != self.facts.functions || relations != self.facts.calling_relations {
                let facts = self.facts_mut();
                (facts.functions, facts.calling_relations) = (functions, relations);
            }
        }
        let mut concerned = HashSet::new();
        if names || now.columns != self.signs.columns || self.families.is_empty() {
            concerned = self.read_tables(client).await?;
        }
        let wanted = Privileges {
            everyone: now.roles != self.signs.roles || roles != self.roles,
            roles,
            concerned,
        };
        self.read_privileges(client, wanted).await
    }

    /// Reads the families whose mark differs, and tells which relations that concerns.
    async fn read_tables(&mut self, client: &Client) -> Result<HashSet<u32>, LoadError> {
        let families = load::families(client, &self.watched, &self.publication).await?;
        let as_before = |root: &u32, family: &Family| self.families.get(root) == Some(family);
        let differing = families.iter().filter(|(root, it)| !as_before(root, it));
        let relations: Vec<u32> = differing
            .flat_map(|(_, family)| family.members.iter().copied())
            .collect();
        let read = if relations.is_empty() {
            HashMap::new()
        } else {
            let wanted = Wanted {
                contract: &self.facts.contract,
                publication: &self.publication,
                relations: &relations,
                sensitive: &self.sensitive,
            };
            tables::read(client, wanted).await?
        };
        metrics::catalog_tables_read(read.len());
        let mut concerned: HashSet<u32> = relations.into_iter().collect();
        let members = families.values().flat_map(|family| &family.members);
        let there: HashSet<u32> = members.copied().collect();
        let held = self.facts.tables.keys().copied();
        concerned.extend(held.filter(|oid| !there.contains(oid)));
        self.families = families;
        let differs = |oid: &u32| self.facts.tables.get(oid) != read.get(oid);
        if concerned.iter().any(differs) {
            let tables = &mut self.facts_mut().tables;
            tables.retain(|oid, _| !concerned.contains(oid));
            tables.extend(read);
        }
        Ok(concerned)
    }

    /// Reads what roles may do: all that was `wanted`, or as far as it concerns some relations.
    async fn read_privileges(
        &mut self,
        client: &Client,
        wanted: Privileges<'_>,
    ) -> Result<(), LoadError> {
        let Privileges {
            everyone,
            roles,
            concerned,
        } = wanted;
        let carried = tables::carried(&self.facts.tables);
        // In steps, so that a partition more does not change whose privileges are known.
        let each = carried.len().max(1).next_power_of_two();
        let roles_max = (PRIVILEGES_MAX / each).max(roles.len());
        let roles_max = i64::try_from(roles_max).unwrap_or(i64::MAX);
        let readable = if everyone || roles_max != self.roles_max {
            load::readable(client, &carried, roles, roles_max).await?
        } else if concerned.is_empty() {
            return Ok(());
        } else {
            let mut carried = carried;
            carried.retain(|oid| concerned.contains(oid));
            let mut readable = load::readable(client, &carried, roles, roles_max).await?;
            for (role, held) in &self.facts.readable {
                if let Some(read) = readable.get_mut(role) {
                    read.extend(held.difference(&concerned));
                }
            }
            readable
        };
        self.roles_max = roles_max;
        if readable != self.facts.readable {
            self.facts_mut().readable = readable;
        }
        Ok(())
    }

    /// The facts, to be changed: they become those of another generation.
    fn facts_mut(&mut self) -> &mut CatalogFacts {
        let facts = Arc::make_mut(&mut self.facts);
        if !self.is_new {
            self.is_new = true;
            facts.generation = facts.generation.saturating_add(1);
        }
        facts
    }

    /// Makes the facts those of another generation: what is put around them has changed.
    pub(super) fn renew(&mut self) {
        self.facts_mut();
    }
}

/// What of the roles' privileges is read.
struct Privileges<'a> {
    /// Of all tables, because roles have changed.
    everyone: bool,
    roles: &'a [String],
    /// Relations that have changed.
    concerned: HashSet<u32>,
}
