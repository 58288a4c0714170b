//! Registers: reset values, which bits can be written, and what is not there.

use crate::world::World;
use pasidon_golden::{Golden, Parameters};
use pasidon_spec::ddt::iommu_mode;
use pasidon_spec::field::Field;
use pasidon_spec::registers::{self as reg, Register, capabilities as cap, igs};

fn fresh(parameters: Parameters) -> Golden {
    Golden::new(parameters)
}

fn igs_is(value: u64) -> Parameters {
    Parameters::new(cap::IGS.set(Parameters::full_capabilities(), value))
}

/// What a register keeps of a value that is written to it, after reset.
fn kept(parameters: Parameters, register: &Register, index: u8, value: u64) -> u64 {
    let mut golden = fresh(parameters);
    golden.write_register(register.offset_of(index), register.bytes, value);
    golden.read_register(register.offset_of(index), register.bytes)
}

#[test]
fn reset_values() {
    for register in reg::ALL {
        for index in 0..register.count {
            let golden = fresh(Parameters::full());
            let value = golden.read_register(register.offset_of(index), register.bytes);
            let expected = match register.name {
                "capabilities" => Parameters::full_capabilities(),
                "fctl" => reg::fctl::WSI.mask(),
                _ => 0,
            };
            assert_eq!(value, expected, "{}", register.name);
        }
    }
    assert_eq!(fresh(igs_is(igs::MSI)).read_register(reg::fctl::REG.offset, 4), 0);
    assert_eq!(fresh(igs_is(igs::WSI)).read_register(reg::fctl::REG.offset, 4), reg::fctl::WSI.mask());
}

#[test]
fn writable_bits() {
    let full = Parameters::full();
    let ones = u64::MAX;
    let event = 0xffff_ffff_ffff_8000;
    let cases: &[(&Register, u8, u64)] = &[
        (&reg::capabilities::REG, 0, Parameters::full_capabilities()),
        (&reg::fctl::REG, 0, 7),
        (&reg::cqb::REG, 0, reg::cqb::PPN.mask() | 23),
        (&reg::cqh::REG, 0, 0),
        (&reg::cqt::REG, 0, 1),
        (&reg::fqb::REG, 0, reg::cqb::PPN.mask() | 23),
        (&reg::fqh::REG, 0, 1),
        (&reg::fqt::REG, 0, 0),
        (&reg::pqb::REG, 0, reg::cqb::PPN.mask() | 23),
        (&reg::pqh::REG, 0, 1),
        (&reg::pqt::REG, 0, 0),
        // Enable, interrupt enable, and busy because not on yet.
        (&reg::cqcsr::REG, 0, 3 | 1 << 17),
        (&reg::fqcsr::REG, 0, 3 | 1 << 17),
        (&reg::pqcsr::REG, 0, 3 | 1 << 17),
        (&reg::ipsr::REG, 0, 0),
        (&reg::iocountovf::REG, 0, 0),
        (&reg::iocountinh::REG, 0, 0xffff_ffff),
        (&reg::iohpmcycles::REG, 0, ones),
        (&reg::iohpmctr::REG, 0, ones),
        (&reg::iohpmctr::REG, 30, ones),
        (&reg::iohpmevt::REG, 0, event),
        (&reg::iohpmevt::REG, 30, event),
        (&reg::tr_req_iova::REG, 0, !0xfff),
        (&reg::tr_req_ctl::REG, 0, 0xffff_ff01_ffff_f00f),
        (&reg::tr_response::REG, 0, 0),
        (&reg::iommu_qosid::REG, 0, 0x0fff_0fff),
        (&reg::icvec::REG, 0, 0xffff),
        (&reg::msi_addr::REG, 0, 0x00ff_ffff_ffff_fffc),
        (&reg::msi_addr::REG, 15, 0x00ff_ffff_ffff_fffc),
        (&reg::msi_data::REG, 15, 0xffff_ffff),
        (&reg::msi_vec_ctl::REG, 15, 1),
    ];
    for &(register, index, expected) in cases {
        assert_eq!(kept(full, register, index, ones), expected, "{}", register.name);
    }
    let tested: Vec<&str> = cases.iter().map(|(register, ..)| register.name).collect();
    for register in reg::ALL.iter().filter(|register| register.name != "ddtp") {
        assert!(tested.contains(&register.name), "{}", register.name);
    }
}

#[test]
fn absent_registers_read_0() {
    let bare = Parameters::new(cap::SV39.mask() | cap::PAS.of(40) | cap::IGS.of(igs::WSI));
    for register in reg::ALL {
        for index in 0..register.count {
            let absent = !register.presence.holds(bare.capabilities);
            let value = kept(bare, register, index, !reg::cqb::LOG2SZ_1.mask());
            assert!(!absent || value == 0, "{}", register.name);
        }
    }
    let golden = fresh(Parameters::full());
    for offset in (628..760).chain(1024..4096).step_by(4) {
        assert_eq!(golden.read_register(offset, 4), 0, "{offset}");
    }
    // What is neither aligned nor of 4 or 8 bytes.
    for (offset, bytes) in [(1, 4), (4, 8), (0, 2), (0, 1), (4095, 8)] {
        assert_eq!(golden.read_register(offset, bytes), 0);
    }
}

#[test]
fn features_that_cannot_be_switched() {
    let off = |features: &[Field]| {
        let capabilities =
            features.iter().fold(Parameters::full_capabilities(), |word, field| field.set(word, 0));
        Parameters::new(capabilities)
    };
    use reg::fctl::{BE, GXL, REG, WSI};
    assert_eq!(kept(off(&[cap::END]), &REG, 0, 7), WSI.mask() | GXL.mask());
    assert_eq!(kept(off(&[cap::SV32, cap::SV32X4]), &REG, 0, 7), WSI.mask() | BE.mask());
    assert_eq!(kept(igs_is(igs::WSI), &REG, 0, 0), WSI.mask());
    assert_eq!(kept(igs_is(igs::MSI), &REG, 0, 7), BE.mask() | GXL.mask());
}

#[test]
fn directory_pointer() {
    let mut golden = fresh(Parameters::full());
    let offset = reg::ddtp::REG.offset;
    let busy = reg::ddtp::BUSY.mask();
    let ppn = reg::ddtp::PPN.mask();
    let mut ram = crate::world::Ram::default();
    for mode in 0..16 {
        let before = golden.read_register(offset, 8) & 15;
        golden.write_register(offset, 8, !15 | mode);
        let expected = if mode <= iommu_mode::LVL3 { mode } else { before };
        assert_eq!(golden.read_register(offset, 8), ppn | busy | expected, "{mode}");
        // While it is busy, writes are ignored.
        golden.write_register(offset, 8, 0);
        assert_eq!(golden.read_register(offset, 8), ppn | busy | expected, "{mode}");
        assert!(golden.run(&mut ram));
        assert!(!golden.run(&mut ram));
        assert_eq!(golden.read_register(offset, 8), ppn | expected, "{mode}");
    }
    // The halves are written one at a time; only the low one has the mode.
    golden.write_register(offset + 4, 4, 0x12);
    assert_eq!(golden.read_register(offset, 8), 0x12 << 32 | ppn & 0xffff_ffff | iommu_mode::LVL3);
}

#[test]
fn queue_bases_clear_the_index_that_software_writes() {
    let mut world = World::full();
    for (base, index) in
        [(&reg::cqb::REG, &reg::cqt::REG), (&reg::fqb::REG, &reg::fqh::REG), (&reg::pqb::REG, &reg::pqh::REG)]
    {
        world.write(base, 3);
        world.write(index, 0x7f);
        assert_eq!(world.read(index), 15, "LOG2SZ is 4");
        world.write(base, 3);
        assert_eq!(world.read(index), 0);
    }
    let small =
        Parameters { command_log2_max: 3, fault_log2_max: 4, page_request_log2_max: 5, ..Parameters::full() };
    for (base, most) in [(&reg::cqb::REG, 2), (&reg::fqb::REG, 3), (&reg::pqb::REG, 4)] {
        for written in 0..32 {
            assert_eq!(kept(small, base, 0, written), written.min(most), "{}", base.name);
        }
    }
}

#[test]
fn vectors_that_are_not_there() {
    for (vectors, digit) in [(1, 0), (2, 1), (4, 3), (8, 7), (16, 15)] {
        let parameters = Parameters { vectors, ..Parameters::full() };
        let expected = [0, 4, 8, 12].iter().fold(0, |word, shift| word | digit << shift);
        assert_eq!(kept(parameters, &reg::icvec::REG, 0, u64::MAX), expected, "{vectors}");
        for vector in 0..16 {
            for register in [&reg::msi_addr::REG, &reg::msi_data::REG, &reg::msi_vec_ctl::REG] {
                assert_eq!(kept(parameters, register, vector, u64::MAX) != 0, vector < vectors);
            }
        }
    }
    let capabilities = cap::ATS.set(cap::HPM.set(Parameters::full_capabilities(), 0), 0);
    assert_eq!(kept(Parameters::new(capabilities), &reg::icvec::REG, 0, u64::MAX), 0xff);
}

#[test]
fn monitor_registers_have_the_widths_that_are_there() {
    let parameters =
        Parameters { hpm_counters: 3, hpm_counter_bits: 40, hpm_cycle_bits: 48, ..Parameters::full() };
    assert_eq!(kept(parameters, &reg::iocountinh::REG, 0, u64::MAX), 0b1111);
    assert_eq!(kept(parameters, &reg::iohpmcycles::REG, 0, u64::MAX), 1 << 63 | ((1 << 48) - 1));
    for index in 0..31 {
        let counter = kept(parameters, &reg::iohpmctr::REG, index, u64::MAX);
        assert_eq!(counter, if index < 3 { (1 << 40) - 1 } else { 0 });
        let selector = kept(parameters, &reg::iohpmevt::REG, index, 5);
        assert_eq!(selector, if index < 3 { 5 } else { 0 });
    }
    // An event that is not defined leaves the old one.
    let mut world = World::new(parameters);
    world.write(&reg::iohpmevt::REG, 7);
    world.write(&reg::iohpmevt::REG, 1 << 62 | 9);
    assert_eq!(world.read(&reg::iohpmevt::REG), 1 << 62 | 7);
}

#[test]
fn halves_and_neighbours() {
    let mut golden = fresh(Parameters::full());
    golden.write_register(reg::cqb::REG.offset, 8, 0x12_3456_789a_bc03 & !0x3e0);
    assert_eq!(golden.read_register(reg::cqb::REG.offset, 4), 0x789a_bc03 & !0x3e0);
    assert_eq!(golden.read_register(reg::cqb::REG.offset + 4, 4), 0x12_3456);
    // An access of 8 bytes covers two registers of 4.
    golden.write_register(reg::cqh::REG.offset, 8, 5 << 32 | 7);
    assert_eq!(golden.read_register(reg::cqh::REG.offset, 8), 5 << 32);
    golden.reset();
    assert_eq!(golden.read_register(reg::cqb::REG.offset, 8), 0);
}
