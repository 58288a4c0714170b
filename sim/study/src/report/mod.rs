//! What a sweep found, for people: pictures, a table that can be sorted, and behind each number the run that it came from.
//!
//! - [`pictures`]: which pictures there are, and what each shows.
//! - [`pareto`]: which designs are compared in cost and speed, and on what.
//! - [`chart`]: lines and stacked bars, drawn as SVG.
//! - [`scatter`]: named points and their front.
//! - [`html`]: one file that needs no network, light and dark, wide and narrow.
//! - [`terminal`]: the same in a few lines of text.

pub mod chart;
pub mod html;
pub mod pareto;
pub mod pictures;
pub mod scatter;
pub mod terminal;

use crate::area::Areas;
use crate::sweep::file::Sweep;
use crate::sweep::merge::Merged;

/// A picture with its words.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// For file names: letters, digits and `-`; each picture of a report has another.
    pub name: String,
    /// Above it.
    pub title: String,
    /// Below it: what is drawn, and what to look at.
    pub note: String,
    /// The picture, in the colours of [`chart::Palette`].
    pub svg: String,
}

/// A report before it is written.
pub struct Report<'a> {
    /// The sweep.
    pub sweep: &'a Sweep,
    /// What came out.
    pub merged: &'a Merged,
    /// Pictures.
    pub pictures: Vec<Picture>,
    /// Pictures that could not be drawn, and why.
    pub remarks: Vec<String>,
}

impl<'a> Report<'a> {
    /// Draws everything that the results have something to say about.
    pub fn new(sweep: &'a Sweep, merged: &'a Merged, areas: &Areas) -> Report<'a> {
        let (pictures, remarks) = pictures::all(sweep, merged, areas);
        Report { sweep, merged, pictures, remarks }
    }
}
