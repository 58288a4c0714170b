//! The bus ports of the core: registers (`s_axil_*`), memory (`m_axi_*`), and the quality-of-service ids of its accesses.

use super::iommu::Core;
use super::{join, pass};
use crate::port::axi_master::AXI_ID_WIDTH;
use pasidon_hdl::{Instance, Module, hi, lit};

/// `s_axil_*`: AXI4-Lite to the blocks that have registers.
pub(super) fn register_port(m: &mut Module, core: &Core) {
    let bus = &core.bus;
    m.section("Registers: AXI4-Lite slave");
    let awaddr = m.input("s_axil_awaddr", 12);
    m.input("s_axil_awprot", 3);
    bus.connect(m, "awaddr", awaddr.bits(3, 9));
    input(m, bus, "s_axil_", "awvalid", 1);
    m.output("s_axil_awready", bus.out("awready"));
    input(m, bus, "s_axil_", "wdata", 64);
    input(m, bus, "s_axil_", "wstrb", 8);
    input(m, bus, "s_axil_", "wvalid", 1);
    m.output("s_axil_wready", bus.out("wready"));
    m.output("s_axil_bresp", bus.out("bresp"));
    m.output("s_axil_bvalid", bus.out("bvalid"));
    input(m, bus, "s_axil_", "bready", 1);
    let araddr = m.input("s_axil_araddr", 12);
    m.input("s_axil_arprot", 3);
    bus.connect(m, "araddr", araddr.bits(3, 9));
    input(m, bus, "s_axil_", "arvalid", 1);
    m.output("s_axil_arready", bus.out("arready"));
    m.output("s_axil_rdata", bus.out("rdata"));
    m.output("s_axil_rresp", bus.out("rresp"));
    m.output("s_axil_rvalid", bus.out("rvalid"));
    input(m, bus, "s_axil_", "rready", 1);
    let own = [(&core.regs, "")];
    let messages = core.messages.as_ref().map(|(messages, _)| messages);
    let others = messages.into_iter().chain(&core.debugger).chain(&core.monitor).map(|block| (block, "reg_"));
    for (i, (block, prefix)) in own.into_iter().chain(others).enumerate() {
        for name in ["wr_valid", "wr_index", "wr_halves", "wr_data", "rd_index"] {
            block.connect(m, &format!("{prefix}{name}"), bus.out(name));
        }
        bus.connect(m, &format!("rd_data{i}"), block.out(&format!("{prefix}rd_data")));
    }
}

/// An input of the core that goes straight to a child.
pub(super) fn input(m: &mut Module, child: &Instance, prefix: &str, name: &str, width: u32) {
    let e = m.input(&format!("{prefix}{name}"), width);
    child.connect(m, name, e);
}

/// The quality-of-service ids of each access of the memory port: those of the device, or the IOMMU's own. (Sections "IOMMU QoS
/// ID" and "Translation attributes (ta)".)
fn quality_of_service(m: &mut Module, core: &Core) {
    let Core { axi, regs, .. } = core;
    m.section("Quality of service of the accesses of this port, by address channel");
    for (i, walk) in core.walks.iter().enumerate() {
        join(m, walk, axi, &[("rd_own", &format!("rd{i}_own"))]);
    }
    for name in ["rcid", "mcid"] {
        pass(m, regs, axi, &[&format!("iommu_{name}")]);
        for (i, walk) in core.walks.iter().enumerate() {
            join(m, walk, axi, &[(name, &format!("rd{i}_{name}"))]);
            if core.d.walks_write() {
                join(m, walk, axi, &[(name, &format!("wr{i}_{name}"))]);
            }
        }
        for channel in ["ar", "aw"] {
            m.output(&format!("m_axi_{channel}{name}"), axi.out(&format!("{channel}{name}")));
        }
    }
}

/// `m_axi_*`: AXI4 from the walkers and queues.
pub(super) fn memory_port(m: &mut Module, core: &Core) {
    let Core { d, axi, walks, commands, faults, .. } = core;
    const AXI: &str = "m_axi_";
    m.section("Tables and queues: AXI4 master, write address");
    // Normal, bufferable, not allocated; unprivileged, secure data access.
    let fixed = |m: &mut Module, channel: &str| {
        m.output(&format!("{AXI}{channel}burst"), lit(1, 2));
        let lock = if d.walks_write() { axi.out(&format!("{channel}lock")) } else { lit(0, 1) };
        m.output(&format!("{AXI}{channel}lock"), lock);
        m.output(&format!("{AXI}{channel}cache"), lit(3, 4));
        m.output(&format!("{AXI}{channel}prot"), lit(0, 3));
        m.output(&format!("{AXI}{channel}qos"), lit(0, 4));
    };
    m.output("m_axi_awid", if d.walks_write() { axi.out("awid") } else { lit(0, AXI_ID_WIDTH) });
    for name in ["awaddr", "awlen", "awsize"] {
        m.output(&format!("{AXI}{name}"), axi.out(name));
    }
    fixed(m, "aw");
    m.output("m_axi_awvalid", axi.out("awvalid"));
    input(m, axi, AXI, "awready", 1);
    m.section("AXI4 master, write data");
    for name in ["wdata", "wstrb", "wlast", "wvalid"] {
        m.output(&format!("{AXI}{name}"), axi.out(name));
    }
    input(m, axi, AXI, "wready", 1);
    m.section("AXI4 master, write response");
    m.input("m_axi_bid", AXI_ID_WIDTH);
    input(m, axi, AXI, "bresp", 2);
    input(m, axi, AXI, "bvalid", 1);
    m.output("m_axi_bready", axi.out("bready"));
    m.section("AXI4 master, read address");
    m.output("m_axi_arid", axi.out("arid"));
    m.output("m_axi_araddr", axi.out("araddr"));
    m.output("m_axi_arlen", axi.out("arlen"));
    m.output("m_axi_arsize", lit(3, 3));
    fixed(m, "ar");
    m.output("m_axi_arvalid", axi.out("arvalid"));
    input(m, axi, AXI, "arready", 1);
    m.section("AXI4 master, read data; rpoison: the beat is corrupted");
    input(m, axi, AXI, "rid", AXI_ID_WIDTH);
    let data = m.input("m_axi_rdata", 64);
    input(m, axi, AXI, "rresp", 2);
    let last = m.input("m_axi_rlast", 1);
    axi.connect(m, "rlast", last);
    let poison = m.input("m_axi_rpoison", 1);
    input(m, axi, AXI, "rvalid", 1);
    m.output("m_axi_rready", hi());

    for (i, reader) in walks.iter().chain([commands]).enumerate() {
        for name in ["valid", "addr", "len"] {
            axi.connect(m, &format!("rd{i}_{name}"), reader.out(&format!("rd_{name}")));
        }
        reader.connect(m, "rd_ready", axi.out(&format!("rd{i}_ready")));
        reader.connect(m, "rd_data_valid", axi.out(&format!("rd{i}_data_valid")));
        reader.connect_all(m, &[("rd_data", data), ("rd_error", axi.out("rd_error")), ("rd_poison", poison)]);
        if i < walks.len() {
            reader.connect(m, "rd_last", last);
            if d.walks_write() {
                axi.connect(m, &format!("rd{i}_lock"), reader.out("rd_lock"));
                reader.connect(m, "rd_exclusive", axi.out("rd_exclusive"));
            }
        }
    }
    // Walkers where they write, command queue (fences), fault queue, messages, page-request queue.
    let exclusive: &[Instance] = if d.walks_write() { walks } else { &[] };
    let messages = core.messages.as_ref().map(|(messages, _)| messages);
    let page_requests = core.ats.as_ref().map(|ats| &ats.queue);
    let writers = exclusive.iter().chain([commands, faults]).chain(messages).chain(page_requests);
    for (i, writer) in writers.enumerate() {
        if i < exclusive.len() {
            axi.connect(m, &format!("wr{i}_lock"), writer.out("wr_lock"));
            writer.connect(m, "wr_exclusive", axi.out("wr_exclusive"));
        }
        for name in ["wr_valid", "wr_addr", "wr_len", "wr_size", "wd_data", "wd_strb"] {
            axi.connect(m, &name.replacen('_', &format!("{i}_"), 1), writer.out(name));
        }
        writer.connect(m, "wr_ready", axi.out(&format!("wr{i}_ready")));
        writer.connect(m, "wr_done", axi.out(&format!("wr{i}_done")));
        writer.connect(m, "wr_error", axi.out("wr_error"));
    }
    // The writers of more than one beat.
    join(m, axi, faults, &[(&format!("wd{}_ready", exclusive.len() + 1), "wd_ready")]);
    if let Some(queue) = page_requests {
        let last = exclusive.len() + 2 + usize::from(d.msi);
        join(m, axi, queue, &[(&format!("wd{last}_ready"), "wd_ready")]);
    }
    if d.qosid {
        quality_of_service(m, core);
    }
}
