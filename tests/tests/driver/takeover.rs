//! Taking over hardware that is in use, as after a kexec: what devices of the previous owner still try.

use pasidon_cosim::Random;
use pasidon_driver::Config;
use pasidon_machine::endpoint::{Behaviour, ChannelKind};
use pasidon_machine::memory::PAGE;
use pasidon_rtl::design::Design;
use pasidon_spec::ddt;
use pasidon_spec::registers::ddtp;
use pasidon_tests::driven::{BASE, Driven, config};
use pasidon_tests::{designs, seed};

/// Directory modes of one owner after the other: each follows each, itself included.
const LEVELS: [usize; 10] = [1, 1, 2, 2, 3, 3, 1, 3, 2, 1];
/// Devices, one more for each level; every second one has ATS and translations of its own.
const DEVICES: [u32; 4] = [1, 0x2a, 0x105, 0x2_0001];

fn owner(design: &Design, levels: usize) -> Config {
    let widest = u32::from(ddt::device_id_bits(design.msi_flat, levels));
    Config { device_id_width: widest.min(design.device_id_width), ..config(design) }
}

/// Puts all devices that the owner's directory holds to work, each with a process of its own. They are never stopped.
fn put_to_work(driven: &Driven, levels: usize) {
    for (number, id) in DEVICES.into_iter().enumerate().take(levels + 1) {
        let ats = number % 2 == 1;
        driven.enable(id, ats.then(Behaviour::default));
        let mm = driven.resident_process();
        let handle = driven.bind(id, &mm);
        let kind = if ats { ChannelKind::Ats } else { ChannelKind::Untranslated };
        let outcome = driven.access(id, handle.pasid().get(), kind, BASE + PAGE, true);
        assert!(outcome.is_success(), "device {id:#x} does not work for its new owner: {outcome:?}");
        driven.keep_busy(id, handle.pasid().get(), kind);
        // Its owner goes without giving it back.
        std::mem::forget(handle);
    }
}

fn nothing_of_the_former_owner_passes(name: &str) {
    let seed = seed(&format!("taking over {name}"));
    let mut random = Random::new(seed);
    let design = designs::design(name);
    let mut driven = Driven::boot(&design, owner(&design, LEVELS[0]), seed);
    for pair in LEVELS.windows(2) {
        put_to_work(&driven, pair[0]);
        driven.run(1000 + random.below(1000));
        driven.check();
        let before = driven.platform.machine().counters.clone();
        assert!(before.requests > before.faults, "devices are at work");
        driven = driven.taken_over(owner(&design, pair[1]));
        let mode = driven.platform.machine().read_register(ddtp::REG.offset.into(), 8);
        assert_eq!(ddtp::IOMMU_MODE.get(mode), pair[1] as u64 + 1, "{pair:?} levels");
        // Their devices go on, and come to nothing: while the hardware changes hands, and after that.
        driven.run(3000);
        let after = driven.platform.machine().counters.clone();
        assert!(after.faults > before.faults + 100, "they still try: {before:?}, {after:?}");
        driven.check();
    }
    put_to_work(&driven, 1);
    driven.check();
}

#[test]
fn former_devices_reach_nothing_in_any_directory_mode() {
    nothing_of_the_former_owner_passes("default");
}

#[test]
fn former_devices_reach_nothing_in_any_directory_mode_of_extended_contexts() {
    nothing_of_the_former_owner_passes("full");
}
