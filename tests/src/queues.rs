//! The software side of the command queue and the fault queue.

use crate::rig::{PATIENCE, Rig};
use pasidon_cosim::{BenchError, Clocked};
use pasidon_spec::command::{COMMAND_BYTES, Command, Range, Store};
use pasidon_spec::fault::{FaultRecord, RECORD_BYTES};
use pasidon_spec::field::Field;
use pasidon_spec::page_table::PAGE_BYTES;
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::{Register, cqb, cqcsr, cqh, cqt, fqb, fqcsr, fqh, fqt};

impl Rig {
    /// Gives the design queues of `1 << log2` entries (not more than it accepts), and turns them on.
    ///
    /// # Panics
    /// If they do not turn on.
    pub fn start_queues(&mut self, command_log2: u32, fault_log2: u32) {
        let command_log2 = command_log2.min(self.design.command_log2_max);
        let fault_log2 = fault_log2.min(self.design.fault_log2_max);
        self.commands = Queue::of_commands(self.queue_pages(COMMAND_BYTES << command_log2), command_log2);
        self.command_tail = 0;
        self.start_queue(self.commands, (&cqb::REG, &cqcsr::REG, cqcsr::CQON));
        self.faults = Queue::of_faults(self.queue_pages(RECORD_BYTES << fault_log2), fault_log2);
        self.fault_head = 0;
        self.start_queue(self.faults, (&fqb::REG, &fqcsr::REG, fqcsr::FQON));
        let start = self.faults.address();
        self.allow_writes(start..start + self.faults.bytes());
    }

    fn queue_pages(&mut self, bytes: u64) -> u64 {
        self.pages(bytes.div_ceil(PAGE_BYTES))
    }

    fn start_queue(&mut self, queue: Queue, (base, csr, on): (&Register, &Register, Field)) {
        self.write(base, queue.base());
        // Enable is bit 0 of each control register.
        self.write(csr, 1);
        self.poll(csr, |value| on.is_set(value));
    }

    /// Puts a command into the queue, in raw form, without waiting for it.
    ///
    /// # Panics
    /// If the queue stays full.
    pub fn push_raw(&mut self, command: [u64; 2]) {
        let next = self.commands.next(self.command_tail);
        self.poll(&cqh::REG, |head| head != next);
        let at = self.commands.entry(self.command_tail);
        self.store(at, command[0]);
        self.store(at + 8, command[1]);
        self.command_tail = next;
        self.write(&cqt::REG, next);
    }

    /// Puts a command into the queue.
    pub fn push(&mut self, command: Command) {
        self.push_raw(command.encode());
    }

    /// Waits until all commands have been carried out.
    ///
    /// # Errors
    /// The value of `cqcsr`, if the queue stopped at an error.
    ///
    /// # Panics
    /// If it does neither.
    pub fn drain_commands(&mut self) -> Result<(), u64> {
        const STOPPED: u64 = cqcsr::CQMF.mask() | cqcsr::CMD_ILL.mask() | cqcsr::CMD_TO.mask();
        let tail = self.command_tail;
        let outcome = self.look_until(PATIENCE, format_args!("cqh was not {tail}"), |rig| {
            if rig.read(&cqh::REG) == tail {
                return Ok::<_, BenchError>(Some(Ok(())));
            }
            let state = rig.read(&cqcsr::REG);
            Ok((state & STOPPED != 0).then_some(Err(state)))
        });
        outcome.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Puts commands into the queue, followed by a fence, and waits for them.
    ///
    /// # Panics
    /// If one of them is refused.
    pub fn carry_out(&mut self, commands: &[Command]) {
        for command in commands {
            self.push(*command);
        }
        self.push(Command::IofenceC { pr: true, pw: true, wsi: false, store: None });
        if let Err(state) = self.drain_commands() {
            panic!("{commands:?}: cqcsr {state:#x}");
        }
    }

    /// Forgets everything cached.
    pub fn invalidate_all(&mut self) {
        self.carry_out(&[
            Command::IodirInvalDdt { did: None },
            Command::IotinvalVma { gscid: None, pscid: None, range: None },
        ]);
    }

    /// Takes the records that are in the fault queue, raw.
    pub fn records_raw(&mut self) -> Vec<[u64; 4]> {
        let tail = self.read(&fqt::REG);
        let mut records = Vec::new();
        while self.fault_head != tail {
            let at = self.faults.entry(self.fault_head);
            records.push([0, 8, 16, 24].map(|offset| self.load(at + offset)));
            self.fault_head = self.faults.next(self.fault_head);
        }
        self.write(&fqh::REG, self.fault_head);
        records
    }

    /// Takes the records that are in the fault queue.
    ///
    /// # Panics
    /// If a record has other bits set than those of its fields.
    pub fn records(&mut self) -> Vec<FaultRecord> {
        let raw = self.records_raw();
        raw.into_iter()
            .map(|raw| {
                let record = FaultRecord::decode(raw);
                assert_eq!(record.encode(), raw, "bits outside the fields of a record");
                record
            })
            .collect()
    }
}

/// IOTINVAL.VMA for host address spaces.
pub fn vma(pscid: Option<u32>, address: Option<u64>) -> Command {
    Command::IotinvalVma { gscid: None, pscid, range: address.map(Range::page_of) }
}

/// A plain fence that stores `data` at `address`.
pub fn fence_store(address: u64, data: u32) -> Command {
    Command::IofenceC { pr: false, pw: false, wsi: false, store: Some(Store { address, data }) }
}
