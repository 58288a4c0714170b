//! Which pages a workload has: their size, and whether they are in memory at first.

use serde::{Deserialize, Serialize};

/// How large pages are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageSize {
    /// 4 KiB.
    #[default]
    #[serde(rename = "4k")]
    Base,
    /// 64 KiB: a NAPOT range of sixteen 4 KiB entries (Svnapot).
    #[serde(rename = "64k")]
    Napot,
    /// 2 MiB.
    #[serde(rename = "2m")]
    Huge,
    /// 1 GiB.
    #[serde(rename = "1g")]
    Giant,
    /// For each region the largest page of which the workload uses at least [`PagePolicy::worth`] percent.
    #[serde(rename = "mixed")]
    Mixed,
}

impl PageSize {
    /// Binary logarithm of the bytes of a page; of `Mixed` that of the smallest.
    pub fn shift(self) -> u32 {
        match self {
            PageSize::Base | PageSize::Mixed => 12,
            PageSize::Napot => 16,
            PageSize::Huge => 21,
            PageSize::Giant => 30,
        }
    }
}

/// What is mapped, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PagePolicy {
    /// Size of pages. Every address of a page that the workload touches is mapped.
    pub size: PageSize,
    /// Percent of a larger page that must be touched to make it worth while; for `mixed` only.
    pub worth: u32,
    /// No page is in memory at first: devices fault them in with page requests.
    pub demand: bool,
    /// Frames of 4 KiB for pages, with `demand`: fewer than pages makes them come and go. `None`: there is one for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<u64>,
    /// Cycles until the operating system has brought a page in, with `demand`.
    pub service: u64,
}

impl Default for PagePolicy {
    fn default() -> PagePolicy {
        PagePolicy { size: PageSize::Base, worth: 12, demand: false, frames: None, service: 0 }
    }
}
