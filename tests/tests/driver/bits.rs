//! Accessed and dirty bits that hardware sets.

use pasidon_driver::Config;
use pasidon_machine::endpoint::{Behaviour, ChannelKind};
use pasidon_machine::memory::PAGE;
use pasidon_spec::fault::Cause;
use pasidon_spec::page_table::pte;
use pasidon_tests::driven::{BASE, Driven, config};
use pasidon_tests::{designs, seed};

const A: u64 = pte::A.mask();
const D: u64 = pte::D.mask();

/// What a read and then a write of a page whose bits are clear come to, each with its cause, or 0, and the bits after it.
fn history(driven: &Driven, id: u32, kind: ChannelKind) -> [(u64, u64); 2] {
    let mm = driven.resident_process();
    for page in 0..4 {
        let entry = driven.os.leaf_address(mm.id(), BASE + page * PAGE).expect("there are tables");
        let mut machine = driven.platform.machine();
        let value = machine.bench.memory.load(entry).expect("memory");
        machine.bench.memory.store(entry, value & !(A | D));
    }
    let handle = driven.bind(id, &mm);
    let va = BASE + 3 * PAGE + 0x40;
    let entry = driven.os.leaf_address(mm.id(), va).expect("there are tables");
    let seen = [false, true].map(|write| {
        let outcome = driven.access(id, handle.pasid().get(), kind, va, write);
        let bits = driven.platform.machine().bench.memory.load(entry).expect("memory") & (A | D);
        // Its neighbours have nothing to do with it.
        let other = driven.os.leaf_address(mm.id(), BASE).expect("there are tables");
        assert_eq!(driven.platform.machine().bench.memory.load(other).expect("memory") & (A | D), 0);
        (outcome.cause, bits)
    });
    driven.unbind(handle);
    driven.check();
    seen
}

#[test]
fn pages_with_clear_bits_work_after_bind_where_the_hardware_sets_them() {
    let seed = seed("bits that hardware sets");
    let design = designs::design("full");
    let driven = Driven::boot(&design, config(&design), seed);
    assert!(driven.iommu.capabilities().updates_ad());
    driven.enable(1, None);
    driven.enable(2, Some(Behaviour::default()));
    for (id, kind) in [(1, ChannelKind::Untranslated), (2, ChannelKind::Ats)] {
        assert_eq!(history(&driven, id, kind), [(0, A), (0, A | D)], "{kind:?}");
    }
    let statistics = driven.iommu.statistics();
    assert_eq!((driven.faults().0, statistics.page_requests), (vec![], 1), "but for a stop marker");
}

#[test]
fn pages_with_clear_bits_are_not_there_where_the_hardware_cannot_or_may_not_set_them() {
    let seed = seed("bits that nobody sets");
    for (name, able) in [("full", true), ("default", false)] {
        let design = designs::design(name);
        let config = Config { update_ad: !able, ..config(&design) };
        let driven = Driven::boot(&design, config, seed);
        assert_eq!(driven.iommu.capabilities().updates_ad(), able);
        driven.enable(1, None);
        driven.enable(2, Some(Behaviour::default()));
        let causes = [Cause::ReadPageFault, Cause::WriteAmoPageFault].map(Cause::code);
        assert_eq!(
            history(&driven, 1, ChannelKind::Untranslated),
            causes.map(|cause| (cause.into(), 0)),
            "{name}"
        );
        let recorded: Vec<u16> = driven.faults().0.iter().map(|record| record.cause).collect();
        assert_eq!(recorded, causes, "{name}");
        // A device that can ask for the page is given it by the operating system.
        let asked = history(&driven, 2, ChannelKind::Ats);
        assert_eq!(asked[0].0 | asked[1].0, 0, "{name}");
        assert_eq!((asked[0].1 & A, asked[1].1), (A, A | D), "{name}");
        assert_eq!(driven.faults().0, []);
    }
}
