//! The ports of a design as two flat structs, one per direction.
//!
//! Every port is one 64-bit word whatever its width, and ports that a design does not have (translation port 3 of a
//! two-port design) are words that nothing reads: so the Rust side has one type and compile-time offsets for all
//! designs, and the generated shim (`super::shim`) copies exactly the ports that exist. Names, widths and meaning
//! are those of the Verilog ports; see the emitted `design.json`.

use std::mem::{offset_of, size_of};

/// The most translation ports a design can have.
pub const MAX_PORTS: usize = 8;

/// Values of the AXI4 signals `rresp` and `bresp`, and of `arburst` and `awburst`.
pub mod axi {
    /// An access that worked; of an exclusive write: it did nothing.
    pub const OKAY: u64 = 0;
    /// An exclusive access that was one.
    pub const EXOKAY: u64 = 1;
    /// The slave refuses.
    pub const SLVERR: u64 = 2;
    /// There is no slave.
    pub const DECERR: u64 = 3;
    /// A burst of rising addresses.
    pub const INCR: u64 = 1;
    /// `arcache` and `awcache` of the IOMMU's accesses: normal memory, bufferable and not cacheable.
    pub const BUFFERABLE: u64 = 3;
}

/// A port's place: Verilog name and index of its word in [`In`] or [`Out`].
pub(super) type Place = (String, usize);

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident = $port:literal),* $(,)? }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: u64),* }

        impl $name {
            /// Field offsets in words, with the Verilog names.
            const WORDS: &'static [(&'static str, usize)] =
                &[$(($port, offset_of!($name, $field) / size_of::<u64>())),*];
        }
    };
}

words! {
    /// AXI4-Lite register port, driven by the bench.
    AxilIn {
        /// Write address, 12 bits.
        awaddr = "awaddr",
        /// Protection, ignored.
        awprot = "awprot",
        /// Write address valid.
        awvalid = "awvalid",
        /// Write data.
        wdata = "wdata",
        /// Byte strobes, 8 bits.
        wstrb = "wstrb",
        /// Write data valid.
        wvalid = "wvalid",
        /// Ready for the write response.
        bready = "bready",
        /// Read address, 12 bits.
        araddr = "araddr",
        /// Protection, ignored.
        arprot = "arprot",
        /// Read address valid.
        arvalid = "arvalid",
        /// Ready for read data.
        rready = "rready",
    }
}

words! {
    /// AXI4-Lite register port, driven by the model.
    AxilOut {
        /// Ready for a write address.
        awready = "awready",
        /// Ready for write data.
        wready = "wready",
        /// Write response: 0 okay, 2 and 3 errors.
        bresp = "bresp",
        /// Write response valid.
        bvalid = "bvalid",
        /// Ready for a read address.
        arready = "arready",
        /// Read data.
        rdata = "rdata",
        /// Read response: 0 okay, 2 and 3 errors.
        rresp = "rresp",
        /// Read data valid.
        rvalid = "rvalid",
    }
}

words! {
    /// AXI4 memory port, driven by the bench.
    AxiIn {
        /// Ready for a write address.
        awready = "awready",
        /// Ready for write data.
        wready = "wready",
        /// Id of the write response.
        bid = "bid",
        /// Write response: 0 okay, 2 and 3 errors.
        bresp = "bresp",
        /// Write response valid.
        bvalid = "bvalid",
        /// Ready for a read address.
        arready = "arready",
        /// Id of the read data.
        rid = "rid",
        /// Read data.
        rdata = "rdata",
        /// Read response: 0 okay, 2 and 3 errors.
        rresp = "rresp",
        /// Last beat of the burst.
        rlast = "rlast",
        /// Read data valid.
        rvalid = "rvalid",
        /// The beat's data is corrupt.
        rpoison = "rpoison",
    }
}

words! {
    /// AXI4 memory port, driven by the model.
    AxiOut {
        /// Write id.
        awid = "awid",
        /// Write address.
        awaddr = "awaddr",
        /// Beats less one.
        awlen = "awlen",
        /// log2 of the bytes of a beat.
        awsize = "awsize",
        /// Burst type, 1 = INCR.
        awburst = "awburst",
        /// The write is exclusive.
        awlock = "awlock",
        /// Resource control id of the write, with QoS ids.
        awrcid = "awrcid",
        /// Monitoring counter id of the write, with QoS ids.
        awmcid = "awmcid",
        /// Memory type.
        awcache = "awcache",
        /// Protection.
        awprot = "awprot",
        /// Quality of service.
        awqos = "awqos",
        /// Write address valid.
        awvalid = "awvalid",
        /// Write data.
        wdata = "wdata",
        /// Byte strobes, 8 bits.
        wstrb = "wstrb",
        /// Last beat of the burst.
        wlast = "wlast",
        /// Write data valid.
        wvalid = "wvalid",
        /// Ready for the write response.
        bready = "bready",
        /// Read id.
        arid = "arid",
        /// Read address.
        araddr = "araddr",
        /// Beats less one.
        arlen = "arlen",
        /// log2 of the bytes of a beat.
        arsize = "arsize",
        /// Burst type, 1 = INCR.
        arburst = "arburst",
        /// The read is exclusive.
        arlock = "arlock",
        /// Resource control id of the read, with QoS ids.
        arrcid = "arrcid",
        /// Monitoring counter id of the read, with QoS ids.
        armcid = "armcid",
        /// Memory type.
        arcache = "arcache",
        /// Protection.
        arprot = "arprot",
        /// Quality of service.
        arqos = "arqos",
        /// Read address valid.
        arvalid = "arvalid",
        /// Ready for read data.
        rready = "rready",
    }
}

words! {
    /// Translation port, driven by the device.
    ReqIn {
        /// A request is offered.
        valid = "req#_valid",
        /// Id that the response will carry; distinct among those outstanding on a port.
        id = "req#_id",
        /// Who asks.
        device_id = "req#_device_id",
        /// `process_id` means something.
        pid_valid = "req#_pid_valid",
        /// PASID.
        process_id = "req#_process_id",
        /// Supervisor privilege is requested.
        privileged = "req#_priv",
        /// Instruction fetch.
        exec = "req#_exec",
        /// Write access.
        write = "req#_write",
        /// 0 untranslated, 1 ATS translation request, 2 translated.
        at = "req#_at",
        /// The 32-bit word that a write carries; only in designs with memory-resident interrupt files.
        data = "req#_data",
        /// Address to translate.
        iova = "req#_iova",
        /// The request came through CXL.io; only in designs with ATS.
        cxl = "req#_cxl",
        /// The device takes a response.
        rsp_ready = "rsp#_ready",
    }
}

words! {
    /// Translation port, driven by the model.
    ReqOut {
        /// The request is taken.
        ready = "req#_ready",
        /// A response is offered.
        rsp_valid = "rsp#_valid",
        /// The id of its request.
        rsp_id = "rsp#_id",
        /// 0 success, 1 unsupported request or abort.
        rsp_status = "rsp#_status",
        /// Cause of the fault, 0 if none.
        rsp_cause = "rsp#_cause",
        /// Full translated address.
        rsp_spa = "rsp#_spa",
        /// Reading is allowed.
        rsp_r = "rsp#_r",
        /// Writing is allowed.
        rsp_w = "rsp#_w",
        /// Fetching is allowed.
        rsp_x = "rsp#_x",
        /// log2 of the page's bytes.
        rsp_size = "rsp#_size",
        /// Memory type; only in designs with Svpbmt.
        rsp_pbmt = "rsp#_pbmt",
        /// Resource control identifier; only in designs with QoS ids.
        rsp_rcid = "rsp#_rcid",
        /// Monitoring counter identifier; only in designs with QoS ids.
        rsp_mcid = "rsp#_mcid",
        /// The IOMMU has carried out the write itself (memory-resident interrupt file): the data path drops it. Only in designs
        /// with such files.
        rsp_mrif = "rsp#_mrif",
        /// Of a refused translation request: 1 completer abort, 0 unsupported request. This and what follows is only in designs
        /// with ATS.
        rsp_abort = "rsp#_abort",
        /// Of a translation completion, U: the device must use untranslated addresses.
        rsp_untranslated = "rsp#_untranslated",
        /// Of a translation completion: the translation is the same for every process.
        rsp_global = "rsp#_global",
        /// Of a translation completion: the device must use CXL.io.
        rsp_cxl_io = "rsp#_cxl_io",
    }
}

words! {
    /// Messages of devices, and the answers to messages to devices; only in designs with ATS.
    MessageIn {
        /// A page request is offered.
        pr_valid = "pr_valid",
        /// Its requester: segment and requester id.
        pr_did = "pr_did",
        /// It has a process_id.
        pr_pv = "pr_pv",
        /// PASID.
        pr_pid = "pr_pid",
        /// Supervisor privilege is requested.
        pr_priv = "pr_priv",
        /// Execute is requested.
        pr_exec = "pr_exec",
        /// Body of the message: the second doubleword of a record.
        pr_payload = "pr_payload",
        /// An invalidation completion is offered.
        ic_valid = "ic_valid",
        /// Its requester: segment and requester id.
        ic_did = "ic_did",
        /// The tags of the requests that it answers, a bit each.
        ic_itags = "ic_itags",
        /// Completions that answer each of them; 0 stands for 8.
        ic_count = "ic_count",
        /// A message to a device is taken.
        msg_ready = "msg_ready",
    }
}

words! {
    /// Messages to devices; only in designs with ATS.
    MessageOut {
        /// The page request is taken.
        pr_ready = "pr_ready",
        /// The invalidation completion is taken.
        ic_ready = "ic_ready",
        /// A message is offered.
        msg_valid = "msg_valid",
        /// Message code: 0x01 invalidation request, 0x05 page-request group response.
        msg_code = "msg_code",
        /// Requester id of the device.
        msg_rid = "msg_rid",
        /// `msg_dseg` means something.
        msg_dsv = "msg_dsv",
        /// Segment of the device.
        msg_dseg = "msg_dseg",
        /// The message has a PASID.
        msg_pv = "msg_pv",
        /// PASID.
        msg_pid = "msg_pid",
        /// Tag of an invalidation request.
        msg_itag = "msg_itag",
        /// Body of the message.
        msg_payload = "msg_payload",
        /// The command queue waits for invalidation completions: for all of them, or for a tag.
        ev_ats_wait = "ev_ats_wait",
        /// Invalidation requests that time out in this cycle, a bit per tag.
        ev_ats_timeout = "ev_ats_timeout",
    }
}

/// Every input of the model, sampled by it at the clock edge.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct In {
    /// Synchronous reset, active high.
    pub rst: u64,
    /// Reset of the memory side, likewise.
    pub mem_rst: u64,
    /// The memory behind the data path has drained what `drain_valid` asked for.
    pub drain_ready: u64,
    /// Registers.
    pub axil: AxilIn,
    /// Memory.
    pub axi: AxiIn,
    /// Devices.
    pub req: [ReqIn; MAX_PORTS],
    /// Messages of devices.
    pub message: MessageIn,
}

/// Every output of the model, as it stands after a clock edge.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Out {
    /// Interrupt wires, one bit per vector.
    pub irq: u64,
    /// IOFENCE.C asks for accesses that were translated earlier to reach memory.
    pub drain_valid: u64,
    /// ... reads are meant.
    pub drain_pr: u64,
    /// ... writes are meant.
    pub drain_pw: u64,
    /// Lookups of the IOTLB in this cycle, one bit per port.
    pub ev_lookup: u64,
    /// Hits of the IOTLB in this cycle, one bit per port.
    pub ev_hit: u64,
    /// Walks begun in this cycle, one bit per walker.
    pub ev_walk: u64,
    /// A fault record was queued, or dropped.
    pub ev_fault: u64,
    /// Registers.
    pub axil: AxilOut,
    /// Memory.
    pub axi: AxiOut,
    /// Devices.
    pub req: [ReqOut; MAX_PORTS],
    /// Messages to devices.
    pub message: MessageOut,
}

/// Words in [`In`].
pub const IN_WORDS: usize = size_of::<In>() / size_of::<u64>();
/// Words in [`Out`].
pub const OUT_WORDS: usize = size_of::<Out>() / size_of::<u64>();

macro_rules! word {
    ($struct:ident . $($field:tt).+) => { offset_of!($struct, $($field).+) / size_of::<u64>() };
}

fn group(places: &mut Vec<Place>, prefix: &str, base: usize, words: &[(&str, usize)]) {
    places.extend(words.iter().map(|(name, word)| (format!("{prefix}{name}"), base + word)));
}

fn per_port(places: &mut Vec<Place>, base: usize, stride: usize, words: &[(&str, usize)]) {
    for port in 0..MAX_PORTS {
        let named = words
            .iter()
            .map(|(name, word)| (name.replace('#', &port.to_string()), base + port * stride + word));
        places.extend(named);
    }
}

/// Where each input that the bench drives lives in [`In`].
pub(super) fn inputs() -> Vec<Place> {
    let mut places: Vec<Place> =
        [("rst", word!(In.rst)), ("mem_rst", word!(In.mem_rst)), ("drain_ready", word!(In.drain_ready))]
            .map(|(name, word)| (name.to_string(), word))
            .into();
    group(&mut places, "s_axil_", word!(In.axil), AxilIn::WORDS);
    group(&mut places, "m_axi_", word!(In.axi), AxiIn::WORDS);
    group(&mut places, "", word!(In.message), MessageIn::WORDS);
    per_port(&mut places, word!(In.req), size_of::<ReqIn>() / 8, ReqIn::WORDS);
    places
}

/// Where each output that the bench reads lives in [`Out`].
pub(super) fn outputs() -> Vec<Place> {
    let mut places: Vec<Place> = [
        ("irq", word!(Out.irq)),
        ("drain_valid", word!(Out.drain_valid)),
        ("drain_pr", word!(Out.drain_pr)),
        ("drain_pw", word!(Out.drain_pw)),
        ("ev_lookup", word!(Out.ev_lookup)),
        ("ev_hit", word!(Out.ev_hit)),
        ("ev_walk", word!(Out.ev_walk)),
        ("ev_fault", word!(Out.ev_fault)),
    ]
    .map(|(name, word)| (name.to_string(), word))
    .into();
    group(&mut places, "s_axil_", word!(Out.axil), AxilOut::WORDS);
    group(&mut places, "m_axi_", word!(Out.axi), AxiOut::WORDS);
    group(&mut places, "", word!(Out.message), MessageOut::WORDS);
    per_port(&mut places, word!(Out.req), size_of::<ReqOut>() / 8, ReqOut::WORDS);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_exactly_one_port() {
        for (places, words) in [(inputs(), IN_WORDS), (outputs(), OUT_WORDS)] {
            let mut taken = vec![false; words];
            for (name, word) in &places {
                assert!(!std::mem::replace(&mut taken[*word], true), "{name} shares its word");
            }
            assert!(taken.iter().all(|&t| t));
        }
    }
}
