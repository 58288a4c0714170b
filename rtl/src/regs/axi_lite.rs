//! AXI4-Lite slave in front of the registers.
//!
//! One write and one read may be in progress at the same time. A write takes its address first, then its data, and is
//! answered in the cycle after the data; a read is answered in the cycle after its address. Every access is answered with
//! OKAY: an offset without a register reads 0 and ignores writes. (Section "Memory-mapped register interface".)
//!
//! A write acts on the 4-byte halves whose four strobes are all set: 4- and 8-byte accesses are the ones that the
//! specification defines. AxPROT and address bits 2:0 carry nothing that a register needs and are no ports here.

use std::rc::Rc;

use pasidon_hdl::{Module, any_of, cat, header, hi, lit, lo, names};

/// The AXI4-Lite slave in front of `blocks` blocks with registers. All its bus outputs come from registers.
#[names]
pub fn axi_lite(blocks: u32) -> Rc<Module> {
    let mut m = Module::new("axi_lite", &header(include_str!("axi_lite.rs")));

    m.section("Write address, bits 11:3");
    let awaddr = m.input("awaddr", 9);
    let awvalid = m.input("awvalid", 1);
    let awready = m.output_later("awready", 1);
    m.section("Write data");
    let wdata = m.input("wdata", 64);
    let wstrb = m.input("wstrb", 8);
    let wvalid = m.input("wvalid", 1);
    let wready = m.output_later("wready", 1);
    m.section("Write response");
    let bvalid = m.output_later("bvalid", 1);
    let bready = m.input("bready", 1);
    m.section("Read address, bits 11:3");
    let araddr = m.input("araddr", 9);
    let arvalid = m.input("arvalid", 1);
    let arready = m.output_later("arready", 1);
    m.section("Read data");
    let rdata = m.output_later("rdata", 64);
    let rvalid = m.output_later("rvalid", 1);
    let rready = m.input("rready", 1);

    // Each channel's ready says which step the access is at: address, data, response.
    let write_address = m.reg("write_address", 1, 1);
    let write_data = m.reg("write_data", 1, 0);
    let write_response = m.reg("write_response", 1, 0);
    let index = m.reg_data("write_index", 9);
    m.assign(awready, write_address);
    m.assign(wready, write_data);
    m.assign(bvalid, write_response);
    m.when(write_address & awvalid, |m| {
        m.set(write_address, lo());
        m.set(write_data, hi());
        m.set(index, awaddr);
    });
    m.when(write_data & wvalid, |m| {
        m.set(write_data, lo());
        m.set(write_response, hi());
    });
    m.when(write_response & bready, |m| {
        m.set(write_response, lo());
        m.set(write_address, hi());
    });

    m.section("Write to the registers: doubleword index, halves, data");
    m.output("wr_valid", write_data & wvalid);
    m.output("wr_index", index);
    m.output("wr_halves", cat(&[wstrb.bits(4, 4).all(), wstrb.bits(0, 4).all()]));
    m.output("wr_data", wdata);

    m.section("Read of the registers: doubleword index, and in the same cycle its data, of each block: 0 for what is not its own");
    m.output("rd_index", araddr);
    let rd_data = any_of((0..blocks).map(|i| m.input(&format!("rd_data{i}"), 64)));

    let read_address = m.reg("read_address", 1, 1);
    let read_data = m.reg_data("read_data", 64);
    m.assign(arready, read_address);
    m.assign(rvalid, !read_address);
    m.assign(rdata, read_data);
    m.when_else(
        read_address,
        |m| {
            m.when(arvalid, |m| {
                m.set(read_address, lo());
                m.set(read_data, rd_data);
            });
        },
        |m| m.when(rready, |m| m.set(read_address, hi())),
    );

    m.section("Responses: always OKAY");
    m.output("bresp", lit(0, 2));
    m.output("rresp", lit(0, 2));
    m.build()
}
