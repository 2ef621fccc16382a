//! Where the proxy finds the SCRAM secrets of roles, judged.
//!
//! Does not ask the source anything.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use proxy::{AuthQuery, AuthenticationSettings, UserList};

use super::{Judge, Setting};

impl Judge {
    pub(super) fn authentication(&mut self) -> AuthenticationSettings {
        AuthenticationSettings {
            query: self.or_default(Setting::AuthQuery, query),
            file: Arc::new(self.user_list()),
        }
    }

    fn user_list(&mut self) -> UserList {
        let mut warnings = Vec::new();
        let list = self.value(Setting::AuthFile, |path| {
            let unreadable = |error| format!("cannot be read: {error}");
            let facts = std::fs::metadata(path).map_err(unreadable)?;
            let text = std::fs::read_to_string(path).map_err(unreadable)?;
            if facts.permissions().mode() & 0o007 != 0 {
                warnings.push(format!(
                    "auth_file {path} can be read by others, who could pose as the server with \
                     what it holds; chmod 600 mends it"
                ));
            }
            let list = UserList::parse(&text)?;
            if list.passed_over() > 0 {
                warnings.push(format!(
                    "auth_file {path}: {} roles without a SCRAM-SHA-256 secret are passed over",
                    list.passed_over()
                ));
            }
            Ok(list)
        });
        self.layers.warnings.extend(warnings);
        list.unwrap_or_default()
    }
}

fn query(text: &str) -> Result<AuthQuery, String> {
    match text {
        "pg_authid" => Ok(AuthQuery::PgAuthid),
        "off" => Ok(AuthQuery::Off),
        text if text.contains("$1") => Ok(AuthQuery::Custom(text.to_owned())),
        _ => Err("is neither pg_authid, off, nor a query with the role's name as $1".to_owned()),
    }
}
