//! What must be known of a workload before it runs: it is looked through once, and nothing of it is kept but this.

use crate::pages::PageSet;
use crate::requests::requests_of;
use crate::stream::{AccessStream, BATCH};
use crate::trace::{TraceAccess, TraceError, TraceOp};

/// What is in a workload.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Pages that it touches; none if nobody asked for them.
    pub pages: PageSet,
    /// The highest address that it uses.
    pub highest: u64,
    /// It fetches instructions.
    pub fetches: bool,
    /// Requests into which its accesses are cut.
    pub requests: u64,
}

impl Profile {
    /// Looks through a stream, or the first accesses of it. Pages are only collected if they are wanted.
    ///
    /// # Errors
    /// A stream that can't be read.
    pub fn of(stream: &mut dyn AccessStream, first: Option<u64>, pages: bool) -> Result<Profile, TraceError> {
        let (mut profile, mut batch) = (Profile::default(), Vec::with_capacity(BATCH));
        let mut left = first.unwrap_or(u64::MAX);
        while left > 0 {
            stream.next_batch(&mut batch)?;
            if batch.is_empty() {
                break;
            }
            batch.truncate(left.min(BATCH as u64) as usize);
            left -= batch.len() as u64;
            profile.add(&batch, pages);
        }
        Ok(profile)
    }

    /// These accesses too.
    pub fn add(&mut self, accesses: &[TraceAccess], pages: bool) {
        for access in accesses {
            if pages {
                self.pages.add(access.address, access.size);
            }
            self.highest = self.highest.max(access.address + u64::from(access.size) - 1);
            self.fetches |= access.op == TraceOp::Fetch;
            self.requests += requests_of(access);
        }
    }

    /// Another workload of the same address space too, with its pages if they are wanted.
    pub fn merge(&mut self, other: &Profile, pages: bool) {
        if pages {
            self.pages.merge(&other.pages);
        }
        self.highest = self.highest.max(other.highest);
        self.fetches |= other.fetches;
        self.requests += other.requests;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Recorded;

    #[test]
    fn what_is_in_a_workload() {
        let access = |op, address, size| TraceAccess { pasid: 0, op, address, size, gap: 0 };
        let list = [
            access(TraceOp::Modify, 0x1ffc, 8),
            access(TraceOp::Fetch, 8, 4),
            access(TraceOp::Read, 0x9000, 1),
        ];
        let of = |first, pages| Profile::of(&mut Recorded::new("test", list), first, pages).unwrap();
        let all = of(None, true);
        assert_eq!((all.pages.len(), all.highest, all.fetches, all.requests), (4, 0x9000, true, 6));
        let mut one = of(Some(1), true);
        assert_eq!((one.pages.len(), one.highest, one.fetches, one.requests), (2, 0x2003, false, 4));
        assert!(of(None, false).pages.is_empty());
        one.merge(&all, true);
        assert_eq!((one.pages.len(), one.highest, one.fetches, one.requests), (4, 0x9000, true, 10));
    }
}
