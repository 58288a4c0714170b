//! IOTINVAL.VMA, IOTINVAL.GVMA, IODIR.INVAL_DDT, IODIR.INVAL_PDT: each kills what it names, and nothing else. (Sections "IOMMU
//! Page-Table cache invalidation commands", "Address Range Invalidation Extension" and "IOMMU directory cache invalidation
//! commands".)

use pasidon_spec::command::{Command, Range};
use pasidon_spec::ddt::{DeviceContext, dc};
use pasidon_spec::page_table::{SV39, SV39X4, napot, pte};
use pasidon_spec::pdt::pdtp_mode;
use pasidon_spec::range;
use pasidon_tests::queues::vma;
use pasidon_tests::tables::{bits, entry, plain_dc, pointer, process_dc, user_pc};
use pasidon_tests::{Query, Rig};

/// Something that the TLB can hold: a page of an address space.
struct Held {
    query: Query,
    pscid: u32,
    gscid: Option<u16>,
    global: bool,
    first: u64,
    bytes: u64,
    slots: Vec<u64>,
    /// What its leaf is before and after a change of the first stage.
    leaves: [u64; 2],
}

/// device_id, process_id, PSCID, and the virtual machine if there is one.
type SpaceIds = (u32, Option<u32>, u32, Option<u16>);

const HOST: [SpaceIds; 3] =
    [(1, Some(1), 0x11, None), (1, Some(0x82), 0x22, None), (0x42, None, 0x80033, None)];
/// PSCIDs of the host's spaces mean others in a machine.
const GUESTS: [SpaceIds; 3] =
    [(2, Some(2), 0x11, Some(7)), (3, None, 0x22, Some(7)), (4, None, 0x11, Some(0x8007))];
const SMALL: u64 = 0x20_0000_3000;
const GROUP: u64 = 0x20_0004_0000;
const HUGE: u64 = 0x20_0060_0000;
const GLOBAL: u64 = 0x20_0000_5000;
const GLOBAL_BY_POINTER: u64 = 0x31_0000_9000;
/// Guest physical addresses from here on are pages of data, in leaves of 1 GiB; below, they are what they are.
const WINDOW: u64 = 1 << 40;

/// What the TLB holds, and the root tables of the machines' second stages.
struct Pages {
    held: Vec<Held>,
    machines: Vec<(u16, u64)>,
}

/// Address spaces with five pages each, which fit into an L1 of `default`, or of `machines`.
fn build(rig: &mut Rig, spaces: &[SpaceIds]) -> Pages {
    rig.new_directory(1);
    let pdtp = pointer(pdtp_mode::PD8, rig.page());
    let mut pages = Pages { held: vec![], machines: vec![] };
    for (device_id, process_id, pscid, gscid) in spaces.iter().copied() {
        let root = rig.page();
        let fsc = pointer(SV39.mode, root);
        let machine = gscid.map(|gscid| {
            let known = pages.machines.iter().find(|(id, _)| *id == gscid).map(|(_, root)| *root);
            let root = known.unwrap_or_else(|| second_stage(rig));
            if known.is_none() {
                pages.machines.push((gscid, root));
            }
            let fields = dc::iohgatp::GSCID.of(gscid.into()) | dc::iohgatp::PPN.of(root >> 12);
            dc::iohgatp::MODE.of(SV39X4.mode) | fields
        });
        let context = |context| DeviceContext { iohgatp: machine.unwrap_or(0), ..context };
        match process_id {
            None => rig.set_dc(device_id, context(plain_dc(fsc, pscid))),
            Some(pid) => {
                rig.set_dc(device_id, context(process_dc(pdtp)));
                rig.set_pc(pdtp, pid, user_pc(fsc, pscid));
            }
        }
        for (va, level, flags) in [
            (SMALL, 0, bits::ALL),
            (GROUP, 0, bits::ALL | bits::N),
            (HUGE, 1, bits::ALL),
            (GLOBAL, 0, bits::ALL | bits::G),
            (GLOBAL_BY_POINTER, 0, bits::ALL),
        ] {
            let napot = flags & bits::N != 0;
            let bytes = if napot { 0x1_0000 } else { SV39.page_bytes(level) };
            let count = if napot { 16 } else { 1 };
            let leaves = [0, 1].map(|_| {
                let frames = 1 << (rig.design.pas - 22);
                let frame = rig.random.below(frames) << 22 | gscid.map_or(0, |_| WINDOW);
                entry(if napot { napot::encode(frame >> 12) << 12 } else { frame }, flags)
            });
            let slots: Vec<u64> =
                (0..count).map(|i| rig.pte_slot(&SV39, root, va + i * 4096, level)).collect();
            let by_pointer = va == GLOBAL_BY_POINTER;
            if by_pointer {
                let above = rig.pte_slot(&SV39, root, va, 1);
                let word = rig.load(above);
                rig.store(above, word | bits::G);
            }
            let global = by_pointer || flags & bits::G != 0;
            let query = Query::read(device_id, process_id, va);
            pages.held.push(Held { query, pscid, gscid, global, first: va, bytes, slots, leaves });
        }
    }
    pages
}

/// A second stage whose guest physical addresses below the window are physical addresses.
fn second_stage(rig: &mut Rig) -> u64 {
    let root = rig.pages(4);
    for i in 0..1024 {
        rig.store(root + 8 * i, entry(i << 30, bits::ALL));
    }
    root
}

/// Writes all leaves as they are before (0) or after (1) a change of the first stage, of the second stage.
fn set(rig: &mut Rig, pages: &Pages, first: usize, second: usize) {
    for page in &pages.held {
        page.slots.iter().for_each(|slot| rig.store(*slot, page.leaves[first]));
    }
    for (_, root) in &pages.machines {
        for i in 0..1 << (rig.design.pas - 30) {
            let frame = i ^ second as u64;
            rig.store(root + 8 * ((WINDOW >> 30) + i), entry(frame << 30, bits::ALL));
        }
    }
}

fn physical(page: &Held, first: usize, second: usize) -> u64 {
    let frame = pte::PPN.get(page.leaves[first]) << 12;
    let inside = page.bytes - 1;
    let address = (frame & !inside) | (page.query.iova & inside);
    if page.gscid.is_some() { (address - WINDOW) ^ (second as u64) << 30 } else { address }
}

/// Fills the TLB with every page, changes every leaf of one stage (the one that the command is about), carries out `command`,
/// and looks at who still gives the old page.
fn kills_exactly(
    rig: &mut Rig,
    pages: &mut Pages,
    port: usize,
    command: Command,
    named: impl Fn(&Held) -> bool,
) {
    let second = matches!(command, Command::IotinvalGvma { .. });
    set(rig, pages, 0, 0);
    rig.invalidate_all();
    for page in &mut pages.held {
        page.query.iova = page.first + rig.random.below(page.bytes);
        let answer = rig.ask(port, page.query);
        assert_eq!(answer.spa, physical(page, 0, 0), "{answer:x?}");
    }
    set(rig, pages, usize::from(!second), usize::from(second));
    rig.carry_out(&[command]);
    // What is alive must be looked at first: what is dead is refilled by looking at it, and may push others out.
    let (dead, alive): (Vec<&Held>, Vec<&Held>) = pages.held.iter().partition(|page| named(page));
    for (page, is_dead) in alive.iter().map(|p| (p, false)).chain(dead.iter().map(|p| (p, true))) {
        let reads = rig.reads().len();
        let answer = rig.ask(port, page.query);
        assert!(answer.is_success());
        let verdict = if is_dead { "is named and must go" } else { "is not named and must stay" };
        assert_eq!(
            answer.spa,
            physical(page, usize::from(is_dead && !second), usize::from(is_dead && second)),
            "{command:x?}: {:x?} (PSCID {:#x}, GSCID {:x?}, global {}) {verdict}",
            page.query,
            page.pscid,
            page.gscid,
            page.global
        );
        assert!(is_dead || rig.reads().len() == reads, "{command:x?}: a read for what was cached");
    }
}

/// Whether IOTINVAL.VMA with these operands names a page.
fn vma_names(page: &Held, gscid: Option<u16>, pscid: Option<u32>, range: Option<Range>) -> bool {
    page.gscid == gscid
        && pscid.is_none_or(|pscid| page.pscid == pscid && !page.global)
        && range.is_none_or(|range| {
            let (low, high) = range.bounds();
            low < page.first + page.bytes && page.first <= high
        })
}

const INSIDE: [u64; 6] = [SMALL, GROUP + 0x7000, HUGE + 0x12_3000, GLOBAL, GLOBAL_BY_POINTER, SMALL + 0x1000];

#[test]
fn all_eight_forms_of_iotinval_vma_kill_exactly_what_they_name() {
    let mut rig = Rig::ready("default", 1, 3);
    let mut pages = build(&mut rig, &HOST);
    for gscid in [None, Some(0)] {
        for pscid in [None, Some(0x11), Some(0x22), Some(0x80033), Some(0x33)] {
            for range in [None].into_iter().chain(INSIDE.map(|address| Some(Range::page_of(address)))) {
                for port in 0..2 {
                    let command = Command::IotinvalVma { gscid, pscid, range };
                    kills_exactly(&mut rig, &mut pages, port, command, |page| {
                        vma_names(page, gscid, pscid, range)
                    });
                }
            }
        }
    }
}

/// Ranges of every size around and beside the pages, with and without non-leaf entries.
#[test]
fn iotinval_vma_kills_exactly_the_range_that_it_names() {
    let mut rig = Rig::ready("machines", 1, 8);
    let mut pages = build(&mut rig, &HOST);
    for shift in (13..=64).flat_map(|shift| [shift; 3]) {
        let pick = rig.random.below(INSIDE.len() as u64) as usize;
        let beside = [0, 1 << shift.min(38)][rig.random.below(2) as usize];
        let page = range::encode(INSIDE[pick] ^ beside, shift).expect("a size of a range");
        let range = Some(Range { page, napot: true, non_leaf: rig.random.below(2) == 1 });
        let pscid = [None, Some(0x11), Some(0x22)][rig.random.below(3) as usize];
        let port = rig.random.below(2) as usize;
        let command = Command::IotinvalVma { gscid: None, pscid, range };
        kills_exactly(&mut rig, &mut pages, port, command, |page| vma_names(page, None, pscid, range));
    }
}

/// The eight forms again, with a host and two virtual machines that use the same PSCIDs and addresses.
#[test]
fn iotinval_vma_tells_host_and_machines_apart() {
    let mut rig = Rig::ready("machines", 1, 9);
    let mut pages = build(&mut rig, &[&HOST[..], &GUESTS[..]].concat());
    for gscid in [None, Some(7), Some(0x8007), Some(0)] {
        for pscid in [None, Some(0x11), Some(0x22)] {
            for address in [None, Some(SMALL), Some(HUGE + 0x12_3000), Some(GLOBAL)] {
                for shift in [12, 17, 21] {
                    let range = address.map(|address| Range {
                        page: range::encode(address, shift).unwrap_or(address >> 12),
                        napot: shift > 12,
                        non_leaf: false,
                    });
                    let port = rig.random.below(2) as usize;
                    let command = Command::IotinvalVma { gscid, pscid, range };
                    kills_exactly(&mut rig, &mut pages, port, command, |page| {
                        vma_names(page, gscid, pscid, range)
                    });
                }
            }
        }
    }
}

/// All of a machine goes, whatever the address: an entry does not know its guest physical address.
#[test]
fn iotinval_gvma_kills_exactly_the_machine_that_it_names() {
    let mut rig = Rig::ready("machines", 1, 10);
    let mut pages = build(&mut rig, &[&HOST[..], &GUESTS[..]].concat());
    let pages_of = |napot, non_leaf| Range { page: WINDOW >> 12, napot, non_leaf };
    for guest in [
        None,
        Some((7, None)),
        Some((0x8007, None)),
        Some((0, None)),
        Some((7, Some(pages_of(false, false)))),
        Some((0x8007, Some(pages_of(true, false)))),
        Some((7, Some(pages_of(true, true)))),
    ] {
        for port in 0..2 {
            let command = Command::IotinvalGvma { guest };
            kills_exactly(&mut rig, &mut pages, port, command, |page| {
                page.gscid.is_some_and(|gscid| guest.is_none_or(|(id, _)| id == gscid))
            });
        }
    }
}

/// What is invalidated in one port's TLB is invalidated in all, and in what they share.
#[test]
fn an_invalidation_reaches_every_port() {
    for name in ["tiny", "default", "odd"] {
        let mut rig = Rig::ready(name, 5, 4);
        let pages = build(&mut rig, &HOST);
        let page = &pages.held[0];
        for round in 0..20 {
            let (old, new) = (round & 1, !round & 1);
            set(&mut rig, &pages, old, 0);
            rig.invalidate_all();
            for port in 0..rig.design.ports as usize {
                assert_eq!(rig.ask(port, page.query).spa, physical(page, old, 0));
            }
            set(&mut rig, &pages, new, 0);
            rig.carry_out(&[vma(Some(page.pscid), Some(page.first))]);
            for port in 0..rig.design.ports as usize {
                assert_eq!(rig.ask(port, page.query).spa, physical(page, new, 0), "{name}, port {port}");
            }
        }
    }
}

/// Which device and process contexts a request for a new page reads from memory.
fn reads_contexts(rig: &mut Rig, query: Query, contexts: &[u64]) -> Vec<bool> {
    rig.forget_traffic();
    let answer = rig.ask(0, query);
    assert!(answer.is_success(), "{answer:x?}");
    contexts.iter().map(|slot| rig.reads().iter().any(|read| read.address == *slot)).collect()
}

#[test]
fn directory_invalidations_kill_exactly_what_they_name() {
    let mut rig = Rig::ready("default", 1, 5);
    rig.new_directory(3);
    let root = rig.page();
    let fsc = pointer(SV39.mode, root);
    // Pages that no request has used before.
    for i in 0..512 {
        rig.map(&SV39, root, i << 12, 0, entry(i << 20, bits::ALL));
    }
    let devices = [3, 0x83, 0x1_0003];
    let processes = [0, 7, 0x1007];
    let mut slots = vec![];
    for did in devices {
        let pdtp = pointer(pdtp_mode::PD20, rig.page());
        rig.set_dc(did, process_dc(pdtp));
        slots.push(rig.ddt_slot(did, 0));
        for pid in processes {
            rig.set_pc(pdtp, pid, user_pc(fsc, 9));
        }
    }
    let pc_slot = |rig: &mut Rig, did: u32, pid: u32| {
        let slot = rig.ddt_slot(did, 0);
        let pdtp = rig.load(slot + 24);
        rig.pdt_slot(pdtp, pid, 0)
    };
    // At most eight contexts of processes are cached: two of the three processes.
    let pairs: Vec<(u32, u32)> =
        devices.iter().flat_map(|d| [(*d, processes[1]), (*d, processes[2])]).collect();
    let mut page = 0;
    let mut fresh = |did: u32, pid: u32| {
        page = (page + 1) % 512;
        Query::read(did, Some(pid), page << 12)
    };
    let mut commands: Vec<Command> =
        vec![Command::IodirInvalDdt { did: None }, vma(None, None), vma(Some(9), None)];
    for did in devices.into_iter().chain([4, 0xff_ffff]) {
        commands.push(Command::IodirInvalDdt { did: Some(did) });
        commands.extend(processes.map(|pid| Command::IodirInvalPdt { did, pid }));
    }
    for command in commands {
        for (did, pid) in &pairs {
            let query = fresh(*did, *pid);
            assert!(rig.ask(0, query).is_success());
        }
        rig.carry_out(&[command, vma(None, None)]);
        // Those that must still be cached first: a miss may push others out.
        let killed = |did: u32, pid: u32| match command {
            Command::IodirInvalDdt { did: None } => (true, true),
            Command::IodirInvalDdt { did: Some(d) } => (d == did, d == did),
            Command::IodirInvalPdt { did: d, pid: p } => (false, (d, p) == (did, pid)),
            _ => (false, false),
        };
        let mut order = pairs.clone();
        order.sort_by_key(|(did, pid)| killed(*did, *pid));
        let mut seen = vec![];
        for (did, pid) in order {
            let dc = rig.ddt_slot(did, 0);
            let pc = pc_slot(&mut rig, did, pid);
            let query = fresh(did, pid);
            let found = reads_contexts(&mut rig, query, &[dc, pc]);
            let (dc_killed, pc_killed) = killed(did, pid);
            // A device context is read once for both processes.
            let expected = [dc_killed && !seen.contains(&did), pc_killed];
            seen.push(did);
            assert_eq!(found, expected, "{command:x?}: device {did:#x}, process {pid:#x}: DC, PC read again");
        }
    }
}

/// A changed context is used after its invalidation. (Section "Updating in-memory data structure entries".)
#[test]
fn a_changed_context_is_seen_after_its_invalidation() {
    for name in ["tiny", "default", "odd"] {
        let mut rig = Rig::ready(name, 7, 6);
        rig.new_directory(1);
        let pdtps = [0, 1].map(|_| pointer(pdtp_mode::PD8, rig.page()));
        let spaces = [0, 1, 2].map(|i| {
            let (root, frame) = (rig.page(), rig.page());
            rig.map(&SV39, root, 0x5000, 0, entry(frame, bits::ALL));
            (user_pc(pointer(SV39.mode, root), 100 + i), frame)
        });
        let query = Query::read(9, Some(3), 0x5000);
        let invalidate = |rig: &mut Rig, command: Command, pscid: usize| {
            rig.carry_out(&[command, vma(Some(100 + pscid as u32), None)]);
        };
        rig.set_dc(9, process_dc(pdtps[0]));
        rig.set_pc(pdtps[0], 3, spaces[0].0);
        rig.set_pc(pdtps[1], 3, spaces[2].0);
        assert_eq!(rig.ask(0, query).spa, spaces[0].1);
        // Another page table for the process.
        rig.set_pc(pdtps[0], 3, spaces[1].0);
        invalidate(&mut rig, Command::IodirInvalPdt { did: 9, pid: 3 }, 0);
        assert_eq!(rig.ask(0, query).spa, spaces[1].1);
        // Another process directory for the device.
        rig.set_dc(9, process_dc(pdtps[1]));
        invalidate(&mut rig, Command::IodirInvalDdt { did: Some(9) }, 1);
        assert_eq!(rig.ask(0, query).spa, spaces[2].1);
        // No device context at all.
        let slot = rig.ddt_slot(9, 0);
        rig.store(slot, 0);
        invalidate(&mut rig, Command::IodirInvalDdt { did: Some(9) }, 2);
        assert_eq!(rig.ask(0, query).cause, 258);
    }
}
