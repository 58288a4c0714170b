//! The blocks of the book: commands work as they stand, designs are legal, every block has a language.
//!
//! The commands of a page are run in their order, in a folder that looks like a clone, with the designs, experiments and sweeps that the
//! page shows. A block
//! marked `sh long` is not run, because it takes minutes, installs something or builds the workspace: its commands are parsed, or
//! asked of `make -n`, and [`LONG`] has all of them.

use clap::Parser;
use clap::error::ErrorKind;
use pasidon::cli::Cli;
use pasidon_experiment::Experiment;
use pasidon_experiment::resolve::design_of;
use pasidon_rtl::Design;
use pasidon_study::sweep::file::Sweep;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The commands that are not run, by page.
const LONG: [(&str, &str); 15] = [
    ("README.md", "make demo"),
    ("README.md", "make test"),
    ("docs/golden.md", "cargo build --release -p pasidon-golden-c"),
    ("docs/golden.md", "cargo run -p pasidon-golden --example translate"),
    ("docs/program.md", "cargo build --release -p pasidon-capi"),
    ("docs/start.md", "make demo"),
    ("docs/start.md", "make test"),
    ("docs/start.md", "make trace PROG=\"gzip -9 -c /etc/services\""),
    ("docs/stress.md", "pasidon stress --seconds 3600 --seed 1 --json report.json"),
    ("docs/studies.md", "make studies"),
    ("docs/trace.md", "make trace PROG=\"gzip -9 -c /etc/services\""),
    ("docs/trace.md", "valgrind --tool=lackey --trace-mem=yes --log-file=sort.log sort words"),
    ("docs/verification.md", "pasidon coverage --design full --ops 300000"),
    ("docs/verification.md", "pasidon mutate --design full --count 100"),
    ("docs/verification.md", "pasidon stress --seconds 3600 --seed 1"),
];

/// A fenced block of a page.
struct Block {
    page: String,
    info: String,
    lines: Vec<String>,
}

impl Block {
    /// Its commands, without what a `#` begins.
    fn commands(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.lines.iter().map(|line| line.split(" #").next().unwrap_or_default().trim());
        lines.filter(|line| !line.is_empty()).map(|line| (self.page.as_str(), line))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// Names of the pages and their texts.
fn pages() -> Vec<(String, String)> {
    let book = fs::read_dir(root().join("docs")).expect("docs/");
    let names = book.map(|entry| format!("docs/{}", entry.expect("an entry").file_name().to_string_lossy()));
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".md")).collect();
    names.push("README.md".into());
    names.sort();
    let read = |name: String| {
        let text = fs::read_to_string(root().join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, text)
    };
    names.into_iter().map(read).collect()
}

/// The blocks of a page, and the text between them.
fn blocks(page: &str, text: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut between) = (Vec::new(), String::new());
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(""), Some(block)) => blocks.push(block),
            (Some(info), None) => {
                open = Some(Block { page: page.into(), info: info.into(), lines: Vec::new() });
            }
            (Some(_), Some(_)) => panic!("{page}: a fence within a fence: {line}"),
            (None, Some(mut block)) => {
                block.lines.push(line.into());
                open = Some(block);
            }
            (None, None) => between += &format!("{line} "),
        }
    }
    assert!(open.is_none(), "{page}: a fence is not closed");
    (blocks, between)
}

fn all_blocks() -> Vec<Block> {
    pages().iter().flat_map(|(page, text)| blocks(page, text).0).collect()
}

#[test]
fn every_block_has_a_language() {
    let known = ["sh", "sh long", "toml", "json", "csv", "text", "rust,ignore"];
    for Block { page, info, lines } in all_blocks() {
        assert!(known.contains(&info.as_str()), "{page}: a block in {info:?}: {lines:?}");
    }
}

/// What a block in TOML is, and the file that a page's commands find it in.
enum File {
    Design(String),
    Experiment,
    Sweep(String),
}

impl File {
    fn of(text: &str) -> File {
        let table: toml::Table = toml::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        let name = || table["name"].as_str().expect("a name").to_string();
        match (table.contains_key("base") && table.contains_key("axis"), table.contains_key("jobs")) {
            (true, _) => File::Sweep(name()),
            (false, true) => File::Experiment,
            (false, false) => File::Design(name()),
        }
    }

    fn name(&self) -> String {
        match self {
            File::Design(name) | File::Sweep(name) => format!("{name}.toml"),
            File::Experiment => "experiment.toml".into(),
        }
    }
}

#[test]
fn example_files_are_legal() {
    let files: Vec<Block> = all_blocks().into_iter().filter(|block| block.info == "toml").collect();
    let mut seen = [0; 3];
    for Block { page, lines, .. } in files {
        let text = lines.join("\n");
        match File::of(&text) {
            File::Design(_) => {
                Design::from_toml(&text, &page).unwrap_or_else(|error| panic!("{error}"));
                seen[0] += 1;
            }
            File::Experiment => {
                let experiment: Experiment =
                    toml::from_str(&text).unwrap_or_else(|error| panic!("{page}: {error}"));
                assert_eq!(experiment.machine.problems(), Vec::<String>::new(), "{page}");
                design_of(&experiment.design).unwrap_or_else(|error| panic!("{page}: {error}"));
                seen[1] += 1;
            }
            File::Sweep(_) => {
                let points = Sweep::parse(&text, Path::new(&page)).and_then(|sweep| sweep.points());
                points.unwrap_or_else(|error| panic!("{error}"));
                seen[2] += 1;
            }
        }
    }
    assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
}

/// Words of a command as a shell makes them.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted) = (String::new(), false);
    for letter in command.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            letter => word.push(letter),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// The arguments of a `pasidon` command, read by the program's own parser.
fn parsed(words: &[String]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once(&"pasidon".to_string()).chain(&words[1..]))
}

/// `make` knows its goal.
fn known_to_make(page: &str, words: &[String]) {
    let output = Command::new("make").arg("-n").args(&words[1..]).current_dir(root()).output();
    let output = output.expect("make starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{page}: {}: {said}", words.join(" "));
}

#[test]
fn long_commands_are_listed_and_exist() {
    let long: Vec<Block> = all_blocks().into_iter().filter(|block| block.info == "sh long").collect();
    let mut found: Vec<(&str, &str)> = long.iter().flat_map(Block::commands).collect();
    found.sort_unstable();
    assert_eq!(found, LONG, "a command that is quick belongs in a block in `sh`, which is run");
    let crates = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    for (page, command) in found {
        let words = words(command);
        match words[0].as_str() {
            "make" => known_to_make(page, &words),
            "pasidon" => {
                parsed(&words).unwrap_or_else(|error| panic!("{page}: {command}: {error}"));
            }
            "cargo" => {
                let package = words.iter().skip_while(|word| *word != "-p").nth(1).expect("a package");
                assert!(crates.contains(&format!("name = \"{package}\"\n")), "{page}: {command}");
            }
            "valgrind" => {}
            other => panic!("{page}: {other} is not known to this test: {command}"),
        }
    }
}

/// Commands within sentences, which may be shortened: `pasidon serve`.
#[test]
fn commands_within_sentences_exist() {
    let mut seen = 0;
    for (page, text) in pages() {
        let between = blocks(&page, &text).1;
        for command in between.split('`').skip(1).step_by(2) {
            let words = words(command);
            match words.first().map_or("", |word| word.rsplit('/').next().unwrap_or(word)) {
                "make" if words.len() > 1 && words[1] != "VERB" => known_to_make(&page, &words),
                "pasidon" if words.len() > 1 => {
                    let kind = parsed(&words).err().map(|error| error.kind());
                    let fine = matches!(
                        kind,
                        None | Some(ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelp)
                    );
                    assert!(fine, "{page}: {command}: {kind:?}");
                }
                _ => continue,
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} commands");
}

/// A folder in which a page's commands find what they find in a clone in which `make demo` was run.
fn clone(page: &str) -> PathBuf {
    let name = format!("pasidon-book-{}-{}", std::process::id(), page.replace(['/', '.'], "-"));
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(folder.join("target/release")).expect("a temporary folder");
    for entry in fs::read_dir(root()).expect("the repository") {
        let name = entry.expect("an entry").file_name();
        if name != "target" && name != ".git" {
            symlink(root().join(&name), folder.join(&name)).expect("a link");
        }
    }
    symlink(env!("CARGO_BIN_EXE_pasidon"), folder.join("target/release/pasidon")).expect("a link");
    folder
}

/// What long commands would have left for those after them.
fn results_of_long_commands(page: &str, folder: &Path) {
    match page {
        "docs/start.md" => {
            fs::create_dir(folder.join("target/traces")).expect("a folder");
            let trace = root().join("traces/gzip.trace.gz");
            symlink(trace, folder.join("target/traces/gzip.trace.gz")).expect("a link");
        }
        "docs/trace.md" => {
            let line =
                |i: u32| format!(" {} {:x},8\n", ["L", "S", "M"][i as usize % 3], 0x1000 + i * 40 % 0x9000);
            let log: String = (0..150_000).map(line).collect();
            fs::write(folder.join("sort.log"), log).expect("a file");
        }
        _ => {}
    }
}

/// Runs the commands of a page; how many there were.
fn run(page: &str, blocks: &[Block]) -> usize {
    let folder = clone(page);
    results_of_long_commands(page, &folder);
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", folder.join("target/release").display());
    let models = std::env::var_os("PASIDON_TARGET").unwrap_or_else(|| root().join("target").into());
    let mut commands = 0;
    for block in blocks {
        let text = block.lines.join("\n");
        if block.info == "toml" {
            fs::write(folder.join(File::of(&text).name()), &text).expect("a file");
        } else if block.info == "sh" {
            // A server in the background ends with its client, or with the block.
            let script = format!("set -e\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{text}\n");
            let mut shell = Command::new("bash");
            shell.args(["-c", &script]).current_dir(&folder).stdin(Stdio::null());
            let begun = Instant::now();
            let output =
                shell.env("PATH", &path).env("PASIDON_TARGET", &models).output().expect("bash starts");
            println!("{page}: {:.1} s:\n{text}", begun.elapsed().as_secs_f64());
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{page}, in {}:\n{text}\n{said}", folder.display());
            commands += block.commands().count();
        }
    }
    fs::remove_dir_all(&folder).expect("the folder can be removed");
    commands
}

#[test]
fn commands_work_as_they_stand() {
    let pages = pages();
    let commands: usize = std::thread::scope(|scope| {
        let run_page = |(page, text): &(String, String)| run(page, &blocks(page, text).0);
        let threads: Vec<_> = pages.iter().map(|page| scope.spawn(move || run_page(page))).collect();
        threads.into_iter().map(|thread| thread.join().expect("the commands of a page work")).sum()
    });
    assert!(commands >= 12, "{commands} commands");
}
