//! Every order of steps in a small world: with each feature alone nothing is wrong, and without any
//! part of a rule something is.

use crate::config::{Config, Omission};
use crate::explore::{explore, walk};
use crate::table;

/// More than the largest world here has, with room for growth.
const STATES_MAX: usize = 400_000;

/// Walks through each product: some seconds.
const SEEDS: u64 = 60;

const STEPS_MAX: usize = 400;

#[track_caller]
fn converges(place: usize) {
    let (config, states_min) = table::ALONE[place];
    let explored = match explore(&config, STATES_MAX) {
        Ok(explored) => explored,
        Err(found) => panic!("{:?}: {found:#?}", config.features),
    };
    println!("{:?}: {explored:?}", config.features);
    assert!(explored.is_complete, "more than {STATES_MAX} states");
    assert!(explored.states >= states_min, "{explored:?}");
    assert!(explored.at_rest > 0);
}

#[track_caller]
fn is_caught(omission: Omission) {
    let mut found = table::CAUGHT.iter().filter(|(one, _)| *one == omission);
    let (_, config) = found.next().unwrap();
    let explored = explore(&config.without(omission), STATES_MAX);
    let found = explored.expect_err("nobody misses it");
    println!("{omission:?}: {found:#?}");
}

#[test]
fn chance_finds_nothing_in_the_products() {
    for features in table::PRODUCTS {
        let config = Config::with(features).sized(3, 2);
        for seed in 0..SEEDS {
            if let Err(found) = walk(&config, seed, STEPS_MAX) {
                panic!("seed {seed} of {features:?}: {found:#?}");
            }
        }
    }
}

#[test]
fn the_base_converges() {
    converges(0);
}

#[test]
fn rows_written_together_converge() {
    converges(1);
}

#[test]
fn single_statements_converge() {
    converges(2);
}

#[test]
fn commits_in_three_steps_converge() {
    converges(3);
}

#[test]
fn crashes_converge() {
    converges(4);
}

#[test]
fn commits_taken_back_converge() {
    converges(5);
}

#[test]
fn two_reconcilers_converge() {
    converges(6);
}

#[test]
fn raised_floors_converge() {
    converges(7);
}

#[test]
fn dropped_entries_converge() {
    converges(8);
}

#[test]
fn a_gate_read_before_the_locks_converges() {
    converges(9);
}

#[test]
fn a_table_that_is_being_filled_converges() {
    converges(10);
}

#[test]
fn rows_read_again_converge() {
    converges(11);
}

#[test]
fn emptied_tables_converge() {
    converges(12);
}

#[test]
fn values_that_the_log_leaves_out_converge() {
    converges(13);
}

#[test]
fn exchanged_unique_values_converge() {
    converges(14);
}

#[test]
fn phantoms_are_found_and_nothing_else() {
    converges(15);
}

#[test]
fn lies_are_found_and_nothing_else() {
    converges(16);
}

#[test]
fn transactions_that_share_one_converge() {
    converges(17);
}

#[test]
fn three_unique_values_that_move_around_converge() {
    converges(18);
}

#[test]
fn what_others_write_is_found_and_nothing_else() {
    converges(19);
}

#[test]
fn keys_spelled_in_two_ways_converge() {
    converges(20);
}

#[test]
fn a_table_filled_chunk_by_chunk_converges() {
    converges(21);
}

#[test]
fn rule_1_without_the_locks_is_caught() {
    is_caught(Omission::Lock);
}

#[test]
fn rule_2_without_the_test_of_entry_or_floor_is_caught() {
    is_caught(Omission::EntryTest);
    is_caught(Omission::FloorTest);
}

#[test]
fn rule_3_without_the_comparison_of_progress_is_caught() {
    is_caught(Omission::Progress);
}

#[test]
fn rule_4_without_the_logs_own_entries_is_caught() {
    is_caught(Omission::Entries);
}

#[test]
fn rule_5_without_the_drain_is_caught() {
    is_caught(Omission::Drain);
}

#[test]
fn rule_5_with_a_drain_by_the_raises_own_xid_is_caught() {
    is_caught(Omission::DrainByOwnXid);
}

#[test]
fn rule_5_with_the_gate_read_before_the_xid_is_taken_is_caught() {
    is_caught(Omission::XidFirst);
}

#[test]
fn rule_6_with_a_gate_armed_too_low_is_caught() {
    is_caught(Omission::ArmAbove);
}

#[test]
fn rule_7_with_logged_taken_for_visible_is_caught() {
    is_caught(Omission::Visibility);
}

#[test]
fn rule_8_with_any_re_read_used_is_caught() {
    is_caught(Omission::RereadTest);
    is_caught(Omission::RereadUnverified);
}

#[test]
fn rule_9_with_chunks_over_rows_or_tombstones_is_caught() {
    is_caught(Omission::Tombstones);
    is_caught(Omission::InsertOnly);
}

#[test]
fn rule_9_with_a_chunk_read_too_soon_is_caught() {
    is_caught(Omission::SlotSnapshot);
}

#[test]
fn rule_10_with_a_violation_taken_for_an_error_is_caught() {
    is_caught(Omission::Violation);
}

#[test]
fn rule_10_with_owed_rows_applied_one_by_one_is_caught() {
    is_caught(Omission::AsASet);
}

#[test]
fn rule_11_without_the_tables_floor_is_caught() {
    is_caught(Omission::TableFloor);
}

#[test]
fn rule_11_with_newer_rows_emptied_too_is_caught() {
    is_caught(Omission::Survivors);
}

#[test]
fn rule_12_with_asynchronous_commits_mirrored_is_caught() {
    is_caught(Omission::DeferAsync);
}

#[test]
fn rule_12_with_unflushed_reads_used_is_caught() {
    is_caught(Omission::FlushedReads);
}

#[test]
fn rule_13_without_the_sweep_is_caught() {
    is_caught(Omission::Sweep);
}

#[test]
fn rule_14_with_keys_compared_by_their_bytes_is_caught() {
    is_caught(Omission::NormalForm);
}

#[test]
fn rule_15_with_triggers_that_fire_at_the_target_is_caught() {
    is_caught(Omission::ReplicaRole);
}

#[test]
fn rule_15_with_writes_that_are_not_marked_is_caught() {
    is_caught(Omission::Origins);
}
