//! The command queue. (Section "Command-Queue (CQ)"; extensions "Non-leaf PTE Invalidation" and "Address Range Invalidation".)

use pasidon_spec::command::{Command, Store, Support, func3, header, opcode};
use pasidon_spec::ddt::{device_id_bits, iommu_mode};
use pasidon_spec::message::{InvalidationRequest, PageRequestGroupResponse};
use pasidon_spec::pdt::process_id_bits;
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::{capabilities as cap, cqcsr, ddtp, fctl};

use std::collections::VecDeque;

use super::{Golden, Memory};
use pasidon_spec::message::{InvalidationCompletion, Message};

/// An ATS invalidation request that a device has not answered.
#[derive(Clone, Copy, Debug)]
struct Flight {
    rid: u16,
    dseg: Option<u8>,
    /// Completions received.
    answers: u8,
    /// Clock cycles since it was sent.
    age: u64,
}

/// What the queue remembers besides its registers.
#[derive(Clone, Debug, Default)]
pub(super) struct Commands {
    /// The invalidation requests in flight, by itag.
    flights: [Option<Flight>; 32],
    /// An invalidation request timed out, and no IOFENCE.C has said so.
    timed_out: bool,
    /// The command at `cqh`, fetched, which waits for a device.
    waiting: Option<Command>,
    /// The tags of the next requests, where they are not chosen here.
    given: Option<VecDeque<u8>>,
}

/// How far a command got.
enum Progress {
    Complete,
    /// It waits for an answer to invalidation requests in flight.
    Waits,
    /// An error bit stops the queue.
    Stopped,
}

impl Commands {
    /// Section "IOMMU PCIe ATS commands": a device answered. Says whether the answer is one to requests in flight.
    pub fn complete_invalidation(&mut self, completion: &InvalidationCompletion) -> bool {
        let named = |itag: usize| completion.itags >> itag & 1 == 1;
        let expected = (0..self.flights.len()).filter(|&itag| named(itag)).all(|itag| {
            self.flights[itag].is_some_and(|flight| {
                // A completion without a segment is one of segment 0.
                let segment = completion.dseg.unwrap_or(0);
                flight.rid == completion.rid && flight.dseg.is_none_or(|dseg| dseg == segment)
            })
        });
        if !expected || completion.itags == 0 {
            return false;
        }
        for itag in 0..self.flights.len() {
            if let (true, Some(flight)) = (named(itag), &mut self.flights[itag]) {
                flight.answers = (flight.answers + 1) & 7;
                if flight.answers == completion.count & 7 {
                    self.flights[itag] = None;
                }
            }
        }
        true
    }

    /// The requests with these itags are not answered in time.
    pub fn time_out(&mut self, itags: u32) {
        for (itag, flight) in self.flights.iter_mut().enumerate() {
            if itags >> itag & 1 == 1 && flight.take().is_some() {
                self.timed_out = true;
            }
        }
    }

    /// Lets clock cycles pass: what has waited for `limit` of them has timed out.
    pub fn grow_old(&mut self, cycles: u64, limit: u64) {
        let mut late = 0;
        for (itag, flight) in self.flights.iter_mut().enumerate() {
            if let Some(flight) = flight {
                flight.age = flight.age.saturating_add(cycles);
                late |= u32::from(flight.age >= limit) << itag;
            }
        }
        self.time_out(late);
    }

    /// Clock cycles until the next request times out under this limit, if there is one.
    pub fn until_timeout(&self, limit: u64) -> Option<u64> {
        self.flights.iter().flatten().map(|flight| limit.saturating_sub(flight.age)).min()
    }

    /// Whether itags are given.
    pub fn follows_itags(&self) -> bool {
        self.given.is_some()
    }

    /// The tag of the next request, if there is one.
    fn next_tag(&mut self, most: usize) -> Option<usize> {
        let flights = &self.flights[..most];
        let Some(given) = &mut self.given else { return flights.iter().position(Option::is_none) };
        let tag = usize::from(*given.front()?);
        if flights.get(tag)?.is_some() {
            return None;
        }
        given.pop_front();
        Some(tag)
    }

    /// The queue was turned off or on: nothing waits.
    pub fn restart(&mut self) {
        self.waiting = None;
    }
}

impl Golden {
    /// Executes commands until the queue is empty, stopped, or waits. Says whether anything was done.
    pub(super) fn execute_commands(&mut self, memory: &mut impl Memory) -> bool {
        let mut progress = false;
        loop {
            let csr = self.registers.cqcsr;
            let stopped = [cqcsr::CQMF, cqcsr::CMD_TO, cqcsr::CMD_ILL].iter().any(|bit| bit.is_set(csr));
            let on = cqcsr::CQEN.is_set(csr) && cqcsr::CQON.is_set(csr);
            if !on || stopped || self.registers.cqh == self.registers.cqt {
                return progress;
            }
            let command = match self.commands.waiting.take() {
                Some(command) => command,
                None => match self.fetch_command(memory) {
                    Ok(command) => command,
                    Err(error) => {
                        self.registers.cqcsr |= error;
                        self.update_interrupts();
                        return true;
                    }
                },
            };
            match self.execute(memory, command) {
                Progress::Complete => {
                    self.registers.cqh = Queue::commands(self.registers.cqb).next(self.registers.cqh);
                    progress = true;
                }
                Progress::Waits => {
                    self.commands.waiting = Some(command);
                    return progress;
                }
                Progress::Stopped => {
                    self.update_interrupts();
                    return true;
                }
            }
        }
    }

    /// The command at `cqh`; or the bit of `cqcsr` that says what is wrong with it.
    fn fetch_command(&self, memory: &mut impl Memory) -> Result<Command, u64> {
        let at = Queue::commands(self.registers.cqb).entry(self.registers.cqh);
        let port = self.port(self.big_endian());
        let dwords: [u64; 2] = port.read_words(memory, at).map_err(|_| cqcsr::CQMF.mask())?;
        let command = Command::decode_for(dwords, self.support()).map_err(|_| cqcsr::CMD_ILL.mask())?;
        let gvma = header::OPCODE.get(dwords[0]) == opcode::IOTINVAL
            && header::FUNC3.get(dwords[0]) == func3::IOTINVAL_GVMA;
        if gvma && self.parameters.gvma_needs_second_stage && !self.has_second_stage() {
            return Err(cqcsr::CMD_ILL.mask());
        }
        Ok(command)
    }

    fn has_second_stage(&self) -> bool {
        [cap::SV32X4, cap::SV39X4, cap::SV48X4, cap::SV57X4].into_iter().any(|mode| self.has(mode))
    }

    /// What decides whether a command is legal. Without a directory there is no narrower limit on a device_id than its field.
    fn support(&self) -> Support {
        let levels = iommu_mode::levels(ddtp::IOMMU_MODE.get(self.registers.ddtp)).unwrap_or(3);
        let directory_levels = if self.has(cap::PD20) {
            3
        } else if self.has(cap::PD17) {
            2
        } else {
            1
        };
        let has_directory = [cap::PD8, cap::PD17, cap::PD20].into_iter().any(|mode| self.has(mode));
        Support {
            non_leaf: self.has(cap::NL),
            range: self.has(cap::S),
            ats: self.has(cap::ATS),
            wsi: fctl::WSI.is_set(self.registers.fctl),
            device_id_bits: device_id_bits(self.has(cap::MSI_FLAT), levels),
            process_id_bits: if has_directory { process_id_bits(directory_levels) } else { 0 },
        }
    }

    fn execute(&mut self, memory: &mut impl Memory, command: Command) -> Progress {
        match command {
            Command::IotinvalVma { gscid, pscid, range } => self.cache.invalidate_vma(gscid, pscid, range),
            Command::IotinvalGvma { guest } => self.cache.invalidate_gvma(guest),
            Command::IodirInvalDdt { did } => self.cache.invalidate_device(did),
            Command::IodirInvalPdt { did, pid } => self.cache.invalidate_process(did, pid),
            // Everything that devices did before is in memory already: nothing in the model is in flight.
            Command::IofenceC { wsi, store, .. } => return self.fence(memory, wsi, store),
            Command::AtsInval { pid, dseg, rid, payload } => {
                return self.send_invalidation(pid, dseg, rid, payload);
            }
            Command::AtsPrgr { pid, dseg, rid, payload } => {
                let body = PageRequestGroupResponse::decode(payload);
                self.messages.push(Message::GroupResponse { rid, dseg, pid, body });
            }
        }
        Progress::Complete
    }

    /// Section "IOMMU Command-queue Fence commands".
    fn fence(&mut self, memory: &mut impl Memory, wsi: bool, store: Option<Store>) -> Progress {
        if self.commands.flights.iter().any(Option::is_some) {
            return Progress::Waits;
        }
        if std::mem::take(&mut self.commands.timed_out) {
            self.registers.cqcsr |= cqcsr::CMD_TO.mask();
            return Progress::Stopped;
        }
        if let Some(Store { address, data }) = store
            && self.port(self.big_endian()).write(memory, address, 4, data.into()).is_err()
        {
            self.registers.cqcsr |= cqcsr::CQMF.mask();
            return Progress::Stopped;
        }
        if wsi {
            self.registers.cqcsr |= cqcsr::FENCE_W_IP.mask();
            self.update_interrupts();
        }
        Progress::Complete
    }

    /// From now on, requests have the itags that another implementation gave them, in the order of [`Golden::give_itag`]; a request waits
    /// for its own. Which of the free ones is taken, and when, is open.
    pub fn follow_itags(&mut self) {
        self.commands.given = Some(VecDeque::new());
    }

    /// The itag of a request that the implementation sent.
    pub fn give_itag(&mut self, itag: u8) {
        if let Some(given) = &mut self.commands.given {
            given.push_back(itag);
        }
    }

    /// ATS.INVAL: sent under the lowest free itag; waits if there is none.
    fn send_invalidation(&mut self, pid: Option<u32>, dseg: Option<u8>, rid: u16, payload: u64) -> Progress {
        let most = usize::from(self.parameters.invalidations_in_flight.clamp(1, 32));
        let Some(itag) = self.commands.next_tag(most) else { return Progress::Waits };
        self.commands.flights[itag] = Some(Flight { rid, dseg, answers: 0, age: 0 });
        let body = InvalidationRequest::decode(payload);
        self.messages.push(Message::Invalidation { rid, dseg, pid, itag: itag as u8, body });
        Progress::Complete
    }
}
