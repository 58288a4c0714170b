//! The timing diagrams of the book, drawn from what the simulated hardware does.

use crate::queues::vma;
use crate::tables::{bits, entry, pointer, process_dc, user_pc};
use crate::{Query, Rig};
use pasidon_cosim::verilated::{In, Out};
use pasidon_spec::command::Command;
use pasidon_spec::page_table::SV39;
use pasidon_spec::pdt::pdtp_mode;
use pasidon_spec::registers::cqt;
use std::fmt::Write;

/// Device and process of the diagrams, and the first of four pages of it.
const DEVICE: u32 = 1;
const PROCESS: u32 = 2;
const VA: u64 = 0x4000_0000;
const PAGES: u64 = 4;

/// What is on the wires in one cycle.
struct Cycle {
    out: Out,
    input: In,
}

/// What a signal shows in a cycle.
enum Level {
    /// A wire.
    Bit(bool),
    /// A bus, with what it says; nothing while it means nothing.
    Bus(Option<String>),
}

/// A signal of a diagram.
type Signal = (&'static str, fn(&Cycle) -> Level);

fn bit(value: u64) -> Level {
    Level::Bit(value & 1 != 0)
}

fn bus(valid: u64, value: u64) -> Level {
    Level::Bus((valid & 1 != 0).then(|| format!("{value:x}")))
}

/// `default` with a process of four pages, one device, and memory that answers in the next cycle.
fn rig() -> Rig {
    let mut rig = Rig::ready("default", 1, 1);
    rig.new_directory(1);
    let (pdtp, root) = (pointer(pdtp_mode::PD8, rig.page()), rig.page());
    rig.set_dc(DEVICE, process_dc(pdtp));
    rig.set_pc(pdtp, PROCESS, user_pc(pointer(SV39.mode, root), 1));
    for page in 0..PAGES {
        let frame = rig.page();
        rig.map(&SV39, root, VA + (page << 12), 0, entry(frame, bits::ALL));
    }
    rig.invalidate_all();
    rig
}

/// A read of page `page` by the device.
fn query(page: u64) -> Query {
    Query::read(DEVICE, Some(PROCESS), VA + (page << 12))
}

/// What is on the wires in the next `cycles` cycles; `drive` is called before each.
fn record(rig: &mut Rig, cycles: u64, mut drive: impl FnMut(&mut Rig, u64)) -> Vec<Cycle> {
    (0..cycles)
        .map(|cycle| {
            drive(rig, cycle);
            let out = *rig.out();
            rig.step();
            Cycle { out, input: rig.bench.verilated.input }
        })
        .collect()
}

const REQUEST: [Signal; 3] = [
    ("req0_valid", |c| bit(c.input.req[0].valid)),
    ("req0_ready", |c| bit(c.out.req[0].ready)),
    ("req0_iova", |c| bus(c.input.req[0].valid, c.input.req[0].iova)),
];
const RESPONSE: [Signal; 3] = [
    ("rsp0_valid", |c| bit(c.out.req[0].rsp_valid)),
    ("rsp0_ready", |c| bit(c.input.req[0].rsp_ready)),
    ("rsp0_spa", |c| bus(c.out.req[0].rsp_valid, c.out.req[0].rsp_spa)),
];
const DRAIN: [Signal; 4] = [
    ("drain_valid", |c| bit(c.out.drain_valid)),
    ("drain_pr", |c| bus(c.out.drain_valid, c.out.drain_pr)),
    ("drain_pw", |c| bus(c.out.drain_valid, c.out.drain_pw)),
    ("drain_ready", |c| bit(c.input.drain_ready)),
];
const COMMAND: [Signal; 5] = [
    ("s_axil_wvalid", |c| bit(c.input.axil.wvalid)),
    ("s_axil_bvalid", |c| bit(c.out.axil.bvalid)),
    ("m_axi_arvalid", |c| bit(c.out.axi.arvalid)),
    ("m_axi_araddr", |c| bus(c.out.axi.arvalid, c.out.axi.araddr)),
    ("m_axi_rvalid", |c| bit(c.input.axi.rvalid)),
];

/// Requests in one cycle after the other that the port's TLB answers.
fn hits(stall: std::ops::Range<u64>) -> Vec<Cycle> {
    let mut rig = rig();
    rig.ask_all(0, &[query(0), query(1), query(2), query(3)]);
    record(&mut rig, 11, |rig, cycle| {
        if cycle == 1 {
            (0..PAGES).for_each(|page| _ = rig.submit(0, query(page)));
        }
        rig.hold = stall.contains(&cycle);
    })
}

/// A fence with PR and PW: the data path takes six cycles to perform what was translated.
fn drain() -> Vec<Cycle> {
    let mut rig = rig();
    rig.ask(0, query(0));
    rig.drain_ready = false;
    rig.push(Command::IofenceC { pr: true, pw: true, wsi: false, store: None });
    let mut since = None;
    let cycles = record(&mut rig, 60, |rig, cycle| {
        if rig.out().drain_valid != 0 {
            since.get_or_insert(cycle);
        }
        rig.drain_ready = since.is_some_and(|since| cycle == since + 6);
    });
    let first = cycles.iter().position(|cycle| cycle.out.drain_valid != 0).expect("the fence drains");
    cycles.into_iter().skip(first - 2).take(11).collect()
}

/// IOTINVAL.VMA for a page, from the write of `cqt`; the next request for the page walks.
fn invalidation() -> Vec<Cycle> {
    let mut rig = rig();
    rig.ask(0, query(0));
    let at = rig.commands.entry(rig.command_tail);
    let [first, second] = vma(None, Some(VA)).encode();
    rig.store(at, first);
    rig.store(at + 8, second);
    rig.command_tail += 1;
    let tail = rig.command_tail;
    rig.bench.registers.start_write(u32::from(cqt::REG.offset) & !7, tail << 32, 0xf0);
    record(&mut rig, 30, |rig, cycle| {
        if cycle == 9 {
            rig.submit(0, query(0));
        }
    })
}

/// Name and text of every diagram.
pub fn diagrams() -> Vec<(&'static str, String)> {
    let answers: Vec<Signal> = REQUEST.into_iter().chain(RESPONSE).collect();
    let command: Vec<Signal> = COMMAND.into_iter().chain(REQUEST).chain(RESPONSE).collect();
    vec![
        ("timing-hits.svg", draw("Four hits, one per cycle", &answers, &hits(0..0))),
        (
            "timing-back-pressure.svg",
            draw("The device takes no response for four cycles", &answers, &hits(4..8)),
        ),
        ("timing-drain.svg", draw("A fence waits for the data path", &DRAIN, &drain())),
        (
            "timing-invalidation.svg",
            draw("IOTINVAL.VMA of a page, and its next translation", &command, &invalidation()),
        ),
    ]
}

/// Pixels: of a cycle, of a row, of the names, of the title.
const CYCLE: usize = 56;
const ROW: usize = 30;
const NAMES: usize = 130;
const TITLE: usize = 34;

/// A diagram as SVG.
fn draw(title: &str, signals: &[Signal], cycles: &[Cycle]) -> String {
    let width = NAMES + CYCLE * cycles.len() + 10;
    let height = TITLE + ROW * (signals.len() + 1) + 10;
    let mut svg = String::new();
    // Writing to a String cannot fail.
    _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"monospace\" font-size=\"12\">\n<title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"14\">{title}</text>"
    );
    for cycle in 0..=cycles.len() {
        let x = NAMES + cycle * CYCLE;
        _ = writeln!(svg, "<path d=\"M{x} {TITLE}V{}\" stroke=\"#ddd\"/>", height - 10);
    }
    row(&mut svg, 0, "clk");
    let clock: String = (0..cycles.len()).map(|_| format!("v-18h{0}v18h{0}", CYCLE / 2)).collect();
    _ = writeln!(svg, "<path d=\"M{NAMES} {}{clock}\" fill=\"none\" stroke=\"#06c\"/>", TITLE + 24);
    for (index, (name, level)) in signals.iter().enumerate() {
        let base = row(&mut svg, index + 1, name);
        let levels: Vec<Level> = cycles.iter().map(level).collect();
        match levels.first() {
            Some(Level::Bit(_)) => wire(&mut svg, base, &levels),
            _ => boxes(&mut svg, base, &levels),
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// The name of a row. Returns where its low level is.
fn row(svg: &mut String, index: usize, name: &str) -> usize {
    let base = TITLE + ROW * index + 24;
    _ = writeln!(svg, "<text x=\"8\" y=\"{}\">{name}</text>", base - 5);
    base
}

fn wire(svg: &mut String, base: usize, levels: &[Level]) {
    let mut path = String::new();
    let mut before = None;
    for (cycle, level) in levels.iter().enumerate() {
        let high = matches!(level, Level::Bit(true));
        let (x, y) = (NAMES + cycle * CYCLE, if high { base - 18 } else { base });
        match before {
            None => _ = write!(path, "M{x} {y}"),
            Some(last) if last != high => _ = write!(path, "V{y}"),
            Some(_) => {}
        }
        _ = write!(path, "h{CYCLE}");
        before = Some(high);
    }
    _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"black\" stroke-width=\"1.5\"/>");
}

fn boxes(svg: &mut String, base: usize, levels: &[Level]) {
    let mut cycle = 0;
    while cycle < levels.len() {
        let said = |level: &Level| match level {
            Level::Bus(Some(text)) => Some(text.clone()),
            _ => None,
        };
        let text = said(&levels[cycle]);
        let length = levels[cycle..].iter().take_while(|level| said(level) == text).count();
        let (x, width, y) = (NAMES + cycle * CYCLE, length * CYCLE, base - 18);
        match text {
            None => _ = writeln!(svg, "<path d=\"M{x} {}h{width}\" stroke=\"#999\"/>", base - 9),
            Some(text) => {
                // The end of what does not fit says most.
                let fits = (width - 6) / 6;
                let shown =
                    if text.len() > fits { format!("…{}", &text[text.len() + 1 - fits..]) } else { text };
                _ = writeln!(
                    svg,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"18\" fill=\"#eef\" stroke=\"black\"/>\n\
                     <text x=\"{}\" y=\"{}\" font-size=\"10\">{shown}</text>",
                    x + 3,
                    base - 5
                );
            }
        }
        cycle += length;
    }
}
