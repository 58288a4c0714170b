//! Emission and the bus protocols. That the memory port and the translation ports keep to theirs is checked in every cycle of
//! every test; here are the registers' port and what the rest does not reach.

use pasidon_cosim::Random;
use pasidon_cosim::verilated::{Cache, Flavour};
use pasidon_cosim::verilated::{Verilated, ports::AxilOut};
use pasidon_spec::registers::{self, cqb, ddtp, fqb, icvec, pqb};
use pasidon_tests::{Rig, designs, seed};
use std::collections::VecDeque;

#[test]
fn emission_is_deterministic() {
    for name in ["tiny", "default", "large", "odd"] {
        let again = pasidon_rtl::generate(&designs::design(name)).expect("emits");
        let first = designs::generated(name);
        assert!(first.verilog == again.verilog, "{name}: the Verilog differs from one emission to the next");
        assert_eq!((&first.design_json, &first.hash), (&again.design_json, &again.hash), "{name}");
    }
}

/// Every port that the design lists is in the Verilog, and the names are those that bus tools connect by.
#[test]
fn ports_have_the_names_of_their_buses() {
    for name in ["tiny", "default", "large", "odd"] {
        let generated = designs::generated(name);
        let has = |port: &str| generated.ports.iter().any(|p| p.name == port);
        for signal in
            ["awaddr", "awprot", "awvalid", "awready", "wdata", "wstrb", "wvalid", "wready", "bresp"]
        {
            assert!(has(&format!("s_axil_{signal}")) && has(&format!("m_axi_{signal}")), "{signal}");
        }
        for signal in [
            "arid", "araddr", "arlen", "arsize", "arburst", "arlock", "arcache", "arprot", "arqos", "rid",
            "rlast",
        ] {
            assert!(has(&format!("m_axi_{signal}")), "{name}: m_axi_{signal}");
        }
        for port in 0..designs::design(name).ports {
            assert!(
                has(&format!("req{port}_valid")) && has(&format!("rsp{port}_ready")),
                "{name}: port {port}"
            );
        }
        assert!(has("clk") && has("rst") && has("irq"));
        assert!(generated.verilog.contains("module pasidon_iommu ("));
    }
}

/// Reset state, and the bits of each register that software can write. (Chapter "Memory-mapped register interface".)
#[test]
fn registers_reset_and_hold_what_they_can() {
    for name in ["tiny", "default", "large", "odd"] {
        let mut rig = Rig::new(name, 1, 1);
        let d = rig.design.clone();
        for register in registers::ALL {
            let value = rig.read(register);
            let expected = match register.offset {
                0 => {
                    // IGS at bit 28 (1 wires, 2 both), PAS at 32, version 1.0.
                    let bit = |on: bool, at: u32| u64::from(on) << at;
                    let sv = bit(true, 9) | bit(d.sv48, 10) | bit(d.sv57, 11);
                    0x10 | sv
                        | (1 + u64::from(d.msi)) << 28
                        | bit(d.ats, 25)
                        | u64::from(d.pas) << 32
                        | bit(d.pd8, 38)
                        | bit(d.pd17, 39)
                        | bit(d.pd20, 40)
                }
                8 => registers::fctl::WSI.of(1),
                _ => 0,
            };
            assert_eq!(value, expected, "{name}: {} after reset", register.name);
        }
        let caps = rig.read(&registers::capabilities::REG);
        use registers::capabilities as cap;
        assert_eq!(cap::PAS.get(caps), u64::from(d.pas));
        assert_eq!((cap::SV39.get(caps), cap::VERSION.get(caps)), (1, 0x10));
        assert_eq!((cap::SV48.is_set(caps), cap::SV57.is_set(caps)), (d.sv48, d.sv57));
        assert_eq!(
            (cap::PD8.is_set(caps), cap::PD17.is_set(caps), cap::PD20.is_set(caps)),
            (d.pd8, d.pd17, d.pd20)
        );
        assert_eq!(cap::ATS.is_set(caps), d.ats);
        // Nothing is reported that is not there.
        let absent = [
            cap::SVPBMT,
            cap::SV39X4,
            cap::MSI_FLAT,
            cap::T2GPA,
            cap::END,
            cap::HPM,
            cap::DBG,
            cap::AMO_HWAD,
        ];
        assert!(absent.iter().all(|field| !field.is_set(caps)));

        let queues = [(&cqb::REG, d.command_log2_max), (&fqb::REG, d.fault_log2_max)];
        let requests = d.ats.then_some((&pqb::REG, d.page_request_log2_max));
        for (base, most) in queues.into_iter().chain(requests) {
            rig.write(base, u64::MAX);
            let value = rig.read(base);
            assert_eq!(
                cqb::LOG2SZ_1.get(value),
                u64::from(most) - 1,
                "{name}: {}: the largest size",
                base.name
            );
            assert_eq!(value & base.reserved(), 0, "{name}: {}: reserved bits read 0", base.name);
            // 32-bit accesses to the halves of a 64-bit register.
            rig.write_at(base.offset.into(), 0x0123_4400, 4);
            rig.write_at(u32::from(base.offset) + 4, 0x5, 4);
            // PPN is WARL: it holds what the physical address space has.
            let kept = 0x5_0123_4400 & ((1u64 << (d.pas - 2)) - 1);
            assert_eq!(rig.read(base), kept);
            assert_eq!(rig.read_at(u32::from(base.offset) + 4, 4), kept >> 32);
            assert_eq!(rig.read_at(base.offset.into(), 4), 0x0123_4400);
            rig.write(base, 0);
        }
        rig.write(&icvec::REG, u64::MAX);
        let highest = u64::from(d.vectors) - 1;
        let page_requests = if d.ats { icvec::PIV.of(highest) } else { 0 };
        let expected = icvec::CIV.of(highest) | icvec::FIV.of(highest) | page_requests;
        assert_eq!(rig.read(&icvec::REG), expected, "{name}");
        rig.write(&ddtp::REG, !0xf);
        let value = rig.poll(&ddtp::REG, |value| !ddtp::BUSY.is_set(value));
        assert_eq!(value & ddtp::REG.reserved(), 0);
        // Read-only registers and registers that do not exist ignore writes.
        for register in registers::ALL.iter().filter(|r| r.offset == 0 || !r.presence.holds(caps)) {
            let before = rig.read(register);
            rig.write(register, u64::MAX);
            assert_eq!(rig.read(register), before, "{name}: {}", register.name);
        }
    }
}

/// Address and data of writes in any order and with any gaps, reads at the same time, a master that does not take responses:
/// what is offered stays until it is taken, and every access is answered once, in order.
#[test]
fn the_register_port_keeps_to_axi4_lite() {
    let seed = seed("register port");
    let mut random = Random::new(seed);
    let cache = Cache::in_workspace().quiet();
    for name in ["tiny", "odd"] {
        let mut model = Verilated::load(&designs::generated(name), name, &cache, Flavour::Fast)
            .unwrap_or_else(|e| panic!("{e}"));
        model.reset(3);
        let address = u64::from(fqb::REG.offset);
        let (mut held, mut last_ready) = (AxilOut::default(), (0, 0));
        // Writes go to fqb in order. A read must see what was answered before it was accepted, and nothing that was not begun.
        let mut due: VecDeque<u64> = VecDeque::new();
        let (mut addresses, mut datas, mut responses) = (0u64, 0u64, 0u64);
        let (mut reads, mut answers) = (0u64, 0u64);
        let value = |n: u64| n << 10;
        for cycle in 0..40_000 {
            let out = model.output.axil;
            if held.bvalid & !last_ready.0 & 1 == 1 {
                assert_eq!((held.bvalid, held.bresp), (out.bvalid, out.bresp), "cycle {cycle}: B changed");
            }
            if held.rvalid & !last_ready.1 & 1 == 1 {
                let data = |o: &AxilOut| (o.rvalid, o.rdata, o.rresp);
                assert_eq!(data(&held), data(&out), "cycle {cycle}: R changed");
            }
            let input = &mut model.input.axil;
            // What is offered stays offered: a valid that was not taken is not random any more.
            input.awvalid |= u64::from(random.below(3) == 0);
            input.wvalid |= u64::from(random.below(3) == 0);
            input.arvalid |= u64::from(random.below(3) == 0);
            (input.awaddr, input.araddr, input.wstrb) = (address, address, 0xff);
            input.wdata = value(datas + 1);
            input.bready = random.below(2);
            input.rready = random.below(2);
            last_ready = (input.bready, input.rready);
            held = out;
            let taken = (
                input.awvalid & out.awready,
                input.wvalid & out.wready,
                input.arvalid & out.arready,
                input.bready & out.bvalid,
                input.rready & out.rvalid,
            );
            addresses += taken.0;
            datas += taken.1;
            if taken.2 == 1 {
                due.push_back(responses);
            }
            reads += taken.2;
            responses += taken.3;
            answers += taken.4;
            assert!(responses <= addresses.min(datas), "cycle {cycle}: a write response too many");
            assert!(answers <= reads, "cycle {cycle}: a read answer too many");
            if taken.3 == 1 {
                assert_eq!(out.bresp, 0);
            }
            if taken.4 == 1 {
                assert_eq!(out.rresp, 0);
                let ppn = out.rdata >> 10;
                let least = due.pop_front().expect("counted above");
                assert!((least..=datas).contains(&ppn), "cycle {cycle}: read {ppn} of {least}..={datas}");
            }
            model.tick();
            let input = &mut model.input.axil;
            input.awvalid &= !taken.0;
            input.wvalid &= !taken.1;
            input.arvalid &= !taken.2;
        }
        println!("{name}: {responses} writes, {answers} reads");
        assert!(responses > 2000 && answers > 2000);
    }
}

/// A model whose signals are observed enters them in a table of its own: freed in any order, each leaves its own table.
#[test]
fn models_of_one_design_may_end_in_any_order() {
    let (done, over) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let generated = pasidon_rtl::generate(&designs::design("tiny")).unwrap();
        let cache = Cache::in_workspace().quiet();
        let load = || Verilated::load(&generated, "tiny", &cache, Flavour::Fast).unwrap();
        for _ in 0..8 {
            let (first, second) = (load(), load());
            drop(second);
            drop(first);
        }
        done.send(()).unwrap();
    });
    let waited = over.recv_timeout(std::time::Duration::from_secs(300));
    assert!(waited.is_ok(), "a model never ends");
}
