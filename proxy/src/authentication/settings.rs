//! Where the secrets of roles come from: what may change while the proxy runs.
//!
//! Does not ask anybody: [`super::secrets`] does.

use std::sync::Arc;

use super::user_list::UserList;

/// What is asked by default. The role of the source string has to be a superuser for it.
const PG_AUTHID: &str =
    "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = $1 AND rolcanlogin";

/// Where the secrets of roles come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthenticationSettings {
    /// Asked of the source, for roles that the file does not have.
    pub query: AuthQuery,
    /// Looked into first.
    pub file: Arc<UserList>,
}

/// What asks the source for a role's secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AuthQuery {
    /// `pg_authid` itself.
    #[default]
    PgAuthid,
    /// Nothing does.
    Off,
    /// A query with the role's name as `$1`; the last column of its row is the secret.
    Custom(String),
}

impl AuthQuery {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::PgAuthid => Some(PG_AUTHID),
            Self::Off => None,
            Self::Custom(text) => Some(text),
        }
    }
}
