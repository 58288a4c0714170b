//! Prints the register reference, `docs/registers.md`, from the tables of this crate.
//!
//! `make docs` runs it; a test of this crate fails when the committed file differs from what it prints.

use std::fmt::Write;

use pasidon_spec::fault::Cause;
use pasidon_spec::field::{Encoding, Field, Level, Word};
use pasidon_spec::registers::{Register, capabilities};
use pasidon_spec::{command, ddt, fault, message, page_request, page_table, pdt, registers};

fn main() {
    print!("{}", render());
}

/// The whole reference, as Markdown.
pub fn render() -> String {
    let mut out = String::new();
    out.push_str(INTRODUCTION);
    registers_chapter(&mut out);
    directories_chapter(&mut out);
    page_tables_chapter(&mut out);
    commands_chapter(&mut out);
    faults_chapter(&mut out);
    page_requests_chapter(&mut out);
    // Sections end with an empty line, the file with one newline.
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

const INTRODUCTION: &str = "\
# Register and data-structure reference

<!-- Generated from the crate pasidon-spec by `make docs`. Do not edit. -->

The programmer's model of the IOMMU: RISC-V IOMMU Architecture v1.0.1. All of it is generated from the tables in
`spec/`, from which the hardware and the driver are built too. Section names in parentheses are those of the
specification, which has the full rules.

- [Registers](#registers)
- [Directories](#directories): device directory and context, process directory and context
- [Page tables](#page-tables)
- [Commands](#commands)
- [Faults](#faults): causes, transaction types, fault record
- [Page requests and messages](#page-requests-and-messages)

Access: **RO** read-only, **RW** read-write, **RW1C** write 1 to clear, **RW1S** write 1 to set, **WARL** any value
may be written and a legal one is read, **WPRI** reserved: reads 0, software writes 0. Numbers are decimal unless they
begin with `0x`. An offset is in bytes.

";

fn registers_chapter(out: &mut String) {
    out.push_str("## Registers\n\n");
    out.push_str("The registers fill one naturally aligned page of 4 KiB. They are little-endian and accessed with 4 or 8 bytes.\n");
    out.push_str("A register that is absent reads 0 and ignores writes. What the specification leaves unspecified after reset is 0 here.\n\n");
    out.push_str("| Offset | Register | Bytes | Reset | Present if |\n|---|---|---|---|---|\n");
    for register in registers::ALL {
        let condition = match register.presence.condition() {
            "" => "always".to_string(),
            condition => format!("`{condition}`"),
        };
        let _ = writeln!(
            out,
            "| {} | [`{}`](#{}) | {} | {} | {condition} |",
            offsets(register),
            register.name,
            register.name,
            register.bytes,
            if register.name == capabilities::REG.name {
                "by design".to_string()
            } else {
                hex(register.reset())
            },
        );
    }
    out.push('\n');
    for register in registers::ALL {
        let _ = writeln!(out, "### {}\n\n{}\n", register.name, text(register.doc));
        let _ = writeln!(out, "Offset {}, {} bits.\n", offsets(register), register.bits());
        field_table(out, register.fields, register.bits(), Some(register));
    }
    encoding_table(out, "igs", "Interrupt generation, `capabilities.IGS`", registers::igs::ALL);
    encoding_table(out, "iommu_mode", "Mode, `ddtp.iommu_mode`", ddt::iommu_mode::ALL);
    encoding_table(out, "event", "Events, `iohpmevt.eventID`", registers::event::ALL);
}

fn directories_chapter(out: &mut String) {
    out.push_str("## Directories\n\n");
    out.push_str("A directory is a radix tree of one to three levels. Level 0 is the leaf level, whose entries are contexts.\n\n");
    out.push_str("| Index | Entry | Entry bytes, non-leaf / leaf | Level 2 | Level 1 | Level 0 |\n|---|---|---|---|---|---|\n");
    index_row(out, "device_id", "base DC", ddt::DDTE_BYTES, ddt::BASE_DC_BYTES, &ddt::BASE_DDI);
    index_row(out, "device_id", "extended DC", ddt::DDTE_BYTES, ddt::EXT_DC_BYTES, &ddt::EXT_DDI);
    index_row(out, "process_id", "PC", pdt::PDTE_BYTES, pdt::PC_BYTES, &pdt::PDI);
    out.push('\n');
    word_section(out, "Device directory", &ddt::ddte::WORD);
    out.push_str("Device context (DC): 32 bytes in the base format, which ends after `fsc`; 64 bytes in the extended format.\n\n");
    for word in ddt::dc::EXTENDED {
        word_section(out, "DC", word);
    }
    encoding_table(out, "msiptp_mode", "MSI page-table mode, `msiptp.MODE`", ddt::dc::msiptp_mode::ALL);
    word_section(out, "Process directory", &pdt::pdte::WORD);
    out.push_str("Process context (PC): 16 bytes.\n\n");
    for word in pdt::pc::WORDS {
        word_section(out, "PC", word);
    }
    encoding_table(out, "pdtp_mode", "Process-directory mode, `pdtp.MODE`", pdt::pdtp_mode::ALL);
    encoding_table(
        out,
        "iosatp_mode",
        "First-stage mode, `iosatp.MODE` and `PC.fsc.MODE`",
        page_table::iosatp_mode::ALL,
    );
    encoding_table(out, "iohgatp_mode", "Second-stage mode, `iohgatp.MODE`", page_table::iohgatp_mode::ALL);
}

fn page_tables_chapter(out: &mut String) {
    out.push_str("## Page tables\n\n");
    out.push_str("Each column of levels gives the address bits that index a table of that level; a leaf entry there maps a page of the size in parentheses.\n\n");
    out.push_str("| Format | Mode | Address bits | Entry bytes | Root bytes | Level 4 | Level 3 | Level 2 | Level 1 | Level 0 |\n");
    out.push_str("|---|---|---|---|---|---|---|---|---|---|\n");
    for geometry in page_table::ALL {
        let _ = write!(
            out,
            "| {} | {} | {} | {} | {} |",
            geometry.name,
            geometry.mode,
            geometry.address_bits(),
            geometry.pte_bytes,
            geometry.root_bytes(),
        );
        for level in (0..5).rev() {
            match geometry.levels.get(level) {
                Some(slice) => {
                    let _ = write!(out, " {} ({}) |", slice_bits(*slice), size(geometry.page_bytes(level)));
                }
                None => out.push_str(" |"),
            }
        }
        out.push('\n');
    }
    out.push('\n');
    word_section(out, "Entry of 8 bytes", &page_table::pte::WORD);
    encoding_table(out, "pbmt", "Memory type, `pte.PBMT`", page_table::pbmt::ALL);
    let napot = page_table::napot::GROUP_SHIFT;
    out.push_str("<a id=\"napot\"></a>\n\n### Groups of pages, `pte.N`\n\n");
    let _ = writeln!(
        out,
        "A leaf entry of level 0 with `N` = 1 belongs to an aligned group of {} bytes. The low {} bits of its `PPN` are {:#06b}; \
         the translation takes them from the address instead. Other encodings with `N` = 1 are reserved. (Extension Svnapot.)\n",
        1u64 << napot,
        page_table::napot::GROUP_BITS,
        page_table::napot::PPN_PATTERN,
    );
    word_section(out, "Entry of 4 bytes", &page_table::pte32::WORD);
}

fn commands_chapter(out: &mut String) {
    out.push_str("## Commands\n\n");
    out.push_str("A command has two doublewords. A reserved opcode, function or bit makes it illegal: `cqcsr.cmd_ill`.\n\n");
    encoding_table(out, "opcode", "Opcodes", command::opcode::ALL);
    encoding_table(out, "func3", "Functions (`func3`) of each opcode", command::func3::ALL);
    record_section(out, "iotinval", "IOTINVAL.VMA, IOTINVAL.GVMA", command::iotinval::DWORDS);
    record_section(out, "iofence", "IOFENCE.C", command::iofence::DWORDS);
    record_section(out, "iodir", "IODIR.INVAL_DDT, IODIR.INVAL_PDT", command::iodir::DWORDS);
    record_section(out, "ats", "ATS.INVAL, ATS.PRGR", command::ats::DWORDS);
    record_section(out, "invalidation", "PAYLOAD of ATS.INVAL", message::invalidation::DWORDS);
    record_section(out, "group_response", "PAYLOAD of ATS.PRGR", message::group_response::DWORDS);
    out.push_str("<a id=\"range\"></a>\n\n### Ranges of pages\n\n");
    out.push_str("Where a bit `S` says so, a page number encodes a range: with its lowest 0 at bit X, the range is 2^(X+1) pages of 4 KiB, aligned to its size. ");
    out.push_str("(Section \"Address Range Invalidation Extension\".)\n\n");
    encoding_table(out, "response_code", "Response codes", message::response_code::ALL);
}

fn faults_chapter(out: &mut String) {
    out.push_str("## Faults\n\n<a id=\"cause\"></a>\n\n### Causes\n\n");
    out.push_str("\"With DTF\" says whether the fault is reported when `DC.tc.DTF` is 1. \"Transactions\" lists the transaction types that the record can show.\n");
    out.push_str("The last column is the answer to an ATS translation request (CA completer abort, UR unsupported request); a dash where the specification names none.\n\n");
    out.push_str(
        "| Cause | Name | With DTF | Raised by | Transactions | ATS answer |\n|---|---|---|---|---|---|\n",
    );
    for cause in Cause::ALL {
        let raised_by: Vec<_> = cause.raised_by().iter().map(|origin| origin.name()).collect();
        let transactions: Vec<_> = cause.transactions().iter().map(u64::to_string).collect();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            cause.code(),
            cause.name(),
            if cause.dtf_suppresses() { "no" } else { "yes" },
            raised_by.join(", "),
            transactions.join(" "),
            cause.ats_response().map_or("–", |response| response.name()),
        );
    }
    out.push('\n');
    encoding_table(out, "ttyp", "Transaction types, `TTYP`", fault::ttyp::ALL);
    record_section(out, "fault-record", "Fault record", fault::record::DWORDS);
    record_section(out, "iotval2", "iotval2 of a guest-page fault", fault::iotval2::DWORDS);
}

fn page_requests_chapter(out: &mut String) {
    out.push_str("## Page requests and messages\n\n");
    record_section(out, "page-request-record", "Page-request record", page_request::record::DWORDS);
    encoding_table(out, "code", "Message codes", message::code::ALL);
    out.push_str("### Responses that the IOMMU sends itself\n\nTo a request that needs a response and did not reach the queue.\n\n");
    out.push_str("| Reason | Response code |\n|---|---|\n");
    for (reason, refusal) in refusals() {
        let Some(code) = refusal.response_code() else { continue };
        let name = message::response_code::ALL.iter().find(|encoding| encoding.value == code);
        let _ = writeln!(out, "| {reason} | {} |", name.map_or("", |encoding| encoding.name));
    }
    out.push('\n');
}

/// Every reason for which a page request is not queued, in words.
fn refusals() -> Vec<(String, page_request::Refusal)> {
    use page_request::Refusal;
    let mut all = vec![
        ("Queue off".to_string(), Refusal::QueueOff),
        ("Queue memory fault".to_string(), Refusal::QueueMemoryFault),
        ("Queue full or overflowed".to_string(), Refusal::QueueOverflow),
    ];
    all.extend(
        Cause::ALL
            .iter()
            .map(|cause| (format!("{} ({})", cause.name(), cause.code()), Refusal::Fault(*cause))),
    );
    all
}

fn word_section(out: &mut String, group: &str, word: &Word) {
    let _ = writeln!(out, "### {group}: {}\n\n{}\n", word.name, text(word.doc));
    match group {
        "DC" | "PC" => writeln!(out, "Offset {}, {} bits.\n", word.offset, word.bits),
        _ => writeln!(out, "{} bits.\n", word.bits),
    }
    .expect("a string takes everything");
    field_table(out, word.fields, word.bits, None);
}

fn record_section(out: &mut String, id: &str, title: &str, dwords: &[&[Field]]) {
    let _ = writeln!(out, "<a id=\"{id}\"></a>\n\n### {title}\n");
    for (index, fields) in dwords.iter().enumerate() {
        if dwords.len() > 1 {
            let _ = writeln!(out, "Doubleword {index}:\n");
        }
        field_table(out, fields, 64, None);
    }
}

/// The fields of a word from the lowest bit upwards, gaps shown as reserved; for a register, with access and reset.
fn field_table(out: &mut String, fields: &[Field], bits: u8, register: Option<&Register>) {
    let (heading, rule) = if register.is_some() { ("| Access | Reset ", "|---|---") } else { ("", "") };
    let _ = writeln!(out, "| Bits | Field {heading}| Meaning |\n|---|---{rule}|---|");
    let mut next = 0;
    for field in fields {
        reserved_row(out, next, field.lo, register.is_some());
        let _ = write!(out, "| {} | `{}` ", bit_range(field.hi(), field.lo), field.name);
        if let Some(register) = register {
            let _ = write!(out, "| {} | {} ", field.access.name(), reset(register, field));
        }
        let _ = writeln!(out, "| {} |", text(field.doc));
        next = field.hi() + 1;
    }
    reserved_row(out, next, bits, register.is_some());
    out.push('\n');
}

/// The reset value of a field; in words where the generated hardware's design decides it.
fn reset(register: &Register, field: &Field) -> String {
    let constant = field.name == capabilities::VERSION.name || field.name == capabilities::CUSTOM.name;
    if register.name == capabilities::REG.name && !constant {
        return "by design".to_string();
    }
    hex(field.reset)
}

/// A row for the bits from `lo` up to but not including `end`, if there are any.
fn reserved_row(out: &mut String, lo: u8, end: u8, register: bool) {
    if lo < end {
        let access = if register { "| WPRI | 0 " } else { "" };
        let _ = writeln!(out, "| {} | reserved {access}| Must be 0. |", bit_range(end - 1, lo));
    }
}

fn encoding_table(out: &mut String, id: &str, title: &str, encodings: &[Encoding]) {
    let _ = writeln!(out, "<a id=\"{id}\"></a>\n\n### {title}\n\n| Value | Name | Meaning |\n|---|---|---|");
    for encoding in encodings {
        let _ = writeln!(out, "| {} | {} | {} |", encoding.value, encoding.name, text(encoding.doc));
    }
    out.push('\n');
}

fn index_row(out: &mut String, index: &str, entry: &str, non_leaf: u64, leaf: u64, levels: &[Level; 3]) {
    let [level0, level1, level2] = levels.map(slice_bits);
    let _ = writeln!(out, "| {index} | {entry} | {non_leaf} / {leaf} | {level2} | {level1} | {level0} |");
}

fn slice_bits(level: Level) -> String {
    bit_range(level.lo + level.width - 1, level.lo)
}

fn bit_range(hi: u8, lo: u8) -> String {
    if hi == lo { hi.to_string() } else { format!("{hi}:{lo}") }
}

/// The offset of a register; the range and step of an array's offsets.
fn offsets(register: &Register) -> String {
    if register.count == 1 {
        return register.offset.to_string();
    }
    let last = register.offset_of(register.count - 1);
    format!("{} to {last} ({} every {})", register.offset, register.count, register.stride)
}

fn hex(value: u64) -> String {
    if value < 10 { value.to_string() } else { format!("{value:#x}") }
}

fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (bytes.ilog2() / 10).min(4);
    format!("{} {}", bytes >> (10 * unit), units[unit as usize])
}

/// A doc comment as Markdown text: a link to a Rust item becomes a link to the section about it, which is named as the
/// item in lower case. "Doubleword 1:" is dropped, as the reference groups fields by doubleword.
fn text(doc: &str) -> String {
    let mut rest = match doc.strip_prefix("Doubleword ").and_then(|doc| doc.split_once(": ")) {
        Some((_, meaning)) => meaning,
        None => doc,
    };
    let mut out = String::new();
    while let Some((before, label, target, after)) = split_link(rest) {
        let item = target.rsplit("::").next().unwrap_or(target).to_lowercase();
        let _ = write!(out, "{before}[{label}](#{item})");
        rest = after;
    }
    out += rest;
    capitalised(&out)
}

/// The first Markdown link of `text`: what stands before it, its label, its target, what follows.
fn split_link(text: &str) -> Option<(&str, &str, &str, &str)> {
    let middle = text.find("](")?;
    let start = text[..middle].rfind('[')?;
    let end = middle + text[middle..].find(')')?;
    Some((&text[..start], &text[start + 1..middle], &text[middle + 2..end], &text[end + 1..]))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
