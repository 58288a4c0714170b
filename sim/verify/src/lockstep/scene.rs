//! A scene: devices, processes, guests and all their tables, and how they are to be reached and invalidated.

mod corrupt;
mod directories;
mod stages;

pub(super) use corrupt::{broken, flipped};

use super::tables::{Guest, Meaning, Tables, chance};
use pasidon_cosim::Random;
use pasidon_rtl::design::Design;
use pasidon_rtl::regs::capabilities;
use pasidon_spec::command::Command;
use pasidon_spec::field::Field;
use pasidon_spec::page_table::Geometry;
use pasidon_spec::registers::{capabilities as cap, fctl, igs};

/// A first-stage address space.
struct Space {
    guest: Option<usize>,
    sxl: bool,
    big: bool,
    updates: bool,
    /// `None`: Bare.
    geometry: Option<&'static Geometry>,
    root: u64,
    pscid: u32,
    iovas: Vec<u64>,
}

/// A way for requests to go.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) did: u32,
    pub(super) pid: Option<u32>,
    /// Addresses that something is mapped at, or was meant to be.
    pub(super) iovas: Vec<u64>,
    /// Index into [`Scene::names`].
    pub(super) tag: u16,
    pub(super) guest: Option<usize>,
    /// Of its first stage.
    pub(super) pscid: u32,
    pub(super) ats: Ats,
}

/// What a device may do with ATS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ats {
    /// Nothing.
    Off,
    /// It gets supervisor physical addresses.
    On,
    /// It gets guest physical addresses; some that mean something.
    Guest(Vec<u64>),
}

/// A page-table leaf that may be changed, and the command that covers the change.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) meaning: Meaning,
    pub(super) commands: Vec<Command>,
    /// An address that it maps: of a first stage, or of the guest whose second stage it is part of.
    pub(super) iova: u64,
}

/// Everything that is in memory at the start of a round, and what is known of it.
pub(super) struct Scene {
    pub(super) tables: Tables,
    pub(super) ddtp: u64,
    pub(super) fctl: u64,
    pub(super) routes: Vec<Route>,
    pub(super) leaves: Vec<Leaf>,
    /// Names of routes for coverage: first-stage mode, second-stage mode.
    pub(super) names: Vec<String>,
    /// Some context has A and D bits updated by hardware.
    pub(super) updates: bool,
    pub(super) devices: Vec<u32>,
    pub(super) contexts: Vec<Owned>,
    /// What is wrong on purpose.
    pub(super) broken: bool,
    /// Which contexts are.
    pub(super) checks: Vec<Check>,
}

/// A device context or process context.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owned {
    /// Of its first doubleword.
    pub(super) address: u64,
    pub(super) did: u32,
    /// Of a process context.
    pub(super) pid: Option<u32>,
}

/// A context that was changed in one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The device whose context it is, or to which the process belongs.
    pub(super) did: u32,
    /// A process context.
    pub(super) process: bool,
    /// Doubleword and field.
    pub(super) name: String,
}

struct Builder<'a> {
    design: &'a Design,
    caps: u64,
    random: &'a mut Random,
    tables: Tables,
    spaces: Vec<Space>,
    gxl: bool,
    routes: Vec<Route>,
    leaves: Vec<Leaf>,
    names: Vec<String>,
    devices: Vec<u32>,
    updates: bool,
    contexts: Vec<Owned>,
    checks: Vec<Check>,
}

/// Builds a scene.
pub(super) fn build(design: &Design, random: &mut Random) -> Scene {
    let caps = capabilities(design);
    let has = |field: Field| field.is_set(caps);
    let big = has(cap::END) && chance(random, 40);
    let gxl = has(cap::SV32X4) && chance(random, 25);
    let tables = Tables::new(design, big, random);
    let mut builder = Builder {
        design,
        caps,
        random,
        tables,
        spaces: Vec::new(),
        gxl,
        routes: Vec::new(),
        leaves: Vec::new(),
        names: Vec::new(),
        devices: Vec::new(),
        updates: false,
        contexts: Vec::new(),
        checks: Vec::new(),
    };
    builder.guests();
    let ddtp = builder.directory();
    let wsi = match cap::IGS.get(caps) {
        igs::WSI => 1,
        igs::MSI => 0,
        _ => builder.random.below(2),
    };
    let fctl = fctl::BE.of(big.into()) | fctl::GXL.of(gxl.into()) | fctl::WSI.of(wsi);
    let broken = builder.corrupt();
    let Builder { tables, routes, leaves, names, updates, devices, contexts, checks, .. } = builder;
    Scene { tables, ddtp, fctl, routes, leaves, names, updates, devices, contexts, broken, checks }
}

/// A short number is as likely as a long one.
pub(super) fn id(random: &mut Random, width: u32) -> u32 {
    let width = 1 + random.below(width.into());
    (random.word() & ((1 << width) - 1)) as u32
}

impl Builder<'_> {
    fn has(&self, field: Field) -> bool {
        field.is_set(self.caps)
    }

    fn chance(&mut self, percent: u64) -> bool {
        chance(self.random, percent)
    }
}

/// Commands that reach everything that a cache may hold for these guests.
pub(super) fn everything(guests: &[Guest]) -> Vec<Command> {
    let mut commands = vec![
        Command::IodirInvalDdt { did: None },
        Command::IotinvalVma { gscid: None, pscid: None, range: None },
        Command::IotinvalGvma { guest: None },
    ];
    commands.extend(guests.iter().map(|g| Command::IotinvalVma {
        gscid: Some(g.gscid),
        pscid: None,
        range: None,
    }));
    commands
}
