//! The software side of the command queue and the fault queue.

use crate::queue::Queue;
use crate::rig::Rig;
use pasidon_spec::command::{Command, Range, Store};
use pasidon_spec::fault::FaultRecord;
use pasidon_spec::field::Field;
use pasidon_spec::registers::{Register, cqb, cqcsr, cqh, cqt, fqb, fqcsr, fqh, fqt};

impl Rig {
    /// Gives the design queues of `1 << log2` entries (not more than it accepts), and turns them on.
    ///
    /// # Panics
    /// If they do not turn on.
    pub fn start_queues(&mut self, command_log2: u32, fault_log2: u32) {
        let command_log2 = command_log2.min(self.design.command_log2_max);
        let fault_log2 = fault_log2.min(self.design.fault_log2_max);
        self.commands = self.start_queue((&cqb::REG, &cqcsr::REG, cqcsr::CQON), command_log2, 16);
        self.faults = self.start_queue((&fqb::REG, &fqcsr::REG, fqcsr::FQON), fault_log2, 32);
        let end = self.faults.base + 32 * self.faults.entries();
        self.allow_writes(self.faults.base..end);
    }

    fn start_queue(
        &mut self,
        (base, csr, on): (&Register, &Register, Field),
        log2: u32,
        entry: u64,
    ) -> Queue {
        let queue = Queue { base: self.pages((entry << log2).div_ceil(4096)), log2, index: 0 };
        // Enable is bit 0 of each control register, the size and the page number have the same place in each base.
        self.write(base, cqb::LOG2SZ_1.of(u64::from(log2) - 1) | cqb::PPN.of(queue.base >> 12));
        self.write(csr, 1);
        self.poll(csr, |value| on.is_set(value));
        queue
    }

    /// Puts a command into the queue, in raw form, without waiting for it.
    ///
    /// # Panics
    /// If the queue stays full.
    pub fn push_raw(&mut self, command: [u64; 2]) {
        let next = self.commands.after(self.commands.index);
        self.poll(&cqh::REG, |head| head != next);
        let at = self.commands.base + 16 * self.commands.index;
        self.store(at, command[0]);
        self.store(at + 8, command[1]);
        self.commands.index = next;
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
    pub fn drain_commands(&mut self) -> Result<(), u64> {
        let tail = self.commands.index;
        for _ in 0..20_000 {
            if self.read(&cqh::REG) == tail {
                return Ok(());
            }
            let state = self.read(&cqcsr::REG);
            if cqcsr::CQMF.is_set(state) || cqcsr::CMD_ILL.is_set(state) || cqcsr::CMD_TO.is_set(state) {
                return Err(state);
            }
        }
        panic!("the command queue does not finish: cqh is not {tail} (cycle {})", self.now());
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
        while self.faults.index != tail {
            let at = self.faults.base + 32 * self.faults.index;
            records.push([0, 8, 16, 24].map(|offset| self.load(at + offset)));
            self.faults.index = self.faults.after(self.faults.index);
        }
        self.write(&fqh::REG, self.faults.index);
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
