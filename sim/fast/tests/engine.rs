//! The two modes of the engine against each other, and what is imagined against what is not.

use pasidon_cosim::Random;
use pasidon_experiment::MachineModel;
use pasidon_experiment::imagined::Rule;
use pasidon_experiment::machine::LastLevelCache;
use pasidon_experiment::pages::PageSize;
use pasidon_experiment::trace::{TraceAccess, TraceOp};
use pasidon_fast::channel::{Channel, Recorded};
use pasidon_fast::deviation::largest;
use pasidon_fast::{FastError, Imagined, Uniform, count, deviation, estimate};
use pasidon_rtl::design::Design;

/// Bursts in a few arrays, some of them at random.
fn accesses(seed: u64, count: usize, span: u64) -> Vec<TraceAccess> {
    let mut random = Random::new(seed);
    let mut at = [0u64; 3];
    (0..count)
        .map(|i| {
            let array = random.below(3);
            at[array as usize] += 64;
            let place = if i % 4 == 0 { random.below(span) & !63 } else { at[array as usize] % span };
            let ops = [TraceOp::Read, TraceOp::Write, TraceOp::Modify];
            let op = ops[random.below(3) as usize];
            TraceAccess { pasid: 0, op, address: (array + 1) << 32 | place, size: 64, gap: 0 }
        })
        .collect()
}

fn channel(device: u32, process: u32, depth: u32, accesses: &[TraceAccess]) -> Channel {
    let stream = Box::new(Recorded::new("test", accesses.to_vec()));
    Channel { device, process, port: device, depth, gap: 0, requests: None, part: None, stream }
}

fn pages(size: PageSize) -> Uniform {
    Uniform::new(size, (1 << 38) - 1)
}

fn design(text: &str) -> Design {
    Design::from_toml(&format!("base = \"default\"\nname = \"test\"\n{text}"), "test.toml").expect("valid")
}

#[test]
fn one_at_a_time_both_modes_count_the_same() {
    let rules = [Rule::Hardware, Rule::PerSet, Rule::Lru, Rule::Plru];
    for (number, rule) in (0..).zip(rules) {
        let imagined = Imagined {
            l1_replacement: rule,
            l2_replacement: rule,
            walk_cache: number * 4,
            line_fill: rule == Rule::Lru,
            ..Imagined::default()
        };
        for size in [PageSize::Base, PageSize::Napot, PageSize::Huge] {
            let accesses = accesses(u64::from(number), 20_000, 4 << 20);
            let work = || vec![channel(0, 0, 1, &accesses)];
            let counted = count(&design(""), &pages(size), &imagined, work()).expect("counts");
            let machine = MachineModel::default();
            let (estimated, times) =
                estimate(&design(""), &machine, &pages(size), &imagined, work()).expect("estimates");
            assert_eq!(counted, estimated, "{rule:?} {size:?}");
            assert!(counted.walks > 0 && times.cycles > times.bare);
        }
    }
}

#[test]
fn a_breakdown_holds_each_cycle_of_each_access() {
    let machine = MachineModel {
        cache: Some(LastLevelCache { bytes: 1 << 15, ways: 8, latency: 6, tables: true, data: true }),
        ..MachineModel::default()
    };
    let (a, b) = (accesses(1, 5000, 2 << 20), accesses(2, 5000, 2 << 20));
    let work = vec![channel(0, 0, 8, &a), channel(1, 0, 8, &b), channel(0, 1, 4, &b)];
    let (counts, times) = estimate(&design(""), &machine, &pages(PageSize::Base), &Imagined::default(), work)
        .expect("estimates");
    let translating: u64 = times.latency.histogram.iter().map(|(cycles, count)| cycles * count).sum();
    assert!(times.latency.max < 4096, "so that the histogram is exact");
    assert_eq!(times.breakdown.total() - times.breakdown.data, translating);
    assert!(counts.merged > 0 && times.breakdown.table_memory > 0 && times.breakdown.miss_table > 0);
    assert_eq!(times.latency.histogram.iter().map(|(_, count)| count).sum::<u64>(), counts.accesses);
    assert!(times.latency.min == 2 && times.estimated);
}

#[test]
fn what_is_imagined_does_what_it_says() {
    let accesses = accesses(3, 30_000, 8 << 20);
    let both = || vec![channel(0, 0, 8, &accesses), channel(1, 0, 8, &accesses)];
    let of =
        |imagined: Imagined| count(&design(""), &pages(PageSize::Base), &imagined, both()).expect("counts");
    let plain = of(Imagined::default());
    let walk_cache = of(Imagined { walk_cache: 16, ..Imagined::default() });
    assert_eq!((walk_cache.walks, walk_cache.l1), (plain.walks, plain.l1));
    assert_eq!(walk_cache.reads.first_stage[0], plain.reads.first_stage[0]);
    assert!(walk_cache.reads.first_stage[1] * 10 < plain.reads.first_stage[1]);
    let shared = of(Imagined { shared: true, ..Imagined::default() });
    assert!(shared.walks * 3 < plain.walks * 2, "{} of {}", shared.walks, plain.walks);
    // A sequence of pages: each but the first was brought in by the one before, or eight at a time.
    let row: Vec<TraceAccess> = (0..1000u64)
        .map(|i| TraceAccess { pasid: 0, op: TraceOp::Read, address: i << 12, size: 64, gap: 400 })
        .collect();
    let prefetch = Imagined { prefetch: 1, ..Imagined::default() };
    let work = || vec![channel(0, 0, 1, &row)];
    let counted = count(&design(""), &pages(PageSize::Base), &prefetch, work()).expect("counts");
    assert_eq!((counted.l2.hits, counted.walks), (500, 1000));
    let lines = Imagined { line_fill: true, ..Imagined::default() };
    let counted = count(&design(""), &pages(PageSize::Base), &lines, work()).expect("counts");
    assert_eq!((counted.l2.hits, counted.walks, counted.reads.first_stage[0]), (875, 125, 125));
    let machine = MachineModel::default();
    let run = |imagined: &Imagined| {
        estimate(&design(""), &machine, &pages(PageSize::Base), imagined, work()).expect("estimates")
    };
    let ((counts, quick), (_, slow)) = (run(&prefetch), run(&Imagined::default()));
    assert_eq!(counts.l2.hits, 500);
    assert!(quick.breakdown.total() < slow.breakdown.total() && quick.bare == slow.bare);
}

#[test]
fn what_does_not_fit_is_named_with_the_mend() {
    let one = |address: u64| vec![TraceAccess { pasid: 0, op: TraceOp::Read, address, size: 8, gap: 0 }];
    let told = |text: &str, channel: Channel, highest: u64| -> String {
        let mapping = Uniform::new(PageSize::Base, highest);
        let error = count(&design(text), &mapping, &Imagined::default(), vec![channel]);
        match error.expect_err("does not fit") {
            error @ FastError::Unsuitable { .. } => error.to_string(),
            other => panic!("{other}"),
        }
    };
    let none = "[process]\npd8 = false\npd17 = false\npd20 = false\n";
    assert!(told(none, channel(0, 0, 1, &one(0)), 0).contains("process.pd8"));
    let narrow = "[translation]\nsv48 = false\nsv57 = false\n";
    assert!(told(narrow, channel(0, 0, 1, &one(0)), 1 << 39).contains("sv48"));
    assert!(
        told("[address]\ndevice_id_width = 1\n", channel(2, 0, 1, &one(0)), 0).contains("device_id_width")
    );
    assert!(told("", channel(0, 1 << 20, 1, &one(0)), 0).contains("process_id_width"));
    let machine = MachineModel::even(0);
    let error = estimate(&design(""), &machine, &pages(PageSize::Base), &Imagined::default(), vec![]);
    assert!(error.expect_err("not possible").to_string().contains("latency"));
}

#[test]
fn several_under_way_deviate_and_that_is_said() {
    let accesses = accesses(5, 20_000, 4 << 20);
    let work = |depth| vec![channel(0, 0, depth, &accesses), channel(1, 1, depth, &accesses)];
    let counted = count(&design(""), &pages(PageSize::Base), &Imagined::default(), work(16)).expect("counts");
    let (under_way, _) = estimate(
        &design(""),
        &MachineModel::default(),
        &pages(PageSize::Base),
        &Imagined::default(),
        work(16),
    )
    .expect("estimates");
    let (percent, what) = largest(&deviation((&counted, None), (&under_way, None)));
    println!("{percent:.2} % in {what}");
    assert!(percent > 0.0 && !what.is_empty());
}
