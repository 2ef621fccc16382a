//! Every entry for a moment: random bytes, and its seeds with a few bytes changed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{ENTRIES, seeds};

const SEED: u64 = 4;
/// The parser of statements is PostgreSQL's own, and takes its time.
const STATEMENT_ROUNDS: usize = 400;
const ROUNDS: usize = 20_000;

fn mutated(random: &mut StdRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.random_range(0..seeds.len())].clone();
    for _ in 0..random.random_range(0..5) {
        let place = random.random_range(0..=bytes.len());
        let other = &seeds[random.random_range(0..seeds.len())];
        match random.random_range(0..5) {
            0 if place < bytes.len() => bytes[place] = random.random(),
            1 if place < bytes.len() => bytes[place] ^= 1 << random.random_range(0..8),
            2 => bytes.insert(place, random.random()),
            3 => bytes.truncate(place),
            _ => {
                let from = random.random_range(0..=other.len());
                bytes.splice(place.., other[from..].iter().copied());
            }
        }
    }
    bytes
}

fn random_bytes(random: &mut StdRng) -> Vec<u8> {
    let length = random.random_range(0..64);
    (0..length).map(|_| random.random()).collect()
}

#[test]
fn no_bytes_break_a_parsers_promises() {
    println!("seed {SEED}");
    let mut random = StdRng::seed_from_u64(SEED);
    for entry in ENTRIES {
        let seeds = seeds(entry.name);
        assert!(!seeds.is_empty(), "{} has no seeds", entry.name);
        let rounds = match entry.name {
            "statement" | "template" => STATEMENT_ROUNDS,
            _ => ROUNDS,
        };
        for round in 0..rounds {
            let bytes = match seeds.get(round) {
                Some(seed) => seed.clone(),
                None if round % 4 == 0 => random_bytes(&mut random),
                None => mutated(&mut random, &seeds),
            };
            let ended = catch_unwind(AssertUnwindSafe(|| (entry.run)(&bytes)));
            assert!(ended.is_ok(), "{}: {}", entry.name, bytes.escape_ascii());
        }
    }
}

#[test]
fn every_entry_is_a_target_of_libfuzzer() {
    let manifest = include_str!("../../../fuzz/Cargo.toml");
    let targets = manifest.matches("fuzz_targets/").count();
    assert_eq!(targets, ENTRIES.len());
    for entry in ENTRIES {
        let target = format!("path = \"fuzz_targets/{}.rs\"", entry.name);
        assert!(manifest.contains(&target), "{}", entry.name);
    }
}
