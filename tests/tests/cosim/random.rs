//! Random tables, whole and broken, random requests: every response and every fault record is the one that the oracle states.

use pasidon_cosim::{Pace, Random};
use pasidon_spec::ddt::dc;
use pasidon_spec::memory::Failure;
use pasidon_spec::page_table::{self, Geometry};
use pasidon_spec::pdt::{ProcessContext, pc, pdtp_mode, process_id_bits};
use pasidon_tests::oracle::{self, ExpectedFault, Page};
use pasidon_tests::tables::{bits, entry, plain_dc, pointer, process_dc, user_pc};
use pasidon_tests::{Pressure, Query, QueryAnswer, Rig, seed};

/// What was built, for the choice of requests and of what to break.
#[derive(Default)]
struct Built {
    devices: Vec<u32>,
    processes: Vec<u32>,
    /// Page-table pointers, each with addresses that it maps.
    roots: Vec<(u64, Vec<u64>)>,
    /// Device, process_id and the page table that they come to (an index into `roots`).
    routes: Vec<(u32, Option<u32>, usize)>,
    /// Addresses of doublewords that mean something.
    words: Vec<u64>,
}

fn chance(random: &mut Random, percent: u64) -> bool {
    random.below(100) < percent
}

fn pick<T: Copy>(random: &mut Random, list: &[T]) -> T {
    list[random.below(list.len() as u64) as usize]
}

fn id(random: &mut Random, width: u32) -> u32 {
    // Short ids are as likely as long ones.
    let width = 1 + random.below(width.into());
    (random.word() & ((1 << width) - 1)) as u32
}

fn geometries(rig: &Rig) -> Vec<&'static Geometry> {
    let mut list = vec![&page_table::SV39];
    list.extend(rig.design.sv48.then_some(&page_table::SV48));
    list.extend(rig.design.sv57.then_some(&page_table::SV57));
    list
}

/// A page table with some mappings.
fn page_table(rig: &mut Rig, random: &mut Random, built: &mut Built) {
    let mut addresses = vec![];
    let geometries = geometries(rig);
    let geometry = pick(random, &geometries);
    let root = rig.page();
    let space = 1u64 << rig.design.pas;
    for _ in 0..6 + random.below(8) {
        let level = pick(random, &[0, 0, 0, 0, 1, 1, 2, 3, 4]).min(geometry.root());
        // Sign-extended, in a few clusters, so that mappings share tables.
        let mut iova = pick(random, &[0, 0x4000_0000, 0x7f_ffff_f000, 0x12_3456_7000u64]);
        iova ^= (random.below(64) << 12) | (random.below(3) << 21) | (random.below(2) << 38);
        if chance(random, 20) {
            iova ^= random.word();
        }
        let unused = 64 - u32::from(geometry.address_bits());
        let iova = (((iova << unused) as i64) >> unused) as u64;
        let size = geometry.page_bytes(level);
        let mut target = random.below(space) & !(size - 1);
        let mut flags = bits::V | bits::A | bits::D;
        flags |= pick(
            random,
            &[bits::R, bits::R | bits::W, bits::R | bits::W | bits::X, bits::X, bits::R | bits::X],
        );
        if chance(random, 75) {
            flags |= bits::U;
        }
        if chance(random, 10) {
            flags |= bits::G;
        }
        if chance(random, 10) {
            flags &= !pick(random, &[bits::A, bits::D, bits::R, bits::V]);
        }
        if level == 0 && chance(random, 25) {
            // A naturally aligned group of 64 KiB has sixteen equal entries; which of them is used is not specified, so nothing
            // later breaks one of them.
            let group = iova & !0xffff;
            let word = entry((target & !0xffff) | 0x8000, flags | bits::N);
            let pages = (0..16).map(|page| group + page * 4096);
            if pages.clone().all(|page| is_free(rig, geometry, root, page)) {
                pages.for_each(|page| {
                    put(rig, geometry, root, page, 0, word);
                });
                addresses.push(iova);
            }
            continue;
        }
        if chance(random, 4) {
            target |= 1 << (12 + random.below(12));
        }
        if chance(random, 3) {
            target |= space << random.below(u64::from(56 - rig.design.pas).max(1));
        }
        let slot = put(rig, geometry, root, iova, level, entry(target, flags));
        addresses.push(iova);
        built.words.extend(slot);
    }
    built.roots.push((pointer(geometry.mode, root), addresses));
}

/// The last table on the way to the entry at `level`, or `None` if a leaf is in the way.
fn table_above(rig: &Rig, g: &Geometry, root: u64, iova: u64, level: usize) -> Option<(u64, usize)> {
    let mut table = root;
    for i in (level + 1..g.levels.len()).rev() {
        let word = rig.load(table + 8 * g.levels[i].of(iova));
        if word & bits::V == 0 {
            return Some((table, i));
        }
        // A pointer has none of these; a leaf that lost some still has others.
        if word & (bits::R | bits::X | bits::W | bits::A | bits::D | bits::U) != 0 {
            return None;
        }
        table = page_table::pte::PPN.get(word) << 12;
    }
    Some((table, level))
}

/// Whether there is nothing yet where a page could be mapped.
fn is_free(rig: &Rig, g: &Geometry, root: u64, iova: u64) -> bool {
    table_above(rig, g, root, iova, 0)
        .is_some_and(|(table, level)| level > 0 || rig.load(table + 8 * g.levels[0].of(iova)) == 0)
}

/// Writes an entry unless something is there already, or a leaf is in the way. Returns its address.
fn put(rig: &mut Rig, g: &Geometry, root: u64, iova: u64, level: usize, value: u64) -> Option<u64> {
    table_above(rig, g, root, iova, level)?;
    let slot = rig.pte_slot(g, root, iova, level);
    if rig.load(slot) != 0 {
        return None;
    }
    rig.store(slot, value);
    Some(slot)
}

fn process_directory(rig: &mut Rig, random: &mut Random, built: &mut Built, did: u32) -> u64 {
    let d = &rig.design;
    let mut modes = vec![];
    modes.extend(d.pd8.then_some(pdtp_mode::PD8));
    modes.extend(d.pd17.then_some(pdtp_mode::PD17));
    modes.extend(d.pd20.then_some(pdtp_mode::PD20));
    let mode = pick(random, &modes);
    let pdtp = pointer(mode, rig.page());
    let width = u32::from(process_id_bits(mode as usize)).min(rig.design.process_id_width);
    for i in 0..3 {
        let pid = if i == 0 { 0 } else { id(random, width) };
        let root = random.below(built.roots.len() as u64) as usize;
        // A tag belongs to one page table.
        let mut context = user_pc(built.roots[root].0, 0x1234 + root as u32);
        context.ta |= pc::ta::ENS.of(random.below(2)) | pc::ta::SUM.of(random.below(2));
        if chance(random, 10) {
            context = ProcessContext { fsc: 0, ..context };
        }
        rig.set_pc(pdtp, pid, context);
        built.processes.push(pid);
        built.routes.push((did, Some(pid), root));
        let slot = rig.pdt_slot(pdtp, pid, 0);
        built.words.extend([slot, slot + 8]);
        for level in 1..mode as usize {
            built.words.push(rig.pdt_slot(pdtp, pid, level));
        }
    }
    pdtp
}

fn build(rig: &mut Rig, random: &mut Random) -> Built {
    let mut built = Built::default();
    rig.allocator.reset();
    rig.heal();
    // Most often as many levels as the device_id needs, sometimes fewer.
    let levels = if chance(random, 4) {
        0
    } else if chance(random, 10) {
        1
    } else {
        let most = [1, 2, 3]
            [usize::from(rig.design.device_id_width > 7) + usize::from(rig.design.device_id_width > 16)];
        1 + random.below(most) as usize
    };
    if levels == 0 {
        let mode = random.below(2);
        rig.set_directory(mode, 0);
    } else {
        rig.new_directory(levels);
    }
    (0..3).for_each(|_| page_table(rig, random, &mut built));
    for _ in 0..4 {
        let width = rig.design.device_id_width.min([24, 7, 16, 24][levels]);
        let did = id(random, width);
        built.devices.push(did);
        if levels == 0 {
            continue;
        }
        let mut context = if chance(random, 35) {
            let root = random.below(built.roots.len() as u64) as usize;
            built.routes.push((did, None, root));
            let fsc = if chance(random, 20) { 0 } else { built.roots[root].0 };
            plain_dc(fsc, 0x1234 + root as u32)
        } else {
            let pdtp = if chance(random, 10) { 0 } else { process_directory(rig, random, &mut built, did) };
            let mut context = process_dc(pdtp);
            context.tc |= dc::tc::DPE.of(random.below(2));
            context
        };
        context.tc |= dc::tc::DTF.of(u64::from(chance(random, 20))) | random.below(256) << 24;
        context.tc |= dc::tc::EN_ATS.of((rig.design.ats && chance(random, 60)).into());
        context.iohgatp |= dc::iohgatp::GSCID.of(random.word());
        rig.set_dc(did, context);
        let slot = rig.ddt_slot(did, 0);
        built.words.extend([slot, slot + 8, slot + 16, slot + 24]);
        for level in 1..levels {
            built.words.push(rig.ddt_slot(did, level));
        }
    }
    for _ in 0..random.below(4) {
        let at = pick(random, &built.words);
        if chance(random, 70) {
            let word = rig.load(at) ^ (1 << random.below(64));
            // Not one entry of a group.
            if word & bits::N == 0 || word >> 10 & 15 != 8 {
                rig.store(at, word);
            }
        } else {
            let kind = pick(random, &[Failure::Read, Failure::Poison]);
            rig.inject(at..at + 8, kind);
        }
    }
    built
}

fn query(rig: &Rig, random: &mut Random, built: &Built) -> Query {
    let d = &rig.design;
    let mut device_id = pick(random, &built.devices);
    let mut process_id = None;
    let mut root = random.below(built.roots.len() as u64) as usize;
    if !built.routes.is_empty() && chance(random, 90) {
        (device_id, process_id, root) = pick(random, &built.routes);
    }
    match random.below(24) {
        0 => device_id = id(random, d.device_id_width),
        1 => process_id = Some(id(random, d.process_id_width)),
        2 if !built.processes.is_empty() => process_id = Some(pick(random, &built.processes)),
        3 => process_id = None,
        _ => {}
    }
    let mut iova = pick(random, &built.roots[root].1) ^ (random.word() & 0xfff);
    match random.below(20) {
        0..4 => iova ^= random.below(16) << 12,
        4 => iova ^= random.below(512) << 12,
        5 => iova ^= 1 << random.below(64),
        6 => iova ^= random.below(1 << 30),
        _ => {}
    }
    let kind = random.below(4);
    let at = if chance(random, if d.ats { 30 } else { 3 }) { 1 + random.below(2) as u8 } else { 0 };
    let privileged = process_id.is_some() && chance(random, 30);
    Query { device_id, process_id, privileged, exec: kind == 0, write: kind == 1, at, iova }
}

fn agrees(expected: &Result<Page, ExpectedFault>, answer: &QueryAnswer) -> bool {
    match expected {
        Ok(page) => {
            (answer.status, answer.cause) == (0, 0)
                && (answer.spa, answer.rwx, answer.size) == (page.spa, page.rwx, page.size)
        }
        Err(fault) => {
            (answer.status, answer.cause) == (u64::from(!fault.withheld), fault.cause.code().into())
                && answer.spa == 0
                && answer.rwx == (false, false, false)
        }
    }
}

fn random_tables(name: &str, rounds: u64, requests: usize) {
    let seed = seed(&format!("random tables on {name}"));
    let mut random = Random::new(seed);
    let mut rig = Rig::new(name, 1, seed);
    rig.start_queues(4, 9);
    let batch = requests.min(rig.faults.entries() as usize - 1);
    let (mut compared, mut translated) = (0, 0);
    let mut causes = std::collections::BTreeMap::<u64, u32>::new();
    for round in 0..rounds {
        let latency = pick(&mut random, &[1, 3, 20]);
        let jitter = pick(&mut random, &[0, 0, 30]);
        let outstanding = 1 + random.below(16) as u32;
        rig.set_pace(Pace { jitter, outstanding, write_latency: 2, ..Pace::even(latency) });
        rig.press(pick(&mut random, &[Pressure::None, Pressure::Some]));
        let built = build(&mut rig, &mut random);
        rig.invalidate_all();
        rig.depth = 1 + random.below(1 << rig.design.id_width.min(6)) as usize;
        let mut left = requests;
        while left > 0 {
            let queries: Vec<Query> =
                (0..batch.min(left)).map(|_| query(&rig, &mut random, &built)).collect();
            left -= queries.len();
            let expected: Vec<_> = queries.iter().map(|q| rig.world().translate(q)).collect();
            let tickets: Vec<usize> =
                queries.iter().map(|q| rig.submit(random.below(4) as usize, *q)).collect();
            rig.finish();
            rig.settle();
            let mut due = vec![];
            for ((query, expected), ticket) in queries.iter().zip(&expected).zip(tickets) {
                let answer = rig.answer(ticket).expect("finished");
                if let Err(ExpectedFault { cause, reported: true, .. }) = expected {
                    due.push(oracle::record(query, *cause).encode());
                }
                assert!(
                    agrees(expected, &answer),
                    "round {round} of seed {seed} on {name}: {query:x?}\n expected {expected:x?}\n got      {answer:x?}"
                );
                compared += 1;
                translated += u64::from(expected.is_ok());
                *causes.entry(answer.cause).or_default() += 1;
            }
            let mut records = rig.records_raw();
            records.sort_unstable();
            due.sort_unstable();
            assert_eq!(records, due, "round {round} of seed {seed} on {name}: fault records, found and due");
        }
    }
    println!("{name}: {compared} responses, {translated} translations, by cause {causes:?}");
    assert!(translated * 10 > compared, "too few translations to mean anything");
}

#[test]
fn random_tables_on_tiny() {
    random_tables("tiny", 60, 100);
}

#[test]
fn random_tables_on_default() {
    random_tables("default", 60, 200);
}

#[test]
fn random_tables_on_odd() {
    random_tables("odd", 60, 60);
}
