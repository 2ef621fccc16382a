//! `SHOW CONFIG`: every setting, and `SHOW name`: one of them.

use crate::admin::configuration::{ChangeError, Configuration};
use crate::admin::table::{Columns, Kind, Table, Value};

pub(super) const COLUMNS: Columns = &[
    ("name", Kind::Text),
    ("value", Kind::Text),
    ("default", Kind::Text),
    ("change", Kind::Text),
    ("source", Kind::Text),
];

/// Of one setting.
pub(in crate::admin) const VALUE: Columns = &[("value", Kind::Text)];

pub(super) fn rows(configuration: &dyn Configuration) -> Vec<Vec<Value>> {
    let settings = configuration.settings().into_iter();
    settings
        .map(|setting| {
            vec![
                setting.name.into(),
                setting.value.into(),
                setting.default.into(),
                setting.change.into(),
                setting.origin.into(),
            ]
        })
        .collect()
}

/// What one setting is.
pub(in crate::admin) fn value(
    configuration: &dyn Configuration,
    name: &str,
) -> Result<Table, ChangeError> {
    let mut settings = configuration.settings().into_iter();
    let found = settings.find(|setting| setting.name == name);
    let setting = found.ok_or_else(|| ChangeError::Unknown {
        name: name.to_owned(),
    })?;
    Ok(Table {
        columns: VALUE,
        rows: vec![vec![setting.value.into()]],
    })
}
