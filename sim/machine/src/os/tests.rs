//! The operating system with nobody but itself: what devices would do, the test does through the page tables.

use super::fault::Absent;
use super::*;
use crate::machine::MachineConfig;
use crate::truth::Reached;
use pasidon_cosim::verilated::{Cache, Flavour, Verilated};
use pasidon_driver::Config;
use pasidon_rtl::design::Design;
use pasidon_spec::page_table::pte;

const MODE: PageTableMode = PageTableMode::Sv39;
const BASE: u64 = 0x40_0000;

fn boot(config: OsConfig) -> Arc<Os> {
    let design = Design::load("tiny").unwrap();
    let generated = pasidon_rtl::generate(&design).unwrap();
    let model = Verilated::load(&generated, "tiny", &Cache::in_workspace().quiet(), Flavour::Fast).unwrap();
    let machine = MachineConfig { memory_bytes: 16 << 20, ..MachineConfig::default() };
    let platform = SimPlatform::new(Machine::new(model, &design, &machine));
    let driver = Config { device_id_width: design.device_id_width, ..Config::default() };
    let iommu = Iommu::new(Arc::new(platform.clone()), driver).unwrap();
    Os::new(platform, iommu, config)
}

/// An access through the tables, as hardware with updates of A and D would make it; false if the tables don't allow it.
fn access(os: &Os, id: SpaceId, va: u64, write: Option<u8>) -> bool {
    let Some(entry) = os.leaf_address(id, va) else { return false };
    let mut machine = os.platform.machine();
    let machine = &mut *machine;
    let value = machine.bench.memory.load(entry).unwrap();
    if !pte::V.is_set(value) || !pte::R.is_set(value) || write.is_some() && !pte::W.is_set(value) {
        return false;
    }
    let used = pte::D.set(pte::A.set(value, 1), u64::from(write.is_some()) | pte::D.get(value));
    machine.bench.memory.store(entry, used);
    let spa = pte::PPN.get(value) * PAGE + va % PAGE;
    let (device_id, process_id) = (1, Some(id));
    machine.truth.bind(1, id, id);
    let write_it = write.is_some();
    let reached =
        Reached { cycle: 0, device_id, process_id, va, spa, length: 1, write: write_it, exec: false };
    let content = machine.truth.access(&reached).expect("an access that is allowed");
    let byte = &mut machine.bench.memory.slice_mut(spa, 1).unwrap()[0];
    match write {
        Some(new) => (*byte, content[0]) = (new, new),
        None => assert_eq!(*byte, content[0]),
    }
    true
}

/// The same, with the faults that it takes.
fn use_page(os: &Os, id: SpaceId, va: u64, write: Option<u8>) {
    while !access(os, id, va, write) {
        os.make_present(&mut os.state(), id, va / PAGE, write.is_some(), false).expect("memory");
    }
}

fn clean(os: &Os) {
    assert_eq!(os.audit(), Vec::<String>::new());
    assert_eq!(os.platform.machine().truth.take_findings().1, 0);
}

fn pages(count: u64) -> Range<u64> {
    BASE..BASE + count * PAGE
}

#[test]
fn pages_come_and_go_and_keep_their_contents() {
    let os = boot(OsConfig { frames: 4, ..OsConfig::default() });
    let mm = os.spawn(MODE).unwrap();
    os.map(mm.id, pages(12), Mapping::of(Permissions::READ_WRITE, 5)).unwrap();
    for round in 0..3u8 {
        for page in 0..12 {
            use_page(&os, mm.id, BASE + page * PAGE + 8, (page % 3 == 0).then_some(round));
        }
        clean(&os);
    }
    let statistics = os.statistics();
    // One page in three is written, and the others have a copy or the backing store.
    assert!(
        statistics.page_outs >= 30 && statistics.swap_writes <= statistics.page_outs / 3 + 1,
        "{statistics:?}"
    );
    assert!(os.resident() <= 4);
    os.exit(mm.id).unwrap();
    clean(&os);
    assert_eq!((os.resident(), os.platform.machine().bench.memory.frames_used()), (0, 0));
    assert_eq!(os.map(mm.id, pages(1), Mapping::of(Permissions::READ, 1)), Err(OsError::Exited));
}

#[test]
fn after_a_fork_pages_are_shared_until_one_of_the_two_writes() {
    let os = boot(OsConfig { frames: 6, ..OsConfig::default() });
    let parent = os.spawn(MODE).unwrap();
    os.map(parent.id, pages(4), Mapping::of(Permissions::READ_WRITE, 1)).unwrap();
    (0..3).for_each(|page| use_page(&os, parent.id, BASE + page * PAGE, Some(10 + page as u8)));
    let child = os.fork(parent.id).unwrap();
    use_page(&os, child.id, BASE, None);
    assert_eq!(os.resident(), 3);
    assert_eq!(os.translate(parent.id, BASE), os.translate(child.id, BASE));
    use_page(&os, child.id, BASE, Some(20));
    use_page(&os, parent.id, BASE + PAGE, Some(30));
    assert_eq!((os.resident(), os.statistics().copies), (5, 2));
    assert_ne!(os.translate(parent.id, BASE), os.translate(child.id, BASE));
    clean(&os);
    // A grandchild, and pressure: shared pages leave together.
    let grandchild = os.fork(child.id).unwrap();
    os.set_frames(2);
    for id in [parent.id, child.id, grandchild.id] {
        (0..4).for_each(|page| use_page(&os, id, BASE + page * PAGE, (page == 3).then_some(id as u8)));
    }
    clean(&os);
    for id in [child.id, parent.id, grandchild.id] {
        os.exit(id).unwrap();
        clean(&os);
    }
    assert!(os.state().swap.is_empty());
}

#[test]
fn munmap_and_mprotect_cut_areas() {
    let os = boot(OsConfig { frames: 64, ..OsConfig::default() });
    let mm = os.spawn(MODE).unwrap();
    os.map(mm.id, pages(1024), Mapping::of(Permissions::READ_WRITE, 9)).unwrap();
    [0, 5, 6, 7, 600, 1023].iter().for_each(|page| use_page(&os, mm.id, BASE + page * PAGE, Some(1)));
    let tables = os.state().spaces[&mm.id].tables.frames.len();
    os.munmap(mm.id, BASE + 6 * PAGE..BASE + 7 * PAGE).unwrap();
    assert_eq!(os.make_present(&mut os.state(), mm.id, BASE / PAGE + 6, false, false).ok(), Some(()));
    assert!(!access(&os, mm.id, BASE + 6 * PAGE, None) && os.translate(mm.id, BASE + 6 * PAGE).is_none());
    os.protect(mm.id, BASE + 5 * PAGE..BASE + 6 * PAGE, Permissions::READ).unwrap();
    assert!(access(&os, mm.id, BASE + 5 * PAGE, None) && !access(&os, mm.id, BASE + 5 * PAGE, Some(1)));
    os.protect(mm.id, BASE + 5 * PAGE..BASE + 6 * PAGE, Permissions::NONE).unwrap();
    assert!(!access(&os, mm.id, BASE + 5 * PAGE, None));
    os.protect(mm.id, BASE + 5 * PAGE..BASE + 6 * PAGE, Permissions::ALL).unwrap();
    use_page(&os, mm.id, BASE + 5 * PAGE, Some(2));
    assert_eq!(
        os.protect(mm.id, BASE + 5 * PAGE..BASE + 7 * PAGE, Permissions::READ),
        Err(OsError::NotMapped(BASE + 6 * PAGE))
    );
    assert_eq!(
        os.map(mm.id, BASE + 4 * PAGE..BASE + 8 * PAGE, Mapping::of(Permissions::READ, 1)),
        Err(OsError::Mapped(BASE + 4 * PAGE))
    );
    clean(&os);
    // Tables go when nothing is left in them.
    os.munmap(mm.id, BASE + 512 * PAGE..BASE + 1024 * PAGE).unwrap();
    assert!(os.state().spaces[&mm.id].tables.frames.len() < tables);
    os.map(mm.id, BASE + 6 * PAGE..BASE + 7 * PAGE, Mapping::of(Permissions::READ_WRITE, 3)).unwrap();
    use_page(&os, mm.id, BASE + 6 * PAGE, Some(4));
    clean(&os);
    os.exit(mm.id).unwrap();
    clean(&os);
}

#[test]
fn input_takes_its_time_and_memory_may_be_missing() {
    let os = boot(OsConfig { frames: 1, io_cycles: 300, ..OsConfig::default() });
    let mm = os.spawn(MODE).unwrap();
    os.map(mm.id, pages(2), Mapping::of(Permissions::READ_WRITE, 9)).unwrap();
    let ask = |page| os.make_present(&mut os.state(), mm.id, BASE / PAGE + page, false, true);
    assert!(matches!(ask(0), Err(Absent::Later)) && matches!(ask(0), Err(Absent::Later)));
    (0..300).for_each(|_| os.platform.machine().step());
    assert!(ask(0).is_ok() && access(&os, mm.id, BASE, None));
    let locked = Mapping { locked: true, ..Mapping::of(Permissions::READ_WRITE, 2) };
    os.map(mm.id, BASE + 8 * PAGE..BASE + 9 * PAGE, locked).unwrap();
    os.populate(mm.id, BASE + 8 * PAGE..BASE + 9 * PAGE).unwrap();
    assert_eq!(os.populate(mm.id, pages(1)), Err(OsError::OutOfMemory));
    clean(&os);
}

#[test]
fn random_changes_keep_the_books_right() {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let os = boot(OsConfig { frames: 12, ..OsConfig::default() });
    let mut alive: Vec<Arc<AddressSpace>> = Vec::new();
    for step in 0..3000 {
        if alive.len() < 2 {
            let mm = os.spawn(MODE).unwrap();
            os.map(mm.id, pages(10), Mapping::of(Permissions::READ_WRITE, random.word())).unwrap();
            alive.push(mm);
        }
        let at = random.below(alive.len() as u64) as usize;
        let id = alive[at].id;
        let first = BASE + random.below(12) * PAGE;
        let range = first..first + (1 + random.below(4)) * PAGE;
        match random.below(24) {
            0 if alive.len() < 6 => alive.push(os.fork(id).unwrap()),
            1 => os.exit(alive.swap_remove(at).id).unwrap(),
            2 => os.munmap(id, range).unwrap(),
            3 => _ = os.map(id, range, Mapping::of(Permissions::READ_WRITE, random.word())),
            4 => _ = os.protect(id, range, Permissions::READ),
            5 => _ = os.protect(id, range, Permissions::READ_WRITE),
            6 => _ = os.protect(id, range, Permissions::NONE),
            _ => {
                let va = first + random.below(PAGE);
                let write = (random.below(2) == 0).then_some(step as u8);
                let allowed = os.state().spaces[&id].area(va / PAGE).map(|(_, area)| area.permissions);
                if allowed.is_some_and(|allowed| allowed.read && (allowed.write || write.is_none())) {
                    use_page(&os, id, va, write);
                } else {
                    assert!(!access(&os, id, va, write));
                }
            }
        }
        if step % 16 == 0 {
            clean(&os);
        }
    }
    for mm in alive {
        os.exit(mm.id).unwrap();
    }
    clean(&os);
    let state = os.state();
    assert!(state.swap.is_empty() && state.frames.is_empty());
}

#[test]
fn pages_of_every_size_are_there_and_go() {
    let os = boot(OsConfig::default());
    let mm = os.spawn(MODE).unwrap();
    for (at, shift) in [(1u64, 16u8), (2, 21)] {
        let start = at << 30;
        let mapping = Mapping { shift, ..Mapping::of(Permissions::READ_WRITE, 7) };
        assert_eq!(
            os.map(mm.id, start + PAGE..start + (2 << shift), mapping),
            Err(OsError::Address(start + PAGE, "Sv39"))
        );
        os.map(mm.id, start..start + (2 << shift), mapping).unwrap();
        os.populate(mm.id, start + PAGE..start + 2 * PAGE).unwrap();
        clean(&os);
        let frame = os.translate(mm.id, start).unwrap();
        assert_eq!(frame % (1 << shift), 0);
        assert_eq!(os.translate(mm.id, start + (1 << shift) - 1), Some(frame + (1 << shift) - 1));
        assert_eq!(os.translate(mm.id, start + (1 << shift)), None);
    }
    assert_eq!(os.resident_in_large(), 16 + 512);
    // What nobody has looked at has no content yet; whoever does finds that of the backing store.
    let mut machine = os.platform.machine();
    machine.truth.bind(1, 1, mm.id);
    let (frame, bytes) =
        machine.truth.look_at(1, Some(1), (1 << 30) + 5 * PAGE).map(|(f, b)| (f, b.to_vec())).unwrap();
    let mut expected = vec![0; PAGE as usize];
    backing_content(7, (1 << 18) + 5, &mut expected);
    assert!(bytes == expected && machine.truth.look_at(1, Some(1), (1 << 30) + 5 * PAGE).is_none());
    machine.bench.memory.slice_mut(frame, PAGE as usize).unwrap().copy_from_slice(&bytes);
    drop(machine);
    clean(&os);
    os.munmap(mm.id, 1 << 30..(1 << 30) + 1).unwrap();
    assert_eq!((os.translate(mm.id, 1 << 30), os.resident_in_large()), (None, 512));
    clean(&os);
    os.exit(mm.id).unwrap();
    clean(&os);
    assert_eq!(os.platform.machine().bench.memory.frames_used(), 0);
}
