//! What setup found and did, as text.

use control::setup::{Outcome, RemoveReport, SetupReport};

use super::{plain, plural, push};

/// What was found and done.
pub(crate) fn text(report: &SetupReport) -> String {
    let tables = plural(
        i64::try_from(report.tables.len()).unwrap_or(i64::MAX),
        "table",
    );
    let database = plain(&report.database);
    let mut text = match report.outcome {
        Outcome::SetUp => format!("database {database} is set up: {tables} carried"),
        Outcome::AlreadySetUp => {
            format!("database {database} was set up already: {tables} carried, nothing changed")
        }
        Outcome::Upgraded => {
            format!(
                "database {database} was set up by an older version and is upgraded: {tables} carried"
            )
        }
        Outcome::SlotMade => {
            format!(
                "database {database} was set up already: {tables} carried; the target's slot was lost \
                 and has been made again"
            )
        }
        Outcome::Possible => {
            format!("database {database} can be set up: {tables} to carry; nothing was changed")
        }
        Outcome::Refused => format!("database {database} cannot be set up; nothing was changed"),
    };
    if let Some(start) = report.start_lsn {
        push(&mut text, format_args!(", from {start} on"));
    }
    text.push_str("\n\n");
    for table in &report.tables {
        push(&mut text, format_args!("  carried   {}\n", plain(table)));
    }
    for left in &report.left_out {
        push(
            &mut text,
            format_args!(
                "  left out  {}: {}\n",
                plain(&left.table),
                plain(&left.reason)
            ),
        );
    }
    for warning in &report.warnings {
        push(&mut text, format_args!("  warning   {}\n", plain(warning)));
    }
    if matches!(
        report.outcome,
        Outcome::SetUp | Outcome::AlreadySetUp | Outcome::Upgraded | Outcome::SlotMade
    ) {
        text.push_str("\nnext: segue run\n");
    }
    text
}

/// The statements of setup, for psql, with the privileges as comments.
pub(crate) fn sql(report: &SetupReport) -> String {
    let mut text = String::from("-- What the roles need:\n");
    for privilege in &report.privileges {
        push(&mut text, format_args!("--   {}\n", plain(privilege)));
    }
    for step in &report.steps {
        push(
            &mut text,
            format_args!(
                "\n-- At the {}: {}, in one transaction.\n{}\n",
                step.side, step.what, step.sql
            ),
        );
    }
    text
}

/// What was taken away.
pub(crate) fn removed(report: &RemoveReport) -> String {
    if report.removed.is_empty() {
        return "there was nothing to remove".to_owned();
    }
    let mut text = String::from("removed\n");
    for object in &report.removed {
        push(&mut text, format_args!("  {}\n", plain(object)));
    }
    text
}

#[cfg(test)]
mod tests {
    use control::Side;
    use control::contract::LeftOut;
    use control::setup::Step;

    use super::*;

    fn report(outcome: Outcome) -> SetupReport {
        SetupReport {
            outcome,
            database: "shop".into(),
            tables: vec!["public.item".into()],
            left_out: vec![LeftOut {
                table: "public.keyless".into(),
                reason: "it has no key".into(),
            }],
            warnings: vec![],
            refusals: vec![],
            steps: vec![Step {
                side: Side::Source,
                what: "slot",
                sql: "SELECT 1;".into(),
                undo: String::new(),
            }],
            privileges: vec!["source: all".into()],
            start_lsn: None,
        }
    }

    #[test]
    fn what_is_left_out_is_named_with_its_reason() {
        let text = text(&report(Outcome::SetUp));
        assert!(
            text.starts_with("database shop is set up: 1 table carried"),
            "{text}"
        );
        assert!(
            text.contains("left out  public.keyless: it has no key"),
            "{text}"
        );
    }

    #[test]
    fn printed_statements_are_a_script() {
        let script = sql(&report(Outcome::Possible));
        let statements: Vec<&str> = script
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("--"))
            .collect();
        assert_eq!(statements, ["SELECT 1;"]);
    }
}
