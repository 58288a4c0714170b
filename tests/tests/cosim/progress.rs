//! Nobody waits for somebody else without a bound: commands that stream, devices that take no responses, resets of the core alone.

use pasidon_cosim::Clocked;
use pasidon_spec::command::Command;
use pasidon_spec::ddt::iommu_mode;
use pasidon_spec::page_table::SV39;
use pasidon_spec::registers::{Register, cqb, cqcsr, cqh, ddtp, fqb, pqb};
use pasidon_tests::queues::{fence_store, vma};
use pasidon_tests::tables::{bits, entry, plain_dc, pointer};
use pasidon_tests::{Query, Rig, seed};

const VA: u64 = 0x40_0000_0000 >> 1;

/// Device 1 with `pages` pages of Sv39 from [`VA`] on; the frames.
fn scene(rig: &mut Rig, pages: u64) -> Vec<u64> {
    rig.new_directory(1);
    let root = rig.page();
    rig.set_dc(1, plain_dc(pointer(SV39.mode, root), 7));
    (0..pages)
        .map(|i| {
            let frame = rig.bench.memory.base() + ((i * 7 + 3) % 4096) * 4096;
            rig.map(&SV39, root, VA + i * 4096, 0, entry(frame, bits::ALL));
            frame
        })
        .collect()
}

/// A walk that an invalidation overtook answers its own request: commands that concern nobody delay nobody.
#[test]
fn misses_are_answered_while_commands_stream() {
    const PAGES: u64 = 300;
    for name in ["tiny", "default"] {
        let mut rig = Rig::ready(name, 100, 1);
        let frames = scene(&mut rig, PAGES);
        let tickets: Vec<usize> =
            (0..PAGES).map(|i| rig.submit(0, Query::read(1, None, VA + i * 4096 + 8))).collect();
        let begun = rig.now();
        // One walk takes 3 reads of 100 cycles, and one more when its context was invalidated.
        while rig.unanswered() > 0 {
            let head = rig.read(&cqh::REG);
            let room = rig.commands.free(head, rig.command_tail);
            (0..room).for_each(|_| rig.push(vma(Some(0xfffff), None)));
            assert!(rig.now() - begun < PAGES * 600, "{name}: {} are not answered", rig.unanswered());
        }
        for (ticket, frame) in tickets.into_iter().zip(frames) {
            assert_eq!(rig.answer(ticket).expect("answered").spa, frame + 8);
        }
    }
}

/// What waits at one port keeps neither other ports nor commands, and no fence for longer than its bound; what it waited for in vain is
/// refused.
#[test]
fn a_device_that_takes_no_response_stops_itself() {
    let mut rig = Rig::ready("default", 20, 1);
    let frames = scene(&mut rig, 40);
    rig.hold_port = Some(0);
    let stuck: Vec<usize> =
        (0..30).map(|i| rig.submit(0, Query::read(1, None, VA + (i % 12) * 4096))).collect();
    rig.wait(4000);
    let others: Vec<usize> = (20..40).map(|i| rig.submit(1, Query::read(1, None, VA + i * 4096))).collect();
    let answered = rig.wait_until(5000, "the other port was stuck", |rig| {
        others.iter().all(|ticket| rig.answer(*ticket).is_some())
    });
    answered.unwrap_or_else(|error| panic!("{error}"));
    for (ticket, frame) in others.iter().zip(&frames[20..]) {
        assert_eq!(rig.answer(*ticket).expect("answered").spa, *frame);
    }
    // An invalidation does not wait for the device, a fence not for ever.
    let begun = rig.now();
    rig.push(vma(Some(7), None));
    rig.poll(&cqh::REG, |head| head == 1);
    assert!(rig.now() - begun < 500, "IOTINVAL took {} cycles", rig.now() - begun);
    let begun = rig.now();
    rig.carry_out(&[Command::IofenceC { pr: true, pw: true, wsi: false, store: None }]);
    let took = rig.now() - begun;
    assert!((4096..4096 + 2000).contains(&took), "the fence took {took} cycles");
    // So does turning the IOMMU off, again and again.
    for mode in [iommu_mode::OFF, iommu_mode::BARE, iommu_mode::OFF] {
        let begun = rig.now();
        rig.set_directory(mode, 0);
        assert!(rig.now() - begun < 4096 + 2000, "mode {mode} took {} cycles", rig.now() - begun);
    }
    rig.hold_port = None;
    rig.finish();
    let answers: Vec<_> = stuck.iter().map(|ticket| rig.answer(*ticket).expect("answered")).collect();
    assert!(answers.iter().all(|a| (a.status, a.cause, a.spa, a.rwx) == (1, 256, 0, (false, false, false))));
}

/// Memory goes on with what it was asked before a reset of the core alone: nothing of it is taken for an answer to what is asked
/// afterwards. (docs/integrate.md, "Clock and reset".)
#[test]
fn a_reset_of_the_core_alone_mixes_no_reads() {
    let seed = seed("resets of the core alone");
    for name in ["tiny", "default", "full"] {
        let mut rig = Rig::new(name, 100, seed);
        for round in 0..15 {
            rig.allocator.reset();
            let base = rig.page();
            // Other tables in the same places: a beat of the last round's would lead to another page.
            for i in 0..64 {
                (0..512).for_each(|word| rig.store(base + i * 4096 + word * 8, 0));
            }
            let levels = 1 + round % 3;
            let skip = rig.random.below(5);
            for _ in 0..skip {
                rig.page();
            }
            rig.start_queues(5, 5);
            rig.new_directory(if name == "tiny" { 1 } else { levels as usize });
            let root = rig.page();
            rig.set_dc(1, plain_dc(pointer(SV39.mode, root), 7));
            let frames: Vec<u64> =
                (0..24).map(|i| rig.bench.memory.base() + (1000 + round * 64 + i) * 4096).collect();
            for (i, frame) in frames.iter().enumerate() {
                rig.map(&SV39, root, VA + i as u64 * 4096, 0, entry(*frame, bits::ALL));
            }
            rig.invalidate_all();
            let tickets: Vec<usize> =
                (0..24).map(|i| rig.submit(i as usize, Query::read(1, None, VA + i * 4096))).collect();
            rig.finish();
            for (ticket, frame) in tickets.into_iter().zip(&frames) {
                let answer = rig.answer(ticket).expect("answered");
                assert_eq!((answer.cause, answer.spa), (0, *frame), "{name}, round {round}");
            }
            // Again under way, all of it to be read from memory, commands too.
            rig.push(vma(None, None));
            for i in 0..24u64 {
                rig.submit(i as usize, Query::read(1, None, VA + i * 4096));
            }
            let cycles = rig.random.below(300);
            rig.wait(cycles);
            rig.reset_core();
        }
    }
}

/// Registers hold addresses of the physical address space only, and a fence that is to store beyond it is a memory fault. Every
/// address on the memory port is checked by the bench.
#[test]
fn addresses_end_with_the_physical_address_space() {
    for (name, pas) in [("pas32", 32), ("pas34", 34), ("pas40", 40), ("default", 56)] {
        let mut rig = Rig::ready(name, 3, 1);
        assert_eq!(rig.design.pas, pas);
        let bases: [&Register; 4] = [&cqb::REG, &fqb::REG, &pqb::REG, &ddtp::REG];
        let page_bits = (1u64 << (pas - 12)) - 1;
        if pas < 56 {
            rig.push(fence_store(1 << pas, 7));
            rig.poll(&cqcsr::REG, |csr| cqcsr::CQMF.is_set(csr));
            assert_eq!(rig.read(&cqh::REG), 0, "{name}: cqh stays on the fence");
        }
        rig.write(&cqcsr::REG, 0);
        rig.poll(&cqcsr::REG, |csr| !cqcsr::CQON.is_set(csr));
        for register in bases {
            rig.write(register, ((1 << 44) - 1) << 10);
            assert_eq!(rig.read(register) >> 10 & ((1 << 44) - 1), page_bits, "{name}: {}", register.name);
        }
    }
}
