//! Which page each address of a program is in, as a policy has it.

use super::RunOptions;
use pasidon_experiment::pages::PageSize;
use pasidon_spec::page_table::PAGE_SHIFT;
use std::collections::BTreeSet;

/// Pages in use, of the 512, that make a page of 2 MiB worth while with `huge_pages`.
const HUGE_USE: u64 = 64;

/// The pages for a program that touches these of 4 KiB: number of the first, and log2 of the bytes. Each is named once, in order.
pub(super) fn regions(pages: &BTreeSet<u64>, options: &RunOptions) -> Vec<(u64, u8)> {
    // Sizes with how many pages of 4 KiB must be in use, the largest first.
    let sizes: Vec<(u8, u64)> = match options.pages {
        PageSize::Mixed => [30u8, 21, 16].map(|shift| (shift, percent(shift, options.worth))).into(),
        PageSize::Base if options.huge_pages => vec![(21, HUGE_USE)],
        PageSize::Base => Vec::new(),
        size => vec![(size.shift() as u8, 1)],
    };
    let mut regions = Vec::new();
    let mut next = 0;
    while let Some(&page) = pages.range(next..).next() {
        let fits = sizes.iter().find_map(|&(shift, least)| {
            let count = 1u64 << (shift - PAGE_SHIFT);
            let first = page / count * count;
            // What lies before `next` has pages of its own.
            let used = || pages.range(first..first + count).count() as u64;
            (first >= next && used() >= least).then_some((first, shift, count))
        });
        let (first, shift, count) = fits.unwrap_or((page, PAGE_SHIFT, 1));
        regions.push((first, shift));
        next = first + count;
    }
    regions
}

/// So many percent of a page, in pages of 4 KiB; at least one.
fn percent(shift: u8, worth: u32) -> u64 {
    ((u64::from(worth) << (shift - PAGE_SHIFT)).div_ceil(100)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pages: impl IntoIterator<Item = u64>, size: PageSize, huge_pages: bool) -> Vec<(u64, u8)> {
        let options = RunOptions { pages: size, huge_pages, worth: 50, ..RunOptions::default() };
        regions(&pages.into_iter().collect(), &options)
    }

    #[test]
    fn each_policy_has_its_pages() {
        let some = [3, 17, 18, 600];
        assert_eq!(of(some, PageSize::Base, false), [(3, 12), (17, 12), (18, 12), (600, 12)]);
        assert_eq!(of(some, PageSize::Napot, false), [(0, 16), (16, 16), (592, 16)]);
        assert_eq!(of(some, PageSize::Huge, false), [(0, 21), (512, 21)]);
        assert_eq!(of(some, PageSize::Giant, false), [(0, 30)]);
        // Half of a region in use makes it worth while.
        assert_eq!(of(0..8, PageSize::Mixed, false), [(0, 16)]);
        assert_eq!(of(0..7, PageSize::Mixed, false).len(), 7);
        assert_eq!(of((0..256).chain([600]), PageSize::Mixed, false), [(0, 21), (600, 12)]);
        assert_eq!(of(10..74, PageSize::Base, true), [(0, 21)]);
        assert_eq!(of(10..73, PageSize::Base, true).len(), 63);
    }
}
