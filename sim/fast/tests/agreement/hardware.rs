//! The hardware with tables in its memory, and requests one at a time.

use pasidon_cosim::axi_checker::Rules;
use pasidon_cosim::{
    Bench, Cache, Clocked, Extent, Flavour, Pace, Random, Sparse, TranslationPort, Verilated,
};
use pasidon_experiment::Counts;
use pasidon_fast::memory::Structure;
use pasidon_fast::pages::need;
use pasidon_fast::tables::Tables;
use pasidon_rtl::design::Design;
use pasidon_spec::registers::ddtp;
use pasidon_spec::request::{Request, Response};

/// A request to a port.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub port: usize,
    pub device_id: u32,
    pub process_id: u32,
    pub address: u64,
    pub bytes: u32,
    pub need: u8,
}

pub struct Hardware {
    bench: Bench<Sparse>,
    ports: Vec<TranslationPort<()>>,
    random: Random,
    events: [u64; 3],
}

/// Cycles after which an answer will never come.
const PATIENCE: u64 = 20_000;

impl Hardware {
    pub fn new(design: &Design, tables: &Tables, seed: u64) -> Hardware {
        let generated = pasidon_rtl::generate(design).expect("emits");
        let cache = Cache::in_workspace().quiet();
        let model = Verilated::load(&generated, &design.name, &cache, Flavour::Quick);
        let model = model.unwrap_or_else(|error| panic!("{error}"));
        let mut random = Random::new(seed);
        let mut memory = Sparse::new(Extent::Everywhere { width: design.pas });
        tables.memory.image().for_each(|(address, word)| assert!(memory.store(address, word)));
        let mut bench = Bench::new(model, memory, Pace::even(3), Rules::of(design), random.word());
        bench.memory_port.record = true;
        let ports = (0..design.ports).map(|_| TranslationPort::new(design, &mut random)).collect();
        let mut hardware = Hardware { bench, ports, random, events: [0; 3] };
        // The L2 TLB sweeps its sets first.
        (0..design.l2_sets + 10).for_each(|_| hardware.clock());
        let (mode, root) = tables.directory();
        let value = ddtp::IOMMU_MODE.of(mode) | ddtp::PPN.of(root >> 12);
        let stored = hardware.store_register(ddtp::REG.offset, ddtp::REG.bytes, value);
        stored.unwrap_or_else(|error| panic!("{error}"));
        (0..50).for_each(|_| hardware.clock());
        hardware.events = [0; 3];
        hardware.bench.memory_port.recorded_reads.clear();
        hardware
    }

    /// One cycle; an answer that comes in it.
    fn cycle(&mut self) -> Option<Response> {
        let mut came = None;
        let Hardware { bench, ports, events, .. } = self;
        bench.cycle(|now, out, input, _| {
            input.drain_ready = 1;
            for (port, place) in ports.iter_mut().enumerate() {
                let answer = place.response(now, &out.req[port], &mut input.req[port], true);
                came = came.or(answer.unwrap_or_else(|what| panic!("{what}")).map(|answer| answer.response));
                place.request(&out.req[port], &mut input.req[port]);
            }
            for (sum, strobes) in events.iter_mut().zip([out.ev_lookup, out.ev_hit, out.ev_walk]) {
                *sum += u64::from(strobes.count_ones());
            }
        });
        came
    }

    /// Asks, and waits for the answer and for all that follows it.
    pub fn ask(&mut self, ask: &Ask) -> Response {
        let request = Request {
            device_id: ask.device_id,
            process_id: Some(ask.process_id),
            write: ask.need == need::WRITE,
            exec: ask.need == need::EXEC,
            iova: ask.address,
            ..Request::default()
        };
        let now = self.bench.now();
        let input = &mut self.bench.verilated.input.req[ask.port];
        self.ports[ask.port].offer(now, (), &request, input, &mut self.random);
        for _ in 0..PATIENCE {
            if let Some(response) = self.cycle() {
                (0..12).for_each(|_| assert!(self.cycle().is_none()));
                self.bench.check().unwrap_or_else(|error| panic!("{error}"));
                return response;
            }
        }
        panic!("no answer to {ask:x?}");
    }

    /// What can be seen from outside. What each read was for, its address says.
    pub fn counts(&self, design: &Design, tables: &Tables) -> Counts {
        let mut counts = Counts::default();
        let [lookups, hits, walks] = self.events;
        (counts.l1.lookups, counts.l1.hits, counts.walks) = (lookups, hits, walks);
        // Whatever L1 can't answer, dispatch looks up everywhere.
        let misses = lookups - hits;
        (counts.ddtc.lookups, counts.pdtc.lookups) = (misses, misses);
        if design.has_l2() {
            (counts.l2.lookups, counts.l2.hits) = (misses, misses - walks);
        }
        for read in &self.bench.memory_port.recorded_reads {
            match tables.memory.structure(read.address) {
                Some(Structure::Ddt(level)) => counts.reads.ddt[usize::from(level)] += 1,
                Some(Structure::Pdt(level)) => counts.reads.pdt[usize::from(level)] += 1,
                Some(Structure::FirstStage(level)) => counts.reads.first_stage[usize::from(level)] += 1,
                None => counts.reads.other += 1,
            }
        }
        (counts.ddtc.fills, counts.pdtc.fills) = (counts.reads.ddt[0], counts.reads.pdt[0]);
        counts
    }
}

impl Clocked for Hardware {
    type Memory = Sparse;

    fn bench(&mut self) -> &mut Bench<Sparse> {
        &mut self.bench
    }

    fn clock(&mut self) {
        self.cycle();
    }
}
