//! The tests of each clause of the contract, which bear its number: one row a test.
//!
//! | clause | module | test |
//! |---|---|---|
//! | 1 | `bind` | `clause_01_one_bond_per_device_and_mm` |
//! | 1 | `interleavings` | `clause_01_bonds_are_shared_and_torn_down_once` |
//! | 2 | `bind` | `clause_02_one_pasid_per_mm_on_all_devices_until_it_is_freed` |
//! | 2 | `bind` | `clause_02_pasid_0_reaches_nothing` |
//! | 3 | `bind` | `clause_03_a_device_must_be_enabled` |
//! | 3 | `bind` | `clause_03_a_pasid_beyond_the_device` |
//! | 3 | `bind` | `clause_03_a_pasid_beyond_the_process_directory` |
//! | 3 | `bind` | `clause_03_another_pasid_space` |
//! | 3 | `bind` | `clause_03_out_of_memory_undoes_everything` |
//! | 3 | `bind` | `clause_03_page_tables_that_the_iommu_cannot_walk` |
//! | 3 | `bind` | `clause_03_pasids_run_out` |
//! | 4 | `bind` | `clause_04_order_of_attach` |
//! | 5 | `bind` | `clause_05_set_ops_twice` |
//! | 6 | `bind` | `clause_06_unbind_waits_for_what_had_reached_the_iommu` |
//! | 7 | `ats` | `clause_07_teardown_makes_the_device_forget_before_the_fence` |
//! | 7 | `bind` | `clause_07_order_of_teardown` |
//! | 7 | `bind` | `clause_07_unbind_waits_for_handlers_and_none_runs_after` |
//! | 7 | `callbacks` | `clause_07_fault_callbacks_may_drop_each_others_handles` |
//! | 7 | `callbacks` | `clause_07_one_bonds_unbind_does_not_wait_for_anothers_callback` |
//! | 7 | `interleavings` | `clause_07_a_reused_pasid_never_meets_requests_of_its_past` |
//! | 7 | `interleavings` | `clause_07_no_handler_runs_after_unbind` |
//! | 7 | `page_requests` | `clause_07_a_reused_pasid_never_meets_requests_of_its_past` |
//! | 7 | `page_requests` | `clause_07_unbind_answers_what_is_queued_in_line_and_deferred` |
//! | 8 | `bind` | `clause_08_contexts_change_with_the_valid_bit_cleared` |
//! | 9 | `callbacks` | `clause_09_a_callback_may_drop_the_handle_of_its_own_bond` |
//! | 9 | `callbacks` | `clause_09_a_callback_may_drop_the_handles_of_the_other_bonds` |
//! | 9 | `callbacks` | `clause_09_a_second_exit_returns_when_the_callbacks_of_the_first_have` |
//! | 9 | `callbacks` | `clause_09_two_exits_may_drop_each_others_handles` |
//! | 9 | `exit` | `clause_09_mm_exit_runs_once_per_bond_before_the_page_tables_go` |
//! | 9 | `exit` | `clause_09_mm_exit_runs_without_driver_locks_and_does_not_drain` |
//! | 9 | `interleavings` | `clause_09_exit_against_bind_unbind_faults_and_page_requests` |
//! | 9 | `interleavings` | `clause_09_exits_that_drop_each_others_handles` |
//! | 9 | `page_requests` | `clause_09_exit_does_not_wait_for_page_requests_in_flight` |
//! | 10 | `ats` | `clause_10_after_exit_translation_requests_are_granted_nothing_and_nothing_is_logged` |
//! | 10 | `exit` | `clause_10_a_device_that_floods_the_queue_after_exit_is_muted_and_the_loss_is_told` |
//! | 10 | `exit` | `clause_10_a_device_without_living_address_spaces_fills_nobodys_queue` |
//! | 10 | `exit` | `clause_10_after_exit_dma_aborts_and_nothing_is_logged` |
//! | 10 | `exit` | `clause_10_no_device_pushes_out_the_records_of_another` |
//! | 10 | `exit` | `clause_10_the_page_tables_are_not_read_after_exit` |
//! | 11 | `exit` | `clause_11_the_handle_stays_valid_until_unbind` |
//! | 12 | `interleavings` | `clause_12_groups_are_answered_once_by_however_many_threads` |
//! | 12 | `page_requests` | `clause_12_a_group_is_held_until_it_is_closed_and_answered_once` |
//! | 12 | `page_requests` | `clause_12_one_failed_member_fails_the_group` |
//! | 13 | `page_requests` | `clause_13_a_stop_marker_is_consumed_and_not_answered` |
//! | 14 | `page_requests` | `clause_14_each_outcome_has_its_answer` |
//! | 14 | `page_requests` | `clause_14_the_handler_hears_of_what_could_not_be_resolved_and_decides` |
//! | 15 | `page_requests` | `clause_15_automatic_answers_follow_the_specification` |
//! | 15 | `page_requests` | `clause_15_the_pasid_is_in_an_answer_only_if_the_device_needs_it` |
//! | 16 | `faults` | `clause_16_memory_faults_are_reported_and_recording_goes_on` |
//! | 16 | `faults` | `clause_16_overflow_is_reported_and_recording_goes_on` |
//! | 16 | `faults` | `clause_16_the_interrupt_is_cleared_and_comes_again` |
//! | 16 | `page_requests` | `clause_16_a_drain_that_saw_an_overflow_drains_again` |
//! | 16 | `page_requests` | `clause_16_memory_faults_are_recovered_from` |
//! | 16 | `page_requests` | `clause_16_open_groups_survive_as_long_as_the_queue_is_not_empty` |
//! | 16 | `page_requests` | `clause_16_overflow_is_recovered_from_and_nothing_is_lost_for_good` |
//! | 16 | `page_requests` | `clause_16_the_interrupt_is_cleared_before_the_tail_is_read` |
//! | 17 | `devices` | `clause_17_ats_taken_away_while_bound` |
//! | 17 | `devices` | `clause_17_disabling_answers_everything_pending_with_invalid` |
//! | 17 | `devices` | `clause_17_late_answers_do_nothing` |
//! | 17 | `devices` | `clause_17_removal_takes_page_requests_and_ats_away_first` |
//! | 17 | `interleavings` | `clause_17_disabling_and_cutting_off_against_the_service` |
//! | 18 | `allocations` | `clause_18_taking_requests_in_allocates_nothing_whatever_they_are` |
//! | 18 | `neighbours` | `clause_18_the_service_ends_while_somebody_else_sends_refusals` |
//! | 18 | `page_requests` | `clause_18_a_flood_does_not_starve_another_device` |
//! | 18 | `page_requests` | `clause_18_requests_beyond_the_allocation_are_refused_and_take_no_memory` |
//! | 19 | `allocations` | `clause_19_invalidation_allocates_nothing_even_if_a_device_is_cut_off` |
//! | 19 | `ats` | `clause_19_a_device_whose_unbind_is_not_confirmed_goes_on_hearing_of_invalidations` |
//! | 19 | `ats` | `clause_19_devices_forget_what_was_unmapped_before_the_page_is_reused` |
//! | 19 | `interleavings` | `clause_19_nothing_stale_is_reached_after_an_invalidation` |
//! | 19 | `interrupts` | `clause_19_an_interrupt_at_every_call_never_waits_for_what_it_interrupts` |
//! | 19 | `interrupts` | `clause_19_an_interrupted_batch_is_moved_on_by_the_handler` |
//! | 19 | `interrupts` | `clause_19_interrupts_at_random_calls` |
//! | 19 | `invalidate` | `clause_19_changes_of_tables_invalidate_the_whole_space` |
//! | 19 | `invalidate` | `clause_19_invalidation_allocates_nothing` |
//! | 19 | `invalidate` | `clause_19_one_invalidation_reaches_all_devices_of_the_iommu` |
//! | 19 | `invalidate` | `clause_19_shared_tables_are_forgotten_in_every_space_on_return` |
//! | 19 | `invalidate` | `clause_19_shared_tables_that_are_not_confirmed_are_an_error` |
//! | 19 | `invalidate` | `clause_19_stale_translations_are_gone_on_return` |
//! | 19 | `invalidate` | `clause_19_the_end_is_exclusive` |
//! | 19 | `order` | `clause_19_what_follows_an_invalidation_follows_what_the_iommu_confirmed` |
//! | 20 | `ats` | `clause_20_a_device_that_never_completes_is_cut_off_and_everyone_else_goes_on` |
//! | 20 | `ats` | `clause_20_a_straggler_of_an_earlier_queue_blames_nobody_else` |
//! | 20 | `ats` | `clause_20_a_timeout_at_unbind_cuts_the_device_off_and_frees_the_pasid` |
//! | 20 | `bounds` | `clause_20_a_device_that_does_not_answer_costs_its_batch_what_is_stated` |
//! | 20 | `bounds` | `clause_20_every_call_keeps_its_bounds` |
//! | 20 | `interleavings` | `clause_20_batches_of_many_tasks_through_a_queue_that_stops` |
//! | 20 | `interrupts` | `clause_20_a_bind_whose_device_is_cut_off_by_an_interrupt_succeeds_or_fails_as_a_whole` |
//! | 20 | `neighbours` | `clause_20_a_bind_does_not_wait_for_a_dead_devices_unbind` |
//! | 20 | `neighbours` | `clause_20_a_queue_that_was_given_up_is_used_again_when_it_obeys` |
//! | 20 | `neighbours` | `clause_20_batches_are_submitted_first_come_first_served` |
//! | 20 | `neighbours` | `clause_20_dead_devices_fail_nobody_elses_commands_and_cost_no_pasids` |
//! | 20 | `neighbours` | `clause_20_whoever_waits_for_a_dead_queue_waits_no_longer_for_the_company` |
//! | 20 | `timeouts` | `clause_20_a_command_that_never_completes_is_reported` |
//! | 20 | `timeouts` | `clause_20_a_queue_that_cannot_be_restarted_fails_at_once` |
//! | 20 | `timeouts` | `clause_20_bring_up_ends_whatever_is_stuck` |
//!
//! The driver's own world, kind by kind: what it must stand of processors, allocators, neighbours and hardware, one row
//! a test. Modules are those of these tests, or files elsewhere in the repository.
//!
//! | kind | where | test |
//! |---|---|---|
//! | 1: interrupts and allocators | `interrupts` | `clause_19_an_interrupt_at_every_call_never_waits_for_what_it_interrupts` |
//! | 1: interrupts and allocators | `interrupts` | `clause_19_interrupts_at_random_calls` |
//! | 1: interrupts and allocators | `interrupts` | `clause_19_an_interrupted_batch_is_moved_on_by_the_handler` |
//! | 1: interrupts and allocators | `allocations` | `an_allocator_may_invalidate_to_find_memory` |
//! | 1: interrupts and allocators | `allocations` | `bring_up_survives_every_failing_allocation` |
//! | 1: interrupts and allocators | `allocations` | `an_iommu_with_pasids_of_its_own_survives_every_failing_allocation` |
//! | 1: interrupts and allocators | `allocations` | `enabling_and_binding_survive_every_failing_allocation` |
//! | 1: interrupts and allocators | `allocations` | `only_what_adds_something_allocates` |
//! | 1: interrupts and allocators | `allocations` | `making_copying_and_showing_values_allocates_nothing` |
//! | 1: interrupts and allocators | `allocations` | `the_fault_service_allocates_nothing_with_callbacks_or_without` |
//! | 1: interrupts and allocators | `allocations` | `clause_18_taking_requests_in_allocates_nothing_whatever_they_are` |
//! | 1: interrupts and allocators | `allocations` | `clause_19_invalidation_allocates_nothing_even_if_a_device_is_cut_off` |
//! | 1: interrupts and allocators | `driver/src/lock.rs` | `another_order_than_that_of_the_ranks_is_noticed` |
//! | 2: dead neighbours | `neighbours` | `clause_20_dead_devices_fail_nobody_elses_commands_and_cost_no_pasids` |
//! | 2: dead neighbours | `neighbours` | `clause_20_a_bind_does_not_wait_for_a_dead_devices_unbind` |
//! | 2: dead neighbours | `neighbours` | `clause_20_batches_are_submitted_first_come_first_served` |
//! | 2: dead neighbours | `neighbours` | `clause_20_whoever_waits_for_a_dead_queue_waits_no_longer_for_the_company` |
//! | 2: dead neighbours | `neighbours` | `clause_18_the_service_ends_while_somebody_else_sends_refusals` |
//! | 2: dead neighbours | `ats` | `clause_20_a_device_that_never_completes_is_cut_off_and_everyone_else_goes_on` |
//! | 2: dead neighbours | `ats` | `clause_20_a_straggler_of_an_earlier_queue_blames_nobody_else` |
//! | 2: dead neighbours | `bounds` | `clause_20_every_call_keeps_its_bounds` |
//! | 2: dead neighbours | `bounds` | `clause_20_a_device_that_does_not_answer_costs_its_batch_what_is_stated` |
//! | 2: dead neighbours | `driver/src/lock.rs` | `turns_come_in_the_order_of_those_who_wait` |
//! | 3: callbacks | `callbacks` | `clause_09_a_callback_may_drop_the_handle_of_its_own_bond` |
//! | 3: callbacks | `callbacks` | `clause_09_a_callback_may_drop_the_handles_of_the_other_bonds` |
//! | 3: callbacks | `callbacks` | `clause_09_a_second_exit_returns_when_the_callbacks_of_the_first_have` |
//! | 3: callbacks | `callbacks` | `clause_09_two_exits_may_drop_each_others_handles` |
//! | 3: callbacks | `callbacks` | `clause_07_one_bonds_unbind_does_not_wait_for_anothers_callback` |
//! | 3: callbacks | `callbacks` | `clause_07_fault_callbacks_may_drop_each_others_handles` |
//! | 3: callbacks | `interleavings` | `clause_09_exits_that_drop_each_others_handles` |
//! | 3: callbacks | `capi/tests/example.rs` | `a_driver_in_c_faults_its_pages_in` |
//! | 4: order of accesses | `order` | `clause_19_what_follows_an_invalidation_follows_what_the_iommu_confirmed` |
//! | 4: order of accesses | `order` | `every_doorbell_follows_a_fence` |
//! | 4: order of accesses | `order` | `records_are_read_after_the_tail_and_before_the_head_moves` |
//! | 4: order of accesses | `interleavings` | `clause_19_nothing_stale_is_reached_after_an_invalidation` |
//! | 5: after exit | `exit` | `clause_10_a_device_that_floods_the_queue_after_exit_is_muted_and_the_loss_is_told` |
//! | 5: after exit | `exit` | `clause_10_a_device_without_living_address_spaces_fills_nobodys_queue` |
//! | 5: after exit | `exit` | `clause_10_after_exit_dma_aborts_and_nothing_is_logged` |
//! | 5: after exit | `exit` | `clause_10_no_device_pushes_out_the_records_of_another` |
//! | 5: after exit | `faults` | `clause_16_overflow_is_reported_and_recording_goes_on` |
//! | 6: taking over and losing hardware | `takeover` | `nothing_passes_from_when_a_new_owner_has_switched_it_off` |
//! | 6: taking over and losing hardware | `takeover` | `an_iommu_that_does_not_let_go_is_not_taken_over` |
//! | 6: taking over and losing hardware | `takeover` | `a_queue_that_the_previous_owner_left_broken_is_taken_over` |
//! | 6: taking over and losing hardware | `takeover` | `what_was_bound_is_bound_after_suspend_and_resume` |
//! | 6: taking over and losing hardware | `takeover` | `a_reset_behind_the_driver_is_noticed_by_every_kind_of_call` |
//! | 6: taking over and losing hardware | `takeover` | `a_reset_while_somebody_waits_is_told_to_him` |
//! | 6: taking over and losing hardware | `takeover` | `a_reset_on_demand_restores_everything_and_device_caches_are_emptied` |
//! | 6: taking over and losing hardware | `takeover` | `a_resume_that_fails_can_be_repeated` |
//! | 6: taking over and losing hardware | `takeover` | `record_queues_that_went_off_record_again` |
//! | 6: taking over and losing hardware | `takeover` | `after_a_reset_a_head_of_zero_is_no_progress` |
//! | 6: taking over and losing hardware | `takeover` | `after_a_reset_a_tail_of_zero_is_no_record` |
//! | 6: taking over and losing hardware | `takeover` | `a_queue_that_was_reset_is_not_enabled_without_its_base` |
//! | 6: taking over and losing hardware | `neighbours` | `clause_20_a_queue_that_was_given_up_is_used_again_when_it_obeys` |
//! | 6: taking over and losing hardware | `quarantine` | `pasids_of_unconfirmed_unbinds_come_back_with_the_hardware` |
//! | 6: taking over and losing hardware | `quarantine` | `an_unbind_that_meets_a_reset_gives_its_pasid_back_after_resume` |
//! | 6: taking over and losing hardware | `quarantine` | `a_device_that_is_cut_off_keeps_the_pasids_until_it_is_reinstated_or_disabled` |
//! | 6: taking over and losing hardware | `quarantine` | `an_iommu_that_is_switched_off_for_good_holds_no_pasids` |
//! | 6: taking over and losing hardware | `sim/machine/src/stress/tests.rs` | `a_reset_leaves_every_bond_as_it_was_and_one_that_is_lost_is_found` |
//! | 6: taking over and losing hardware | `sim/machine/src/stress/tests.rs` | `a_device_goes_on_through_a_take_over_and_reaches_nothing` |
//! | 7: soundness | `soundness` | `directory_entries_that_were_overwritten_are_not_followed` |
//! | 7: soundness | `callbacks` | `data_that_owns_its_handles_is_let_go_of_when_the_address_space_exits` |
//! | 7: soundness | `callbacks` | `data_that_somebody_else_refers_to_keeps_its_handle_after_exit` |
//! | 7: soundness | `invalidate` | `clause_19_shared_tables_are_forgotten_in_every_space_on_return` |
//! | 7: soundness | `invalidate` | `clause_19_shared_tables_that_are_not_confirmed_are_an_error` |
//! | 7: soundness | `misbehaviour` | `an_iommu_that_forgets_its_page_request_queue_holds_nobody_up` |
//! | 7: soundness | `misbehaviour` | `memory_errors_while_tables_and_queues_are_read_and_written` |
//! | 7: soundness | `bringup` | `an_iommu_that_does_not_fit_is_refused` |
//! | 7: soundness | `bringup` | `memory_out_of_reach_is_not_used` |
//! | 7: soundness | `driver/src/raw.rs` | `registers_and_memory_are_where_they_were_said_to_be` |
//! | 7: soundness | `capi/src/sva.rs` | `a_handle_is_recognised_for_as_long_as_its_slot_is_not_used_again` |
//! | 8: C | `capi/tests/bare.rs` | `a_bare_metal_program_links_the_library_alone` |
//! | 8: C | `capi/tests/example.rs` | `the_header_can_be_included_alone_by_cpp_and_without_the_fake_machine` |
//! | 8: C | `capi/tests/header.rs` | `the_header_is_up_to_date` |
//! | 9: what hardware may have | `features` | `the_iommu_sets_accessed_and_dirty_bits_if_it_can_and_may` |
//! | 9: what hardware may have | `features` | `tables_and_queues_are_where_the_iommu_has_them_if_it_insists` |
//! | 9: what hardware may have | `features` | `memory_that_the_platform_does_not_know_of_is_not_used` |
//! | 9: what hardware may have | `features` | `interrupts_are_messages_where_they_are_asked_for` |

use std::{
    collections::BTreeSet,
    format, fs,
    path::Path,
    string::{String, ToString},
    vec::Vec,
};

/// The names of the source files in a folder of the crate, and their text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|it| it == "rs"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().to_string();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// The name that a line defines after these words.
fn defined<'a>(line: &'a str, words: &[&str]) -> Option<&'a str> {
    let rest = words.iter().find_map(|words| line.strip_prefix(words))?;
    Some(&rest[..rest.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(rest.len())])
}

#[test]
fn every_clause_has_tests_and_the_table_names_them_all() {
    let table: BTreeSet<String> = include_str!("surface.rs")
        .lines()
        .filter_map(|line| {
            line.strip_prefix("//! | ").filter(|row| row.contains("`clause_") && !row.contains(": "))
        })
        .map(|row| row.trim_end_matches(" |").to_string())
        .collect();
    let mut tests = BTreeSet::new();
    let mut clauses = BTreeSet::new();
    for (module, text) in sources("src/tests") {
        for name in text.lines().filter_map(|line| defined(line, &["fn "])) {
            let Some(number) = name.strip_prefix("clause_").and_then(|rest| rest.get(..2)) else { continue };
            let number: u32 = number.parse().unwrap();
            clauses.insert(number);
            tests.insert(format!("{number} | `{module}` | `{name}`"));
        }
    }
    assert_eq!(clauses, (1..=20).collect());
    assert_eq!(table, tests);
}

/// The tests of a file.
fn tests_of(text: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut marked = false;
    for line in text.lines().map(str::trim_start) {
        match defined(line, &["fn "]) {
            Some(name) if marked => marked = !names.insert(name),
            _ => marked |= line == "#[test]",
        }
    }
    names
}

#[test]
fn every_kind_of_the_drivers_world_has_tests_and_they_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut kinds = BTreeSet::new();
    for line in include_str!("surface.rs").lines() {
        let Some(row) = line.strip_prefix("//! | ").filter(|row| row.contains(": ")) else { continue };
        let [kind, place, name] = row.trim_end_matches(" |").split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{line}: kind, where, test");
        };
        let (place, name) = (place.trim_matches('`'), name.trim_matches('`'));
        let file = if place.ends_with(".rs") {
            root.join(place)
        } else {
            root.join("driver/src/tests").join(place).with_extension("rs")
        };
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert!(tests_of(&text).contains(name), "{place} has no test {name}");
        kinds.insert(kind.split_once(": ").map(|(number, _)| number.parse::<u32>().unwrap()));
    }
    assert_eq!(kinds, (1..=9).map(Some).collect());
}

/// Methods of these are calls of the driver. Others hold data, and say what they are where they are defined.
const CALLED: [&str; 5] = ["Iommu", "Handle", "Bond", "MmSva", "PasidSpace"];

/// The tables of the crate's first page.
fn tables() -> String {
    include_str!("../lib.rs").lines().filter(|line| line.starts_with("//! |")).collect()
}

/// Every call that the tables link to, as `Type::method`.
pub(super) fn calls() -> BTreeSet<String> {
    let page = tables();
    let links = page.split("[`").filter_map(|piece| {
        let (name, after) = piece.split_once("`]")?;
        Some(after.strip_prefix('(').and_then(|path| path.split(')').next()).unwrap_or(name))
    });
    let is_call = |path: &str| path.split_once("::").is_some_and(|(owner, _)| CALLED.contains(&owner));
    links.filter(|path| is_call(path)).map(ToString::to_string).collect()
}

#[test]
fn the_page_of_the_crate_names_every_call() {
    let page = tables();
    let mut found = 0;
    for (module, text) in sources("src") {
        let mut owner = None;
        for line in text.lines() {
            if line.starts_with("impl") {
                owner = defined(line, &["impl "]).filter(|name| CALLED.contains(name));
            }
            let words = ["    pub fn ", "    pub const fn ", "    pub unsafe fn "];
            let (Some(owner), Some(method)) = (owner, defined(line, &words)) else { continue };
            found += 1;
            let named = [format!("[`{owner}::{method}`]"), format!("]({owner}::{method})")];
            assert!(
                named.iter().any(|it| page.contains(it)),
                "{owner}::{method} of {module}.rs is not in the tables"
            );
        }
    }
    assert!(found > 25, "{found} calls were found");
}
