//! `pasidon report`.

use super::Failure;
use super::sweep::Place;
use clap::Args;
use pasidon_cosim::verilated::{workspace, workspace_target};
use pasidon_study::area::Areas;
use pasidon_study::report::{Report as Drawn, chart, html, terminal};
use pasidon_study::sweep::file::Sweep;
use pasidon_study::sweep::merge::collect;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "\
The page needs no network and no other file. Behind each row of its table is the run that it came from, complete: saved to a file,
`pasidon run --repeat FILE` repeats it.

Examples:
  pasidon report l2.toml
  pasidon report l2.toml --html l2.html --pictures pictures")]
pub struct Report {
    #[command(flatten)]
    place: Place,
    /// The page to write; by default report.html in the folder of the results
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write each picture here too, as SVG and PNG
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
    /// Table of areas by design; may be given several times. By default docs/areas.json and areas.json in target/, of the workspace
    #[arg(long, value_name = "FILE")]
    areas: Vec<PathBuf>,
}

impl Report {
    pub fn run(self) -> Result<(), Failure> {
        let sweep = Sweep::load(&self.place.file)?;
        let folder = self.place.folder();
        let merged = collect(&sweep, &folder)?;
        if merged.lines.is_empty() {
            let (file, out) = (self.place.file.display(), folder.display());
            return Err(
                format!("{out} has no results of {file}; `pasidon sweep run {file}` makes them").into()
            );
        }
        let tables = if self.areas.is_empty() {
            vec![workspace().join("docs/areas.json"), workspace_target().join("areas.json")]
        } else {
            self.areas
        };
        let areas = Areas::load(tables.iter().map(PathBuf::as_path))?;
        let report = Drawn::new(&sweep, &merged, &areas);
        let page = self.html.unwrap_or_else(|| folder.join("report.html"));
        std::fs::write(&page, html::page(&report)).map_err(|cause| format!("{}: {cause}", page.display()))?;
        if let Some(folder) = &self.pictures {
            std::fs::create_dir_all(folder).map_err(|cause| format!("{}: {cause}", folder.display()))?;
            for picture in &report.pictures {
                let svg = folder.join(format!("{}.svg", picture.name));
                std::fs::write(&svg, chart::standalone(&picture.svg))?;
                std::fs::write(svg.with_extension("png"), chart::png(&picture.svg)?)?;
            }
        }
        print!("{}", terminal::summary(&report));
        println!("{}", page.display());
        Ok(())
    }
}
