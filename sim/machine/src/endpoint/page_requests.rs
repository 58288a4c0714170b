//! The page-request interface of a device: credits, group indices, and what the answers mean.

use super::atc::Tag;
use pasidon_spec::message::response_code;
use pasidon_spec::page_request::PageRequest;

/// A page that the device wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Number of the page.
    pub page: u64,
    /// To write.
    pub write: bool,
    /// To fetch from.
    pub exec: bool,
}

/// A group that has no answer yet.
#[derive(Clone, Debug)]
struct Group {
    index: u16,
    tag: Tag,
    pages: Vec<u64>,
    sent: u64,
    /// The device does not care about the answer any more; the index is in use until it comes.
    stale: bool,
}

/// What an answer amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Address space of the pages.
    pub tag: Tag,
    /// The pages of the group; empty if the device has lost interest.
    pub pages: Vec<u64>,
    /// The [code](response_code).
    pub code: u8,
    /// Cycles since the group was sent.
    pub latency: u64,
    /// What is wrong with the answer: the PASID is there and should not be, or the other way round.
    pub problem: Option<String>,
}

/// The interface's state.
#[derive(Debug, Default)]
pub struct PageRequests {
    groups: Vec<Group>,
    next: u16,
    /// A Response Failure came: the device sends no further requests until it is reset or its driver enables the interface again.
    failed: bool,
}

impl PageRequests {
    /// Page requests that have no answer yet.
    pub fn outstanding(&self) -> usize {
        self.groups.iter().map(|group| group.pages.len()).sum()
    }

    /// ... of an address space.
    pub fn outstanding_of(&self, tag: Tag) -> usize {
        self.groups.iter().filter(|group| group.tag == tag).map(|group| group.pages.len()).sum()
    }

    /// Whether a Response Failure has stopped the interface.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Makes a group of requests of a device for these pages, of which there is at least one, under one of so many indices; `None` if the
    /// interface has failed or no index is free.
    pub fn ask(
        &mut self,
        device_id: u32,
        indices: u16,
        tag: Tag,
        wanted: &[Wanted],
        now: u64,
    ) -> Option<Vec<PageRequest>> {
        if self.failed {
            return None;
        }
        let free = |index: &u16| self.groups.iter().all(|group| group.index != *index);
        let index = (0..indices).map(|n| (self.next + n) % indices).find(free)?;
        self.next = (index + 1) % indices;
        let pages = wanted.iter().map(|wanted| wanted.page).collect();
        self.groups.push(Group { index, tag, pages, sent: now, stale: false });
        let count = wanted.len();
        let request = |(at, wanted): (usize, &Wanted)| PageRequest {
            did: device_id,
            pv: tag.is_some(),
            pid: tag.unwrap_or(0),
            privileged: false,
            execute: wanted.exec && tag.is_some(),
            read: !wanted.write || wanted.exec,
            write: wanted.write,
            last: at + 1 == count,
            index,
            page: wanted.page,
        };
        Some(wanted.iter().enumerate().map(request).collect())
    }

    /// Takes an answer; `None` if no group with this index has asked.
    pub fn answer(
        &mut self,
        tag: Tag,
        needs_pasid: bool,
        index: u16,
        code: u8,
        now: u64,
    ) -> Option<Answered> {
        let place = self.groups.iter().position(|group| group.index == index);
        let group = self.groups.swap_remove(place?);
        let failure = u64::from(code) == response_code::RESPONSE_FAILURE;
        // What the IOMMU answers by itself while a device's context is invalid carries the PASID in any case.
        let expected = if needs_pasid { group.tag } else { None };
        let right = tag == expected || failure && tag == group.tag;
        let problem = (!right).then(|| {
            format!("an answer to group {index} with {tag:?} where the device expects {expected:?}")
        });
        self.failed |= failure;
        let pages = if group.stale { Vec::new() } else { group.pages };
        Some(Answered { tag: group.tag, pages, code, latency: now - group.sent, problem })
    }

    /// The device is done with an address space: answers that come later mean nothing to it.
    pub fn abandon(&mut self, tag: Tag) {
        self.groups.iter_mut().filter(|group| group.tag == tag).for_each(|group| group.stale = true);
    }

    /// The device is reset: it waits for no answers.
    pub fn reset(&mut self) {
        self.groups.clear();
        self.failed = false;
    }
}
