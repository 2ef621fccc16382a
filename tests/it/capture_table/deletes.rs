//! DELETE by key and otherwise.

use super::{Entry, captured, deferred, in_vain};

pub(super) const ENTRIES: &[Entry] = &[
    captured("DELETE FROM item WHERE id = :n"),
    captured("DELETE FROM item WHERE id = :n RETURNING *"),
    captured("DELETE FROM item AS gone WHERE gone.id = :n RETURNING gone.name AS was, gone.id"),
    captured("DELETE FROM ONLY item WHERE id = :n;"),
    captured("DELETE FROM public.item WHERE public.item.id = (:n)"),
    captured("DELETE FROM item WHERE id IN (:n, :new)"),
    captured("DELETE FROM item WHERE id = $1 RETURNING name").with(&[":n"]),
    captured("DELETE FROM item WHERE id = $1::bigint AND name = $2").with(&[":n", "item :n"]),
    captured("DELETE FROM \"Odd \"\"Table\"\"\" WHERE \"Key\" = :n RETURNING \"select\""),
    captured("DELETE FROM line WHERE order_id = :n AND no = 1"),
    captured("DELETE FROM line WHERE (no, order_id) = (1, :n) RETURNING quantity"),
    captured("DELETE FROM line WHERE (order_id, no) IN ((:n, 1), (:n, 3))"),
    captured("DELETE FROM line WHERE order_id IN (:n) AND no IN (1, 2)"),
    captured("DELETE FROM parted WHERE id = :n AND region = 'eu' RETURNING *")
        .behind(&["INSERT INTO parted VALUES (:n, 'eu', 'v')"]),
    captured("DELETE FROM shrunk WHERE id = :n RETURNING *")
        .behind(&["INSERT INTO shrunk VALUES (:n, 'v')"]),
    captured("DELETE FROM item WHERE id = :n RETURNING old.name").since(18),
    in_vain("DELETE FROM item WHERE id = :new"),
    in_vain("DELETE FROM item WHERE id = :new RETURNING *"),
    in_vain("DELETE FROM item WHERE id = :n AND false"),
    deferred("unkeyed", "DELETE FROM line WHERE order_id = :n"),
    deferred(
        "unkeyed",
        "DELETE FROM line WHERE order_id = :n RETURNING no",
    ),
    deferred(
        "joined",
        "DELETE FROM item USING other.item o WHERE item.id = :n AND o.id = :n",
    ),
    deferred(
        "joined",
        "DELETE FROM item USING line WHERE order_id = :n AND id = :n AND no = 1 RETURNING id, no",
    ),
    deferred(
        "with_clause",
        "WITH w AS (SELECT :n AS n) DELETE FROM item WHERE id = (SELECT n FROM w)",
    ),
    deferred(
        "with_clause",
        "WITH gone AS (DELETE FROM item WHERE id = :n RETURNING *) INSERT INTO by_text SELECT name, 1 FROM gone",
    ),
    deferred(
        "user_function",
        "DELETE FROM item WHERE id = :n RETURNING touch()",
    ),
    deferred(
        "user_function",
        "DELETE FROM item WHERE id = :n AND touch() = 1",
    ),
];
