//! The non-blocking structure: hits pass misses, misses overlap, one walk for one page, one hit per cycle, and the latencies.

use crate::scene::{DID, PID, Scene, VA};
use pasidon_spec::command::Command;
use pasidon_spec::page_table::{SV39, SV48, SV57};
use pasidon_spec::pdt::pdtp_mode;
use pasidon_tests::queues::vma;
use pasidon_tests::tables::{bits, entry, pointer, process_dc, user_pc};
use pasidon_tests::{Query, Rig};

fn page(number: u64) -> Query {
    Query::read(DID, Some(PID), VA + number * 4096)
}

/// A scene with `count` neighbouring pages mapped.
fn mapped(name: &str, latency: u32, count: u64) -> Scene {
    let mut s = Scene::with(name, latency, 1, pdtp_mode::PD8, &SV39);
    for i in 0..count {
        s.rig.map(&SV39, s.root, VA + i * 4096, 0, entry(0x4000_0000 + (i << 13), bits::ALL));
    }
    s.rig.invalidate_all();
    s
}

#[test]
fn a_hit_takes_two_cycles() {
    for name in ["tiny", "default", "odd", "large"] {
        for latency in [1, 100] {
            let mut s = mapped(name, latency, 1);
            for port in 0..s.rig.design.ports as usize {
                s.rig.ask(port, page(0));
                assert_eq!(s.rig.ask(port, page(0)).latency(), 2, "{name}, port {port}");
            }
        }
    }
}

#[test]
fn hits_come_back_one_per_cycle() {
    for name in ["tiny", "default", "odd", "large"] {
        let mut s = mapped(name, 1, 1);
        for port in 0..s.rig.design.ports as usize {
            s.rig.ask(port, page(0));
        }
        let before = s.rig.events;
        let ports = s.rig.design.ports as usize;
        // All ports at once.
        let tickets: Vec<usize> = (0..200 * ports).map(|i| s.rig.submit(i, page(0))).collect();
        s.rig.finish();
        let answers: Vec<_> = tickets.into_iter().filter_map(|t| s.rig.answer(t)).collect();
        for port in 0..ports {
            let mut cycles: Vec<u64> = answers.iter().filter(|a| a.port == port).map(|a| a.taken).collect();
            cycles.sort_unstable();
            assert_eq!(cycles.len(), 200);
            assert_eq!(cycles[199] - cycles[0], 199, "{name}: 200 hits in 200 cycles");
        }
        let lookups = s.rig.events[0] - before[0];
        let hits = s.rig.events[1] - before[1];
        assert_eq!((lookups, hits), (200 * ports as u64, 200 * ports as u64), "{name}: event strobes");
    }
}

/// Hits pass as many misses as the miss table holds. In the wake of a miss, until it has left the port, a hit may be accepted a
/// cycle later.
#[test]
fn a_hit_is_not_delayed_by_misses() {
    for name in ["tiny", "default", "odd", "large"] {
        let mut s = mapped(name, 400, 64);
        let entries = u64::from(s.rig.design.miss_entries);
        s.rig.ask(0, page(0));
        // Ids bound it too: the odd design has eight.
        let count = entries.min((1 << s.rig.design.id_width) - 2);
        let misses: Vec<usize> = (1..=count).map(|i| s.rig.submit(0, page(i))).collect();
        let wake: Vec<usize> = (0..5).map(|_| s.rig.submit(0, page(0))).collect();
        s.rig.wait(60);
        let later: Vec<usize> = (0..20).map(|_| s.rig.submit(0, page(0))).collect();
        s.rig.finish();
        let answers =
            |tickets: &[usize]| -> Vec<_> { tickets.iter().filter_map(|t| s.rig.answer(*t)).collect() };
        let first = answers(&misses).iter().map(|a| a.taken).min().expect("a miss");
        for hit in answers(&wake).iter().chain(&answers(&later)) {
            assert!(hit.taken < first, "{name}: the hit waited for a miss");
        }
        assert!(answers(&wake).iter().all(|hit| hit.latency() <= 3), "{name}: {:?}", answers(&wake));
        assert!(answers(&later).iter().all(|hit| hit.latency() == 2), "{name}: {:?}", answers(&later));
    }
}

/// As many walks at a time as there are walkers and miss entries: the time for several misses is that for one, and a little.
#[test]
fn misses_to_different_pages_overlap() {
    for name in ["default", "odd", "large"] {
        let latency = 300;
        let mut s = mapped(name, latency, 64);
        let walkers = u64::from(s.rig.design.walkers.min(s.rig.design.miss_entries));
        // Contexts are cached.
        s.rig.ask(0, page(63));
        s.rig.carry_out(&[vma(None, None)]);
        let one = s.rig.ask(0, page(62)).latency();
        s.rig.carry_out(&[vma(None, None)]);
        let tickets: Vec<usize> = (0..walkers).map(|i| s.rig.submit(i as usize, page(i))).collect();
        s.rig.finish();
        let answers: Vec<_> = tickets.into_iter().filter_map(|t| s.rig.answer(t)).collect();
        let begun = answers.iter().map(|a| a.offered).min().expect("some");
        let ended = answers.iter().map(|a| a.shown).max().expect("some");
        println!("{name}: one walk {one} cycles, {walkers} walks {} cycles", ended - begun);
        assert!(ended - begun < one + 20 * walkers, "{name}: {walkers} walks one after the other");
    }
}

#[test]
fn misses_to_one_page_share_a_walk() {
    for name in ["default", "odd", "large"] {
        let mut s = mapped(name, 300, 2);
        let latency = s.rig.ask(0, page(0)).latency();
        assert!(latency > 900);
        s.rig.carry_out(&[vma(None, None)]);
        let (reads, walks) = (s.rig.reads().len(), s.rig.events[2]);
        let entries = u64::from(s.rig.design.miss_entries.min(8));
        let tickets: Vec<usize> = (0..entries)
            .map(|i| {
                let query = Query { iova: page(1).iova + 8 * i, ..page(1) };
                s.rig.submit(i as usize, query)
            })
            .collect();
        s.rig.finish();
        assert_eq!(s.rig.reads().len() - reads, 3, "{name}: one walk of three levels");
        assert_eq!(s.rig.events[2] - walks, 1, "{name}: event strobes");
        for (i, ticket) in tickets.into_iter().enumerate() {
            let answer = s.rig.answer(ticket).expect("finished");
            assert_eq!(answer.spa, 0x4000_2000 + 8 * i as u64);
        }
    }
}

/// More misses than there is room for: everybody is answered, hits in between too, and no port starves.
#[test]
fn a_flood_of_misses_is_answered() {
    for name in ["tiny", "default", "odd", "large"] {
        let mut s = mapped(name, 30, 400);
        let ports = s.rig.design.ports as usize;
        let tickets: Vec<(u64, usize)> = (0..400 * ports as u64)
            .map(|i| (i / ports as u64, s.rig.submit(i as usize, page(i / ports as u64))))
            .collect();
        s.rig.finish();
        let mut last = vec![0; ports];
        for (number, ticket) in tickets {
            let answer = s.rig.answer(ticket).expect("finished");
            assert_eq!(answer.spa, 0x4000_0000 + (number << 13));
            last[answer.port] = last[answer.port].max(answer.taken);
        }
        let (first, end) = (last.iter().min().expect("a port"), last.iter().max().expect("a port"));
        assert!(end - first < end / 4, "{name}: a port ended at {first}, another at {end}");
    }
}

/// Reads of a page table that the walk must make, and reads of contexts.
struct Case {
    what: &'static str,
    levels: usize,
    pdtp: u64,
    /// Memory reads when everything is cold; the others with the device context, and with both contexts, cached.
    reads: [usize; 3],
}

/// Cold and warm latencies for several memories, as `a L + b`: printed, and held to what the structure promises.
#[test]
fn latencies_follow_the_number_of_memory_reads() {
    let cases = [
        Case { what: "1LVL, PD8, Sv39", levels: 1, pdtp: pdtp_mode::PD8, reads: [5, 4, 3] },
        Case { what: "3LVL, PD20, Sv39", levels: 3, pdtp: pdtp_mode::PD20, reads: [9, 6, 3] },
    ];
    for case in cases {
        for (phase, name) in ["all cold", "DC warm", "contexts warm"].iter().enumerate() {
            let mut line = vec![];
            for latency in [1u32, 20, 100] {
                let mut s = Scene::with("default", latency, case.levels, case.pdtp, &SV39);
                // Process 0x55 has the same page table; asking for it warms the device context only.
                let context = user_pc(pointer(SV39.mode, s.root), 77);
                s.rig.set_pc(s.pdtp, 0x55, context);
                s.rig.map(&SV39, s.root, VA + 4096, 0, entry(0x1000, bits::ALL));
                s.rig.invalidate_all();
                match phase {
                    1 => drop(s.rig.ask(0, Query { process_id: Some(0x55), ..page(1) })),
                    2 => drop(s.rig.ask(0, page(1))),
                    _ => {}
                }
                s.rig.carry_out(&[vma(None, None)]);
                let before = s.rig.reads().len();
                let answer = s.rig.ask(0, page(0));
                assert!(answer.is_success());
                let reads = s.rig.reads().len() - before;
                assert_eq!(reads, case.reads[phase], "{}, {name}", case.what);
                line.push(answer.latency());
            }
            let n = case.reads[phase] as u64;
            let slope = (line[2] - line[1]) / 80;
            println!(
                "{}, {name}: {slope}L + {} ({line:?} at L = 1, 20, 100)",
                case.what,
                line[1] - 20 * slope
            );
            assert_eq!(
                slope, n,
                "{}, {name}: latency grows with the reads that depend on each other",
                case.what
            );
            // A decision for each read, the beats of contexts, and the way to and from the walker.
            assert!(line[1] <= 20 * n + 3 * n + 16, "{}, {name}: {line:?}", case.what);
        }
    }
}

/// The number of reads of a cold page, for each geometry and page size, with warm contexts.
#[test]
fn a_walk_reads_one_entry_per_level() {
    for (name, geometries) in [("tiny", &[&SV39][..]), ("default", &[&SV39, &SV48, &SV57])] {
        for g in geometries {
            let mut s = Scene::with(name, 5, 1, pdtp_mode::PD8, g);
            for level in 0..g.levels.len() {
                let root = s.rig.page();
                s.rig.map(g, root, VA, level, entry(0, bits::ALL));
                let context = user_pc(pointer(g.mode, root), 3);
                s.rig.set_pc(s.pdtp, PID, context);
                s.rig.invalidate_all();
                assert!(s.rig.ask(0, page(0)).is_success());
                s.rig.carry_out(&[vma(None, None)]);
                s.rig.forget_traffic();
                assert!(s.rig.ask(0, page(0)).is_success());
                assert_eq!(s.rig.reads().len(), g.levels.len() - level, "{name}, {}, level {level}", g.name);
            }
        }
    }
}

/// More devices and processes than the context caches hold.
#[test]
fn contexts_beyond_the_caches_are_read_again() {
    for name in ["tiny", "default", "odd"] {
        let mut rig = Rig::ready(name, 3, 1);
        rig.new_directory(1);
        let mut expected = vec![];
        for did in 0..20 {
            let pdtp = pointer(pdtp_mode::PD8, rig.page());
            rig.set_dc(did, process_dc(pdtp));
            let root = rig.page();
            rig.set_pc(pdtp, 1, user_pc(pointer(SV39.mode, root), did));
            rig.map(&SV39, root, VA, 0, entry(u64::from(did) << 20, bits::ALL));
            expected.push(u64::from(did) << 20);
        }
        for round in 0..4 {
            for i in 0..20 {
                let did = (i * 7 + round) % 20;
                let answer = rig.ask(i as usize, Query::read(did, Some(1), VA));
                assert_eq!(answer.spa, expected[did as usize], "{name}");
            }
            rig.carry_out(&[Command::IotinvalVma { gscid: None, pscid: None, range: None }]);
        }
    }
}

/// Misses are dispatched in turn: while new ones keep arriving, none waits longer than the miss table takes to go round.
#[test]
fn no_miss_starves() {
    let latency = 20;
    let pages = 512;
    let mut s = mapped("default", latency, pages);
    // The directory caches are warm: three reads for each page.
    s.rig.ask(0, page(0));
    let tickets: Vec<usize> = (1..pages).map(|i| s.rig.submit(i as usize, page(i))).collect();
    s.rig.finish();
    let longest =
        tickets.into_iter().filter_map(|t| s.rig.answer(t)).map(|a| a.latency()).max().expect("answers");
    let design = &s.rig.design;
    let waiting = u64::from(design.miss_entries + 3 * design.ports);
    let walk = 3 * u64::from(latency) + 40;
    let bound = waiting.div_ceil(design.walkers.into()) * walk;
    println!("longest wait {longest} cycles, bound {bound}");
    assert!(longest <= bound, "a miss waited {longest} cycles; the table goes round in {bound}");
}
