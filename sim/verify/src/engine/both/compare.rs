//! What is compared when the hardware is at rest: messages, watched registers, memory, wires.

use super::{Both, MOST_TRIES};
use crate::engine::difference::{DifferenceKind, Fields, hex};
use crate::engine::{Engine, EngineError};
use pasidon_spec::fault;
use pasidon_spec::page_request;
use pasidon_spec::registers::{cqcsr, cqh, fqh, fqt, ipsr, pqh, pqt};

/// Registers that every comparison looks at, as pairs of 4 bytes: heads and tails, queue control, pending interrupts.
const WATCHED: [(u16, &str); 5] = [
    (cqh::REG.offset, "cqh, cqt"),
    (fqh::REG.offset, "fqh, fqt"),
    (pqh::REG.offset, "pqh, pqt"),
    (cqcsr::REG.offset, "cqcsr, fqcsr"),
    (ipsr::REG.offset & !7, "pqcsr, ipsr"),
];

impl Both {
    pub(super) fn compare(&mut self) -> Result<(), EngineError> {
        self.compare_messages()?;
        self.compare_watched()?;
        self.compare_memory()?;
        let (rtl, golden) = (self.rtl.wires(), self.model.wires());
        let mut fields = Fields::new();
        fields.compare("irq", rtl.into(), golden.into(), hex);
        self.differ(fields, DifferenceKind::Wire, || "at rest".into())
    }

    pub(super) fn differ(
        &self,
        fields: Fields,
        kind: DifferenceKind,
        place: impl Fn() -> String,
    ) -> Result<(), EngineError> {
        let difference = fields.into_difference(kind, place());
        if difference.fields.is_empty() { Ok(()) } else { Err(EngineError::Different(difference)) }
    }

    fn compare_watched(&mut self) -> Result<(), EngineError> {
        for (offset, name) in WATCHED {
            let (rtl, golden) = (self.rtl.read_register(offset, 8)?, self.model.read_register(offset, 8)?);
            let mut fields = Fields::new();
            fields.compare(name, rtl, golden, hex);
            self.differ(fields, DifferenceKind::Register, || format!("offset {offset:#x}"))?;
        }
        Ok(())
    }

    /// Reads a register of both, and compares.
    ///
    /// # Errors
    /// [`EngineError::Different`]; others if the hardware fails.
    pub fn compare_register(&mut self, offset: u16, bytes: u8, name: &str) -> Result<u64, EngineError> {
        let mut tries = MOST_TRIES;
        let (rtl, golden) = loop {
            let (rtl, golden) =
                (self.rtl.read_register(offset, bytes)?, self.model.read_register(offset, bytes)?);
            tries -= 1;
            if rtl == golden || tries == 0 || self.rtl.messages_are_quiet() {
                break (rtl, golden);
            }
            // What timed out meanwhile has made commands of the hardware go on.
            self.settle()?;
        };
        let mut fields = Fields::new();
        fields.compare(name, rtl, golden, hex);
        self.differ(fields, DifferenceKind::Register, || format!("offset {offset:#x}, {bytes} bytes"))?;
        Ok(rtl)
    }

    /// Every doubleword that either of the two wrote holds the same in both memories.
    fn compare_memory(&mut self) -> Result<(), EngineError> {
        let mut addresses = std::mem::take(&mut self.rtl.memory_mut().written);
        addresses.append(&mut self.model.memory_mut().written);
        // What a record that could not be stored has left in its place is unspecified.
        let tail = self.golden_register(&fqt::REG);
        let place = self.fault_queue().entry(tail);
        let place = place..place + fault::RECORD_BYTES;
        let tail = self.golden_register(&pqt::REG);
        let request = self.page_request_queue().entry(tail);
        let request = request..request + page_request::RECORD_BYTES;
        for &address in &addresses {
            let (rtl, golden) = (self.rtl.memory_mut().load(address), self.load(address));
            if rtl != golden && !place.contains(&address) && !request.contains(&address) {
                self.rtl.memory_mut().written = addresses;
                let mut fields = Fields::new();
                fields.compare("doubleword", rtl.unwrap_or(0), golden.unwrap_or(0), hex);
                return self.differ(fields, DifferenceKind::Memory, || format!("address {address:#x}"));
            }
        }
        Ok(())
    }
}
