//! Relations that are not a plain table of the client's own.

use super::{Entry, captured, deferred, in_vain, untouched};

pub(super) const ENTRIES: &[Entry] = &[
    captured(
        "INSERT INTO parted VALUES (:n, 'eu', 'a'), (:n, 'us', 'b') RETURNING *, tableoid::regclass",
    ),
    captured("INSERT INTO parted_eu (id, region, v) VALUES (:n, 'eu', 'c') RETURNING *"),
    captured("UPDATE parted SET v = 'x' WHERE id = :n AND region = 'us' RETURNING v")
        .behind(&["INSERT INTO parted VALUES (:n, 'us', 'b')"]),
    captured("UPDATE parted_eu SET v = 'x' WHERE id = :n AND region = 'eu' RETURNING *")
        .behind(&["INSERT INTO parted VALUES (:n, 'eu', 'b')"]),
    captured(
        "INSERT INTO parted VALUES (:n, 'us', 'b') ON CONFLICT (id, region) DO UPDATE SET v = 'up' RETURNING v",
    ),
    deferred(
        "key_update",
        "UPDATE parted SET region = 'us' WHERE id = :n AND region = 'eu'",
    )
    .behind(&["INSERT INTO parted VALUES (:n, 'eu', 'b')"]),
    untouched("INSERT INTO parted VALUES (:n, 'asia', 'b')").rewritten(),
    untouched("INSERT INTO parted_us VALUES (:n, 'eu', 'b')").rewritten(),
    deferred("inherited_table", "INSERT INTO parent VALUES (:n, 'v')"),
    deferred(
        "inherited_table",
        "INSERT INTO child VALUES (:n, 'v') RETURNING *",
    ),
    deferred("inherited_table", "UPDATE parent SET v = 'x' WHERE id = :n")
        .behind(&["INSERT INTO child VALUES (:n, 'v')"]),
    deferred("inherited_table", "DELETE FROM parent WHERE id = :n")
        .behind(&["INSERT INTO child VALUES (:n, 'v')"]),
    deferred("view", "UPDATE cheap SET name = 'view' WHERE id = :n"),
    deferred("view", "DELETE FROM cheap WHERE id = :n RETURNING name"),
    deferred(
        "view",
        "INSERT INTO cheap VALUES (:new, 'view') RETURNING *",
    ),
    deferred("view", "INSERT INTO joined VALUES (:n, 9) RETURNING *"),
    deferred("rules", "INSERT INTO ruled VALUES (:n, 'v')"),
    deferred("rules", "UPDATE ruled SET v = 'x' WHERE id = :n")
        .behind(&["INSERT INTO ruled VALUES (:n, 'v')"]),
    untouched("INSERT INTO far VALUES (1, 'v')"),
    deferred("not_in_contract", "INSERT INTO keyless VALUES (:n, 'v')"),
    deferred(
        "not_in_contract",
        "INSERT INTO keyless VALUES (:n, 'v') RETURNING *",
    ),
    deferred("not_in_contract", "UPDATE keyless SET v = 'x' WHERE n = :n")
        .behind(&["INSERT INTO keyless VALUES (:n)"]),
    deferred("not_in_contract", "INSERT INTO volatile_rows VALUES (:n)"),
    untouched("INSERT INTO pg_catalog.pg_class (oid) VALUES (1)"),
    deferred("row_level_security", "INSERT INTO guarded VALUES (:n)"),
    deferred(
        "row_level_security",
        "UPDATE guarded SET who = who WHERE id = :n",
    )
    .behind(&["INSERT INTO guarded VALUES (:n)"]),
    captured("INSERT INTO loud VALUES (:n, 'a notice')"),
    captured("UPDATE loud SET word = 'another' WHERE id = :n RETURNING *")
        .behind(&["INSERT INTO loud VALUES (:n, 'one')"]),
    in_vain("INSERT INTO swallowing VALUES (:n) RETURNING id"),
    in_vain("INSERT INTO refusing VALUES (:n)"),
    deferred(
        "trigger_reads_statement",
        "INSERT INTO audited VALUES (:n, 'v')",
    ),
    deferred(
        "trigger_reads_statement",
        "UPDATE audited SET v = 'x' WHERE id = :n RETURNING *",
    )
    .behind(&["INSERT INTO audited VALUES (:n, 'v')"]),
    deferred(
        "trigger_reads_statement",
        "INSERT INTO stamped (id) VALUES (:n) RETURNING q",
    ),
    deferred(
        "trigger_reads_statement",
        "INSERT INTO audited_deeply (id) VALUES (:n) RETURNING q",
    ),
    deferred("key_equality", "INSERT INTO by_float VALUES (:n, 1)"),
    deferred("key_equality", "UPDATE by_float SET v = 2 WHERE id = :n")
        .behind(&["INSERT INTO by_float VALUES (:n, 1)"]),
    captured("INSERT INTO by_text VALUES ('key :n', 1) RETURNING *"),
    captured("INSERT INTO by_numeric VALUES (:n.50, 1) RETURNING id"),
    captured("INSERT INTO by_identity VALUES (:n, 1, 'v') ON CONFLICT (a) DO UPDATE SET b = 2"),
    deferred("key_update", "UPDATE by_identity SET a = :new WHERE a = :n")
        .behind(&["INSERT INTO by_identity VALUES (:n, 1, 'v')"]),
    deferred(
        "not_in_contract",
        "INSERT INTO by_class VALUES (:n, 'item')",
    ),
];
