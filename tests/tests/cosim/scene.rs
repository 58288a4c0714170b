//! One device with one process and one page, and the check that a request comes to exactly what it must.

use pasidon_spec::ddt::DeviceContext;
use pasidon_spec::fault::Cause;
use pasidon_spec::page_table::{Geometry, SV39};
use pasidon_spec::pdt::{ProcessContext, pc, pdtp_mode};
use pasidon_tests::oracle;
use pasidon_tests::tables::{bits, entry, pointer, process_dc, user_pc};
use pasidon_tests::{Query, QueryAnswer, Rig};

/// The device.
pub const DID: u32 = 0x15;
/// The process.
pub const PID: u32 = 0x2a;
/// Tag of its address space.
pub const PSCID: u32 = 0x5a5a5;
/// A page of it.
pub const VA: u64 = 0x12_3456_7000;

/// The device, with a process directory, a process context for user and supervisor, and a page with all permissions.
pub struct Scene {
    pub rig: Rig,
    pub geometry: &'static Geometry,
    /// `DC.fsc`.
    pub pdtp: u64,
    /// Root of the page table.
    pub root: u64,
    /// Where `VA` lies.
    pub frame: u64,
}

impl Scene {
    /// On the design `name`: a directory of `levels` levels, a process directory of mode `pdtp_mode`, a page table of this
    /// geometry.
    pub fn with(
        name: &str,
        latency: u32,
        levels: usize,
        pdtp_mode: u64,
        geometry: &'static Geometry,
    ) -> Scene {
        let mut rig = Rig::ready(name, latency, 7);
        rig.new_directory(levels);
        let pdtp = pointer(pdtp_mode, rig.page());
        let root = rig.page();
        let frame = rig.page();
        let mut scene = Scene { rig, geometry, pdtp, root, frame };
        scene.rig.set_dc(DID, process_dc(pdtp));
        scene.restore();
        scene
    }

    /// The smallest of everything, which every design has.
    pub fn new(name: &str) -> Scene {
        Scene::with(name, 1, 1, pdtp_mode::PD8, &SV39)
    }

    /// Device context, process context and page as they were at first; no failures.
    pub fn restore(&mut self) {
        self.rig.heal();
        self.rig.set_dc(DID, process_dc(self.pdtp));
        self.rig.set_pc(self.pdtp, PID, self.process_context());
        self.rig.map(self.geometry, self.root, VA, 0, entry(self.frame, bits::ALL));
    }

    /// The process context.
    pub fn process_context(&self) -> ProcessContext {
        let mut context = user_pc(pointer(self.geometry.mode, self.root), PSCID);
        context.ta |= pc::ta::ENS.of(1) | pc::ta::SUM.of(1);
        context
    }

    /// The device context.
    pub fn device_context(&self) -> DeviceContext {
        process_dc(self.pdtp)
    }

    /// A user-mode read of the page by the process.
    pub fn query(&self) -> Query {
        Query::read(DID, Some(PID), VA + 0x123)
    }

    /// Doublewords of a structure, as addresses.
    pub fn words(slot: u64, count: u64) -> Vec<u64> {
        (0..count).map(|i| slot + 8 * i).collect()
    }

    /// With `word` in place of what is at `at`, the process's read must fault with `cause`; then everything is as before.
    pub fn with_word(&mut self, what: &str, at: u64, word: u64, cause: Option<Cause>) {
        let before = self.rig.load(at);
        self.rig.store(at, word);
        let query = self.query();
        expect(&mut self.rig, what, query, cause);
        self.rig.store(at, before);
    }
}

/// From cold caches, `query` must fault with `cause` (`None`: must succeed), and there must be exactly the record that
/// is due, bit for bit.
pub fn expect(rig: &mut Rig, what: &str, query: Query, cause: Option<Cause>) -> QueryAnswer {
    rig.invalidate_all();
    check(rig, what, query, cause)
}

/// The same with caches as they are.
pub fn check(rig: &mut Rig, what: &str, query: Query, cause: Option<Cause>) -> QueryAnswer {
    let expected = rig.world().translate(&query);
    assert_eq!(
        expected.err().map(|fault| fault.cause),
        cause,
        "{what}: the oracle disagrees with the test about {query:x?}"
    );
    let port = rig.home.unwrap_or(rig.random.below(rig.design.ports.into()) as usize);
    let answer = rig.ask(port, query);
    rig.settle();
    let records = rig.records();
    match expected {
        Ok(page) => {
            assert_eq!((answer.status, answer.cause), (0, 0), "{what}: {answer:x?}");
            assert_eq!((answer.spa, answer.rwx, answer.size), (page.spa, page.rwx, page.size), "{what}");
            assert_eq!(records, [], "{what}");
        }
        Err(fault) => {
            let code = u64::from(fault.cause.code());
            let status = u64::from(!fault.withheld);
            assert_eq!((answer.status, answer.cause), (status, code), "{what}: {answer:x?}");
            assert_eq!(
                (answer.spa, answer.rwx),
                (0, (false, false, false)),
                "{what}: a fault gives nothing away"
            );
            let due: Vec<_> =
                fault.reported.then(|| oracle::record(&query, fault.cause)).into_iter().collect();
            assert_eq!(records, due, "{what}: fault records, found and due");
        }
    }
    answer
}
