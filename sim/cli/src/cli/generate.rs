//! `pasidon generate`.

use super::Failure;
use clap::Args;
use pasidon_rtl::design::Design;
use std::path::{Path, PathBuf};

/// The top modules that there are.
const TOPS: [&str; 1] = ["iommu"];

#[derive(Args)]
#[command(after_help = "\
Writes OUT/pasidon.v, Verilog-2005 with the top module pasidon_iommu, OUT/design.json, the resolved design with its hash and the list
of ports, and OUT/pasidon_never.sv, assertions for simulations of it. The same design always gives the same bytes.

With --split, each module also gets a file of its own, OUT/MODULE.v, and OUT/pasidon_iommu.f lists them, modules before those that
use them; tools read the list in OUT: verilator -f pasidon_iommu.f, iverilog -c pasidon_iommu.f.

With --prefix north_ the modules are called north_iommu, north_walker and so on, and the list is north_iommu.f: two designs with
different prefixes fit into one chip.

Examples:
  pasidon generate --design tiny --out build
  pasidon generate --design my-board.toml --out build
  pasidon generate --design tiny --out build --split --prefix north_")]
pub struct Generate {
    #[arg(long, short, default_value = "default", help = super::DESIGN_HELP.as_str())]
    design: String,
    /// Folder to write to; made if it is not there
    #[arg(long, short)]
    out: PathBuf,
    /// What the name of each module begins with, instead of emit.prefix of the design
    #[arg(long)]
    prefix: Option<String>,
    /// Also write a file for each module, and a list of them
    #[arg(long)]
    split: bool,
    /// Top module, without the prefix: iommu, the core with its stream ports
    #[arg(long, default_value = TOPS[0])]
    top: String,
}

impl Generate {
    pub fn run(self) -> Result<(), Failure> {
        if !TOPS.contains(&self.top.as_str()) {
            let message =
                format!("--top {}: there is no such top module; there is {}", self.top, TOPS.join(", "));
            return Err(message.into());
        }
        let mut design = Design::load(&self.design)?;
        if let Some(prefix) = &self.prefix {
            design.emit.prefix.clone_from(prefix);
            design.check("--prefix")?;
        }
        let (generated, modules) = pasidon_rtl::generate_files(&design)?;
        let mut files = vec![
            ("pasidon.v".into(), generated.verilog),
            ("pasidon_never.sv".into(), generated.never),
            ("design.json".into(), generated.design_json),
        ];
        if self.split {
            let names: Vec<String> = modules.iter().map(|module| format!("{}.v", module.name)).collect();
            files.push((format!("{}.f", generated.top), names.join("\n") + "\n"));
            files.extend(names.into_iter().zip(modules.into_iter().map(|module| module.verilog)));
        }
        let denied = |path: &Path| {
            let path = path.display().to_string();
            move |cause| format!("{path}: {cause}")
        };
        std::fs::create_dir_all(&self.out).map_err(denied(&self.out))?;
        for (name, content) in files {
            let path = self.out.join(name);
            std::fs::write(&path, content).map_err(denied(&path))?;
            println!("{}", path.display());
        }
        Ok(())
    }
}
