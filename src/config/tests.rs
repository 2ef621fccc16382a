//! Layers, defaults and problems, with the surroundings given.

use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// A configuration file that goes away with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("segue-config-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

const SOURCE: (&str, &str) = ("SEGUE_SOURCE", "postgres://al@old/shop");
const TARGET: (&str, &str) = ("SEGUE_TARGET", "postgres://al@new/shop");

fn read<const N: usize>(
    environment: [(&str, &str); N],
    flags: &[(Setting, &str)],
) -> Result<Settings, Failure> {
    let flags = flags.iter();
    let sources = Sources {
        environment: environment.into(),
        flags: flags
            .map(|(setting, value)| (*setting, (*value).to_owned()))
            .collect(),
        ..Sources::default()
    };
    Settings::read(&sources, Needs::Source)
}

#[test]
fn the_last_layer_wins() {
    let file = File::new(
        "layers",
        "listen = '127.0.0.1:1'\nworkers = 3\nmirror = 'dry'\n",
    );
    let environment = Environment::from([
        SOURCE,
        ("SEGUE_LISTEN", "127.0.0.1:2"),
        ("SEGUE_WORKERS", "2"),
    ]);
    let sources = Sources {
        file: Some(file.path()),
        environment,
        flags: vec![(Setting::Workers, "1".to_owned())],
        set: vec![(Setting::SyncTimeout, "5s".to_owned())],
    };
    let settings = Settings::read(&sources, Needs::Source).unwrap();
    assert_eq!(settings.workers.get(), 1);
    assert_eq!(settings.sync.timeout, Duration::from_secs(5));
    assert_eq!(settings.origin(Setting::Workers), Some(&Origin::Flag));
    assert_eq!(settings.origin(Setting::Listen), Some(&Origin::Environment));
    assert_eq!(
        settings.origin(Setting::SyncTimeout),
        Some(&Origin::Console)
    );
    assert_eq!(settings.origin(Setting::LogLevel), None);
    assert_eq!(settings.listen, ["127.0.0.1:2".parse().unwrap()]);
    assert_eq!(settings.mirror, MirrorMode::Dry);
}

#[test]
fn the_environment_names_the_file() {
    let file = File::new(
        "named",
        "workers = 7\nlisten = ['127.0.0.1:1', '[::1]:1']\n",
    );
    let path = file.0.display().to_string();
    let settings = read([SOURCE, ("SEGUE_CONFIG", &path)], &[]).unwrap();
    assert_eq!(settings.workers.get(), 7);
    assert_eq!(settings.listen.len(), 2);
    assert_eq!(settings.file, Some(file.0.clone()));
}

#[test]
fn defaults_depend_on_whether_there_is_a_target() {
    let alone = read([SOURCE], &[]).unwrap();
    assert_eq!(alone.mirror, MirrorMode::Off);
    assert_eq!(alone.listen, ["127.0.0.1:6432".parse().unwrap()]);
    assert!((1..=4).contains(&alone.workers.get()));
    let both = read([SOURCE, TARGET], &[]).unwrap();
    assert_eq!(both.mirror, MirrorMode::Async);
}

#[test]
fn a_mirror_without_a_target_is_refused_unless_it_sends_nothing() {
    let failure = read([SOURCE], &[(Setting::Mirror, "sync")]).unwrap_err();
    assert_eq!(failure.exit, crate::exit::Exit::Usage);
    assert!(
        failure
            .message
            .contains("--mirror: \"sync\" needs a target"),
        "{failure:?}"
    );
    assert_eq!(
        read([SOURCE], &[(Setting::Mirror, "dry")]).unwrap().mirror,
        MirrorMode::Dry
    );
}

#[test]
fn all_problems_are_reported_at_once_with_their_places() {
    let file = File::new("problems", "workers = 0\nlissen = 'x'\nmirror = true\n");
    let environment = Environment::from([
        ("SEGUE_LISTEN", "everywhere"),
        ("SEGUE_SYNC_TIMEOUT", "soon"),
    ]);
    let sources = Sources {
        file: Some(file.path()),
        environment,
        flags: vec![
            (Setting::LogLevel, "inof".to_owned()),
            (Setting::LogFormat, "xml".to_owned()),
        ],
        ..Sources::default()
    };
    let failure = Settings::read(&sources, Needs::Both).unwrap_err();
    for part in [
        "has 9 problems",
        "no source is given",
        "no target is given",
        ": workers: \"0\" is not a number between 1 and 256",
        ": lissen is not a setting",
        ": mirror is neither",
        "SEGUE_LISTEN: \"everywhere\" is neither an IP address",
        "SEGUE_SYNC_TIMEOUT: \"soon\" is not a duration",
        "--log-format: \"xml\"",
        "--log-level: ",
    ] {
        assert!(
            failure.message.contains(part),
            "{part}: {}",
            failure.message
        );
    }
}

#[test]
fn a_file_that_was_named_has_to_be_there() {
    let failure = read([SOURCE, ("SEGUE_CONFIG", "/nowhere/segue.toml")], &[]).unwrap_err();
    assert!(
        failure.message.contains("cannot read /nowhere/segue.toml"),
        "{failure:?}"
    );
}

#[test]
fn a_broken_file_is_not_quoted() {
    let file = File::new(
        "broken",
        "workers = 1\nsource = 'postgres://al:s3cret@old/shop\n",
    );
    let sources = Sources {
        file: Some(file.path()),
        ..Sources::default()
    };
    let failure = Settings::read(&sources, Needs::Target).unwrap_err();
    assert!(failure.message.contains("line 2"), "{failure:?}");
    assert!(!failure.message.contains("s3cret"), "{failure:?}");
}

#[test]
fn a_password_in_a_flag_is_warned_of_and_never_shown() {
    let settings = read([], &[(Setting::Source, "postgres://al:s3cret@old/shop")]).unwrap();
    assert!(
        settings.warnings[0].contains("--source holds a password"),
        "{settings:?}"
    );
    assert!(!format!("{settings:?}").contains("s3cret"));
    assert!(!crate::render::settings::text(&settings).contains("s3cret"));
    let quiet = read([("SEGUE_SOURCE", "postgres://al:s3cret@old/shop")], &[]).unwrap();
    assert_eq!(quiet.warnings, Vec::<String>::new());
}

#[test]
fn the_password_of_the_environment_is_used() {
    let settings = read([SOURCE, ("PGPASSWORD", "pw")], &[]).unwrap();
    let source = settings.source().unwrap();
    assert_eq!(source.password(), Some(&Password::new("pw")));
    assert!(settings.target().is_err());
}

#[test]
fn a_variable_that_looks_like_ours_is_warned_of() {
    let settings = read([SOURCE, ("SEGUE_LISTNE", "127.0.0.1:1")], &[]).unwrap();
    assert!(
        settings.warnings[0].contains("SEGUE_LISTNE"),
        "{settings:?}"
    );
}

#[test]
fn an_endpoint_open_to_others_needs_a_token() {
    let open = (Setting::Http, "0.0.0.0:9188");
    let failure = read([SOURCE], &[open]).unwrap_err();
    assert!(
        failure.message.contains("open to other machines"),
        "{failure:?}"
    );
    assert!(read([SOURCE], &[(Setting::Http, "127.0.0.1:9188")]).is_ok());
    let token = File::new("token", "tok\n");
    let path = token.0.display().to_string();
    let settings = read([SOURCE], &[open, (Setting::HttpTokenFile, &path)]).unwrap();
    assert_eq!(settings.http_token, Some(Password::new("tok")));
}

#[test]
fn durations_need_a_unit() {
    assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
    assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
    assert_eq!(duration("10min"), Ok(Duration::from_mins(10)));
    assert_eq!(duration("7d"), Ok(Duration::from_hours(168)));
    for text in ["", "5", "s", "-1s", "1e9s", "5 weeks"] {
        assert!(duration(text).is_err(), "{text}");
    }
}

#[test]
fn a_table_in_the_file_is_a_list_of_pairs_elsewhere() {
    let file = File::new("pairs", "[tables]\nitem = 'sync'\n\"a b\" = 'off'\n");
    let sources = Sources {
        file: Some(file.path()),
        ..Sources::default()
    };
    let settings = Settings::read(&sources, Needs::Nothing).unwrap();
    assert_eq!(settings.tables, ["a b=off", "item=sync"]);
}

#[test]
fn a_setting_shows_as_it_would_be_written() {
    let settings = read([SOURCE, ("SEGUE_SYNC_TIMEOUT", "250ms")], &[]).unwrap();
    assert_eq!(settings.text(Setting::SyncTimeout), "250ms");
    assert_eq!(settings.text(Setting::DrainTimeout), "10s");
    assert_eq!(settings.text(Setting::Mirror), "off");
    assert_eq!(settings.text(Setting::Target), "none");
    let other = read([("SEGUE_SOURCE", "postgres://al:other@old/shop")], &[]).unwrap();
    assert!(other.differs(&settings, Setting::Source), "by its password");
    assert!(!other.differs(&settings, Setting::Mirror));
}

/// The rows of README's table of settings: name, default, change.
fn documented() -> Vec<[String; 3]> {
    let readme = include_str!("../../README.md");
    let table = readme.split("| name | default | change | what |").nth(1);
    let rows = table.unwrap().lines().skip(2);
    let cells = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[1].split('`').nth(1).unwrap();
        [name, cells[2], cells[3]].map(str::to_owned)
    };
    rows.take_while(|row| row.starts_with('|'))
        .map(cells)
        .collect()
}

#[test]
fn the_spool_is_a_directory_or_a_problem() {
    let temporary = std::env::temp_dir().display().to_string();
    let settings = read([SOURCE], &[(Setting::SpoolDir, &temporary)]).unwrap();
    assert_eq!(settings.spool_dir.display().to_string(), temporary);
    let unset = read([SOURCE], &[]).unwrap();
    assert_eq!(unset.spool_dir.display().to_string(), "/tmp");
    for (path, problem) in [
        ("/nowhere", "cannot be used"),
        ("/proc/self/stat", "not a directory"),
    ] {
        let failure = read([SOURCE], &[(Setting::SpoolDir, path)]).unwrap_err();
        assert!(format!("{failure:?}").contains(problem), "{failure:?}");
    }
}

#[test]
fn the_readme_lists_every_setting_with_its_default_and_when_a_change_takes_effect() {
    let settings = Setting::ALL.map(|setting| {
        let facts = setting.facts();
        [
            facts.name.to_owned(),
            facts.default.to_owned(),
            facts.change.to_string(),
        ]
    });
    assert_eq!(documented(), settings);
}

#[test]
fn every_setting_has_one_name_and_one_place_in_the_list() {
    for (index, setting) in Setting::ALL.into_iter().enumerate() {
        assert_eq!(Setting::named(setting.name()), Some(setting));
        let position = Setting::ALL.iter().position(|it| *it == setting);
        assert_eq!(position, Some(index), "{}", setting.name());
    }
}

/// Bytes of a file with a few of them changed, as an editor that died might leave them.
fn spoilt(random: &mut StdRng, file: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..random.random_range(1..6) {
        let place = random.random_range(0..bytes.len());
        match random.random_range(0..3) {
            0 => bytes[place] = random.random(),
            1 => bytes[place] = b"='[]{},\"\n#"[random.random_range(0..10)],
            _ => drop(bytes.drain(place..)),
        }
        if bytes.is_empty() {
            return bytes;
        }
    }
    bytes
}

#[test]
fn no_file_is_worse_than_a_problem() {
    const SEED: u64 = 4;
    println!("seed {SEED}");
    let mut random = StdRng::seed_from_u64(SEED);
    let whole = "source = 'postgres://al:secret@old/shop'\nlisten = ['127.0.0.1:1', '[::1]:2']\n\
                 workers = 3\nmirror = 'dry'\nsync_timeout = '5s' # what is this\n";
    let file = File::new("spoilt", whole);
    for _ in 0..500 {
        std::fs::write(file.path(), spoilt(&mut random, whole.as_bytes())).unwrap();
        let sources = Sources {
            file: Some(file.path()),
            ..Sources::default()
        };
        if let Err(failure) = Settings::read(&sources, Needs::Source) {
            drop(format!("{failure:?}"));
        }
    }
}
