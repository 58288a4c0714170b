//! Messages between devices and IOMMU: page requests, ATS commands, completions.

use super::super::execute::LONGEST_TIMEOUT;
use super::super::op::{Op, PageAsk};
use super::super::scene::{Ats, id};
use super::super::tables::pick;
use super::{Generator, words};
use pasidon_spec::command::{Command, Store as FenceStore};
use pasidon_spec::memory::Failure;
use pasidon_spec::message::InvalidationCompletion;
use pasidon_spec::page_request;
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::pqcsr;

impl Generator<'_> {
    /// Puts the page-request queue somewhere, off or on.
    pub(super) fn page_request_queue(&mut self) {
        // Up to 4 pages.
        let place = self.queue_place(24);
        self.page_request_base = place;
        let most = u64::from(self.design.page_request_log2_max.min(10));
        let size = if self.chance(60) { self.below(most.min(4)) } else { self.below(most) };
        let base = Queue::of_page_requests(place, size as u32 + 1).base();
        let on = pqcsr::PQEN.of(u64::from(!self.chance(10)));
        let control = on | pqcsr::PIE.of(self.below(2));
        self.push(Op::MovePageRequestQueue { base, control });
    }

    pub(super) fn messages(&mut self) {
        if self.unfenced {
            self.invalidate_all();
        }
        // They are few beside the requests of other phases.
        for _ in 0..1 + self.below(16) {
            match self.below(21) {
                0..9 => self.page_requests(),
                20 => self.lost_page_requests(),
                9..17 => self.device_commands(),
                17 | 18 => self.page_request_queue(),
                _ => self.push(Op::EmptyPageRequestQueue),
            }
        }
    }

    fn page_requests(&mut self) {
        let count = if self.chance(10) { 1 + self.below(80) } else { 1 + self.below(12) };
        let list = (0..count).map(|_| self.page_ask()).collect();
        let beside = if self.chance(40) {
            let count = 1 + self.below(20);
            self.list(count)
        } else {
            Vec::new()
        };
        self.push(Op::PageRequests { list, beside });
        if self.chance(40) {
            self.push(Op::EmptyPageRequestQueue);
        }
    }

    /// Some that cannot be stored.
    fn lost_page_requests(&mut self) {
        // An empty queue: its first records come first.
        self.page_request_queue();
        let address = self.page_request_base + self.below(3) * page_request::RECORD_BYTES;
        self.push(Op::Inject { address, bytes: 8, trouble: Failure::Write });
        self.page_requests();
        self.push(Op::Heal);
        self.push(Op::EmptyPageRequestQueue);
    }

    /// device_id and process_id of the ways for requests of devices that may use ATS.
    fn able(&self) -> Vec<(u32, Option<u32>)> {
        self.scene.routes.iter().filter(|r| r.ats != Ats::Off).map(|r| (r.did, r.pid)).collect()
    }

    fn page_ask(&mut self) -> PageAsk {
        let mut ask = self.ask();
        let able = self.able();
        if !able.is_empty() && self.chance(70) {
            (ask.did, ask.pid) = pick(&mut self.random, &able);
        }
        let noise = self.random.word();
        let pid = match noise >> 20 & 7 {
            0 => None,
            1 => Some(id(&mut self.random, self.design.process_id_width)),
            _ => ask.pid.or(Some(noise as u32 & ((1 << self.design.process_id_width) - 1))),
        };
        PageAsk {
            did: ask.did,
            pid,
            privileged: noise & 1 != 0,
            execute: noise & 2 != 0,
            read: noise & 0x3c != 0,
            write: noise & 0xc0 == 0,
            last: noise & 0x300 != 0,
            index: (noise >> 32) as u16 & 0x1ff,
            page: ask.iova >> 12,
        }
    }

    /// A device that may answer invalidation requests, as requester id and segment.
    fn endpoint(&mut self) -> Option<(u16, Option<u8>)> {
        let able = self.able();
        if able.is_empty() {
            return None;
        }
        let (did, _) = pick(&mut self.random, &able);
        let segment = (did >> 16) as u8;
        let named = segment != 0 || self.chance(40);
        Some((did as u16, named.then_some(segment)))
    }

    fn device_commands(&mut self) {
        let times_out = self.design.ats_timeout <= LONGEST_TIMEOUT;
        let count = if self.chance(10) { 1 + self.below(40) } else { 1 + self.below(6) };
        let mut commands = Vec::new();
        let mut asked = None;
        for _ in 0..count {
            let noise = self.random.word();
            let pid = (noise & 3 == 0).then_some((noise >> 40) as u32 & 0xf_ffff);
            let payload = self.random.word();
            let endpoint = self.endpoint();
            // Somebody who never answers is only asked where that ends.
            let stranger = times_out && self.chance(10);
            let (rid, dseg) = match endpoint {
                Some(endpoint) if !stranger => endpoint,
                _ => (noise as u16, (noise & 16 != 0).then_some((noise >> 24) as u8)),
            };
            let known = endpoint.is_some() && !stranger;
            let command = if self.chance(65) && (known || times_out) {
                asked = Some((rid, dseg));
                Command::AtsInval { pid, dseg, rid, payload }
            } else {
                Command::AtsPrgr { pid, dseg, rid, payload }
            };
            commands.push(words(command.encode()));
        }
        if self.chance(60) {
            let address = self.queue_place(super::RESERVED_PAGES - 1) + self.below(1024) * 4;
            let store = self.chance(60).then_some(FenceStore { address, data: self.random.word() as u32 });
            let fence = Command::IofenceC { pr: self.chance(30), pw: self.chance(30), wsi: false, store };
            commands.push(words(fence.encode()));
        }
        self.push(Op::Commands { commands });
        if let Some((rid, dseg)) = asked {
            for _ in 0..self.below(3) {
                let noise = self.random.word();
                let wrong = InvalidationCompletion {
                    rid: if noise & 3 == 0 { rid ^ 1 } else { rid },
                    dseg: if noise & 12 == 0 { Some(0) } else { dseg },
                    itags: match noise >> 4 & 3 {
                        0 => noise as u32,
                        1 => 0,
                        _ => 1 << (noise >> 8 & 31) | 1 << (noise >> 13 & 31),
                    },
                    // More than one for a request would never be sent again.
                    count: if times_out { (noise >> 20) as u8 & 7 } else { 1 },
                };
                let segment = u32::from(wrong.dseg.unwrap_or(0));
                if (segment << 16 | u32::from(wrong.rid)) >> self.design.device_id_width == 0 {
                    self.push(Op::Completion { completion: wrong });
                }
            }
        }
        if !times_out || self.chance(85) {
            self.push(Op::CompleteAll);
        }
        if times_out && self.chance(60) {
            self.push(Op::TimeOut);
        }
        self.push(Op::RecoverCommandQueue);
    }
}
