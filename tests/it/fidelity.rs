//! The means to compare what a client sees directly, through a pass-through proxy and through a
//! mirroring one, byte by byte.
//!
//! Masks the cancel key and the notifying process: a proxy may have its own. Masks nothing else.

use std::collections::BTreeMap;

use harness::{
    Bed, Database, Pair, Segue,
    raw_client::{Frame, RawClient, message},
    wait,
};

use crate::SEGUE;

/// Tables for scripts. Nothing in them depends on the clock.
pub(crate) const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE TABLE item (
        id    int PRIMARY KEY,
        name  text NOT NULL,
        price numeric(8, 2) CHECK (price >= 0),
        note  text DEFAULT 'none',
        mood  mood DEFAULT 'good',
        made  bigint GENERATED ALWAYS AS IDENTITY
    );
    INSERT INTO item (id, name, price) SELECT n, 'item ' || n, n * 1.5 FROM generate_series(1, 20) n;
    CREATE TABLE loud (id int PRIMARY KEY, word text);
    CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE NOTICE 'word %', NEW.word; RETURN NEW; END $$;
    CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON loud FOR EACH ROW EXECUTE FUNCTION shout();
    CREATE TABLE keyless (n int);
    CREATE VIEW cheap AS SELECT id, name FROM item WHERE price < 10;
";

/// Bytes to send, and what to wait for before the next step.
pub(crate) struct Step {
    bytes: Vec<u8>,
    tag: u8,
    count: usize,
}

/// A step that is over when so many ReadyForQuery have come.
pub(crate) fn step(messages: &[Vec<u8>]) -> Step {
    let ready = messages
        .iter()
        .filter(|message| matches!(message.first(), Some(b'S' | b'Q')));
    Step {
        count: ready.count(),
        bytes: messages.concat(),
        tag: b'Z',
    }
}

/// A step that is over when so many frames of a tag have come.
pub(crate) fn step_until(messages: &[Vec<u8>], tag: u8, count: usize) -> Step {
    Step {
        bytes: messages.concat(),
        tag,
        count,
    }
}

/// Simple queries, one after the other.
pub(crate) fn queries(all: &[&str]) -> Vec<Step> {
    all.iter().map(|sql| step(&[message::query(sql)])).collect()
}

/// Three copies of one database: reached directly, through `--mirror off`, and through a mirror.
pub(crate) struct Fidelity {
    direct: Database,
    passing: Database,
    mirroring: Database,
    /// The mirrored pair.
    pub(crate) bed: Bed,
    proxies: [Segue; 2],
}

impl Fidelity {
    pub(crate) async fn new() -> Self {
        let copies = Pair::shared()
            .await
            .unwrap()
            .copies(SCHEMA, 3)
            .await
            .unwrap();
        let [direct, passing, bed]: [Bed; 3] = copies.try_into().unwrap();
        let pass = passing
            .launch(SEGUE)
            .with_uris(Some(&passing.source.uri()), None);
        let pass = pass.proxy(&["--mirror", "off"]).await.unwrap();
        let launch = bed.launch(SEGUE);
        launch.setup().await.unwrap();
        let run = launch.run(&[]).await.unwrap();
        Self {
            direct: direct.source,
            passing: passing.source.through(pass.port()),
            mirroring: bed.source.through(run.port()),
            bed,
            proxies: [pass, run],
        }
    }

    /// Plays a script all three ways; the frames must be the same.
    #[track_caller]
    pub(crate) fn check<'a>(&'a self, script: &'a [Step]) -> impl Future<Output = Vec<Frame>> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let expected = play(&self.direct, script).await;
            for (way, database) in [
                ("mirror off", &self.passing),
                ("mirror on", &self.mirroring),
            ] {
                let seen = play(database, script).await;
                for (index, (expected, seen)) in expected.iter().zip(&seen).enumerate() {
                    assert_eq!(
                        readable(seen),
                        readable(expected),
                        "with {way}, step {index} of the script at {caller}"
                    );
                }
            }
            expected.into_iter().flatten().collect()
        }
    }

    /// The ways, for tests that are more than a script.
    pub(crate) fn ways(&self) -> [(&'static str, &Database); 3] {
        [
            ("direct", &self.direct),
            ("mirror off", &self.passing),
            ("mirror on", &self.mirroring),
        ]
    }

    /// The mirror took part, and both sides are equal in the end: else a test of it proves nothing.
    pub(crate) async fn finish(self, captured_min: u64) {
        let launch = self.bed.launch(SEGUE);
        wait::until_true(
            &format!("{captured_min} captured rows in the status"),
            async || {
                let status = launch.status().await?;
                let captured = status["mirror"]["captured"].as_u64().unwrap_or_default();
                anyhow::ensure!(
                    captured >= captured_min,
                    "only {captured}: {}",
                    status["mirror"]
                );
                Ok(true)
            },
        )
        .await
        .unwrap();
        self.bed.converged().await.unwrap();
        for proxy in self.proxies {
            assert_eq!(proxy.terminate().await.unwrap(), 0);
        }
    }
}

async fn play(database: &Database, script: &[Step]) -> Vec<Vec<Frame>> {
    let mut client = RawClient::connect(database).await.unwrap();
    let mut transcript = vec![masked(std::mem::take(&mut client.startup))];
    for step in script {
        client.send(&step.bytes).await.unwrap();
        transcript.push(masked(
            client.until_tag(step.tag, step.count).await.unwrap(),
        ));
    }
    transcript
}

/// Without what may differ: the cancel key's contents and the number of the notifying process.
pub(crate) fn masked(frames: Vec<Frame>) -> Vec<Frame> {
    let mask = |mut frame: Frame| {
        match frame.tag {
            b'K' => frame.body.fill(0),
            b'A' => frame.body[..4].fill(0),
            _ => {}
        }
        frame
    };
    frames.into_iter().map(mask).collect()
}

/// One line per frame, so that a failed comparison can be read.
fn readable(frames: &[Frame]) -> String {
    let line = |frame: &Frame| {
        format!(
            "{} {:?}",
            char::from(frame.tag),
            frame.body.escape_ascii().to_string()
        )
    };
    frames.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// How often each tag came.
pub(crate) fn tags(frames: &[Frame]) -> BTreeMap<char, usize> {
    let mut tags = BTreeMap::new();
    for frame in frames {
        *tags.entry(char::from(frame.tag)).or_default() += 1;
    }
    tags
}
