//! Requests: anything from the routes of the scene, a working set for locality, and those of the debug interface.

use super::super::op::{AccessKind, Ask, At, Op};
use super::super::scene::{Ats, id};
use super::super::tables::pick;
use super::Generator;
use pasidon_spec::registers::{capabilities as cap, tr_req_ctl};

impl Generator<'_> {
    pub(super) fn ask(&mut self) -> Ask {
        let (mut did, mut pid, mut iova, mut tag) = (0, None, self.random.word(), 0);
        let mut at = if self.chance(2) {
            pick(&mut self.random, &[At::Request, At::Translated])
        } else {
            At::Untranslated
        };
        if !self.scene.routes.is_empty() {
            let route = &self.scene.routes[self.random.below(self.scene.routes.len() as u64) as usize];
            (did, pid, tag) = (route.did, route.pid, route.tag);
            iova = pick(&mut self.random, &route.iovas);
            if route.ats != Ats::Off {
                at = pick(&mut self.random, &[At::Untranslated, At::Request, At::Request, At::Translated]);
            }
            match &route.ats {
                Ats::On if at == At::Translated => iova = self.random.below(1 << self.design.pas),
                Ats::Guest(addresses) if at == At::Translated => iova = pick(&mut self.random, addresses),
                _ => {}
            }
        }
        match self.below(40) {
            0 => did = id(&mut self.random, self.design.device_id_width),
            1 => pid = Some(id(&mut self.random, self.design.process_id_width)),
            2 => pid = None,
            3 if !self.scene.devices.is_empty() => did = pick(&mut self.random, &self.scene.devices),
            _ => {}
        }
        iova ^= self.random.word() & 0xfff;
        match self.below(24) {
            0..3 => iova ^= self.below(16) << 12,
            3 => iova ^= self.below(512) << 12,
            4 => iova ^= 1 << self.below(64),
            5 => iova ^= self.below(1 << 30),
            _ => {}
        }
        if cap::MSI_MRIF.is_set(self.caps) && self.chance(40) {
            iova &= !0xfff | 4;
        }
        let access = pick(
            &mut self.random,
            &[AccessKind::Read, AccessKind::Read, AccessKind::Write, AccessKind::Write, AccessKind::Exec],
        );
        let privileged = pid.is_some() && self.chance(30);
        let data = if self.chance(70) { self.below(2060) as u32 } else { self.random.word() as u32 };
        let data = if cap::MSI_MRIF.is_set(self.caps) { data } else { 0 };
        let writes_too = at == At::Request && self.chance(50);
        let cxl = cap::ATS.is_set(self.caps) && self.chance(40);
        let port = self.below(4) as u8;
        Ask { port, did, pid, privileged, access, writes_too, cxl, at, iova, data, tag }
    }

    pub(super) fn choose_working_set(&mut self) {
        let most = if self.chance(25) { 60 } else { 14 };
        let count = 2 + self.below(most);
        // A request that faults is never answered from a cache: a few are enough.
        let few = if self.chance(8) { 60 } else { 3 };
        self.working_set = (0..count)
            .map(|_| {
                let mut ask = self.ask();
                for _ in 0..8 {
                    if !self.faults(&ask) || self.chance(few) {
                        break;
                    }
                    ask = self.ask();
                }
                ask
            })
            .collect();
    }

    pub(super) fn list(&mut self, count: u64) -> Vec<Ask> {
        (0..count)
            .map(|_| {
                if self.working_set.is_empty() || self.below(64) == 0 {
                    return self.ask();
                }
                let mut ask = pick(&mut self.random, &self.working_set);
                ask.port = self.below(4) as u8;
                // Another address of the same page, another access.
                if ask.data == 0 {
                    ask.iova ^= self.random.word() & 0xff8;
                }
                if self.chance(2) {
                    ask.access =
                        pick(&mut self.random, &[AccessKind::Read, AccessKind::Write, AccessKind::Exec]);
                }
                ask
            })
            .collect()
    }

    pub(super) fn requests(&mut self, count: u64) {
        let working_set = self.working_set.clone();
        let faulting = working_set.iter().filter(|ask| self.faults(ask)).count();
        let count = if 3 * faulting > working_set.len() { count / 8 + 1 } else { count };
        let list = self.list(count);
        self.push(Op::Requests { list, serial: false });
    }

    pub(super) fn serial(&mut self, count: u64) {
        let list = self.list(count);
        self.push(Op::Requests { list, serial: true });
    }

    pub(super) fn debug(&mut self) {
        for _ in 0..1 + self.below(4) {
            let ask = self.ask();
            let control = tr_req_ctl::GO_BUSY.of(1)
                | tr_req_ctl::PRIV.of(ask.privileged.into())
                | tr_req_ctl::EXE.of((ask.access == AccessKind::Exec).into())
                | tr_req_ctl::NW.of((ask.access != AccessKind::Write).into())
                | tr_req_ctl::PV.of(ask.pid.is_some().into())
                | tr_req_ctl::PID.of(ask.pid.unwrap_or(0).into())
                | tr_req_ctl::DID.of(ask.did.into());
            self.push(Op::Debug { iova: ask.iova & !0xfff, control });
        }
    }
}
