//! The second stage: mixed page sizes, every guest-page fault and its `iotval2`, failures of every read of a nested walk.
//! (Privileged specification, "Two-Stage Address Translation"; IOMMU specification, sections "Process to translate an IOVA",
//! "Process to locate the Process-context" and "Fault/Event-Queue (FQ)".)

use pasidon_spec::command::{Command, Range};
use pasidon_spec::ddt::dc;
use pasidon_spec::fault::Cause;
use pasidon_spec::memory::Failure;
use pasidon_spec::page_table::{Geometry, SV32, SV39, SV39X4, SV48, SV48X4, SV57, SV57X4, napot, pbmt, pte};
use pasidon_spec::pdt::pdtp_mode;
use pasidon_spec::registers::iommu_qosid;
use pasidon_spec::request::Request;
use pasidon_tests::guest::{ALL, GUEST, Guest, IOVA, entry};
use pasidon_tests::tables::bits;
use pasidon_verify::engine::Engine;

/// Where the access itself ends up in guest memory.
const GPA: u64 = 0x1_8000_0000;
const SPA: u64 = 0x7_4000_0000;

/// A read, a write and a fetch, each with its guest-page fault and its access fault.
fn kinds(iova: u64) -> [(Request, Cause, Cause); 3] {
    [
        (Guest::read(iova), Cause::ReadGuestPageFault, Cause::ReadAccessFault),
        (Guest::write(iova), Cause::WriteAmoGuestPageFault, Cause::WriteAmoAccessFault),
        (Guest::exec(iova), Cause::InstructionGuestPageFault, Cause::InstructionAccessFault),
    ]
}

/// A page of 4 KiB in both stages.
fn mapped() -> Guest {
    let mut g = Guest::plain();
    g.map(IOVA, 0, entry(GPA, ALL));
    g.map_guest(GPA, 0, entry(SPA, ALL));
    g
}

#[test]
fn every_pair_of_page_sizes_gives_the_right_address() {
    let pairs: [(&'static Geometry, &'static Geometry); 3] =
        [(&SV39, &SV39X4), (&SV48, &SV57X4), (&SV57, &SV48X4)];
    for (first, second) in pairs {
        for level in 0..first.levels.len() {
            for guest_level in 0..second.levels.len() {
                let mut g = Guest::new("full", first, second);
                let size = |shift: u8| 1u64 << shift;
                let (one, two) = (first.levels[level].lo, second.levels[guest_level].lo);
                // An address in the guest that is far into its page in both stages.
                let top = second.address_bits().min(56);
                let gpa = (0x2a5a_5a5a_5a5a_5a5a_u64 & (size(top) - 1)) | size(top - 1);
                let offset = gpa & (size(one) - 1);
                let iova = 0x15_5555_5555_5000_u64 & (size(first.address_bits() - 1) - 1) & !(size(one) - 1)
                    | offset;
                let spa = 0x55_aaaa_aaaa_a000_u64 & !(size(two) - 1) | gpa & (size(two) - 1);
                g.map(iova, level, entry(gpa & !(size(one) - 1), ALL));
                g.map_guest(gpa, guest_level, entry(spa & !(size(two) - 1), ALL));
                let what = format!("{} level {level} over {} level {guest_level}", first.name, second.name);
                let t = g.expect(&what, Guest::read(iova));
                assert_eq!((t.spa, t.page_shift), (spa, one.min(two)), "{what}");
                // And again from the TLB.
                let t = g.ask(&what, Guest::read(iova ^ 0x28)).success().expect("a hit");
                assert_eq!(t.spa, spa ^ 0x28, "{what}, warm");
            }
        }
    }
}

#[test]
fn groups_of_pages_count_in_both_stages() {
    for (first, second, shift) in [(true, true, 16), (true, false, 12), (false, true, 12)] {
        let mut g = Guest::plain();
        let leaf = |group: bool, address: u64| {
            let ppn = address >> 12;
            let ppn = if group { napot::encode(ppn) } else { ppn };
            pte::PPN.of(ppn) | ALL | if group { bits::N } else { 0 }
        };
        g.map(IOVA, 0, leaf(first, GPA | 0x7000));
        g.map_guest(GPA | 0x7000, 0, leaf(second, SPA | 0x7000));
        let t = g.expect("a group", Guest::read(IOVA | 0x123));
        assert_eq!((t.spa, t.page_shift), (SPA | 0x7123, shift));
    }
}

#[test]
fn one_stage_may_be_bare() {
    let mut g = mapped();
    g.context.fsc = 0;
    g.map_guest(GPA, 1, entry(SPA, ALL));
    let t = g.expect("first stage Bare", Guest::write(GPA | 0x12_3456));
    assert_eq!((t.spa, t.page_shift), (SPA | 0x12_3456, 21));
    let mut g = mapped();
    g.context.iohgatp = 0;
    g.context.fsc = dc::fsc::MODE.of(SV39.mode) | dc::fsc::PPN.of((g.root & !GUEST) >> 12);
    let root = g.root & !GUEST;
    g.store(root + 8 * SV39.levels[2].of(IOVA), entry(SPA, ALL));
    let t = g.expect("second stage Bare", Guest::write(IOVA | 0x123));
    assert_eq!((t.spa, t.page_shift), (SPA | (IOVA & 0x3fff_ffff) | 0x123, 30));
}

#[test]
fn guest_page_faults_of_the_access_report_its_guest_address() {
    for (request, cause, _) in kinds(IOVA | 0x568) {
        let mut g = mapped();
        let present = [
            ("not valid", ALL & !bits::V),
            ("no user page", ALL & !bits::U),
            ("not accessed", ALL & !bits::A),
            ("W without R", ALL & !bits::R),
            ("reserved bit", ALL | 1 << 58),
            ("reserved memory type", ALL | pte::PBMT.of(pbmt::RESERVED)),
            ("no such group", ALL | bits::N),
            ("a pointer at the last level", bits::V),
            (
                "no permission",
                bits::V | bits::U | bits::A | bits::D | if request.exec { bits::R } else { bits::X },
            ),
        ];
        for (what, flags) in present {
            g.map_guest(GPA, 0, entry(SPA, flags));
            g.expect_fault(what, request, cause, GPA | 0x568);
        }
        g.map_guest(GPA, 0, entry(SPA, ALL & !bits::D));
        if request.write {
            g.expect_fault("not dirty", request, cause, GPA | 0x568);
        } else {
            assert!(!g.expect("not dirty", request).write);
        }
        g.map_guest(GPA, 0, entry(SPA, ALL));
        let slot = g.guest_slot(GPA, 1);
        for flags in [bits::A, bits::D, bits::U, bits::N, pte::PBMT.of(pbmt::IO)] {
            let before = g.load(slot);
            g.store(slot, before | flags);
            g.expect_fault("a pointer with reserved bits", request, cause, GPA | 0x568);
            g.store(slot, before);
        }
        g.map_guest(GPA, 1, entry(SPA | 0x1000, ALL));
        g.expect_fault("a misaligned superpage", request, cause, GPA | 0x568);
    }
}

#[test]
fn guest_page_faults_of_tables_report_the_address_of_the_entry() {
    for (request, cause, _) in kinds(IOVA) {
        for level in 0..3 {
            let mut g = mapped();
            let slot = g.slot(IOVA, level);
            let gpa = slot | GUEST;
            for flags in [0, ALL & !bits::U, ALL & !bits::A, ALL & !bits::R & !bits::W] {
                g.map_guest(gpa, 0, entry(slot, flags));
                g.expect_fault(&format!("level {level}, {flags:#x}"), request, cause, gpa | 1);
            }
            // Implicit accesses are reads: neither W, D nor X is needed.
            g.map_guest(gpa, 0, entry(slot, bits::V | bits::R | bits::U | bits::A));
            g.expect("a read-only table", request);
        }
    }
}

#[test]
fn guest_page_faults_of_the_process_directory_report_the_address_of_the_entry() {
    for mode in [pdtp_mode::PD8, pdtp_mode::PD17, pdtp_mode::PD20] {
        let mut g = mapped();
        let pid = 0x9a;
        let context = g.add_process(mode, pid);
        for (request, cause, _) in kinds(IOVA) {
            let request = Request { process_id: Some(pid), ..request };
            g.map_guest(context | GUEST, 0, entry(context, ALL));
            assert_eq!(g.expect("a process", request).spa, SPA);
            // Both doublewords count, however many reads led to them.
            for (word, bit) in [(context, 1), (context, 1 << 3), (context + 8, 1 << 44)] {
                let before = g.load(word);
                g.store(word, before ^ bit);
                let cause = if bit == 1 { Cause::PdtEntryNotValid } else { Cause::PdtEntryMisconfigured };
                g.expect_fault("a wrong context", request, cause, 0);
                g.store(word, before);
            }
            g.map_guest(context | GUEST, 0, 0);
            g.expect_fault("its context", request, cause, context | GUEST | 1);
        }
    }
}

#[test]
fn guest_addresses_beyond_the_width_of_the_mode_fault() {
    for second in [&SV39X4, &SV48X4, &SV57X4] {
        for bit in second.address_bits()..56 {
            let mut g = Guest::new("full", &SV39, second);
            let gpa = GPA | 1 << bit;
            g.map(IOVA, 0, entry(gpa, ALL));
            g.map_guest(GPA, 0, entry(SPA, ALL));
            let what = format!("{} bit {bit}", second.name);
            g.expect_fault(&what, Guest::read(IOVA | 8), Cause::ReadGuestPageFault, gpa | 8);
        }
        for bit in second.address_bits()..64 {
            let mut g = Guest::new("full", &SV39, second);
            g.context.fsc = 0;
            g.map_guest(GPA, 0, entry(SPA, ALL));
            let gpa = GPA | 1 << bit;
            g.expect_fault("first stage Bare", Guest::write(gpa), Cause::WriteAmoGuestPageFault, gpa);
        }
        // The root of the first stage beyond it.
        let mut g = Guest::new("full", &SV39, second);
        if second.address_bits() < 56 {
            let root = 1u64 << second.address_bits();
            g.context.fsc = dc::fsc::MODE.of(SV39.mode) | dc::fsc::PPN.of(root >> 12);
            let at = root + 8 * SV39.levels[2].of(IOVA);
            g.expect_fault("the root", Guest::read(IOVA), Cause::ReadGuestPageFault, at | 1);
        }
    }
}

/// Every read of a nested walk with a process directory fails once, and is corrupted once.
#[test]
fn each_read_of_a_nested_walk_has_its_cause() {
    let pid = 0x9a;
    for (request, _, access_fault) in kinds(IOVA) {
        let mut g = mapped();
        let context = g.add_process(pdtp_mode::PD17, pid);
        let request = Request { process_id: Some(pid), ..request };
        let pdt_root = (dc::fsc::PPN.get(g.context.fsc) << 12) & !GUEST;
        let directory = [(pdt_root, pdt_root + 8), (context, context + 16)];
        let mut cases = vec![];
        for (page, _) in directory {
            for level in 0..3 {
                let slot = g.guest_slot(page | GUEST, level);
                cases.push((slot, Cause::PdtEntryLoadAccessFault, Cause::PdtDataCorruption));
            }
        }
        cases.push((pdt_root, Cause::PdtEntryLoadAccessFault, Cause::PdtDataCorruption));
        cases.push((context + 8, Cause::PdtEntryLoadAccessFault, Cause::PdtDataCorruption));
        for level in 0..3 {
            let slot = g.slot(IOVA, level);
            cases.push((slot, access_fault, Cause::PtDataCorruption));
            let leaf = g.guest_slot(slot | GUEST, 0);
            cases.push((leaf, access_fault, Cause::PtDataCorruption));
            let last = g.guest_slot(GPA, level);
            // The root entry serves the process directory too.
            if level < 2 {
                cases.push((last, access_fault, Cause::PtDataCorruption));
            }
        }
        g.expect("without failures", request);
        for (slot, access, corruption) in cases {
            let what = format!("{slot:#x}");
            g.with_failure(slot..slot + 8, Failure::Read, |g| g.expect_fault(&what, request, access, 0));
            g.with_failure(slot..slot + 8, Failure::Poison, |g| {
                g.expect_fault(&what, request, corruption, 0);
            });
        }
    }
}

#[test]
fn memory_types_of_both_stages_combine() {
    for one in [pbmt::PMA, pbmt::NC, pbmt::IO] {
        for two in [pbmt::PMA, pbmt::NC, pbmt::IO] {
            let mut g = mapped();
            g.map(IOVA, 0, entry(GPA, ALL | pte::PBMT.of(one)));
            g.map_guest(GPA, 0, entry(SPA, ALL | pte::PBMT.of(two)));
            let t = g.expect("memory types", Guest::read(IOVA));
            let due = if one == pbmt::PMA { two } else { one };
            assert_eq!(u64::from(t.pbmt), due, "{one} over {two}");
            assert_eq!(u64::from(g.ask("warm", Guest::read(IOVA)).success().expect("a hit").pbmt), due);
        }
    }
}

/// Bits 60:59 are software's in every entry.
#[test]
fn soft_bits_are_ignored() {
    let mut g = mapped();
    for soft in [1 << 59, 1 << 60, 3 << 59] {
        for level in 0..3 {
            let slots = [g.slot(IOVA, level), g.guest_slot(GPA, level)];
            for slot in slots {
                let before = g.load(slot);
                g.store(slot, before | soft);
                assert_eq!(g.expect("soft bits", Guest::read(IOVA)).spa, SPA);
                g.store(slot, before);
            }
        }
    }
}

#[test]
fn misconfigured_device_contexts_are_found() {
    let mut g = mapped();
    let good = g.context;
    type Edit = fn(&mut pasidon_spec::ddt::DeviceContext);
    let wrong: [(&str, Edit); 16] = [
        ("iohgatp.MODE 1", |c| c.iohgatp = c.iohgatp & !dc::iohgatp::MODE.mask() | dc::iohgatp::MODE.of(1)),
        ("iohgatp.MODE 11", |c| c.iohgatp = c.iohgatp & !dc::iohgatp::MODE.mask() | dc::iohgatp::MODE.of(11)),
        ("root not aligned to 16 KiB", |c| c.iohgatp |= 1),
        ("root not aligned to 16 KiB, bit 1", |c| c.iohgatp |= 2),
        ("EN_PRI without EN_ATS", |c| c.tc |= dc::tc::EN_PRI.mask()),
        ("T2GPA without EN_ATS", |c| c.tc |= dc::tc::T2GPA.mask()),
        ("PRPR without EN_PRI", |c| c.tc |= dc::tc::EN_ATS.mask() | dc::tc::PRPR.mask()),
        ("T2GPA without a second stage", |c| {
            c.tc |= dc::tc::EN_ATS.mask() | dc::tc::T2GPA.mask();
            c.iohgatp = 0;
        }),
        ("DPE without PDTV", |c| c.tc |= dc::tc::DPE.mask()),
        ("SXL with Sv48", |c| {
            c.tc |= dc::tc::SXL.mask();
            c.fsc = c.fsc & !dc::fsc::MODE.mask() | dc::fsc::MODE.of(SV48.mode);
        }),
        ("msiptp.MODE 2", |c| c.msiptp |= dc::msiptp::MODE.of(2)),
        ("msiptp reserved", |c| c.msiptp |= 1 << 44),
        ("msiptp without a second stage", |c| {
            c.msiptp |= dc::msiptp::MODE.of(1);
            c.iohgatp = 0;
        }),
        ("mask beyond the guest", |c| c.msi_addr_mask |= 1 << 47),
        ("pattern beyond the guest", |c| c.msi_addr_pattern |= 1 << 47),
        ("tc reserved", |c| c.tc |= 1 << 12),
    ];
    for (what, edit) in wrong {
        g.context = good;
        edit(&mut g.context);
        g.expect_fault(what, Guest::read(IOVA), Cause::DdtEntryMisconfigured, 0);
    }
    g.context = good;
    g.context.tc |= dc::tc::CUSTOM.mask();
    g.context.msi_addr_mask = (1 << 47) - 1;
    g.context.msi_addr_pattern = (1 << 47) - 1;
    g.expect("nothing is wrong", Guest::read(IOVA));
}

#[test]
fn entries_of_four_bytes_translate_at_the_first_stage() {
    let mut g = Guest::new("full", &SV32, &SV39X4);
    g.context.tc |= dc::tc::SXL.mask();
    let iova = 0x8765_4000;
    for neighbour in [0, 0x1000] {
        g.map(iova + neighbour, 0, entry(GPA + neighbour, ALL));
        g.map_guest(GPA + neighbour, 0, entry(SPA + neighbour, ALL));
    }
    for neighbour in [0, 0x1000] {
        let t = g.expect("Sv32", Guest::write(iova + neighbour + 0x10));
        assert_eq!((t.spa, t.page_shift), (SPA + neighbour + 0x10, 12));
    }
    g.map(iova, 1, entry(GPA & !0x3f_ffff, ALL));
    g.map_guest(GPA, 1, entry(SPA, ALL));
    g.map_guest(GPA + 0x20_0000, 1, entry(SPA, ALL));
    g.map_guest(GPA, 2, entry(SPA & !0x3fff_ffff, ALL));
    let t = g.expect("4 MiB", Guest::write(iova + 0x10));
    assert_eq!((t.spa, t.page_shift), (SPA | (iova & 0x3f_ffff) | 0x10, 22));
    g.map(iova, 1, entry((GPA & !0x3f_ffff) | 0x20_0000, ALL));
    g.expect_fault("misaligned", Guest::read(iova), Cause::ReadPageFault, 0);
    g.map(iova, 1, entry(GPA & !0x3f_ffff, ALL));
    for bit in 32..64 {
        g.expect_fault("beyond 32 bits", Guest::read(iova | 1 << bit), Cause::ReadPageFault, 0);
    }
    // Entries of 4 bytes: the address of each is reported.
    let slot = g.slot(iova + 0x1000, 1);
    g.map_guest(slot | GUEST, 0, 0);
    g.expect_fault("table", Guest::read(iova), Cause::ReadGuestPageFault, slot | GUEST | 1);
}

/// Accesses to the device directory carry the IOMMU's own ids, those on behalf of a device its ids. (Sections "Translation
/// attributes (ta)" and "IOMMU QoS ID".)
#[test]
fn accesses_carry_the_ids_of_whom_they_serve() {
    let mut g = mapped();
    g.context.tc |= dc::tc::SADE.mask() | dc::tc::GADE.mask();
    g.context.ta |= dc::ta::RCID.of(0x123) | dc::ta::MCID.of(0x456);
    g.map(IOVA, 0, entry(GPA, ALL & !bits::A));
    g.reset();
    let own = iommu_qosid::RCID.of(0x777) | iommu_qosid::MCID.of(0x888);
    g.both.write_register(iommu_qosid::REG.offset, iommu_qosid::REG.bytes, own).expect("the engines agree");
    let (mut reads, mut writes) = (vec![], vec![]);
    let rtl = g.both.rtl();
    rtl.submit(0, &Guest::read(IOVA));
    while rtl.outstanding() > 0 {
        rtl.cycle();
        let out = &rtl.verilated_mut().output.axi;
        if out.arvalid != 0 {
            reads.push((out.araddr, out.arrcid, out.armcid));
        }
        if out.awvalid != 0 {
            writes.push((out.arrcid, out.awrcid, out.awmcid));
        }
    }
    reads.dedup();
    // A device context, a nested walk, and for the update another second-stage walk and the entry, which is read twice in a row.
    assert_eq!(reads.len(), 1 + 15 + 3 + 1, "{reads:x?}");
    assert_eq!((reads[0].1, reads[0].2), (0x777, 0x888));
    assert!(reads[1..].iter().all(|read| (read.1, read.2) == (0x123, 0x456)), "{reads:x?}");
    assert!(!writes.is_empty() && writes.iter().all(|write| (write.1, write.2) == (0x123, 0x456)));
}

/// A page of the first stage over smaller ones of the second is cached in parts; an invalidation of any address in the page is
/// about each of them. (Section "IOMMU Page-Table cache invalidation commands": ADDR names the entries of the tables that
/// correspond to it.)
#[test]
fn an_address_of_a_page_invalidates_all_its_parts() {
    let mut g = Guest::plain();
    let (old, new) = (GUEST | 0x4000_0000, GUEST | 0x4020_0000);
    let pages: Vec<u64> = [0x1000, 0x2000, 0x1000, 0x2000].map(|_| g.page()).into();
    for (i, page) in [old + 0x1000, old + 0x2000, new + 0x1000, new + 0x2000].into_iter().zip(&pages) {
        g.map_guest(i, 0, entry(*page, ALL));
    }
    let large = IOVA & !0x1f_ffff;
    g.map(large, 1, entry(old, ALL));
    let parts = [large + 0x1000, large + 0x2000];
    for part in 0..2 {
        assert_eq!(g.expect("the old page", Guest::read(parts[part])).spa, pages[part]);
        let other = parts[1 - part];
        g.ask("the other part", Guest::read(other));
        g.map(large, 1, entry(new, ALL));
        let range = Some(Range::page_of(large + 0x1f_f000));
        g.execute(&[
            Command::IotinvalVma { gscid: Some(0x2b), pscid: Some(0x5a5a5), range },
            Command::IofenceC { pr: false, pw: false, wsi: false, store: None },
        ]);
        for (i, address) in parts.into_iter().enumerate() {
            let now = g.ask("the new page", Guest::read(address)).success();
            assert_eq!(now.map(|t| t.spa), Some(pages[2 + i]));
        }
        g.map(large, 1, entry(old, ALL));
    }
}
