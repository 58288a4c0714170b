//! A reset of the core alone, at its worst: while an address or data wait at the memory port. What is on offer stays as it is until it
//! is taken, and of a write that was under way nothing else is written. (docs/integrate.md, "A reset of the core alone".)

use pasidon_cosim::Pace;
use pasidon_cosim::verilated::ports::{AxiIn, AxiOut};
use pasidon_spec::command::Command;
use pasidon_spec::ddt::{DeviceContext, dc, iommu_mode};
use pasidon_spec::fault::Cause;
use pasidon_spec::page_request::PageRequest;
use pasidon_spec::page_table::SV39;
use pasidon_spec::registers::{cqcsr, cqt, fctl, fqcsr, iommu_qosid, ipsr, msi_addr, msi_data, pqb, pqcsr};
use pasidon_tests::queues::{fence_store, vma};
use pasidon_tests::tables::{bits, entry, plain_dc, pointer};
use pasidon_tests::{Query, Rig, seed};
use std::collections::BTreeMap;

const DESIGNS: [&str; 4] = ["tiny", "default", "full", "updates"];
const ROUNDS: u64 = 240;
/// Of so many rounds, one is carried through to its end.
const WHOLE: u64 = 6;
const DID: u32 = 1;
const VA: u64 = 0x20_0000_0000;
/// Pages that are mapped, from [`VA`] on. As many behind them are not.
const PAGES: u64 = 24;
/// Commands of a round.
const COMMANDS: u64 = 31;
const CHANNELS: [&str; 3] = ["AR", "AW", "W"];
/// How often each channel must at least have waited when the reset came, of all rounds.
const LEAST: u64 = 25;

/// Memory that is seldom ready, and now and then not for long.
const RELUCTANT: Pace = Pace {
    jitter: 20,
    outstanding: 2,
    memory_pauses: 170,
    stalls: 300,
    interleaving: 60,
    exclusive_failures: 30,
    data_first: true,
    ..Pace::even(8)
};

/// Which channels wait in a cycle of these outputs and inputs.
fn waiting(out: &AxiOut, input: &AxiIn) -> [bool; 3] {
    [(out.arvalid, input.arready), (out.awvalid, input.awready), (out.wvalid, input.wready)]
        .map(|(valid, ready)| valid & !ready & 1 == 1)
}

/// Software of one device that makes the IOMMU read and write whatever it can.
struct Software {
    rig: Rig,
    directory: u64,
    root: u64,
    /// The last table of the pages.
    leaves: u64,
    /// Where fences store, and where messages go.
    targets: [u64; 2],
    page_requests: u64,
    /// How often something waited when the reset came.
    caught: BTreeMap<String, u64>,
}

impl Software {
    fn new(name: &str, seed: u64) -> Software {
        let mut rig = Rig::new(name, 1, seed);
        rig.set_pace(RELUCTANT);
        let (directory, root) = (rig.page(), rig.page());
        let targets = [rig.page(), rig.page()];
        for page in targets {
            rig.allow_writes(page..page + 4096);
        }
        rig.directory = (iommu_mode::LVL1, directory);
        let mut context: DeviceContext = plain_dc(pointer(SV39.mode, root), 7);
        if rig.design.amo_hwad {
            context.tc |= dc::tc::SADE.mask();
        }
        if rig.design.ats {
            context.tc |= dc::tc::EN_ATS.mask() | dc::tc::EN_PRI.mask();
        }
        rig.set_dc(DID, context);
        let leaves = rig.pte_slot(&SV39, root, VA, 0) & !0xfff;
        Software { rig, directory, root, leaves, targets, page_requests: 0, caught: BTreeMap::new() }
    }

    /// The frame of mapped page `i`.
    fn frame(&self, i: u64) -> u64 {
        self.rig.bench.memory.base() + (i * 7 + 3) * 4096
    }

    /// Everything on, after a reset of the core. Queues are in new places.
    fn start(&mut self) {
        let rig = &mut self.rig;
        if rig.design.msi {
            rig.write(&fctl::REG, 0);
            let (address, data) = (self.targets[1] + 4 * rig.random.below(1000), rig.random.word() as u32);
            rig.write(&msi_addr::REG, address);
            rig.write(&msi_data::REG, data.into());
        }
        rig.start_queues(5, 7);
        rig.write(&cqcsr::REG, cqcsr::CQEN.of(1) | cqcsr::CIE.of(1));
        rig.write(&fqcsr::REG, fqcsr::FQEN.of(1) | fqcsr::FIE.of(1));
        if rig.design.ats {
            self.page_requests = rig.pages(1);
            rig.allow_writes(self.page_requests..self.page_requests + 4096);
            rig.write(&pqb::REG, pqb::PPN.of(self.page_requests >> 12) | pqb::LOG2SZ_1.of(7));
            rig.write(&pqcsr::REG, pqcsr::PQEN.of(1) | pqcsr::PIE.of(1));
            let request =
                PageRequest { did: DID, read: true, last: true, index: 5, ..PageRequest::default() };
            let message = &mut rig.bench.verilated.input.message;
            (message.pr_did, message.pr_payload) = (DID.into(), request.encode()[1]);
            (message.pr_valid, message.msg_ready) = (1, 1);
        }
        if rig.design.qosid {
            let ids = rig.random.word() & (iommu_qosid::RCID.mask() | iommu_qosid::MCID.mask());
            rig.write(&iommu_qosid::REG, ids);
        }
        // In mode Off every request is a fault.
        if rig.random.below(2) == 0 {
            (0..4).for_each(|port| _ = rig.submit(port, Query::read(DID, None, VA)));
            let cycles = rig.random.below(60);
            rig.wait(cycles);
        }
        let flags = if rig.design.amo_hwad { bits::ALL & !bits::A & !bits::D } else { bits::ALL };
        for i in 0..PAGES {
            let frame = self.frame(i);
            let slot = self.rig.pte_slot(&SV39, self.root, VA + i * 4096, 0);
            self.rig.store(slot, entry(frame, flags));
            self.rig.allow_writes(slot..slot + 8);
        }
        self.rig.set_directory(iommu_mode::LVL1, self.directory);
    }

    /// Commands and requests; returns the requests, with the page that each is for.
    fn begin(&mut self) -> Vec<(usize, u64)> {
        let rig = &mut self.rig;
        for i in 0..COMMANDS {
            let data = rig.random.word() as u32;
            let command: Command =
                if i % 2 == 0 { fence_store(self.targets[0] + 4 * i, data) } else { vma(None, None) };
            for (word, at) in command.encode().into_iter().zip([0, 8]) {
                rig.store(rig.commands.address() + 16 * i + at, word);
            }
        }
        rig.command_tail = COMMANDS;
        rig.write(&cqt::REG, COMMANDS);
        (0..40)
            .map(|port| {
                let page = rig.random.below(2 * PAGES);
                let query = Query::read(DID, None, VA + page * 4096);
                let query = if rig.random.below(2) == 0 { query.write() } else { query };
                (rig.submit(port, query), page)
            })
            .collect()
    }

    /// Goes on for at most `cycles` cycles, or until `channel` waits.
    fn run(&mut self, cycles: u64, channel: Option<usize>) {
        for cycle in 1..=cycles {
            let shown = self.rig.out().axi;
            self.rig.step();
            let waits = waiting(&shown, &self.rig.bench.verilated.input.axi);
            if channel.is_some_and(|channel| waits[channel]) {
                return;
            }
            // So that the next record is another message.
            if cycle % 50 == 0 && self.rig.design.msi {
                self.rig.write(&ipsr::REG, 0xf);
            }
        }
    }

    /// Who writes at `address`.
    fn writer(&self, address: u64) -> &'static str {
        match address & !0xfff {
            page if page == self.targets[0] => "a fence",
            page if page == self.targets[1] => "a message",
            page if page == self.rig.faults.address() => "the fault queue",
            page if page == self.page_requests => "the page-request queue",
            page if page == self.leaves => "a walker",
            _ => "a queue of before",
        }
    }

    /// Resets the core for `cycles` cycles. What the queues then hold, and the data that waited, if any did; nothing while an address
    /// waits, since memory may have data of its write already.
    fn reset(&mut self, cycles: u64) -> Option<Remains> {
        let shown = self.rig.out().axi;
        let queues = [self.rig.faults.address(), self.page_requests];
        let writer = self.writer(shown.awaddr);
        self.rig.reset_core();
        let waits = waiting(&shown, &self.rig.bench.verilated.input.axi);
        let reader =
            if shown.arid == u64::from(self.rig.design.walkers) { "the command queue" } else { "a walker" };
        for ((channel, waits), who) in CHANNELS.iter().zip(waits).zip([reader, writer, writer]) {
            *self.caught.entry((*channel).into()).or_default() += u64::from(waits);
            *self.caught.entry(format!("{channel} of {who}")).or_default() += u64::from(waits);
        }
        let words = queues.map(|base| self.queue(base));
        (1..cycles).for_each(|_| self.rig.reset_core());
        (!waits[1]).then(|| Remains { queues, words, data: waits[2].then_some(shown.wdata) })
    }

    /// The page at `base`; nothing if there is none.
    fn queue(&self, base: u64) -> Vec<u64> {
        (0..512).filter(|_| base != 0).map(|word| self.rig.load(base + 8 * word)).collect()
    }
}

/// The queues of before a reset, and the data that waited in it.
struct Remains {
    queues: [u64; 2],
    words: [Vec<u64>; 2],
    data: Option<u64>,
}

impl Remains {
    /// Nothing has been written to these queues since but the beat that waited.
    fn check(&self, software: &Software, what: &str) {
        let mut late = vec![];
        for (base, before) in self.queues.into_iter().zip(&self.words) {
            let after = software.queue(base);
            late.extend(before.iter().zip(after).filter(|(old, new)| *old != new).map(|(_, new)| new));
        }
        assert!(late.len() <= 1 && late.iter().all(|word| Some(*word) == self.data), "{what}: {late:x?}");
    }
}

#[test]
fn what_waits_at_the_memory_port_outlives_a_reset_of_the_core() {
    let seed = seed("resets while the memory port waits");
    for name in DESIGNS {
        let mut s = Software::new(name, seed);
        let mut remains: Option<Remains> = None;
        for round in 0..ROUNDS {
            let what = format!("{name}, round {round}");
            s.start();
            let tickets = s.begin();
            let (most, channel) = (20 + s.rig.random.below(400), s.rig.random.below(4) as usize);
            let before = s.rig.random.below(150);
            s.run(before, None);
            s.run(most, Some(channel).filter(|channel| *channel < CHANNELS.len()));
            if round % WHOLE == WHOLE - 1 {
                s.rig.finish();
                s.rig.drain_commands().unwrap_or_else(|csr| panic!("{what}: cqcsr {csr:#x}"));
                let faults = s.rig.records();
                assert!(!faults.is_empty() && faults.iter().all(|fault| fault.did == DID), "{what}");
            }
            for (ticket, page) in tickets {
                let Some(answer) = s.rig.answer(ticket) else { continue };
                let cause = if answer.query.write { Cause::WriteAmoPageFault } else { Cause::ReadPageFault };
                let due = if page < PAGES { (0, s.frame(page)) } else { (u64::from(cause.code()), 0) };
                assert_eq!((answer.cause, answer.spa), due, "{what}: page {page}");
            }
            if let Some(remains) = remains.take() {
                remains.check(&s, &what);
            }
            let cycles = 1 + s.rig.random.below(3);
            remains = s.reset(cycles);
        }
        println!("{name}, {} cycles: {:?}", s.rig.now(), s.caught);
        let count = |what: &str| s.caught.get(what).copied().unwrap_or(0);
        for channel in CHANNELS {
            assert!(count(channel) >= LEAST, "{name}: {channel} waited at {} resets", count(channel));
        }
        let d = &s.rig.design;
        for (writer, there) in [
            ("a fence", true),
            ("the fault queue", true),
            ("a message", d.msi),
            ("the page-request queue", d.ats),
            ("a walker", d.amo_hwad),
        ] {
            assert!(!there || count(&format!("W of {writer}")) > 0, "{name}: data of {writer} never waited");
        }
        for reader in ["a walker", "the command queue"] {
            assert!(count(&format!("AR of {reader}")) > 0, "{name}: no address of {reader} waited");
        }
    }
}
