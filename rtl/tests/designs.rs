//! Every legal design becomes Verilog: corners of the configuration space and random points between them.

use pasidon_rtl::design::{Design, KEYS, Legal};
use pasidon_rtl::{Design as D, generate};

/// A small generator, so that a seed means the same designs everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// A value that the key admits on its own; large counts are rare, since they take long to emit.
fn value(legal: Legal, r: &mut Random) -> u32 {
    match legal {
        Legal::Bool => r.below(2) as u32,
        Legal::Range(min, max) => match r.below(3) {
            0 => min,
            1 => min + r.below(u64::from((max - min).min(7) + 1)) as u32,
            _ => min + r.below(u64::from((max - min).min(23) + 1)) as u32,
        },
        Legal::PowerOfTwo(min, max, zero) => {
            if zero && r.below(3) == 0 {
                return 0;
            }
            let steps = (max / min).ilog2().min(6);
            min << r.below(u64::from(steps) + 1)
        }
    }
}

/// The TOML of a design that may break rules across keys.
fn toml(r: &mut Random) -> String {
    let mut text = String::from("base = \"default\"\nname = \"random\"\n");
    let mut sections: Vec<&str> = KEYS.iter().map(|k| k.section).collect();
    sections.dedup();
    for section in sections {
        text += &format!("[{section}]\n");
        for key in KEYS.iter().filter(|k| k.section == section) {
            let v = value(key.legal, r);
            let v = if matches!(key.legal, Legal::Bool) { (v == 1).to_string() } else { v.to_string() };
            text += &format!("{} = {v}\n", key.key);
        }
    }
    text
}

#[test]
fn random_designs_are_refused_with_a_message_or_become_verilog() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5eed_u64);
    println!("SEED={seed}");
    let mut r = Random(seed.max(1));
    let mut emitted = 0;
    for round in 0..1500 {
        let text = toml(&mut r);
        match Design::from_toml(&text, "random.toml") {
            Err(e) => assert!(e.to_string().contains("random.toml"), "{e}"),
            Ok(design) => {
                let out = generate(&design).unwrap_or_else(|e| panic!("round {round}: {e}\n{text}"));
                assert!(out.verilog.contains("module pasidon_iommu ("));
                emitted += 1;
            }
        }
        if emitted == 20 {
            return;
        }
    }
    assert!(emitted >= 5, "only {emitted} of the random designs were legal");
}

#[test]
fn shipped_designs_give_the_same_bytes_twice_and_fast() {
    for name in ["tiny", "default", "large"] {
        let design = D::shipped(name).expect("is shipped");
        let start = std::time::Instant::now();
        let first = generate(&design).expect("emits");
        let took = start.elapsed();
        let second = generate(&design).expect("emits");
        assert_eq!(first.verilog, second.verilog, "{name}");
        assert_eq!(first.design_json, second.design_json, "{name}");
        assert!(first.verilog.contains(&design.hash()), "{name}: the banner names the design's hash");
        assert!(name == "large" || took.as_secs_f64() < 5.0, "{name} took {took:?}");
    }
}
