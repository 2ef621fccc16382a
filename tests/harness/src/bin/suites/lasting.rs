//! Suites whose tables are there before they begin, so that a contract can hold them.
//!
//! PostgreSQL's suites make the tables that they write to, and a contract is made of tables that
//! exist. An isolation spec is therefore given its tables beforehand, in a schema of its own, and
//! empties them where it would drop them ([`Spec`]). The regression tests show their CREATE TABLE in
//! their outputs: they are played twice, the second time on the tables that the first has left
//! ([`FIRST_ROUND`], [`BETWEEN_ROUNDS`]).
//!
//! Does not run anything.

#![expect(
    clippy::string_slice,
    reason = "every place comes from a search in the same text, for ASCII"
)]

/// Run before the first round of the regression tests: no table goes.
pub(crate) const FIRST_ROUND: &str = include_str!("../../../../suites/lasting/keep.sql");

/// Run before the second: tables get keys, lose their rows and keep their shape.
pub(crate) const BETWEEN_ROUNDS: [&str; 2] = [
    include_str!("../../../../suites/lasting/key.sql"),
    include_str!("../../../../suites/lasting/freeze.sql"),
];

/// What `pg_isolation_regress` puts before each isolation tester: sessions of a spec with a schema of
/// its own find it.
pub(crate) const LAUNCHER: &str = include_str!("../../../../suites/lasting/launcher.sh");

/// The line that tells the launcher.
const SCHEMA_MARK: &str = "# its tables are in ";

/// How statements begin that make something for a spec, and may run once before it.
const MAKING: [&str; 6] = [
    "CREATE TABLE",
    "CREATE INDEX",
    "CREATE UNIQUE INDEX",
    "CREATE FUNCTION",
    "CREATE OR REPLACE FUNCTION",
    "ALTER TABLE",
];

/// How statements begin that are as good in every permutation on tables that were there before.
const FILLING: [&str; 5] = ["INSERT", "UPDATE", "DELETE", "SELECT", "ANALYZE"];

/// How steps begin that need a table of their own.
const RESHAPING: [&str; 7] = [
    "CREATE", "ALTER", "DROP", "REINDEX", "CLUSTER", "REFRESH", "DO",
];

/// A block may not be empty, nor print anything.
const NOTHING: &str = "UNLISTEN *;";

/// A spec that was given its tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Makes its schema and its tables.
    pub(crate) making: String,
    /// The spec without what makes and drops them.
    pub(crate) text: String,
}

impl Spec {
    /// Divides a spec. None where its tables cannot outlast a permutation: where a step changes the
    /// schema, where a table is made of a query's rows, or where its setup does anything unusual.
    pub(crate) fn divide(name: &str, text: &str) -> Option<Self> {
        let blocks = blocks(text);
        let (mut making, mut bodies) = (Vec::new(), Vec::new());
        for block in &blocks {
            let statements = statements(block.body);
            match block.kind {
                Kind::Setup => {
                    let (made, rest) = part(&statements)?;
                    making.extend(made);
                    bodies.push((block, rest));
                }
                Kind::Teardown if statements.iter().all(|it| begins(it, &["DROP"])) => {
                    bodies.push((block, String::new()));
                }
                Kind::Session if !statements.iter().any(|it| begins(it, &RESHAPING)) => {}
                Kind::Teardown | Kind::Session => return None,
            }
        }
        let tables: Vec<&str> = making.iter().filter_map(|it| table_of(it)).collect();
        if tables.is_empty() {
            return None;
        }
        // What the last permutation has written is there to be compared.
        let emptying = format!("TRUNCATE {} RESTART IDENTITY CASCADE;\n", tables.join(", "));
        let mut divided = String::new();
        let mut end = 0;
        for (place, (block, body)) in bodies.iter().enumerate() {
            divided.push_str(&text[end..block.start]);
            divided.push_str(match (place, body.as_str()) {
                (0, _) => &emptying,
                (_, "") => NOTHING,
                _ => "",
            });
            divided.push_str(body);
            end = block.start + block.body.len();
        }
        divided.push_str(&text[end..]);
        let schema = format!("spec_{}", name.replace('-', "_"));
        Some(Self {
            making: format!(
                "CREATE SCHEMA {schema};\nSET search_path = {schema}, public;\n{};\n",
                making.join(";\n")
            ),
            text: format!("{SCHEMA_MARK}{schema}\n{divided}"),
        })
    }
}

/// What is made beforehand, and what stays.
fn part(statements: &[&str]) -> Option<(Vec<String>, String)> {
    let mut made = Vec::new();
    let mut rest = String::new();
    for statement in statements {
        let upper = statement.to_uppercase();
        if begins(statement, &MAKING) && !upper.contains("AS SELECT") {
            made.push((*statement).to_owned());
        } else if begins(statement, &FILLING) {
            rest.push_str(statement);
            rest.push_str(";\n");
        } else {
            return None;
        }
    }
    Some((made, rest))
}

/// The name behind CREATE TABLE.
fn table_of(statement: &str) -> Option<&str> {
    let words = statement.split(|c: char| c.is_whitespace() || c == '(');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    begins(statement, &["CREATE TABLE"]).then(|| words.get(2).copied())?
}

fn begins(statement: &str, with: &[&str]) -> bool {
    let words: Vec<String> = statement
        .split_whitespace()
        .take(4)
        .map(str::to_uppercase)
        .collect();
    let start = words.join(" ") + " ";
    with.iter().any(|one| start.starts_with(&format!("{one} ")))
}

/// What a block in braces is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Run before each permutation.
    Setup,
    /// Run behind each permutation.
    Teardown,
    /// A session's own.
    Session,
}

/// A block.
struct Block<'spec> {
    kind: Kind,
    /// Where its body starts in the spec.
    start: usize,
    body: &'spec str,
}

/// The blocks of a spec, in order. Braces do not nest there.
fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let (mut in_session, mut at) = (false, 0);
    let plain = without_comments(text);
    while let Some(open) = plain[at..].find('{').map(|place| at + place) {
        let Some(close) = text[open..].find('}').map(|place| open + place) else {
            break;
        };
        let words: Vec<&str> = plain[at..open].split_whitespace().collect();
        in_session |= words.contains(&"session");
        let kind = match words.last() {
            Some(&"setup") if !in_session => Kind::Setup,
            Some(&"teardown") if !in_session => Kind::Teardown,
            _ => Kind::Session,
        };
        blocks.push(Block {
            kind,
            start: open + 1,
            body: &text[open + 1..close],
        });
        at = close + 1;
    }
    blocks
}

/// Comments of the spec overwritten with spaces, outside blocks.
fn without_comments(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let (mut in_block, mut in_comment) = (false, false);
    for byte in text.chars() {
        match byte {
            '\n' => in_comment = false,
            '#' if !in_block => in_comment = true,
            '{' if !in_comment => in_block = true,
            '}' if !in_comment => in_block = false,
            _ => {}
        }
        if in_comment {
            plain.extend(std::iter::repeat_n(' ', byte.len_utf8()));
        } else {
            plain.push(byte);
        }
    }
    plain
}

/// The statements of a block, without their comments at the start. Knows quotes and dollar quotes.
fn statements(body: &str) -> Vec<&str> {
    let mut statements = Vec::new();
    let (mut start, mut in_quotes, mut in_dollars) = (0, false, false);
    for (place, character) in body.char_indices() {
        match character {
            '\'' if !in_dollars => in_quotes = !in_quotes,
            '$' if !in_quotes
                && body[place..].starts_with("$$")
                && !body[..place].ends_with('$') =>
            {
                in_dollars = !in_dollars;
            }
            ';' if !in_quotes && !in_dollars => {
                statements.push(&body[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    statements.push(&body[start..]);
    let bare = statements.into_iter().map(|statement| {
        let mut statement = statement.trim();
        while let Some(comment) = statement.strip_prefix("--") {
            statement = comment.split_once('\n').map_or("", |(_, rest)| rest).trim();
        }
        statement
    });
    bare.filter(|statement| !statement.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "# A { comment }\nsetup\n{\n  CREATE TABLE one (a int PRIMARY KEY);\n  \
                        -- rows\n  INSERT INTO one VALUES (1);\n}\nteardown { DROP TABLE one; }\n\
                        session s1\nsetup { BEGIN; }\nstep c { COMMIT; }\npermutation c\n";

    #[test]
    fn a_spec_is_divided_into_what_makes_its_tables_and_what_uses_them() {
        let spec = Spec::divide("a-b", SPEC).unwrap();
        assert_eq!(
            spec.making,
            "CREATE SCHEMA spec_a_b;\nSET search_path = spec_a_b, public;\n\
             CREATE TABLE one (a int PRIMARY KEY);\n"
        );
        assert_eq!(
            spec.text,
            "# its tables are in spec_a_b\n# A { comment }\nsetup\n\
             {TRUNCATE one RESTART IDENTITY CASCADE;\nINSERT INTO one VALUES (1);\n}\n\
             teardown {UNLISTEN *;}\n\
             session s1\nsetup { BEGIN; }\nstep c { COMMIT; }\npermutation c\n"
        );
    }

    #[test]
    fn a_spec_that_changes_its_tables_keeps_making_them() {
        let divided = |step: &str| Spec::divide("x", &SPEC.replace("COMMIT", step));
        assert!(divided("ALTER TABLE one ADD b int").is_none());
        assert!(divided("SELECT 'a; DROP TABLE one'").is_some());
        let made_of_rows = SPEC.replace("(a int PRIMARY KEY)", "AS SELECT 1");
        assert!(Spec::divide("x", &made_of_rows).is_none());
        assert!(Spec::divide("x", &SPEC.replace("DROP", "SELECT")).is_none());
    }
}
