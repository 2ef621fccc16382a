//! What may differ, and why. Whatever no rule explains counts.
//!
//! Two outputs are taken apart into what psql echoes and the tables that it prints. What is echoed
//! has to be equal, and so has each table, but for two things: the order of the rows of a statement
//! that says no ORDER BY, and numbers that count what a server has done. Does not read files.

use std::collections::BTreeSet;

/// Tables with rows that no target takes.
const REFUSED_ROWS: [(&str, &str); 1] = [(
    "public.regress_encoding",
    "a function in C stores bytes that are no text in the database's encoding; no session can send \
     them to another server, and pg_restore could not either",
)];

/// Columns that number transactions: each session that takes one moves them.
const COUNTERS: [&str; 1] = ["relfrozenxid"];

/// Why rows of this table stay owed, if a rule says that they do.
pub(crate) fn refused_rows(table: &str) -> Option<&'static str> {
    let mut rules = REFUSED_ROWS.iter();
    rules.find_map(|(name, why)| (*name == table).then_some(*why))
}

/// Why two outputs are as good as equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Excuse {
    /// The same lines in another order, where the statement asks for none.
    Unordered,
    /// A number that counts transactions.
    Counter,
}

impl Excuse {
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Unordered => {
                "the same lines in another order, and the statement says no ORDER BY"
            }
            Self::Counter => "a transaction's number in a column that is there to hold one",
        }
    }
}

/// What explains every difference between two outputs; nothing if one is left.
pub(crate) fn excuses(one: &str, other: &str) -> Option<BTreeSet<Excuse>> {
    let (ones, others) = (items(one), items(other));
    if ones.len() != others.len() {
        return None;
    }
    let mut excuses = BTreeSet::new();
    let mut echoed = Vec::new();
    for pair in ones.iter().zip(&others) {
        match pair {
            (Item::Echo(here), Item::Echo(there)) if here == there => echoed.push(*here),
            (Item::Table(here), Item::Table(there)) => {
                excuses.extend(table_excuses(here, there, &echoed)?);
                echoed.clear();
            }
            (Item::Echo(_) | Item::Table(_), _) => return None,
        }
    }
    Some(excuses)
}

/// A part of what psql prints.
#[derive(Debug, PartialEq, Eq)]
enum Item<'text> {
    Echo(&'text str),
    Table(Table<'text>),
}

#[derive(Debug, PartialEq, Eq)]
struct Table<'text> {
    /// Names, and the line below them.
    head: [&'text str; 2],
    rows: Vec<&'text str>,
    /// How many rows there were.
    foot: &'text str,
}

fn items(text: &str) -> Vec<Item<'_>> {
    let lines: Vec<&str> = text.split('\n').collect();
    let mut items = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let table = table(&lines[at..]);
        at += match &table {
            Some(table) => table.rows.len() + 3,
            None => 1,
        };
        items.push(table.map_or(Item::Echo(line), Item::Table));
    }
    items
}

/// The table that begins with the first of these lines, if one does.
fn table<'text>(lines: &[&'text str]) -> Option<Table<'text>> {
    let [names, rule, body @ ..] = lines else {
        return None;
    };
    let is_rule = rule.starts_with('-') && rule.bytes().all(|byte| matches!(byte, b'-' | b'+'));
    let length = body.iter().position(|line| is_foot(line))?;
    // Comments begin with dashes, too, and no table goes over an empty line of a statement.
    let is_table = is_rule && !names.is_empty() && body[..length].iter().all(|it| !it.is_empty());
    is_table.then(|| Table {
        head: [names, rule],
        rows: body[..length].to_vec(),
        foot: body[length],
    })
}

/// `(1 row)`, `(2 rows)`.
fn is_foot(line: &str) -> bool {
    let inner = line.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
    let words = inner.and_then(|it| it.split_once(' '));
    words
        .is_some_and(|(count, unit)| count.parse::<u64>().is_ok() && matches!(unit, "row" | "rows"))
}

fn table_excuses(here: &Table<'_>, there: &Table<'_>, echoed: &[&str]) -> Option<Vec<Excuse>> {
    if here == there {
        return Some(Vec::new());
    }
    if (here.head, here.foot) != (there.head, there.foot) {
        return None;
    }
    let mut excuses = Vec::new();
    let (mut ours, mut theirs) = (uncounted(here), uncounted(there));
    if ours
        .iter()
        .zip(&here.rows)
        .any(|(masked, row)| masked != row)
    {
        excuses.push(Excuse::Counter);
    }
    if ours != theirs {
        ours.sort_unstable();
        theirs.sort_unstable();
        if ours != theirs || asks_for_order(echoed) {
            return None;
        }
        excuses.push(Excuse::Unordered);
    }
    Some(excuses)
}

/// The rows without what is in columns of [`COUNTERS`].
fn uncounted(table: &Table<'_>) -> Vec<String> {
    let names: Vec<&str> = table.head[0].split('|').map(str::trim).collect();
    let is_counter = |place: usize| names.get(place).is_some_and(|it| COUNTERS.contains(it));
    let masked = table.rows.iter().map(|row| {
        let values = row.split('|').enumerate();
        let values = values.map(|(place, value)| if is_counter(place) { "" } else { value });
        values.collect::<Vec<_>>().join("|")
    });
    masked.collect()
}

/// Whether the statement that was echoed last says ORDER BY, or none was.
fn asks_for_order(echoed: &[&str]) -> bool {
    let Some(end) = echoed
        .iter()
        .rposition(|line| line.trim_end().ends_with(';'))
    else {
        return true;
    };
    let before = &echoed[..end];
    let start = before.iter().rposition(|line| {
        let line = line.trim_end();
        line.is_empty() || line.ends_with(';') || line.starts_with("--") || line.starts_with('\\')
    });
    let statement = echoed[start.map_or(0, |it| it + 1)..=end]
        .join(" ")
        .to_lowercase();
    let words: Vec<&str> = statement.split_whitespace().collect();
    // What psql says behind the statement may be anything: a notice, for one.
    words.is_empty()
        || words
            .windows(2)
            .any(|pair| pair[0].ends_with("order") && pair[1] == "by")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
-- which there are
SELECT name, relfrozenxid
  FROM things;
 name | relfrozenxid 
------+--------------
 a    |           17
 b    |           18
(2 rows)

DROP TABLE things;
";

    #[track_caller]
    fn check(other: &str, expected: Option<&[Excuse]>) {
        let expected = expected.map(|all| all.iter().copied().collect());
        assert_eq!(excuses(OUTPUT, other), expected);
    }

    #[test]
    fn rows_may_come_in_another_order_where_none_is_asked_for() {
        let (one, other) = (" a    |           17\n", " b    |           18\n");
        let exchanged = format!("{other}{one}");
        let turned = OUTPUT.replace(&format!("{one}{other}"), &exchanged);
        assert_ne!(turned, OUTPUT);
        assert_eq!(
            excuses(
                &OUTPUT.replace("relfrozenxid ", "x            "),
                &turned.replace("relfrozenxid ", "x            ")
            ),
            Some([Excuse::Unordered].into())
        );
        let ordered = |text: &str| text.replace("things;", "things ORDER  BY name;");
        assert_eq!(excuses(&ordered(OUTPUT), &ordered(&turned)), None);
    }

    #[test]
    fn a_transaction_may_have_another_number() {
        check(OUTPUT, Some(&[]));
        check(&OUTPUT.replace("18", "19"), Some(&[Excuse::Counter]));
    }

    #[test]
    fn whatever_else_differs_is_not_explained() {
        check(&OUTPUT.replace(" b ", " c "), None);
        check(
            &OUTPUT.replace(" b    |           18\n(2 rows)", "(1 row)"),
            None,
        );
        check(
            &OUTPUT.replace("DROP TABLE things;", "DROP TABLE things;\nERROR:  no"),
            None,
        );
        check(&OUTPUT.replace("name | relf", "nama | relf"), None);
        check("", None);
    }
}
