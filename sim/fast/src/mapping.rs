//! Which page each address of a process is in.

use pasidon_experiment::pages::PageSize;

/// A page as a process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// log2 of its bytes: 12, 16 (NAPOT), 21 or 30.
    pub shift: u32,
    /// Loads are allowed.
    pub read: bool,
    /// Stores are allowed; only together with loads.
    pub write: bool,
    /// Fetches are allowed.
    pub exec: bool,
}

impl Page {
    /// A page of this size that allows everything.
    pub fn all(shift: u32) -> Page {
        Page { shift, read: true, write: true, exec: true }
    }
}

/// The pages of all processes. They are there before the run, and do not change in it.
pub trait Mapping {
    /// The page of `address` in the address space of `process`; `None` if nothing is mapped there. The same for all addresses of one
    /// page.
    fn page(&self, process: u32, address: u64) -> Option<Page>;

    /// The highest address that `process` uses: it decides the format of its page table.
    fn highest(&self, process: u32) -> u64;
}

/// Pages of one size, wherever a process looks.
#[derive(Clone, Copy, Debug)]
pub struct Uniform {
    /// The pages.
    pub page: Page,
    /// The highest address of any process.
    pub highest: u64,
}

impl Uniform {
    /// Pages of `size` that allow everything, below `highest`; of [`PageSize::Mixed`] the smallest.
    pub fn new(size: PageSize, highest: u64) -> Uniform {
        Uniform { page: Page::all(size.shift()), highest }
    }
}

impl Mapping for Uniform {
    fn page(&self, _: u32, address: u64) -> Option<Page> {
        (address <= self.highest).then_some(self.page)
    }

    fn highest(&self, _: u32) -> u64 {
        self.highest
    }
}
