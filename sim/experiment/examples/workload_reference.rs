//! Writes what is generated of docs/workloads.md: between the marks `<!-- generated -->` and `<!-- end -->` stand the tables of this
//! crate and what was counted.

use pasidon_experiment::generate::{Generator, generators};
use pasidon_experiment::portrait::Portrait;
use pasidon_experiment::portrait::picture::Picture;
use pasidon_experiment::text::grouped;
use pasidon_experiment::trace::Tally;
use pasidon_experiment::{Work, workload};
use std::fmt::Write;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/workloads.md");
const BEGIN: &str = "<!-- generated -->\n";
const END: &str = "<!-- end -->\n";
/// Accesses over which reuse is counted and pictures are drawn.
const FIRST: u64 = 1_000_000;
/// Pages of the caches whose hits are told.
const CACHES: [u64; 5] = [4, 16, 64, 256, 1024];

type Failure = Box<dyn std::error::Error>;

fn totals(work: &Work) -> Result<Tally, Failure> {
    let (mut stream, mut tally, mut batch) = (workload(work)?, Tally::default(), Vec::new());
    loop {
        stream.next_batch(&mut batch)?;
        if batch.is_empty() {
            return Ok(tally);
        }
        tally.add(&batch);
    }
}

fn section(text: &mut String, work: &Work, generator: &Generator) -> Result<(), Failure> {
    write!(text, "\n### {}\n\n{}.\n\n", generator.name, generator.about)?;
    text.push_str("| parameter | default | possible | what |\n|---|---:|---|---|\n");
    for p in generator.table {
        writeln!(text, "| `{}` | {} | {} | {} |", p.name, p.default, p.legal, p.what)?;
    }
    let mut stream = workload(work)?;
    let (portrait, tally) = Portrait::of(stream.as_mut(), FIRST)?;
    stream.rewind()?;
    let picture = Picture::of(stream.as_mut(), &tally, portrait.accesses, (100, 14))?;
    write!(text, "\n```text\n{}```\n", picture.text())?;
    Ok(())
}

/// The generated part.
///
/// # Errors
/// Of a workload.
pub fn render() -> Result<String, Failure> {
    let mut text = String::from(
        "\nWhole jobs with default parameters; hits are those of a cache of so many 4 KiB pages that replaces the page used longest ago, in \
         the\nfirst million accesses.\n\n| workload | accesses | MiB | written | pages 4K | 2M |",
    );
    for pages in CACHES {
        write!(text, " hits {pages} |")?;
    }
    text.push_str("\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    let mut sections = String::new();
    for work in generators() {
        let Some(generator) = work.generator() else { continue };
        let tally = totals(&work)?;
        let all = tally.summary();
        let (portrait, _) = Portrait::of(workload(&work)?.as_mut(), FIRST)?;
        let huge: u64 = tally.pages().values().map(|pages| pages.count(21)).sum();
        write!(
            text,
            "| [`{name}`](#{name}) | {} | {} | {:.0} % | {} | {} |",
            grouped(all.total),
            grouped(all.bytes >> 20),
            100.0 * all.writes as f64 / all.total as f64,
            grouped(all.pages),
            grouped(huge),
            name = generator.name,
        )?;
        for pages in CACHES {
            write!(text, " {:.1} % |", portrait.hits_with(pages))?;
        }
        text.push('\n');
        section(&mut sections, &work, &generator)?;
    }
    Ok(text + &sections + "\n")
}

/// The page with its generated part replaced.
///
/// # Errors
/// A page without marks.
pub fn page(old: &str, generated: &str) -> Result<String, Failure> {
    let (before, rest) =
        old.split_once(BEGIN).ok_or("docs/workloads.md has no mark of the generated part")?;
    let (_, after) = rest.split_once(END).ok_or("docs/workloads.md has no end of the generated part")?;
    Ok(format!("{before}{BEGIN}{generated}{END}{after}"))
}

fn main() -> Result<(), Failure> {
    let new = page(&std::fs::read_to_string(PAGE)?, &render()?)?;
    Ok(std::fs::write(PAGE, new)?)
}
