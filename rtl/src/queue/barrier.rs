//! The barrier between translations and what software asked for.
//!
//! An IOFENCE.C and a change of `ddtp.iommu_mode` both wait until every translation in flight has left, and then, if asked
//! (a mode change always asks), until the data path outside has committed the reads and writes that were translated before.
//! One request is served at a time, a mode change first. Each step is a valid/ready handshake; a barrier that has nothing to
//! wait for takes 3 cycles, 4 with a drain. (Sections "IOMMU Command-queue Fence commands" and "Device-directory-table
//! pointer".)

use std::rc::Rc;

use pasidon_hdl::{Module, header, labels, lit, names};

labels! {
    /// What is waited for
    pub mod state {
        IDLE,
        FENCE,
        DRAIN,
        DONE,
    }
}

/// The barrier.
#[names]
pub fn barrier() -> Rc<Module> {
    let mut m = Module::new("barrier", &header(include_str!("barrier.rs")));
    let state = m.reg("state", state::WIDTH, state::IDLE);
    let of_mode = m.reg_data("of_mode", 1);

    m.section("From the command queue: hold valid until ready; previous reads, previous writes");
    let cq_valid = m.input("cq_valid", 1);
    let cq_pr = m.input("cq_pr", 1);
    let cq_pw = m.input("cq_pw", 1);
    m.output("cq_ready", state.is(state::DONE) & !of_mode);
    m.section("From the registers, when ddtp was written: hold valid until ready");
    let ddtp_valid = m.input("ddtp_valid", 1);
    m.output("ddtp_ready", state.is(state::DONE) & of_mode);
    m.section("To the translation side: ready when all that was pending at the rise of valid has left");
    m.output("fence_valid", state.is(state::FENCE));
    let fence_ready = m.input("fence_ready", 1);
    m.section(
        "To the data path: ready when the reads (pr) or writes (pw) translated earlier are globally observed",
    );
    m.output("drain_valid", state.is(state::DRAIN));
    m.output("drain_pr", of_mode | cq_pr);
    m.output("drain_pw", of_mode | cq_pw);
    let drain_ready = m.input("drain_ready", 1);

    m.switch(state, |m, s| {
        s.case(m, state::IDLE, |m| {
            m.set(of_mode, ddtp_valid);
            m.when(ddtp_valid | cq_valid, |m| m.set(state, lit(state::FENCE, state::WIDTH)));
        });
        s.case(m, state::FENCE, |m| {
            let next = (of_mode | cq_pr | cq_pw)
                .mux(lit(state::DRAIN, state::WIDTH), lit(state::DONE, state::WIDTH));
            m.when(fence_ready, |m| m.set(state, next));
        });
        s.case(m, state::DRAIN, |m| m.when(drain_ready, |m| m.set(state, lit(state::DONE, state::WIDTH))));
        s.default(m, |m| m.set(state, lit(state::IDLE, state::WIDTH)));
    });
    m.build()
}
