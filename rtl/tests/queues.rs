//! Registers, command queue, fault queue and barrier together, as emitted Verilog in Icarus Verilog, against what the types
//! of the specification say about the same commands and records.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command as Process;
use std::rc::Rc;

use pasidon_hdl::{Instance, Module, Options, emit, lit, session};
use pasidon_rtl::design::Design;
use pasidon_rtl::{queue, regs};
use pasidon_spec::command::{Command, Range, Store, Support, iofence, iotinval};
use pasidon_spec::fault::FaultRecord;

/// Inputs of `child` that become inputs of `m`.
fn inputs(m: &mut Module, child: &Instance, prefix: &str, ports: &[(&str, u32)]) {
    for (port, width) in ports {
        let input = m.input(&format!("{prefix}{port}"), *width);
        child.connect(m, port, input);
    }
}

/// Outputs of `child` that become outputs of `m`.
fn outputs(m: &mut Module, child: &Instance, prefix: &str, ports: &[&str]) {
    for port in ports {
        m.output(&format!("{prefix}{port}"), child.out(port));
    }
}

/// Connects inputs of `to` with outputs of `from`.
fn join(m: &mut Module, to: &Instance, from: &Instance, ports: &[(&str, &str)]) {
    for (input, output) in ports {
        to.connect(m, input, from.out(output));
    }
}

/// The blocks as the top connects them, with their memory ports brought out.
fn bench(design: &Design) -> Rc<Module> {
    let mut m = Module::new("queues", "Registers and queues.");
    let bus = m.instance("bus", &regs::axi_lite(1));
    let registers = m.instance("registers_i", &regs::registers(design));
    let commands = m.instance("commands", &queue::command_queue(design));
    let faults = m.instance("faults", &queue::fault_queue(design));
    let barrier = m.instance("barrier_i", &queue::barrier());

    let channels = [
        ("awaddr", 9),
        ("awvalid", 1),
        ("wdata", 64),
        ("wstrb", 8),
        ("wvalid", 1),
        ("bready", 1),
        ("araddr", 9),
        ("arvalid", 1),
        ("rready", 1),
    ];
    inputs(&mut m, &bus, "s_", &channels);
    outputs(
        &mut m,
        &bus,
        "s_",
        &["awready", "wready", "bvalid", "bresp", "arready", "rdata", "rresp", "rvalid"],
    );
    let same = |ports: &[&'static str]| ports.iter().map(|p| (*p, *p)).collect::<Vec<_>>();
    join(&mut m, &registers, &bus, &same(&["wr_valid", "wr_index", "wr_halves", "wr_data", "rd_index"]));
    join(&mut m, &bus, &registers, &[("rd_data0", "rd_data")]);

    join(
        &mut m,
        &commands,
        &registers,
        &[
            ("enable", "cq_enable"),
            ("stop", "cq_stop"),
            ("base", "cq_base"),
            ("mask", "cq_mask"),
            ("tail", "cq_tail"),
            ("ddtp_mode", "ddtp_mode"),
        ],
    );
    join(
        &mut m,
        &registers,
        &commands,
        &[
            ("cq_on", "on"),
            ("cq_head", "head_index"),
            ("cq_memory_fault", "memory_fault"),
            ("cq_illegal", "illegal"),
            ("cq_fence_wired", "fence_wired"),
        ],
    );
    join(
        &mut m,
        &faults,
        &registers,
        &[
            ("enable", "fq_enable"),
            ("stop", "fq_stop"),
            ("base", "fq_base"),
            ("mask", "fq_mask"),
            ("head", "fq_head"),
        ],
    );
    join(
        &mut m,
        &registers,
        &faults,
        &[
            ("fq_on", "on"),
            ("fq_tail", "tail_index"),
            ("fq_memory_fault", "memory_fault"),
            ("fq_overflow", "overflow"),
            ("fq_recorded", "recorded"),
        ],
    );
    join(
        &mut m,
        &barrier,
        &commands,
        &[("cq_valid", "sync_valid"), ("cq_pr", "sync_pr"), ("cq_pw", "sync_pw")],
    );
    join(&mut m, &barrier, &registers, &[("ddtp_valid", "ddtp_sync_valid")]);
    join(&mut m, &commands, &barrier, &[("sync_ready", "cq_ready")]);
    join(&mut m, &registers, &barrier, &[("ddtp_sync_ready", "ddtp_ready")]);

    inputs(&mut m, &barrier, "", &[("fence_ready", 1), ("drain_ready", 1)]);
    outputs(&mut m, &barrier, "", &["fence_valid", "drain_valid", "drain_pr", "drain_pw"]);
    commands.connect(&mut m, "draining", lit(0, 1));
    inputs(&mut m, &commands, "", &[("inval_ready", 1)]);
    let operands = ["valid", "kind", "av", "pscv", "pscid", "addr", "dv", "did", "pid"];
    for port in operands {
        m.output(&format!("inval_{port}"), commands.out(&format!("inval_{port}")));
    }
    for (port, width, there) in
        [("gv", 1, design.second_stage()), ("gscid", 16, design.second_stage()), ("range", 52, design.s)]
    {
        let port = format!("inval_{port}");
        m.output(&port, if there { commands.out(&port) } else { lit(0, width) });
    }
    let read = [("rd_ready", 1), ("rd_data_valid", 1), ("rd_data", 64), ("rd_error", 1), ("rd_poison", 1)];
    inputs(&mut m, &commands, "c_", &read);
    outputs(&mut m, &commands, "c_", &["rd_valid", "rd_addr", "rd_len"]);
    let write = [("wr_ready", 1), ("wr_done", 1), ("wr_error", 1)];
    let burst = ["wr_valid", "wr_addr", "wr_len", "wr_size", "wd_data", "wd_strb"];
    inputs(&mut m, &commands, "c_", &write);
    outputs(&mut m, &commands, "c_", &burst);
    inputs(&mut m, &faults, "f_", &write);
    // A record has more beats than the one that is taken with the address.
    inputs(&mut m, &faults, "f_", &[("wd_ready", 1)]);
    outputs(&mut m, &faults, "f_", &burst);
    let record = [
        ("fault_valid", 1),
        ("fault_cause", 12),
        ("fault_pid", 20),
        ("fault_pv", 1),
        ("fault_priv", 1),
        ("fault_ttyp", 6),
        ("fault_did", 24),
        ("fault_iotval", 64),
        ("fault_iotval2", 64),
    ];
    inputs(&mut m, &faults, "f_", &record);
    outputs(&mut m, &faults, "f_", &["fault_ready"]);
    outputs(&mut m, &registers, "", &["ddtp_mode", "ddtp_root", "irq"]);
    m.build()
}

/// Pseudo-random numbers (xorshift): the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    /// A command; one in two has a bit flipped, one in twelve is noise.
    fn command(&mut self) -> [u64; 2] {
        let (did, pid) =
            (self.next() as u32 >> (8 + self.below(24)), self.next() as u32 >> (12 + self.below(20)));
        let range = self.coin().then(|| Range::page_of(self.next()));
        let pscid = self.coin().then_some(pid);
        let gscid = (self.below(4) == 0).then_some(did as u16);
        let command = match self.below(12) {
            0 => return [self.next(), self.next()],
            1..=3 => Command::IotinvalVma { gscid, pscid, range },
            4 => Command::IotinvalGvma { guest: gscid.map(|gscid| (gscid, range)) },
            5 => Command::AtsInval { pid: pscid, dseg: None, rid: did as u16, payload: self.next() },
            6 | 7 => Command::IodirInvalDdt { did: self.coin().then_some(did) },
            8 => Command::IodirInvalPdt { did, pid },
            _ => Command::IofenceC {
                pr: self.coin(),
                pw: self.coin(),
                wsi: self.coin(),
                store: self.coin().then(|| Store { address: self.next(), data: self.next() as u32 }),
            },
        };
        let mut dwords = command.encode();
        match self.below(7) {
            0 | 1 => dwords[0] ^= 1 << self.below(64),
            2 => dwords[1] ^= 1 << self.below(64),
            3 => {
                dwords[1] |= iotinval::S.mask() | (((1 << (10 + self.below(53))) - 1) & iotinval::ADDR.mask())
            }
            _ => {}
        }
        dwords
    }
}

/// What the bench prints for a command.
fn expected(dwords: [u64; 2], support: Support, design: &Design) -> String {
    let decoded = Command::decode_for(dwords, support);
    let device = |did: u32| did >> design.device_id_width == 0;
    let range = |range: Option<Range>| {
        let napot = range.filter(|range| range.napot).map_or(0, |range| range.bounds().0 ^ range.bounds().1);
        format!(
            "{} {:013x} {:013x}",
            u8::from(range.is_some()),
            range.map_or(0, |range| range.page),
            napot >> 12
        )
    };
    match decoded {
        Err(_) | Ok(Command::AtsInval { .. } | Command::AtsPrgr { .. }) => "illegal\nfence\n".into(),
        Ok(Command::IotinvalVma { gscid: Some(_), .. } | Command::IotinvalGvma { .. })
            if !design.second_stage() =>
        {
            String::new()
        }
        Ok(Command::IotinvalVma { gscid, pscid, range: pages }) => format!(
            "vma {} {:04x} {} {:05x} {}\n",
            u8::from(gscid.is_some()),
            gscid.unwrap_or(0),
            u8::from(pscid.is_some()),
            pscid.unwrap_or(0),
            range(pages)
        ),
        Ok(Command::IotinvalGvma { guest }) => {
            format!("gvma {} {:04x}\n", u8::from(guest.is_some()), guest.map_or(0, |guest| guest.0))
        }
        Ok(Command::IodirInvalDdt { did: None }) => "ddt 0 000000\n".into(),
        Ok(Command::IodirInvalDdt { did: Some(did) }) if device(did) => format!("ddt 1 {did:06x}\n"),
        Ok(Command::IodirInvalPdt { did, pid }) if device(did) && pid >> design.process_id_width == 0 => {
            format!("pdt {did:06x} {pid:05x}\n")
        }
        Ok(Command::IodirInvalDdt { .. } | Command::IodirInvalPdt { .. }) => String::new(),
        Ok(Command::IofenceC { pr, pw, wsi, store }) => {
            let mut text = "fence\n".to_string();
            if pr || pw {
                text += &format!("drain {} {}\n", u8::from(pr), u8::from(pw));
            }
            if let Some(store) = store {
                if store.address >> design.pas != 0 {
                    return text + "memory fault\nfence\n";
                }
                text += &format!("store {:016x} {:08x}\n", store.address, store.data);
            }
            if wsi {
                text += "wired\n";
            }
            text
        }
    }
}

/// Every kind of command with each of its bits flipped.
fn flipped() -> Vec<[u64; 2]> {
    let range = Some(Range::page_of(0x1234_5000));
    let store = Some(Store { address: 0x1000, data: 7 });
    let commands = [
        Command::IotinvalVma { gscid: None, pscid: None, range: None },
        Command::IotinvalVma { gscid: Some(3), pscid: Some(5), range },
        Command::IotinvalGvma { guest: None },
        Command::IotinvalGvma { guest: Some((7, range)) },
        Command::IodirInvalDdt { did: None },
        Command::IodirInvalDdt { did: Some(9) },
        Command::IodirInvalPdt { did: 9, pid: 5 },
        Command::IofenceC { pr: false, pw: true, wsi: false, store: None },
        Command::IofenceC { pr: true, pw: false, wsi: true, store },
        Command::AtsInval { pid: None, dseg: None, rid: 0, payload: 0 },
    ];
    let flip = |command: &Command, bit: usize| {
        let mut dwords = command.encode();
        dwords[bit / 64] ^= 1 << (bit % 64);
        dwords
    };
    commands.iter().flat_map(|command| (0..128).map(move |bit| flip(command, bit))).collect()
}

/// A shipped design without what the bench has no blocks for.
fn without_ats(name: &str) -> Design {
    Design { ats: false, t2gpa: false, msi: false, ..Design::shipped(name).unwrap() }
}

/// Runs the bench on `commands` and then on random ones.
fn run(design: &Design, mode: u64, device_id_bits: u8, mut commands: Vec<[u64; 2]>) {
    const RANDOM: usize = 300;
    const FAULTS: usize = 20;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("queues-{}-{mode}", design.name));
    fs::create_dir_all(&folder).expect("the test's folder can be made");

    let process_id_bits = [0, 8, 17, 20][design.process_directory_levels() as usize];
    let support = Support {
        non_leaf: design.nl,
        range: design.s,
        ats: false,
        wsi: true,
        device_id_bits,
        process_id_bits,
    };
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ mode);
    let capabilities = format!("capabilities {:016x}\n", regs::capabilities(design));
    let mut log = capabilities.repeat(2) + &"fence\ndrain 1 1\n".repeat(4);
    for (name, most) in [("cqb", design.command_log2_max), ("fqb", design.fault_log2_max)] {
        writeln!(log, "{name} {:016x}", ((1u64 << (design.pas - 2)) - 0x400) | u64::from(most - 1)).unwrap();
    }
    let mut stimulus = String::new();
    commands.extend((0..RANDOM).map(|_| random.command()));
    for (index, dwords) in commands.iter().copied().enumerate() {
        writeln!(stimulus, "{:016x} {:016x}", dwords[0], dwords[1]).unwrap();
        write!(log, "command {index}\n{}", expected(dwords, support, design)).unwrap();
    }
    fs::write(folder.join("commands.hex"), stimulus).unwrap();
    log += "burst\n";
    log += &"fence\n".repeat(100);
    // The fence whose fetch is poisoned, then its store refused, then all is well.
    let store = Command::IofenceC {
        pr: false,
        pw: false,
        wsi: false,
        store: Some(Store { address: 0x1000, data: 1 }),
    };
    assert!(iofence::AV.is_set(store.encode()[0]));
    log += "memory faults\n";
    log += &"fence\nstore 0000000000001000 00000001\n".repeat(2);
    log += "faults\n";
    let mut stimulus = String::new();
    for _ in 0..FAULTS {
        let record = FaultRecord::decode([random.next(), 0, random.next(), random.next()]);
        for dword in record.encode() {
            writeln!(stimulus, "{dword:016x}").unwrap();
            writeln!(log, "record {dword:016x}").unwrap();
        }
    }
    fs::write(folder.join("faults.hex"), stimulus).unwrap();
    log += "end\n";

    let emitted = session(|| emit(&bench(design), &Options::default())).expect("the blocks become Verilog");
    fs::write(folder.join("queues.v"), emitted.verilog).unwrap();
    let parameters = [
        ("COMMANDS", commands.len() as u32),
        ("FAULTS", FAULTS as u32),
        ("VECTORS", design.vectors),
        ("DEVICE_ID_WIDTH", design.device_id_width),
        ("PROCESS_ID_WIDTH", design.process_id_width),
        ("MODE", mode as u32),
        ("PAS", design.pas),
    ];
    let compiled = Process::new("iverilog")
        .current_dir(&folder)
        .args(["-g2012", "-s", "bench", "-o", "bench"])
        .args(parameters.map(|(name, value)| format!("-Pbench.{name}={value}")))
        .arg("queues.v")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/queues.v"))
        .output()
        .expect("this test needs Icarus Verilog (iverilog)");
    assert!(compiled.status.success(), "iverilog: {}", String::from_utf8_lossy(&compiled.stderr));
    let output =
        Process::new("vvp").current_dir(&folder).arg("bench").output().expect("vvp comes with iverilog");
    let output = String::from_utf8_lossy(&output.stdout);

    let failures: Vec<&str> = output.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(failures.is_empty(), "{}:\n{}", design.name, failures.join("\n"));
    let events: Vec<&str> = output.lines().filter_map(|line| line.strip_prefix("> ")).collect();
    for (index, (event, wanted)) in events.iter().zip(log.lines()).enumerate() {
        assert_eq!(
            event,
            &wanted,
            "{}: event {index} after {:?}",
            design.name,
            &events[index.saturating_sub(5)..index]
        );
    }
    assert_eq!(events.len(), log.lines().count(), "{}: the bench ended early or late", design.name);
}

#[test]
fn tiny() {
    run(&Design::shipped("tiny").unwrap(), 4, 24, flipped());
}

#[test]
fn default_with_each_directory_depth() {
    let design = without_ats("default");
    for (mode, device_id_bits) in [(2, 7), (3, 16), (4, 24), (1, 24)] {
        let systematic = if mode == 4 { flipped() } else { vec![] };
        run(&design, mode, device_id_bits, systematic);
    }
}

/// Virtual machines, ranges, non-leaf entries, and directories of extended contexts.
#[test]
fn every_operand() {
    let text = "base = \"tiny\"\nname = \"operands\"\n[translation]\nsv39x4 = true\n[msi]\nflat = true\n\
                [invalidation]\nnl = true\ns = true\n";
    let design = Design::from_toml(text, "operands.toml").unwrap();
    for (mode, device_id_bits) in [(2, 6), (3, 15), (4, 24)] {
        let systematic = if mode == 4 { flipped() } else { vec![] };
        run(&design, mode, device_id_bits, systematic);
    }
}

#[test]
fn large() {
    run(&without_ats("large"), 4, 24, vec![]);
}
