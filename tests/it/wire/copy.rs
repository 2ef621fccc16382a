//! COPY in both directions, and a Sync amid it.

use harness::raw_client::message::*;

use crate::fidelity::{Fidelity, step, step_until};

#[tokio::test]
async fn copy_looks_the_same_in_both_directions() {
    let fidelity = Fidelity::new().await;
    let rows = |from: i32| -> Vec<u8> {
        (from..from + 500)
            .flat_map(|n| format!("{n}\tcopied {n}\n").into_bytes())
            .collect()
    };
    let script = [
        step(&[query(
            "COPY (SELECT id, name FROM item ORDER BY id) TO STDOUT",
        )]),
        step(&[query("COPY item TO STDOUT (FORMAT binary)")]),
        step_until(&[query("COPY item (id, name) FROM STDIN")], b'G', 1),
        step_until(
            &[copy_data(&rows(1000)), copy_data(&rows(2000)), copy_done()],
            b'Z',
            1,
        ),
        step_until(&[query("COPY item (id, name) FROM STDIN")], b'G', 1),
        step_until(
            &[copy_data(&rows(3000)), copy_fail("changed my mind")],
            b'Z',
            1,
        ),
        step_until(&[query("COPY item (id, name) FROM STDIN")], b'G', 1),
        step_until(&[copy_data(b"1\tduplicate\n"), copy_done()], b'Z', 1),
        step(&[query(
            "INSERT INTO item (id, name) VALUES (5000, 'after COPY')",
        )]),
        step_until(
            &[
                parse("", "COPY item (id, name) FROM STDIN"),
                bind("", "", &[], &[]),
                execute("", 0),
                flush(),
            ],
            b'G',
            1,
        ),
        step_until(&[copy_data(&rows(6000)), copy_done(), sync()], b'Z', 1),
    ];
    fidelity.check(&script).await;
    fidelity.finish(1).await;
}

/// What a client does that does not know that its statement is a COPY.
#[tokio::test]
async fn a_sync_amid_a_copy_that_fails_looks_the_same() {
    let fidelity = Fidelity::new().await;
    let copy = "COPY item (id, name) FROM STDIN";
    let extended = || [parse("", copy), bind("", "", &[], &[]), execute("", 0)].concat();
    let (good, bad) = (
        copy_data(b"1000\tgood\n"),
        copy_data(b"not a number\tbad\n"),
    );
    let insert = |id: usize| {
        let sql = format!("INSERT INTO item (id, name) VALUES ({id}, 'after')");
        step(&[query(&sql)])
    };
    let prepared = |id: &str| {
        step(&[
            parse(
                "",
                "INSERT INTO item (id, name) VALUES ($1, 'after') RETURNING id",
            ),
            bind("", "", &[id], &[]),
            execute("", 0),
            sync(),
        ])
    };
    let script = [
        // The Sync is read before the data, and swallowed.
        step_until(&[extended(), sync()], b'G', 1),
        step(&[good.clone(), bad.clone(), copy_done(), sync()]),
        insert(2000),
        prepared("2001"),
        // Among the data, before and behind what is wrong.
        step_until(&[extended()], b'G', 1),
        step_until(&[good.clone(), sync(), bad.clone(), sync()], b'Z', 1),
        insert(2002),
        prepared("2003"),
        step_until(&[query(copy)], b'G', 1),
        step_until(&[good.clone(), sync(), bad.clone()], b'Z', 1),
        insert(2004),
        prepared("2005"),
        // What the server has not read when it fails it answers.
        step_until(&[query(copy)], b'G', 1),
        step_until(&[bad.clone(), sync(), sync()], b'Z', 3),
        insert(2006),
        step_until(&[query(copy)], b'G', 1),
        step_until(
            &[bad, sync(), query("SELECT 1"), query("SELECT 2")],
            b'Z',
            4,
        ),
        prepared("2007"),
        // A COPY that goes well.
        step_until(&[extended(), sync()], b'G', 1),
        step(&[good, copy_done(), sync()]),
        insert(2008),
        prepared("2009"),
    ];
    fidelity.check(&script).await;
    fidelity.finish(8).await;
}
