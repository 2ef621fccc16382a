//! A report without rows' contents: tables, columns, times and revisions stay, values go.
//!
//! Does not know which values are harmless: all go, keys too.

use serde_json::Value;

use crate::report::{Columns, Divergence, DivergenceDetail, Proposal, Report};

/// What stands in a value's place.
const REDACTED: &str = "[redacted]";

impl Report {
    /// Takes the values out.
    pub fn redact(&mut self) {
        self.divergences.iter_mut().for_each(Divergence::redact);
    }
}

impl Divergence {
    /// Takes the values of its key out.
    pub fn redact(&mut self) {
        hide(&mut self.key);
    }
}

impl DivergenceDetail {
    /// Takes the values out.
    pub fn redact(&mut self) {
        self.divergence.redact();
        for entry in &mut self.journal {
            let rows = [&mut entry.before, &mut entry.after];
            rows.into_iter().flatten().for_each(hide);
            if let Proposal::Row(row) = &mut entry.proposed {
                hide(row);
            }
        }
    }
}

fn hide(columns: &mut Columns) {
    for value in columns.values_mut() {
        *value = Value::String(REDACTED.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::JournalEntry;

    #[test]
    fn no_value_is_left_in_a_redacted_report() {
        let row = || {
            let row = serde_json::json!({"id": "secret", "name": "secret"});
            row.as_object().unwrap().clone()
        };
        let divergence = Divergence {
            key: row(),
            table: "public.item".into(),
            columns: vec!["name".into()],
            ..Divergence::default()
        };
        let entry = JournalEntry {
            at: String::new(),
            before: Some(row()),
            after: Some(row()),
            act: "repair".into(),
            proposed: Proposal::Row(row()),
        };
        let mut detail = DivergenceDetail {
            divergence: divergence.clone(),
            journal: vec![entry],
        };
        let mut report = Report {
            divergences: vec![divergence],
            ..Report::default()
        };
        detail.redact();
        report.redact();
        for text in [
            serde_json::to_string(&detail).unwrap(),
            serde_json::to_string(&report).unwrap(),
        ] {
            assert!(!text.contains("secret"), "{text}");
            assert!(
                text.contains("public.item") && text.contains("name"),
                "{text}"
            );
        }
    }
}
