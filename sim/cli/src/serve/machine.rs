//! The engine behind a session: the hardware, the golden model, or both in lockstep.

use pasidon_cosim::verilated::{Cache, Flavour};
use pasidon_cosim::{Extent, Pace};
use pasidon_golden::Parameters;
use pasidon_rtl::design::Design;
use pasidon_spec::command::Command;
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::{capabilities as cap, cqb, cqh, fctl};
use pasidon_verify::engine::{self, Both, Engine, EngineError, EngineMemory, Rtl};

/// Which description answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// The golden model, with ATS and page requests, whatever the design has of them.
    Model,
    /// The verilated hardware.
    Rtl,
    /// Both, compared.
    Both,
}

impl EngineKind {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Model => "model",
            EngineKind::Rtl => "rtl",
            EngineKind::Both => "both",
        }
    }
}

/// Parts of what the IOMMU remembers that commands have made it forget since memory last changed.
#[derive(Clone, Copy, Default)]
struct Forgotten {
    directory: bool,
    translations: bool,
    guests: bool,
}

/// An engine, and what only one kind of it needs.
pub(super) struct Machine {
    kind: EngineKind,
    engine: Inner,
    /// Requests were made since everything was last forgotten: the hardware may remember what memory held before.
    asked: bool,
    forgotten: Forgotten,
}

// One of them exists per process: their sizes do not matter.
#[allow(clippy::large_enum_variant)]
enum Inner {
    Model(engine::Model),
    Rtl(Rtl),
    Both(Both),
}

impl Machine {
    pub fn new(
        design: &Design,
        cache: &Cache,
        kind: EngineKind,
        latency: u32,
    ) -> Result<Machine, EngineError> {
        let memory = || EngineMemory::sparse(Extent::Everywhere { width: design.pas });
        let rtl = || Rtl::new(design, cache, Flavour::Fast, memory(), Pace::even(latency));
        let parameters = engine::parameters(design);
        let ports = design.ports as usize;
        let engine = match kind {
            EngineKind::Model => {
                let capabilities = parameters.capabilities | cap::ATS.mask();
                let invalidation_timeout = Some(design.ats_timeout.into());
                let parameters = Parameters { capabilities, invalidation_timeout, ..parameters };
                Inner::Model(engine::Model::new(parameters, ports, memory()))
            }
            EngineKind::Rtl => Inner::Rtl(rtl()?),
            EngineKind::Both => {
                let mut both = Both::new(rtl()?, engine::Model::new(parameters, ports, memory()));
                both.allow_any_software();
                Inner::Both(both)
            }
        };
        Ok(Machine { kind, engine, asked: false, forgotten: Forgotten::default() })
    }

    /// The hardware's memory, in lockstep.
    #[cfg(test)]
    pub fn rtl_memory(&mut self) -> &mut EngineMemory {
        match &mut self.engine {
            Inner::Both(both) => both.rtl().memory_mut(),
            _ => panic!("only in lockstep are there two"),
        }
    }

    pub fn kind(&self) -> EngineKind {
        self.kind
    }

    pub fn engine(&mut self) -> &mut dyn Engine {
        match &mut self.engine {
            Inner::Model(engine) => engine,
            Inner::Rtl(engine) => engine,
            Inner::Both(engine) => engine,
        }
    }

    /// Requests are about to be made.
    pub fn asks(&mut self) {
        self.asked = true;
    }

    /// EngineMemory, or what fails in it, has changed. What was never asked for is not remembered.
    pub fn changed(&mut self) {
        self.forgotten = Forgotten::default();
        if !self.asked {
            self.forget();
        }
    }

    pub fn reset(&mut self) -> Result<(), EngineError> {
        self.engine().reset()?;
        self.forget();
        Ok(())
    }

    fn forget(&mut self) {
        self.asked = false;
        self.forgotten = Forgotten::default();
        if let Inner::Both(both) = &mut self.engine {
            both.forget_all();
        }
    }

    /// Addresses of the doublewords that the IOMMU wrote since the last call; `None` if they are not known.
    pub fn written(&mut self) -> Option<Vec<u64>> {
        match &mut self.engine {
            Inner::Model(model) => Some(std::mem::take(&mut model.memory_mut().written)),
            Inner::Rtl(rtl) => Some(std::mem::take(&mut rtl.memory_mut().written)),
            Inner::Both(_) => None,
        }
    }

    /// Writes a register. In lockstep, commands that make the IOMMU forget all that it remembers also end what the hardware may
    /// still answer from before.
    pub fn write_register(&mut self, offset: u16, bytes: u8, value: u64) -> Result<(), EngineError> {
        let Inner::Both(both) = &mut self.engine else {
            return self.engine().write_register(offset, bytes, value);
        };
        let head = both.model().read_register(cqh::REG.offset, 4)?;
        both.write_register(offset, bytes, value)?;
        both.model().run();
        let end = both.model().read_register(cqh::REG.offset, 4)?;
        let queue = Queue::commands(both.model().read_register(cqb::REG.offset, 8)?);
        let swapped = fctl::BE.is_set(both.model().read_register(fctl::REG.offset, 4)?);
        let mut commands = Vec::new();
        let mut index = queue.wrap(head);
        while index != queue.wrap(end) {
            let word = |both: &mut Both, i: u64| {
                let word = both.load(queue.entry(index) + 8 * i).unwrap_or(0);
                if swapped { word.swap_bytes() } else { word }
            };
            commands.push([word(both, 0), word(both, 1)]);
            index = queue.next(index);
        }
        let guests = both.model().golden_mut().parameters().capabilities;
        let guests = [cap::SV32X4, cap::SV39X4, cap::SV48X4, cap::SV57X4].iter().any(|f| f.is_set(guests));
        for command in commands {
            match Command::decode(command) {
                Ok(Command::IodirInvalDdt { did: None }) => self.forgotten.directory = true,
                Ok(Command::IotinvalVma { gscid: None, pscid: None, range: None }) => {
                    self.forgotten.translations = true;
                }
                Ok(Command::IotinvalGvma { guest: None }) => self.forgotten.guests = true,
                Ok(Command::IofenceC { .. }) => {
                    let Forgotten { directory, translations, guests: done } = self.forgotten;
                    if directory && translations && (done || !guests) {
                        self.forget();
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
