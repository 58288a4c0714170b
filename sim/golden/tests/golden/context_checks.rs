//! Section "Device-context configuration checks": each one, at its edges.

use crate::world::*;
use pasidon_golden::Parameters;
use pasidon_spec::ddt::{DeviceContext, dc};
use pasidon_spec::fault::Cause;
use pasidon_spec::field::Field;
use pasidon_spec::page_table::{SV32X4, SV39, SV39X4};
use pasidon_spec::registers::{self as reg, capabilities as cap};

fn without(features: &[Field]) -> Parameters {
    let capabilities =
        features.iter().fold(Parameters::full_capabilities(), |word, feature| feature.set(word, 0));
    Parameters::new(capabilities)
}

/// Whether a device with this context is refused as misconfigured. Legal ones may still fault for other reasons.
fn misconfigured(world: &mut World, context: DeviceContext) -> bool {
    world.device(DEVICE, context);
    world.translate(read(DEVICE, 0x1000)).fault().map(|fault| fault.cause)
        == Some(Cause::DdtEntryMisconfigured)
}

/// A context with these fields of `tc`.
fn tc(fields: &[Field]) -> DeviceContext {
    device_context(fields.iter().fold(0, |word, field| word | field.mask()))
}

#[test]
fn reserved_bits() {
    let mut world = World::full();
    let legal = device_context(0);
    let reserved = [
        (dc::tc::RESERVED, 0),
        (dc::ta::RESERVED, 2),
        (dc::fsc::RESERVED, 3),
        (dc::msiptp::RESERVED, 4),
        // MGPAW is 59, so that page numbers have 47 bits.
        (u64::MAX << 47, 5),
        (u64::MAX << 47, 6),
        (u64::MAX, 7),
    ];
    for (mask, word) in reserved {
        for bit in (0..64).filter(|bit| mask >> bit & 1 == 1) {
            let at = world.device(DEVICE, legal);
            let old = world.ram.get(at + 8 * word);
            world.ram.set(at + 8 * word, old | 1 << bit);
            let cause = world.fault(read(DEVICE, 0)).cause;
            assert_eq!(cause, Cause::DdtEntryMisconfigured, "word {word} bit {bit}");
            world.ram.set(at + 8 * word, 0);
        }
    }
    // Custom bits are not looked at.
    assert!(!misconfigured(&mut world, device_context(dc::tc::CUSTOM.mask())));
}

#[test]
fn msi_page_numbers_are_as_wide_as_guest_addresses() {
    for (off, bits) in [
        (vec![], 59),
        (vec![cap::SV57X4], 50),
        (vec![cap::SV57X4, cap::SV48X4], 41),
        (vec![cap::SV57X4, cap::SV48X4, cap::SV39X4], 34),
        (vec![cap::SV57X4, cap::SV48X4, cap::SV39X4, cap::SV32X4], 56),
    ] {
        let mut world = World::new(without(&off));
        for (page, legal) in [(1 << (bits - 13), true), (1 << (bits - 12), false)] {
            let mask = DeviceContext { msi_addr_mask: page, ..device_context(0) };
            let pattern = DeviceContext { msi_addr_pattern: page, ..device_context(0) };
            assert_eq!(!misconfigured(&mut world, mask), legal, "{bits}");
            assert_eq!(!misconfigured(&mut world, pattern), legal, "{bits}");
        }
    }
}

#[test]
fn ats_controls_depend_on_each_other() {
    use dc::tc::{EN_ATS, EN_PRI, PRPR, T2GPA};
    let mut world = World::full();
    let second = world.table(&SV39X4, None);
    let all = [EN_ATS, EN_PRI, PRPR, T2GPA];
    for set in 0..16 {
        let on: Vec<Field> = (0..4).filter(|i| set >> i & 1 == 1).map(|i| all[i]).collect();
        let has = |field: Field| on.contains(&field);
        for two_stage in [false, true] {
            let context =
                DeviceContext { iohgatp: if two_stage { iohgatp(second, 1) } else { 0 }, ..tc(&on) };
            let wrong = (!has(EN_ATS) && (has(T2GPA) || has(EN_PRI)))
                || (!has(EN_PRI) && has(PRPR))
                || (has(T2GPA) && !two_stage);
            assert_eq!(misconfigured(&mut world, context), wrong, "{set:b} {two_stage}");
        }
    }
    let mut world = World::new(without(&[cap::ATS]));
    for field in [EN_ATS, EN_PRI, PRPR] {
        assert!(misconfigured(&mut world, tc(&[field])));
    }
    let mut world = World::new(without(&[cap::T2GPA]));
    let second = world.table(&SV39X4, None);
    let context = DeviceContext { iohgatp: iohgatp(second, 1), ..tc(&[EN_ATS, T2GPA]) };
    assert!(misconfigured(&mut world, context));
}

#[test]
fn modes_that_are_not_supported() {
    let directory = dc::tc::PDTV;
    let cases: &[(&[Field], u64, Option<Field>)] = &[
        (&[directory], 1, Some(cap::PD8)),
        (&[directory], 2, Some(cap::PD17)),
        (&[directory], 3, Some(cap::PD20)),
        (&[], 8, Some(cap::SV39)),
        (&[], 9, Some(cap::SV48)),
        (&[], 10, Some(cap::SV57)),
        (&[dc::tc::SXL], 8, Some(cap::SV32)),
        (&[], 0, None),
        (&[directory], 0, None),
    ];
    for (fields, mode, feature) in cases {
        let context = DeviceContext { fsc: fsc(*mode, 0x20_0000), ..tc(fields) };
        assert!(!misconfigured(&mut World::full(), context), "{mode}");
        if let Some(feature) = feature {
            let parameters = Parameters { gxl_writable: true, ..without(&[*feature]) };
            assert!(misconfigured(&mut World::new(parameters), context), "{}", feature.name);
        }
    }
    let mut world = World::full();
    for (fields, legal) in
        [(vec![directory], vec![0, 1, 2, 3]), (vec![], vec![0, 8, 9, 10]), (vec![dc::tc::SXL], vec![0, 8])]
    {
        for mode in 0..16 {
            let context = DeviceContext { fsc: fsc(mode, 0x20_0000), ..tc(&fields) };
            assert_eq!(!misconfigured(&mut world, context), legal.contains(&mode), "{fields:?} {mode}");
        }
    }
}

#[test]
fn second_stage_modes_and_alignment() {
    for gxl in [false, true] {
        for mode in 0..16 {
            for (feature, its) in [(cap::SV39X4, 8), (cap::SV48X4, 9), (cap::SV57X4, 10)] {
                let mut world = World::new(without(&[feature]));
                world.write(&reg::fctl::REG, reg::fctl::GXL.of(gxl.into()));
                let context = DeviceContext {
                    iohgatp: dc::iohgatp::MODE.of(mode) | dc::iohgatp::PPN.of(0x400),
                    ..tc(if gxl { &[dc::tc::SXL] } else { &[] })
                };
                let legal =
                    if gxl { mode == 0 || mode == 8 } else { [0, 8, 9, 10].contains(&mode) && mode != its };
                assert_eq!(!misconfigured(&mut world, context), legal, "{gxl} {mode} {its}");
            }
        }
    }
    let mut world = World::new(Parameters { gxl_writable: true, ..without(&[cap::SV32X4]) });
    world.write(&reg::fctl::REG, reg::fctl::GXL.mask());
    let table = Table { geometry: &SV32X4, root: 0x40_0000 };
    assert!(misconfigured(&mut world, DeviceContext { iohgatp: iohgatp(table, 0), ..tc(&[dc::tc::SXL]) }));

    let mut world = World::full();
    for ppn in 0..8 {
        let aligned = DeviceContext { iohgatp: dc::iohgatp::PPN.of(ppn), ..device_context(0) };
        assert!(!misconfigured(&mut world, aligned), "Bare has no root");
        let context = DeviceContext { iohgatp: dc::iohgatp::MODE.of(8) | aligned.iohgatp, ..aligned };
        assert_eq!(misconfigured(&mut world, context), ppn % 4 != 0, "{ppn}");
    }
}

#[test]
fn default_process_needs_a_directory() {
    let mut world = World::full();
    assert!(misconfigured(&mut world, tc(&[dc::tc::DPE])));
    assert!(!misconfigured(&mut world, tc(&[dc::tc::DPE, dc::tc::PDTV])));
}

#[test]
fn updates_of_accessed_and_dirty_need_the_feature() {
    for field in [dc::tc::SADE, dc::tc::GADE] {
        assert!(!misconfigured(&mut World::full(), tc(&[field])));
        assert!(misconfigured(&mut World::new(without(&[cap::AMO_HWAD])), tc(&[field])));
    }
}

#[test]
fn byte_order_and_register_width() {
    assert!(!misconfigured(&mut World::full(), tc(&[dc::tc::SBE])));
    assert!(misconfigured(&mut World::new(without(&[cap::END])), tc(&[dc::tc::SBE])));
    let fixed = Parameters { gxl_writable: false, ..Parameters::full() };
    assert!(misconfigured(&mut World::new(fixed), tc(&[dc::tc::SXL])));
    let mut world = World::full();
    assert!(!misconfigured(&mut world, tc(&[dc::tc::SXL])));
    world.write(&reg::fctl::REG, reg::fctl::GXL.mask());
    assert!(misconfigured(&mut world, tc(&[])));
    assert!(!misconfigured(&mut world, tc(&[dc::tc::SXL])));
}

#[test]
fn quality_of_service_ids() {
    for (width, id, legal) in [(12, 0xfff, true), (4, 15, true), (4, 16, false), (0, 1, false)] {
        let parameters = Parameters { rcid_width: width, mcid_width: width, ..Parameters::full() };
        for field in [dc::ta::RCID, dc::ta::MCID] {
            let context = DeviceContext { ta: field.of(id), ..device_context(0) };
            assert_eq!(!misconfigured(&mut World::new(parameters), context), legal, "{width} {id}");
            let mut world = World::new(without(&[cap::QOSID]));
            assert!(misconfigured(&mut world, context));
        }
    }
}

#[test]
fn msi_modes() {
    let mut world = World::full();
    let second = world.table(&SV39X4, None);
    for mode in 0..16 {
        let context = DeviceContext {
            iohgatp: iohgatp(second, 0),
            msiptp: dc::msiptp::MODE.of(mode),
            ..device_context(0)
        };
        assert_eq!(misconfigured(&mut world, context), mode > 1, "{mode}");
        let bare = DeviceContext { iohgatp: 0, ..context };
        assert_eq!(misconfigured(&mut world, bare), mode > 0, "{mode}");
    }
    let lenient = Parameters { msi_without_second_stage_is_misconfigured: false, ..Parameters::full() };
    let context =
        DeviceContext { msiptp: dc::msiptp::MODE.of(1), msi_addr_pattern: 0x7_0000, ..device_context(0) };
    assert!(!misconfigured(&mut World::new(lenient), context));
}

#[test]
fn roots_outside_the_physical_address_space() {
    let narrow = |wide_root_is_misconfigured| {
        let capabilities = cap::PAS.set(Parameters::full_capabilities(), 40);
        Parameters { wide_root_is_misconfigured, ..Parameters::new(capabilities) }
    };
    let host =
        |ppn| DeviceContext { fsc: dc::fsc::MODE.of(SV39.mode) | dc::fsc::PPN.of(ppn), ..device_context(0) };
    let guest = |ppn| DeviceContext {
        iohgatp: dc::iohgatp::MODE.of(SV39X4.mode) | dc::iohgatp::PPN.of(ppn),
        ..device_context(0)
    };
    for context in [host as fn(u64) -> DeviceContext, guest] {
        assert!(misconfigured(&mut World::new(narrow(true)), context(1 << 28)));
        assert!(!misconfigured(&mut World::new(narrow(true)), context(1 << 27)));
        let mut world = World::new(narrow(false));
        assert!(!misconfigured(&mut world, context(1 << 28)));
        assert_eq!(world.fault(read(DEVICE, 0)).cause, Cause::ReadAccessFault);
    }
}
