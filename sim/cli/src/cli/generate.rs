//! `pasidon generate`.

use super::Failure;
use clap::Args;
use pasidon_rtl::design::Design;
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(after_help = "\
Writes OUT/pasidon.v, Verilog-2005 with the top module pasidon_iommu, and OUT/design.json, the resolved design with its
hash and the list of ports. The same design always gives the same bytes.

Examples:
  pasidon generate --design tiny --out build
  pasidon generate --design my-board.toml --out build")]
pub struct Generate {
    #[arg(long, short, default_value = "default", help = super::DESIGN_HELP.as_str())]
    design: String,
    /// Folder to write to; made if it is not there
    #[arg(long, short)]
    out: PathBuf,
}

impl Generate {
    pub fn run(self) -> Result<(), Failure> {
        let design = Design::load(&self.design)?;
        let generated = pasidon_rtl::generate(&design)?;
        let denied = |path: &Path| {
            let path = path.display().to_string();
            move |cause| format!("{path}: {cause}")
        };
        std::fs::create_dir_all(&self.out).map_err(denied(&self.out))?;
        for (name, content) in [("pasidon.v", &generated.verilog), ("design.json", &generated.design_json)] {
            let path = self.out.join(name);
            std::fs::write(&path, content).map_err(denied(&path))?;
            println!("{}", path.display());
        }
        Ok(())
    }
}
