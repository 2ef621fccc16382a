//! Sizes at and past what PostgreSQL allows. The texts are made, not written.

use super::{Entry, captured, deferred, in_vain, untouched};

/// `<n*text>` stands for so many times `text`, with commas between.
pub(super) const ENTRIES: &[Entry] = &[
    captured("INSERT INTO widest (id, c1, c1599) VALUES (:n, 1, 2)"),
    captured("INSERT INTO widest (id, c7) VALUES (:n, 1) RETURNING *"),
    captured("UPDATE widest SET c2 = 5 WHERE id = :n RETURNING c2").behind(&["INSERT INTO widest (id) VALUES (:n)"]),
    captured("INSERT INTO widest (id) VALUES (:n) RETURNING *, <63*1>"),
    deferred("returning_shape", "INSERT INTO widest (id) VALUES (:n) RETURNING *, <64*1>"),
    untouched("INSERT INTO widest (id) VALUES (:n) RETURNING *, <65*1>"),
    captured("INSERT INTO item (id) VALUES (:new) RETURNING <1663*1>"),
    deferred("returning_shape", "INSERT INTO item (id) VALUES (:new) RETURNING <1664*1>"),
    untouched("INSERT INTO item (id) VALUES (:new) RETURNING <1665*1>"),
    captured("INSERT INTO wide_texts (id, c300) VALUES (:n, 'x') RETURNING c300"),
    captured("DELETE FROM item WHERE id IN (:n, <99*-5>)"),
    deferred("bulk", "DELETE FROM item WHERE id IN (:n, <100*-5>)"),
    captured("DELETE FROM line WHERE order_id IN (:n, <9*-5>) AND no IN (1, <9*-5>)"),
    deferred("bulk", "DELETE FROM line WHERE order_id IN (:n, <10*-5>) AND no IN (1, <9*-5>)"),
    deferred("bulk", "INSERT INTO always (v) VALUES <101*('x')>"),
    captured("INSERT INTO always (v) VALUES <100*('x')>"),
    captured("INSERT INTO item (id, name) VALUES (:new, repeat('long', 30000)) RETURNING length(name)"),
    deferred("too_large", "INSERT INTO item (id, name) VALUES (:new, repeat('compressed', 1000000)) RETURNING length(name)").rewritten(),
    deferred("too_large", "INSERT INTO item (id, name) VALUES (:new, (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 40000) n)) RETURNING length(name)").rewritten(),
    captured("INSERT INTO item (id, name) VALUES (:new, '<100000*xx>') RETURNING length(name)"),
    deferred("text_too_long", "INSERT INTO item (id, name) VALUES (:new, $$<100000*xx>$$) RETURNING length(name)"),
    deferred("text_too_long", "INSERT INTO item (id, name) VALUES (:new, '<400000*xx>') RETURNING length(name)"),
    in_vain("INSERT INTO item (id, note) VALUES (:new, '<1000*xx>') RETURNING id"),
    in_vain("UPDATE item SET name = 'x' WHERE id = :n AND (<1*1>) = 2"),
];
