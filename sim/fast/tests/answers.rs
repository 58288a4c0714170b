//! The two engines give one answer: random experiments, put to the fast engine and to the RTL, give equal counts and equal times, field
//! by field. With one request at a time the counts alone are equal too.
//!
//! And what one refuses the other refuses, in the same words.
//!
//! `SEED` repeats a run; `EXPERIMENTS` says how many are tried on each design, `DESIGNS` on how many random designs beside the fixed ones.
//!
//! Memory is such that frames make no difference: banks and sets of the last-level cache are chosen by the address inside a page.

mod common;

use common::{given, pick, random_design};
use pasidon_cosim::{Cache, Random};
use pasidon_experiment::generate::{
    Axpy, Bfs, FaultStorm, Gemm, Gesummv, HashJoin, Heat3d, Memcpy, MergeSort, NicRings, NvmeQueues, Spmv,
    VideoFrames,
};
use pasidon_experiment::machine::{LastLevelCache, MemoryModel};
use pasidon_experiment::pages::{PagePolicy, PageSize};
use pasidon_experiment::{Engine, Experiment, Imagined, Job, MachineModel, Work};
use pasidon_fast::fast_answer;
use pasidon_machine::run::rtl_answer;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Designs that are always tried: the shipped ones, and some that are unlike them.
fn fixed_designs() -> Vec<Value> {
    vec![
        json!("tiny"),
        json!("default"),
        json!("large"),
        json!({ "base": "default", "tlb": { "l1_entries": 5, "l2_sets": 0 }, "walk": { "miss_entries": 3, "walkers": 1 } }),
    ]
}

/// A trace of random accesses: runs in a few places, jumps between them, every kind and size.
fn random_trace(random: &mut Random, folder: &Path, number: u64) -> PathBuf {
    let file = folder.join(format!("random{number}.csv"));
    let mut text = String::from("pasid,op,address,size,gap\n");
    let mut spots: Vec<u64> = (0..4).map(|_| random.below(1 << 8) << 30 | random.below(1 << 30)).collect();
    for _ in 0..100 + random.below(700) {
        let at = random.below(4) as usize;
        spots[at] = if random.below(8) == 0 {
            spots[at] & !0x1f_ffff | random.below(1 << 21)
        } else {
            (spots[at] + 64) & 0x3f_ffff_ffff
        };
        let op = pick(random, &["R", "W", "M", "X"]);
        let size = pick(random, &[1, 4, 8, 64, 256, 4096, 9000]);
        let gap = if random.below(8) == 0 { random.below(60) } else { 0 };
        text.push_str(&format!("0,{op},{:#x},{size},{gap}\n", spots[at]));
    }
    std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    file
}

/// A generator, small.
fn generator(random: &mut Random) -> Work {
    let seed = random.below(1 << 20);
    let works = [
        Work::Gemm(Gemm { m: 64, n: 64, k: 64, ..Gemm::default() }),
        Work::Gesummv(Gesummv { n: 64, ..Gesummv::default() }),
        Work::Heat3d(Heat3d { n: 16, ..Heat3d::default() }),
        Work::Axpy(Axpy { n: 8192, ..Axpy::default() }),
        Work::MergeSort(MergeSort { seed, ..MergeSort::default() }),
        Work::Spmv(Spmv { seed, ..Spmv::default() }),
        Work::Bfs(Bfs { seed, ..Bfs::default() }),
        Work::HashJoin(HashJoin { seed, ..HashJoin::default() }),
        Work::VideoFrames(VideoFrames::default()),
        Work::NicRings(NicRings { seed, ..NicRings::default() }),
        Work::NvmeQueues(NvmeQueues { seed, ..NvmeQueues::default() }),
        Work::Memcpy(Memcpy::default()),
        Work::FaultStorm(FaultStorm { seed, ..FaultStorm::default() }),
    ];
    works[random.below(works.len() as u64) as usize].clone()
}

fn random_memory(random: &mut Random) -> MemoryModel {
    let slowest = pick(random, &[4, 40, 200]);
    MemoryModel {
        latency: 1 + random.below(slowest) as u32,
        outstanding: pick(random, &[1, 2, 4, 16, MemoryModel::UNLIMITED]),
        bytes_per_cycle: pick(random, &[0, 0, 0, 4, 8, 64]),
        banks: 0,
        bank_busy: 0,
    }
}

fn random_machine(random: &mut Random) -> MachineModel {
    let mut machine = MachineModel {
        tables: random_memory(random),
        data: random_memory(random),
        ..MachineModel::default()
    };
    machine.shared = random.below(4) == 0;
    for memory in [&mut machine.tables, &mut machine.data] {
        if random.below(4) == 0 {
            (memory.banks, memory.bank_busy) = (pick(random, &[2, 8, 64]), 1 + random.below(20) as u32);
        }
    }
    if random.below(3) == 0 {
        let (ways, sets) = (1 + random.below(8) as u32, 1 << random.below(7));
        let tables = random.below(3) > 0;
        let data = !tables || random.below(2) == 0;
        let latency = 1 + random.below(12) as u32;
        let bytes = u64::from(ways) * sets * LastLevelCache::LINE;
        machine.cache = Some(LastLevelCache { bytes, ways, latency, tables, data });
    }
    machine
}

fn random_job(random: &mut Random, folder: &Path, number: u64, ports: u32) -> Job {
    let work = match random.below(8) {
        0..4 => Work::Trace(random_trace(random, folder, number)),
        4 => Work::Trace(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(format!("../../traces/{}.trace.gz", pick(random, &["sort", "sqlite"]))),
        ),
        _ => generator(random),
    };
    // The whole of a generator's work may be long, and channels divide the whole.
    let own = matches!(&work, Work::Trace(path) if path.starts_with(folder));
    let trace = matches!(work, Work::Trace(_));
    Job {
        work,
        process: random.below(3) as u32,
        device: random.below(4) as u32,
        port: (random.below(2) == 0).then(|| random.below(ports.into()) as u32),
        channels: if trace { pick(random, &[1, 1, 2, 3]) } else { 1 },
        depth: 1 + random.below(16) as u32,
        gap: pick(random, &[0, 0, 0, 1, 7, 50]),
        accesses: if own && random.below(2) == 0 { None } else { Some(1 + random.below(1200)) },
    }
}

fn random_experiment(random: &mut Random, folder: &Path, design: &Value, ports: u32) -> Experiment {
    use PageSize::{Base, Giant, Huge, Mixed, Napot};
    let size = pick(random, &[Base, Base, Napot, Huge, Giant, Mixed]);
    let pages = PagePolicy { size, worth: pick(random, &[1, 3, 12, 50, 100]), ..PagePolicy::default() };
    let jobs = 1 + random.below(4);
    Experiment {
        design: design.clone(),
        machine: random_machine(random),
        pages,
        jobs: (0..jobs).map(|number| random_job(random, folder, number, ports)).collect(),
        seed: random.below(1 << 20),
        engine: Engine::Fast,
        imagined: Imagined::default(),
    }
}

/// The leaves of two values that differ.
fn differences(name: &str, ours: &Value, theirs: &Value, list: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            a.keys().for_each(|key| differences(&format!("{name}.{key}"), &a[key], &b[key], list));
        }
        (a, b) if a == b => {}
        (a, b) => {
            let shorten = |value: &Value| value.to_string().chars().take(300).collect::<String>();
            list.push(format!("{name}: fast {}, RTL {}", shorten(a), shorten(b)));
        }
    }
}

/// What differs between the engines; `None` if the RTL's machine has no room for it.
fn compare(experiment: &Experiment, cache: &Cache) -> Option<Vec<String>> {
    let theirs = match rtl_answer(&Experiment { engine: Engine::Rtl, ..experiment.clone() }, cache) {
        Ok(answer) => answer,
        Err(error) if experiment.pages.size == PageSize::Giant => {
            println!("    no giant pages: {error}");
            return None;
        }
        Err(error) => panic!("{error}\n{}", json!(experiment)),
    };
    let ours = fast_answer(experiment).unwrap_or_else(|error| panic!("{error}\n{}", json!(experiment)));
    let mut list = Vec::new();
    differences("counts", &json!(ours.counts), &json!(theirs.counts), &mut list);
    if let (Some(mut ours), Some(theirs)) = (ours.times, theirs.times) {
        assert!(ours.estimated && !theirs.estimated);
        ours.estimated = false;
        differences("times", &json!(ours), &json!(theirs), &mut list);
    }
    Some(list)
}

fn check(design: &Value, ports: u32, seed: u64, folder: &Path, cache: &Cache) {
    let mut random = Random::new(seed);
    let experiment = random_experiment(&mut random, folder, design, ports);
    let found = compare(&experiment, cache).unwrap_or_default();
    assert!(found.is_empty(), "SEED={seed}, {design}:\n  {}\n{}", found.join("\n  "), json!(experiment));
    // One at a time: counts alone are enough.
    let mut single = experiment;
    single.jobs.truncate(1);
    (single.jobs[0].channels, single.jobs[0].depth, single.engine) = (1, 1, Engine::Counts);
    let found = compare(&single, cache).unwrap_or_default();
    assert!(found.is_empty(), "SEED={seed}, {design}, counts:\n  {}\n{}", found.join("\n  "), json!(single));
}

#[test]
fn both_engines_give_the_same_answer() {
    let seed = given("SEED", 20_261_129);
    let experiments = given("EXPERIMENTS", 6);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("answers{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let cache = Cache::in_workspace().quiet();
    let mut designs = fixed_designs();
    for number in 0..given("DESIGNS", 0) {
        let design = random_design(&mut Random::new(seed + number), number);
        designs.push(serde_json::to_value(&design).unwrap_or_default());
    }
    for design in &designs {
        let ports = pasidon_experiment::resolve::design_of(design).unwrap_or_else(|e| panic!("{e}")).ports;
        println!("SEED={seed} EXPERIMENTS={experiments}: {design}");
        (0..experiments).for_each(|number| check(design, ports, seed + number, &folder, &cache));
    }
    std::fs::remove_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
}

/// Experiments that nobody can do, and what the refusal names.
fn impossible(folder: &Path) -> Vec<(String, &'static str)> {
    let memcpy = |keys: &str| format!("[[jobs]]\nwork = {{ memcpy = {{}} }}\naccesses = 10\n{keys}\n");
    let work = |work: &str| format!("[[jobs]]\nwork = {{ {work} }}\naccesses = 10\n");
    let trace = |name: &str, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        format!("trace = {:?}", file.display().to_string())
    };
    let tiny = |rest: String| format!("design = \"tiny\"\n{rest}");
    let crowd: String = (0..256).map(|process| memcpy(&format!("process = {process}"))).collect();
    let unbound = "design = { base = \"tiny\", process = { pd8 = false, pd17 = false, pd20 = false } }\n";
    vec![
        (tiny("jobs = []\n".into()), "jobs: "),
        (tiny(memcpy("channels = 0")), "jobs.0.channels = 0"),
        (tiny(memcpy("depth = 0")), "jobs.0.depth = 0"),
        (tiny(memcpy("port = 9")), "jobs.0.port = 9"),
        (tiny(memcpy("device = 500")), "jobs.0.device = 500"),
        (tiny(memcpy("channels = 65536")), "jobs.channels"),
        (tiny(crowd), "jobs.process"),
        (tiny(work("nic_rings = { tenants = 3 }")), "jobs.0.work.nic_rings.tenants = 3"),
        (tiny(work("fault_storm = { processes = 4 }")), "jobs.0.work.fault_storm.processes = 4"),
        (tiny(work("gemm = { m = 0 }")), "jobs.0.work.gemm.m = 0"),
        (tiny(format!("pages = {{ demand = true }}\n{}", memcpy(""))), "pages.demand = true"),
        (tiny(format!("pages = {{ worth = 0 }}\n{}", memcpy(""))), "pages.worth = 0"),
        (
            tiny(format!("machine = {{ data = {{ latency = 0 }} }}\n{}", memcpy(""))),
            "machine.data.latency = 0",
        ),
        (tiny(work("trace = \"no such file\"")), "jobs.work.trace = no such file"),
        (tiny(work(&trace("broken.csv", "pasid,op,address,size\n0,R,here,8\n"))), "broken.csv"),
        (tiny(work(&trace("high.csv", "pasid,op,address,size\n0,R,0x4000000000,8\n"))), "translation.sv48"),
        (format!("{unbound}{}", memcpy("")), "process.pd8"),
        (format!("design = \"no such design\"\n{}", memcpy("")), "no such design"),
        (format!("design = {{ base = \"tiny\", walk = {{ walkers = 0 }} }}\n{}", memcpy("")), "walk.walkers"),
    ]
}

#[test]
fn both_engines_refuse_in_the_same_words() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("refused{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for (text, field) in impossible(&folder) {
        let experiment: Experiment = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        // A run that is not refused may have no end.
        let (sender, answers) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let told = |engine| Experiment { engine, ..experiment.clone() };
            let ours = [Engine::Fast, Engine::Counts].map(|engine| fast_answer(&told(engine)).err());
            let cache = Cache::in_workspace().quiet();
            let theirs = rtl_answer(&told(Engine::Rtl), &cache).err().map(|error| error.to_string());
            let ours = ours.map(|error| error.map(|error| error.to_string()));
            sender.send([ours.to_vec(), vec![theirs]].concat())
        });
        let told = answers
            .recv_timeout(std::time::Duration::from_secs(60))
            .unwrap_or_else(|_| panic!("no engine refused this within a minute, or one failed:\n{text}"));
        let words = told[0].as_deref().unwrap_or_else(|| panic!("the fast engine does this:\n{text}"));
        assert!(words.contains(field), "{field} is not in: {words}");
        assert!(told.iter().all(|other| other.as_deref() == Some(words)), "{told:#?}\n{text}");
    }
    std::fs::remove_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
}
