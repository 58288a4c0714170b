//! Memory that somebody else owns and uses at the same time: what the hardware sets by exclusive accesses and what software changes in
//! the same doublewords is both there in the end. (Privileged specification, section "Addressing and Memory Protection": updates of A
//! and D are atomic.)

use pasidon_cosim::axi_checker::Rules;
use pasidon_cosim::{
    Bench, BenchError, BusMemory, Cache, Clocked, Flavour, Pace, Random, Shared, TranslationPort, Verilated,
};
use pasidon_spec::ddt::{EXT_DC_BYTES, dc, iommu_mode};
use pasidon_spec::page_table::{SV39, pte};
use pasidon_spec::registers::ddtp;
use pasidon_spec::request::{Request, Response};
use pasidon_tests::designs;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const BASE: u64 = 1 << 31;
const DIRECTORY: u64 = BASE;
const TABLES: [u64; 3] = [BASE + 0x1000, BASE + 0x2000, BASE + 0x3000];
const PAGES: u64 = 512;
const DEVICE: u32 = 3;

/// The hardware, and one port.
struct Bridge {
    bench: Bench<Shared>,
    port: TranslationPort<u64>,
    random: Random,
    next: u64,
    translated: u64,
}

impl Clocked for Bridge {
    type Memory = Shared;

    fn bench(&mut self) -> &mut Bench<Shared> {
        &mut self.bench
    }

    fn clock(&mut self) {
        let Bridge { bench, port, random, next, translated } = self;
        bench.cycle(|now, out, input, _| {
            input.drain_ready = 1;
            let answer = port.response(now, &out.req[0], &mut input.req[0], true);
            if let Some(answer) = answer.unwrap_or_else(|what| panic!("cycle {now}: {what}")) {
                assert!(matches!(answer.response, Response::Success(_)), "page {}: {answer:?}", answer.tag);
                *translated += 1;
            }
            if *next < PAGES && port.can_offer() {
                let request =
                    Request { device_id: DEVICE, iova: *next << 12, write: true, ..Request::default() };
                port.offer(now, *next, &request, &mut input.req[0], random);
                *next += 1;
            }
            port.request(&out.req[0], &mut input.req[0]);
        });
    }
}

/// Software's view of the same file: toggles the two bits that are its own in each leaf, again and again.
fn toggle(file: &File, stop: &AtomicBool, toggles: &[AtomicU64]) {
    let mut memory = Shared::map(file, BASE).expect("it can be mapped");
    while !stop.load(Ordering::Relaxed) {
        for (page, count) in toggles.iter().enumerate() {
            let at = TABLES[2] + 8 * page as u64;
            loop {
                let seen = memory.load(at).expect("it is in memory");
                if memory.exchange(at, seen, seen ^ pte::RSW.mask(), 0xff) == Some(true) {
                    break;
                }
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn what_software_and_hardware_set_in_one_entry_is_both_there() {
    let path =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("shared-{}", std::process::id()));
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for files of tests");
    let file =
        File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("a file");
    file.set_len(0x10_0000).expect("it can grow");
    let design = designs::design("full");
    let generated = designs::generated("full");
    let verilated = Verilated::load(&generated, "full", &Cache::in_workspace().quiet(), Flavour::Fast)
        .unwrap_or_else(|error| panic!("{error}"));
    let mut memory = Shared::map(&file, BASE).expect("it can be mapped");
    let mut set = |address: u64, value: u64| assert!(memory.write(address, value, 0xff));
    let context = DIRECTORY + u64::from(DEVICE) * EXT_DC_BYTES;
    set(context, dc::tc::V.mask() | dc::tc::SADE.mask());
    set(context + 24, dc::fsc::MODE.of(SV39.mode) | dc::fsc::PPN.of(TABLES[0] >> 12));
    set(TABLES[0], pte::V.mask() | pte::PPN.of(TABLES[1] >> 12));
    set(TABLES[1], pte::V.mask() | pte::PPN.of(TABLES[2] >> 12));
    let leaf = pte::V.mask() | pte::R.mask() | pte::W.mask() | pte::U.mask();
    (0..PAGES).for_each(|page| set(TABLES[2] + 8 * page, leaf | pte::PPN.of((BASE >> 12) + page)));

    let mut random = Random::new(1);
    let port = TranslationPort::new(&design, &mut random);
    let bench = Bench::new(verilated, memory, Pace::even(7), Rules::of(&design), 1);
    let mut bridge = Bridge { bench, port, random, next: PAGES, translated: 0 };
    let root = ddtp::IOMMU_MODE.of(iommu_mode::LVL1) | ddtp::PPN.of(DIRECTORY >> 12);
    bridge.store_register(ddtp::REG.offset, 8, root).expect("registers answer");
    let settled = bridge.look_until(1000, "ddtp was busy", |bridge| {
        let value = bridge.load_register(ddtp::REG.offset, 8)?;
        Ok::<_, BenchError>((!ddtp::BUSY.is_set(value)).then_some(()))
    });
    settled.unwrap_or_else(|error| panic!("{error}"));

    let (stop, toggles) = (AtomicBool::new(false), Vec::from_iter((0..PAGES).map(|_| AtomicU64::new(0))));
    std::thread::scope(|scope| {
        scope.spawn(|| toggle(&file, &stop, &toggles));
        // Software is at work before the hardware begins.
        while toggles[0].load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        bridge.next = 0;
        // Software stops whatever comes.
        let translated =
            bridge.wait_until(3_000_000, "pages were not translated", |bridge| bridge.translated == PAGES);
        stop.store(true, Ordering::Relaxed);
        translated.unwrap_or_else(|error| panic!("{error}"));
    });
    bridge.bench.check().unwrap_or_else(|error| panic!("{error}"));
    for (page, toggles) in toggles.iter().enumerate() {
        let entry = bridge.bench.memory.load(TABLES[2] + 8 * page as u64).expect("it is in memory");
        let odd = toggles.load(Ordering::Relaxed) % 2 == 1;
        assert!(pte::A.is_set(entry) && pte::D.is_set(entry), "page {page}: {entry:#x}");
        assert_eq!(pte::RSW.get(entry), if odd { pte::RSW.max() } else { 0 }, "page {page}: {entry:#x}");
    }
    std::fs::remove_file(path).expect("it was there");
}
