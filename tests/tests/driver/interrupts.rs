//! Interrupts that are messages: stores of the IOMMU into memory, and no wires.

use pasidon_driver::{Config, Message};
use pasidon_machine::endpoint::{Behaviour, ChannelKind};
use pasidon_machine::memory::PAGE;
use pasidon_machine::platform::SimPlatform;
use pasidon_rtl::design::Design;
use pasidon_spec::registers::{capabilities, igs};
use pasidon_tests::driven::{BASE, Driven, PAGES, config};
use pasidon_tests::{designs, seed};
use std::sync::{Arc, OnceLock};

/// Cycles within which a message comes that is due.
const SOON: u64 = 5000;
const FAULTS: u32 = 0x11;
const REQUESTS: u32 = 0x22;

/// Where messages arrive: what an interrupt controller is elsewhere.
struct Mailbox {
    platform: SimPlatform,
    page: u64,
}

impl Mailbox {
    const fn fault_message(page: u64) -> Message {
        Message { address: page + 4, data: FAULTS }
    }

    const fn request_message(page: u64) -> Message {
        Message { address: page + 8, data: REQUESTS }
    }

    /// Whether this message has come since the last time. Nothing else is ever in there, and no wire is raised.
    fn take(&self, message: Message) -> bool {
        let mut machine = self.platform.machine();
        assert_eq!(machine.interrupts(), 0, "a wire was raised");
        let bytes = machine.bench.memory.slice_mut(self.page, PAGE as usize).expect("memory");
        let at = (message.address - self.page) as usize;
        let known = [4..8, 8..12];
        assert!((0..PAGE as usize).all(|at| bytes[at] == 0 || known.iter().any(|known| known.contains(&at))));
        let word = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        assert!(word == 0 || word == message.data, "{word:#x}");
        bytes[at..at + 4].fill(0);
        word != 0
    }

    /// Waits until it comes.
    fn expect(&self, message: Message) {
        for _ in 0..SOON {
            if self.take(message) {
                return;
            }
            self.platform.machine().step();
        }
        panic!("no message of vector {:#x}", message.data);
    }
}

fn served_by_messages(design: &Design, kind: u64, seed: u64) {
    let name = &design.name;
    let mailbox = OnceLock::new();
    // The driver is told where messages go to before there is one.
    let driven = Driven::boot_with(design, seed, |platform| {
        let page = platform.machine().bench.memory.alloc(PAGE, PAGE).expect("memory");
        platform.machine().bench.memory.slice_mut(page, PAGE as usize).expect("memory").fill(0);
        _ = mailbox.set(Mailbox { platform: platform.clone(), page });
        let config = Config {
            fault_vector: Some(1),
            fault_message: Some(Mailbox::fault_message(page)),
            page_request_vector: Some(2),
            page_request_message: Some(Mailbox::request_message(page)),
            ..config(design)
        };
        (Arc::new(platform), config)
    });
    let mailbox = mailbox.get().expect("it was booted");
    let (of_faults, of_requests) =
        (Mailbox::fault_message(mailbox.page), Mailbox::request_message(mailbox.page));
    assert_eq!(capabilities::IGS.get(driven.iommu.capabilities().raw()), kind, "{name}");
    driven.enable(1, None);
    driven.enable(2, Some(Behaviour::default()));
    let mm = driven.process();
    let handle = driven.bind(2, &mm);
    let pasid = handle.pasid().get();
    for round in 0..4 {
        // A page that is not there: nobody looks into the queue before the message has come.
        driven.begin(2, pasid, ChannelKind::Ats, BASE + round * PAGE, true);
        let mut outcomes = Vec::new();
        let mut messages = 0;
        while outcomes.is_empty() {
            mailbox.expect(of_requests);
            messages += 1;
            while driven.iommu.service_page_requests(64).more {}
            driven.run(200);
            outcomes = driven.platform.machine().dma.take_outcomes();
        }
        assert!(outcomes[0].is_success() && messages == 1, "{name}: {outcomes:?}");
        // Accesses without a bond.
        for id in [1, 2] {
            let va = BASE + PAGES * PAGE;
            assert!(!driven.access(id, 1000, ChannelKind::Untranslated, va, false).is_success());
            mailbox.expect(of_faults);
            let (records, report) = driven.faults();
            assert_eq!(records.iter().map(|record| record.did).collect::<Vec<_>>(), [id], "{name}");
            assert!(!report.overflow && !report.more);
            driven.run(SOON);
            assert!(!mailbox.take(of_faults) && !mailbox.take(of_requests), "{name}: it was served already");
        }
        // A reset takes the table of messages with it.
        match round {
            1 => driven.iommu.reset().expect("it is switched off and on"),
            2 => {
                let mut machine = driven.platform.machine();
                machine.reset_core_at(0);
                machine.step();
                drop(machine);
                assert!(driven.faults().1.reset);
                driven.iommu.resume().expect("it is brought back");
            }
            _ => {}
        }
    }
    driven.unbind(handle);
    driven.check();
}

#[test]
fn page_requests_and_faults_are_served_by_messages_where_there_are_no_wires() {
    let design = Design::from_toml(include_str!("../../designs/messages.toml"), "messages.toml");
    served_by_messages(&design.expect("the design is valid"), igs::MSI, seed("messages and no wires"));
}

#[test]
fn page_requests_and_faults_are_served_by_messages_where_software_chooses_them() {
    served_by_messages(&designs::design("full"), igs::BOTH, seed("messages instead of wires"));
}
