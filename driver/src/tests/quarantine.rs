//! PASIDs and PSCIDs of unbinds that were not confirmed: not used for another address space before that is made good,
//! and used again as soon as it is.

use super::*;
use crate::{DisableError, PasidSpace, fake::Access};

/// The PASIDs of a system, and a bench that draws from them, whose devices speak ATS or not.
fn bench(ats: bool) -> (Arc<PasidSpace>, Bench) {
    let pasids = Arc::new(PasidSpace::default());
    let config = Config { pasids: Some(pasids.clone()), ..config() };
    let bench = if ats {
        Bench::with_ats_and(config, Behaviour::default(), PriOptions::default())
    } else {
        Bench::with(config)
    };
    (pasids, bench)
}

impl Bench {
    /// An address space that is bound to these devices and unbound while the IOMMU executes nothing.
    fn unconfirmed(&self, devices: &[u32]) -> Arc<TestMm> {
        let mm = self.mm();
        mm.map(0x1000, TARGET, RW);
        let handles: Vec<_> =
            devices.iter().map(|device| self.iommu.bind(*device, mm.clone()).unwrap()).collect();
        self.fake.adjust(|knobs| knobs.commands_stall = true);
        drop(handles);
        self.fake.adjust(|knobs| knobs.commands_stall = false);
        mm
    }

    /// The next address space gets the lowest PASID and the lowest PSCID: none is lost.
    fn nothing_is_lost(&self, pasids: &PasidSpace, what: &str) {
        assert_eq!(pasids.in_use(), 0, "{what}");
        self.fake.take_events();
        self.iommu.bind(2, self.mm()).unwrap().unbind();
        let events = self.fake.take_events();
        assert!(events.iter().any(|event| is_context(event, true, 1)), "{what}: a PSCID is lost");
    }
}

#[test]
fn pasids_of_unconfirmed_unbinds_come_back_with_the_hardware() {
    type Way = fn(&Bench);
    let ways: [(&str, Way); 4] = [
        ("reset", |bench| bench.iommu.reset().unwrap()),
        ("resume after a reset behind the driver", |bench| {
            bench.fake.reset();
            bench.iommu.resume().unwrap();
        }),
        ("suspend and resume", |bench| {
            bench.iommu.suspend().unwrap();
            bench.iommu.resume().unwrap();
        }),
        ("suspend, loss of power and resume", |bench| {
            bench.iommu.suspend().unwrap();
            bench.fake.reset();
            bench.iommu.resume().unwrap();
        }),
    ];
    for (what, way) in ways {
        for ats in [false, true] {
            let (pasids, bench) = bench(ats);
            let mms = [bench.unconfirmed(&[1]), bench.unconfirmed(&[1, 2]), bench.unconfirmed(&[2])];
            drop(mms);
            assert_eq!(pasids.in_use(), 3, "{what}: not before");
            way(&bench);
            bench.nothing_is_lost(&pasids, what);
        }
    }
}

#[test]
fn an_unbind_that_meets_a_reset_gives_its_pasid_back_after_resume() {
    for ats in [false, true] {
        let (pasids, bench) = bench(ats);
        let handle = bench.iommu.bind(1, bench.mm()).unwrap();
        bench.fake.reset();
        handle.unbind();
        assert_eq!(pasids.in_use(), 1);
        bench.iommu.resume().unwrap();
        bench.nothing_is_lost(&pasids, "after resume");
    }
}

#[test]
fn an_address_space_that_lives_keeps_its_pasid_when_the_quarantine_ends() {
    let (pasids, bench) = bench(true);
    let mm = bench.unconfirmed(&[1]);
    let pasid = mm.sva.pasid();
    bench.iommu.reset().unwrap();
    assert_eq!((pasids.in_use(), mm.sva.pasid()), (1, pasid));
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    assert_eq!(bench.fake.dma(1, pasid.map(crate::Pasid::get), 0x1000, Access::Read), Ok(TARGET));
    drop((handle, mm));
    bench.nothing_is_lost(&pasids, "in the end");
}

#[test]
fn a_device_that_is_cut_off_keeps_the_pasids_until_it_is_reinstated_or_disabled() {
    type Way = fn(&Bench);
    let ways: [(&str, Way); 3] = [
        ("reinstate", |bench| {
            bench.fake.reset_device(1);
            bench.iommu.reinstate(1).unwrap();
        }),
        ("disable_ats", |bench| bench.iommu.disable_ats(1).unwrap()),
        ("disable_sva", |bench| bench.iommu.disable_sva(1).unwrap()),
    ];
    for (what, way) in ways {
        let (pasids, bench) = bench(true);
        let mms = [bench.unconfirmed(&[1, 2]), bench.unconfirmed(&[2])];
        bench.iommu.cut_off(1).unwrap();
        drop(mms);
        bench.fake.take_events();
        bench.iommu.reset().unwrap();
        let asks = |command: &Command| matches!(command, Command::AtsInval { rid: 1, .. });
        assert!(!bench.fake.take_commands().iter().any(asks), "a device that is cut off is asked nothing");
        assert_eq!(pasids.in_use(), 1, "{what}: what only device 2 had has come back");
        bench.iommu.suspend().unwrap();
        bench.iommu.resume().unwrap();
        assert_eq!(pasids.in_use(), 1, "{what}");
        way(&bench);
        bench.nothing_is_lost(&pasids, what);
    }
}

#[test]
fn what_makes_one_device_forget_ends_the_quarantine_of_what_it_had() {
    type Way = fn(&Bench);
    let ways: [(&str, bool, Way); 5] = [
        ("disable_sva", false, |bench| bench.iommu.disable_sva(1).unwrap()),
        ("disable_sva with ATS", true, |bench| bench.iommu.disable_sva(1).unwrap()),
        ("disable_ats", true, |bench| bench.iommu.disable_ats(1).unwrap()),
        ("cut_off and reinstate", false, |bench| {
            bench.iommu.cut_off(1).unwrap();
            bench.iommu.reinstate(1).unwrap();
        }),
        ("cut_off and reinstate with ATS", true, |bench| {
            bench.iommu.cut_off(1).unwrap();
            bench.fake.reset_device(1);
            bench.iommu.reinstate(1).unwrap();
        }),
    ];
    for (what, ats, way) in ways {
        let (pasids, bench) = bench(ats);
        drop(bench.unconfirmed(&[1]));
        let shared = bench.unconfirmed(&[1, 2]);
        drop(shared);
        way(&bench);
        assert_eq!(pasids.in_use(), 1, "{what}: what device 2 had stays");
        bench.iommu.reset().unwrap();
        bench.nothing_is_lost(&pasids, what);
    }
}

#[test]
fn the_same_pair_bound_again_and_unbound_makes_it_good() {
    for ats in [false, true] {
        let (pasids, bench) = bench(ats);
        let mm = bench.unconfirmed(&[1]);
        bench.iommu.bind(1, mm.clone()).unwrap().unbind();
        drop(mm);
        bench.nothing_is_lost(&pasids, "after a second unbind");
    }
}

#[test]
fn an_iommu_that_is_switched_off_for_good_holds_no_pasids() {
    for stuck in [false, true] {
        let (pasids, bench) = bench(true);
        drop(bench.unconfirmed(&[1]));
        bench.fake.adjust(|knobs| knobs.mode_stuck = stuck);
        drop(bench.iommu.clone());
        assert_eq!(pasids.in_use(), 1, "not the last clone");
        drop(bench);
        // One that does not switch off may still use them.
        assert_eq!(pasids.in_use(), usize::from(stuck));
    }
}

#[test]
fn a_quarantine_outlives_what_is_not_confirmed_again() {
    let (pasids, bench) = bench(true);
    drop(bench.unconfirmed(&[1]));
    bench.fake.adjust(|knobs| knobs.commands_stall = true);
    assert!(matches!(bench.iommu.disable_sva(1), Err(DisableError::Command(_))));
    assert!(bench.iommu.reset().is_err());
    assert_eq!(pasids.in_use(), 1);
    bench.fake.adjust(|knobs| knobs.commands_stall = false);
    bench.iommu.resume().unwrap();
    bench.nothing_is_lost(&pasids, "in the end");
}
