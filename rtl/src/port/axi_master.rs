//! AXI4 master: shares one memory port between the walkers, the command queue and the writers of records and messages.
//!
//! Readers and writers take turns. A read is named by its reader's number in ARID and may complete in any order; each
//! reader has one read in flight. Writes go one after the other. Data are 64 bits; bursts are INCR and, since every table
//! entry is aligned to its size, never cross 4 KiB.
//!
//! In designs whose walkers write, writer `i` and reader `i` are one, and so are their AXI ids: an exclusive write (AWLOCK)
//! follows an exclusive read (ARLOCK) of the same address, size and id, and takes place (EXOKAY) if nobody has written there since.
//!
//! `rst` alone does not reset this block, since memory goes on with what it was asked. What is on offer stays on offer: an address and a
//! beat of a write stand in registers here, the address of a read in its reader's, which does not change it before it is taken. A
//! read that was under way is read to its end and its beats are dropped; until then its reader is `draining` and asks for nothing. A
//! write burst is finished, without strobes in the beats that were not yet on offer. `mem_rst` resets this block, together with the
//! memory side. Never: an address or a beat changes or is withdrawn while it waits; a beat that was asked for before `rst` reaches a
//! reader; a beat that comes on offer after `rst` writes for a writer of before.
//!
//! A writer shows the first beat with its address, and it is taken with it; the next is taken when the one before it has been sent.
//!
//! Latency: none on the read path: a granted address and an arriving beat pass in the same cycle. RRESP or BRESP other than
//! OKAY and EXOKAY is an access fault; `rpoison` marks a beat as corrupted.

use crate::translate::miss_table::round_robin;
use pasidon_hdl::{E, Module, any_of, cat, encode, header, hi, index_width, labels, lit, lo, names, onehot};
use std::rc::Rc;

/// Bits of AXI ids.
pub const AXI_ID_WIDTH: u32 = 5;

/// RRESP and BRESP of an exclusive access that is one.
const EXOKAY: u64 = 1;

labels! {
    /// What the write channels do
    pub mod write {
        IDLE,
        DATA,
        RESPONSE,
    }
}

/// What a writer says of its write.
const ADDRESS: [(&str, u32); 3] = [("addr", 64), ("len", 8), ("size", 3)];

/// A beat of it.
const BEAT: [(&str, u32); 2] = [("data", 64), ("strb", 8)];

/// The quality-of-service ids of an access.
const QUALITY: [(&str, u32); 2] = [("rcid", 12), ("mcid", 12)];

/// `iommu_qosid`, and as it was when no read was on offer: what is on offer does not follow it.
struct Quality {
    now: [E; 2],
    own: [E; 2],
}

impl Quality {
    fn new(m: &mut Module) -> Quality {
        m.section("iommu_qosid");
        Quality {
            now: QUALITY.map(|(name, width)| m.input(&format!("iommu_{name}"), width)),
            own: QUALITY.map(|(name, width)| m.reg_data(&format!("own_{name}"), width)),
        }
    }

    /// The ids of reader `i`: the device's that a walker walks for, unless its read is the IOMMU's own.
    fn of_reader(&self, m: &mut Module, i: u32, readers: u32) -> [E; 2] {
        if i + 1 == readers {
            return self.own;
        }
        let is_own = m.input(&format!("rd{i}_own"), 1);
        let device = QUALITY.map(|(name, width)| m.input(&format!("rd{i}_{name}"), width));
        [is_own.mux(self.own[0], device[0]), is_own.mux(self.own[1], device[1])]
    }

    /// Takes over `iommu_qosid` when `free` is 1.
    fn follow(&self, m: &mut Module, free: E) {
        m.when(free, |m| self.own.iter().zip(self.now).for_each(|(own, now)| m.set(*own, now)));
    }
}

/// Signal `index` of the one whose grant bit is 1.
fn chosen<const N: usize>(grant: &[E], signals: &[[E; N]], index: usize) -> E {
    onehot(&grant.iter().zip(signals).map(|(g, s)| (*g, s[index])).collect::<Vec<_>>())
}

/// The AXI4 master for `readers` readers, the last of which is the command queue, and `writers` writers, the first `exclusive` of each
/// of which may ask for exclusive accesses. With `qosid` walkers say what quality-of-service ids their accesses have; the others' are
/// `iommu_qosid`.
#[names]
pub fn axi_master(readers: u32, writers: u32, exclusive: u32, qosid: bool) -> Rc<Module> {
    let mut m = Module::new("axi_master", &header(include_str!("axi_master.rs")));
    m.section("Reset of the memory side");
    let mem_rst = m.input("mem_rst", 1);
    let rst = m.reset();

    let quality = qosid.then(|| Quality::new(&mut m));

    m.part("Reads");
    let mut valid = vec![];
    let mut address = vec![];
    let mut lock = vec![];
    let mut ids = vec![];
    for i in 0..readers {
        m.section(&format!("Reader {i}: address, beats - 1"));
        valid.push(m.input(&format!("rd{i}_valid"), 1));
        address.push([("addr", 64), ("len", 8)].map(|(n, w)| m.input(&format!("rd{i}_{n}"), w)));
        lock.extend((i < exclusive).then(|| m.input(&format!("rd{i}_lock"), 1)));
        ids.extend(quality.as_ref().map(|quality| quality.of_reader(&mut m, i, readers)));
    }
    m.section("AXI4 read address");
    let arready = m.input("arready", 1);
    // AXI forbids taking back or changing an address that has been offered: the grant stays until it is accepted.
    let offered = m.reg_kept("offered", 1);
    let locked = m.reg_data("locked", readers);
    // Reads that were accepted and have not ended; those of them, or offered, that began before `rst`.
    let open = m.reg_kept("open_reads", readers);
    let draining = m.reg_kept("draining", readers);
    let valid: Vec<E> = valid.iter().zip(draining.split()).map(|(v, d)| *v & !d).collect();
    let any = m.wire("any_read", offered | any_of(valid.iter().copied()));
    let free = round_robin(&mut m, "reader", &valid, any & arready & !offered);
    let grant: Vec<E> = free.iter().enumerate().map(|(i, g)| offered.mux(locked.bit(i as u32), *g)).collect();
    let bits: Vec<E> = grant.iter().rev().copied().collect();
    m.set(offered, any & !arready);
    m.set(locked, cat(&bits));
    if let Some(quality) = &quality {
        quality.follow(&mut m, !any | arready);
    }
    m.output("arvalid", any);
    let read = [
        m.output("araddr", chosen(&grant, &address, 0)),
        m.output("arlen", chosen(&grant, &address, 1)),
        encode(&grant, index_width(readers as usize)),
    ];
    m.held("read", any, arready, &read);
    let locks = |grant: &[E], lock: &[E]| any_of(grant.iter().zip(lock).map(|(g, l)| *g & *l));
    if exclusive > 0 {
        m.output("arlock", locks(&grant, &lock));
    }
    if qosid {
        QUALITY.iter().enumerate().for_each(|(i, (name, _))| {
            m.output(&format!("ar{name}"), chosen(&grant, &ids, i));
        });
    }
    m.output("arid", encode(&grant, index_width(readers as usize)).resize(AXI_ID_WIDTH));
    m.section("AXI4 read data");
    let rvalid = m.input("rvalid", 1);
    let rid = m.input("rid", AXI_ID_WIDTH);
    let rresp = m.input("rresp", 2);
    let rlast = m.input("rlast", 1);
    m.section("Reads accepted, beats that arrive; a read of before the reset has not ended");
    for (i, g) in grant.iter().enumerate() {
        let late = draining.bit(i as u32);
        m.output(&format!("rd{i}_ready"), *g & arready & !late);
        m.output(&format!("rd{i}_data_valid"), rvalid & rid.is(i as u64) & !late);
        m.output(&format!("rd{i}_draining"), late);
    }
    let arrived = (rvalid & rlast).gate(rid.decode(readers));
    let accepted = m.wire("accepted", arready.gate(cat(&bits)));
    let still_open = m.wire("still_open", (open & !arrived) | accepted);
    m.set(open, still_open);
    let on_offer = (any & !arready).gate(cat(&bits));
    m.set(draining, rst.mux(still_open | on_offer, draining & !arrived));
    if exclusive > 0 {
        m.output("rd_error", rresp.bit(1));
        m.output("rd_exclusive", rresp.is(EXOKAY));
    } else {
        m.output("rd_error", rresp.any());
    }

    m.part("Writes");
    let mut valid = vec![];
    let mut address = vec![];
    let mut beats = vec![];
    let mut lock = vec![];
    let mut ids = vec![];
    for i in 0..writers {
        m.section(&format!(
            "Writer {i}: address, beats - 1, log2 of bytes per beat; the beat that is taken next"
        ));
        valid.push(m.input(&format!("wr{i}_valid"), 1));
        address.push(ADDRESS.map(|(n, w)| m.input(&format!("wr{i}_{n}"), w)));
        lock.extend((i < exclusive).then(|| m.input(&format!("wr{i}_lock"), 1)));
        ids.extend(quality.as_ref().map(|quality| {
            if i < exclusive { QUALITY.map(|(n, w)| m.input(&format!("wr{i}_{n}"), w)) } else { quality.now }
        }));
        beats.push(BEAT.map(|(n, w)| m.input(&format!("wd{i}_{n}"), w)));
    }
    m.section("AXI4 write channels");
    let awready = m.input("awready", 1);
    let wready = m.input("wready", 1);
    let bvalid = m.input("bvalid", 1);
    let bresp = m.input("bresp", 2);
    let state = m.reg_kept("write_state", write::WIDTH);
    let owner = m.reg_data("writer", writers);
    let awvalid = m.reg_kept("awvalid_q", 1);
    // The burst began before `rst`.
    let abandoned = m.reg_kept("abandoned", 1);
    // Beats that come after the one on offer.
    let beats_left = m.reg_data("beats_left", 2);
    let aw = ADDRESS.map(|(n, w)| m.reg_data(&format!("aw{n}_q"), w));
    let beat = BEAT.map(|(n, w)| m.reg_data(&format!("w{n}_q"), w));
    let idle = state.is(write::IDLE);
    let any = any_of(valid.iter().copied());
    let grant = round_robin(&mut m, "writer", &valid, idle);
    let bits: Vec<E> = grant.iter().rev().copied().collect();
    let owns: Vec<E> = owner.split();
    let begin = m.wire("begin_write", idle & any & !rst);
    let sent = m.wire("beat_sent", state.is(write::DATA) & wready);
    let last = beats_left.is(0);
    // Of an abandoned burst's writer no more is taken: data and strobes are 0.
    let live = m.wire("live", !abandoned & !rst);
    let source: Vec<E> = grant.iter().zip(&owns).map(|(g, o)| idle.mux(*g, *o & live)).collect();
    m.when(begin | sent, |m| {
        beat.iter().enumerate().for_each(|(i, register)| m.set(*register, chosen(&source, &beats, i)));
    });
    m.when_else(
        begin,
        |m| m.set(beats_left, chosen(&grant, &address, 1).bits(0, 2)),
        |m| m.when(sent, |m| m.set(beats_left, beats_left - lit(1, 2))),
    );
    let ended = state.is(write::RESPONSE) & bvalid;
    m.set(abandoned, !idle & !ended & !live);
    m.when(begin, |m| {
        m.set(owner, cat(&bits));
        aw.iter().enumerate().for_each(|(i, register)| m.set(*register, chosen(&grant, &address, i)));
    });
    m.when_else(begin, |m| m.set(awvalid, hi()), |m| m.when(awready, |m| m.set(awvalid, lo())));
    m.switch(state, |m, s| {
        s.case(m, write::IDLE, |m| m.when(begin, |m| m.set(state, lit(write::DATA, write::WIDTH))));
        s.case(m, write::DATA, |m| {
            m.when(wready & last, |m| m.set(state, lit(write::RESPONSE, write::WIDTH)))
        });
        s.default(m, |m| m.when(bvalid, |m| m.set(state, lit(write::IDLE, write::WIDTH))));
    });
    if exclusive > 0 {
        let awlock = m.reg_data("awlock_q", 1);
        m.when(begin, |m| m.set(awlock, locks(&grant, &lock)));
        m.output("awlock", awlock);
        m.output("awid", encode(&owns, index_width(writers as usize)).resize(AXI_ID_WIDTH));
    }
    if qosid {
        for (i, (name, width)) in QUALITY.into_iter().enumerate() {
            let register = m.reg_data(&format!("aw{name}_q"), width);
            m.when(begin, |m| m.set(register, chosen(&grant, &ids, i)));
            m.output(&format!("aw{name}"), register);
        }
    }
    m.output("awvalid", awvalid);
    m.held("write", awvalid, awready, &aw);
    m.held("beat", state.is(write::DATA), wready, &beat);
    for ((name, _), register) in ADDRESS.into_iter().zip(aw) {
        m.output(&format!("aw{name}"), register);
    }
    m.output("wvalid", state.is(write::DATA));
    for ((name, _), register) in BEAT.into_iter().zip(beat) {
        m.output(&format!("w{name}"), register);
    }
    m.output("wlast", last);
    m.output("bready", state.is(write::RESPONSE));
    m.section("Writes accepted, with their first beat; beats sent, so that the next is taken; responses");
    for i in 0..writers as usize {
        m.output(&format!("wr{i}_ready"), idle & grant[i]);
        m.output(&format!("wd{i}_ready"), sent & owns[i] & !abandoned);
        m.output(&format!("wr{i}_done"), ended & owns[i] & !abandoned);
    }
    m.when(mem_rst, |m| {
        for register in [offered, open, draining, state, awvalid, abandoned] {
            m.set(register, lit(0, register.width()));
        }
    });
    if exclusive > 0 {
        m.output("wr_error", bresp.bit(1));
        m.output("wr_exclusive", bresp.is(EXOKAY));
    } else {
        m.output("wr_error", bresp.any());
    }
    m.build()
}
