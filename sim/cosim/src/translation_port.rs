//! One translation port, seen from the device: offers requests, takes answers, and checks that both sides keep what they offer.
//!
//! A caller asks [`TranslationPort::can_offer`] and chooses a request; in each cycle it calls [`TranslationPort::response`] and then
//! [`TranslationPort::request`]. An answer comes back with the tag that the caller gave its request.

use crate::pace::Pace;
use crate::random::Random;
use crate::verilated::ports::{ReqIn, ReqOut};
use pasidon_rtl::design::Design;
use pasidon_rtl::translate::fence;
use pasidon_spec::fault::Cause;
use pasidon_spec::request::{AddressType, AtsCompletion, Denial, Fault, Request, Response, Translation};

/// The most requests that a port has under way, whatever its id width allows.
pub const MOST_OUTSTANDING: usize = 64;

const NO_SLOT: u16 = u16::MAX;

/// What the answer to a request depends on.
#[derive(Clone, Copy)]
enum Asked {
    /// An access.
    Access,
    /// An ATS translation request, with supervisor privilege or without.
    Translation(bool),
}

impl Asked {
    fn of(request: &Request) -> Asked {
        match request.at {
            AddressType::TranslationRequest => Asked::Translation(request.is_privileged()),
            _ => Asked::Access,
        }
    }
}

/// A request under way.
struct Pending<T> {
    tag: T,
    asked: Asked,
    offered: u64,
}

/// What a request came to. Cycles are those in which the event could first be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// What the caller knows the request by.
    pub tag: T,
    /// The request was first valid.
    pub offered: u64,
    /// The answer was first valid.
    pub shown: u64,
    /// The answer was taken.
    pub taken: u64,
    /// The answer. The record of a fault says more than the wires do: those fields are 0.
    pub response: Response,
}

/// A translation port whose requests are known by a `T` each.
pub struct TranslationPort<T> {
    /// The slot of the request on offer.
    offer: Option<u16>,
    slots: Vec<Option<Pending<T>>>,
    free: Vec<u16>,
    /// The slot of each id.
    slot_of: Vec<u16>,
    /// The id of each slot: all over their range, so that every bit of them matters.
    ids: Vec<u64>,
    /// An answer that was shown and not taken, and since when.
    held: Option<(ReqOut, u64)>,
    /// Cycles for which no answer is taken.
    still: u16,
    process_id_mask: u64,
}

impl<T> TranslationPort<T> {
    /// A port of a design without requests.
    pub fn new(design: &Design, random: &mut Random) -> TranslationPort<T> {
        let ids = 1usize << design.id_width;
        let count = MOST_OUTSTANDING.min(ids);
        let (start, step) = (random.word() as usize, random.word() as usize | 1);
        let ids_used: Vec<u64> =
            (0..count).map(|i| (start.wrapping_add(i.wrapping_mul(step)) & (ids - 1)) as u64).collect();
        let mut slot_of = vec![NO_SLOT; ids];
        ids_used.iter().enumerate().for_each(|(slot, &id)| slot_of[id as usize] = slot as u16);
        TranslationPort {
            offer: None,
            slots: (0..count).map(|_| None).collect(),
            free: (0..count as u16).collect(),
            slot_of,
            ids: ids_used,
            held: None,
            still: 0,
            process_id_mask: (1 << design.process_id_width) - 1,
        }
    }

    /// Forgets all requests.
    pub fn reset(&mut self) {
        self.offer = None;
        (self.held, self.still) = (None, 0);
        self.slots.iter_mut().for_each(|slot| *slot = None);
        self.free = (0..self.slots.len() as u16).collect();
    }

    /// Forgets the requests that the hardware has taken and not answered; what is on offer stays so. Returns their tags, with the
    /// cycles in which they were first offered.
    pub fn forget_taken(&mut self) -> Vec<(T, u64)> {
        self.held = None;
        let mut forgotten = Vec::new();
        for slot in 0..self.slots.len() as u16 {
            if self.offer != Some(slot)
                && let Some(pending) = self.slots[usize::from(slot)].take()
            {
                self.free.push(slot);
                forgotten.push((pending.tag, pending.offered));
            }
        }
        forgotten
    }

    /// Requests on offer or taken, without an answer.
    pub fn outstanding(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The tags of the requests without an answer.
    pub fn tags(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten().map(|pending| &pending.tag)
    }

    /// Whether a request is on offer that the hardware has not taken.
    #[inline]
    pub fn is_offering(&self) -> bool {
        self.offer.is_some()
    }

    /// Whether the port can offer another request in this cycle.
    #[inline]
    pub fn can_offer(&self) -> bool {
        self.offer.is_none() && !self.free.is_empty()
    }

    /// The answer of this cycle, if there is one and the device is `ready` to take it.
    ///
    /// # Errors
    /// What the hardware did wrong.
    #[inline]
    pub fn response(
        &mut self,
        now: u64,
        out: &ReqOut,
        input: &mut ReqIn,
        ready: bool,
    ) -> Result<Option<Answer<T>>, String> {
        input.rsp_ready = u64::from(ready);
        if out.rsp_valid & 1 == 0 {
            return if self.held.is_none() { Ok(None) } else { Err("an answer was taken back".into()) };
        }
        // `ready` belongs to the other handshake of the port.
        let shown = ReqOut { ready: 0, ..*out };
        let since = match self.held {
            None => now,
            Some((held, since)) if held == shown => since,
            Some((held, since)) if now - since > fence::PATIENCE && is_refusal_of(&held, &shown) => since,
            Some(_) => return Err("an answer changed while it waited".into()),
        };
        self.held = (!ready).then_some((shown, since));
        if !ready {
            return Ok(None);
        }
        let slot = self.slot_of.get(out.rsp_id as usize).copied().unwrap_or(NO_SLOT);
        let taken =
            self.slots.get_mut(usize::from(slot)).filter(|_| self.offer != Some(slot)).and_then(Option::take);
        let Some(pending) = taken else {
            return Err(format!("an answer for id {}, which nobody waits for", out.rsp_id));
        };
        self.free.push(slot);
        let response = decoded(out, pending.asked, now - pending.offered > fence::PATIENCE)?;
        Ok(Some(Answer { tag: pending.tag, offered: pending.offered, shown: since, taken: now, response }))
    }

    /// As [`response`](Self::response), where the device is ready as `pace` says, unless it is `held` back.
    ///
    /// # Errors
    /// What the hardware did wrong.
    #[inline]
    pub fn response_at(
        &mut self,
        now: u64,
        out: &ReqOut,
        input: &mut ReqIn,
        (pace, random): (&Pace, &mut Random),
        held: bool,
    ) -> Result<Option<Answer<T>>, String> {
        let mut ready =
            !held && (pace.response_pauses == 0 || random.below(256) >= u64::from(pace.response_pauses));
        if pace.stalls != 0 && out.rsp_valid & 1 != 0 {
            if self.held.is_none() && random.below(48) == 0 {
                self.still = random.below(2 * u64::from(pace.stalls)) as u16;
            }
            ready &= self.still == 0;
            self.still = self.still.saturating_sub(1);
        }
        self.response(now, out, input, ready)
    }

    /// Puts a request on offer, if [`can_offer`](Self::can_offer) says so.
    #[inline]
    pub fn offer(&mut self, now: u64, tag: T, request: &Request, input: &mut ReqIn, random: &mut Random) {
        let Some(slot) = self.free.pop() else { return };
        self.slots[usize::from(slot)] = Some(Pending { tag, asked: Asked::of(request), offered: now });
        self.offer = Some(slot);
        input.id = self.ids[usize::from(slot)];
        input.device_id = u64::from(request.device_id);
        input.pid_valid = u64::from(request.process_id.is_some());
        // Without a process_id, neither it nor the privilege means anything.
        let noise = random.word();
        input.process_id = request.process_id.map_or(noise & self.process_id_mask, u64::from);
        input.privileged =
            if request.process_id.is_some() { u64::from(request.privileged) } else { noise >> 63 };
        input.exec = u64::from(request.exec);
        input.write = u64::from(request.write);
        input.at = match request.at {
            AddressType::Untranslated => 0,
            AddressType::TranslationRequest => 1,
            AddressType::Translated => 2,
        };
        input.iova = request.iova;
        input.data = u64::from(request.data);
        input.cxl = u64::from(request.cxl);
    }

    /// Shows what is on offer, and takes note when the hardware takes it.
    #[inline]
    pub fn request(&mut self, out: &ReqOut, input: &mut ReqIn) {
        input.valid = u64::from(self.offer.is_some());
        if out.ready & 1 != 0 {
            self.offer = None;
        }
    }
}

/// Whether `shown` is the refusal that `held` becomes when a fence has waited for it in vain (rtl, `translate::fence`).
fn is_refusal_of(held: &ReqOut, shown: &ReqOut) -> bool {
    let cause = u64::from(Cause::AllInboundTransactionsDisallowed.code());
    let permissions = shown.rsp_r | shown.rsp_w | shown.rsp_x;
    (shown.rsp_id, shown.rsp_status, shown.rsp_cause, shown.rsp_spa, permissions)
        == (held.rsp_id, 1, cause, 0, 0)
}

/// What the wires of an answer say. The record of a fault says more than they do: those fields are 0.
///
/// # Errors
/// What the wires must not say.
fn decoded(out: &ReqOut, asked: Asked, overdue: bool) -> Result<Response, String> {
    let permissions = (out.rsp_r != 0, out.rsp_w != 0, out.rsp_x != 0);
    let nothing = out.rsp_spa == 0 && permissions == (false, false, false);
    let cause = Cause::from_code(out.rsp_cause as u16);
    let completion = [out.rsp_untranslated, out.rsp_global, out.rsp_cxl_io].map(|flag| flag != 0);
    let ats = match asked {
        Asked::Access => None,
        Asked::Translation(privileged) => Some(AtsCompletion {
            untranslated_only: completion[0],
            global: completion[1],
            privileged,
            cxl_io: completion[2],
            ama: 0,
            withheld: cause,
        }),
    };
    // What a fence waited for in vain becomes a refusal that has `abort` set, whatever was asked.
    let overdue = overdue && cause == Some(Cause::AllInboundTransactionsDisallowed);
    let plain = completion == [false; 3] && (ats.is_some() || out.rsp_abort == 0 || overdue);
    match (out.rsp_status, cause, ats) {
        (0, None, _) if out.rsp_cause == 0 && out.rsp_abort == 0 && (ats.is_some() || plain) => {}
        (0, Some(_), Some(_)) if nothing && plain && out.rsp_abort == 0 => {}
        (1, Some(cause), _) if nothing && plain => {
            let denial = if out.rsp_abort == 0 || ats.is_none() {
                Denial::UnsupportedRequest
            } else {
                Denial::CompleterAbort
            };
            return Ok(Response::Fault(Fault { cause, iotval2: 0, reported: false, denial }));
        }
        _ => {
            return Err(format!(
                "an answer with status {}, cause {}, abort {}, address {:#x}, permissions {permissions:?} and \
                 completion flags {completion:?}",
                out.rsp_status, out.rsp_cause, out.rsp_abort, out.rsp_spa
            ));
        }
    }
    Ok(Response::Success(Translation {
        spa: out.rsp_spa,
        read: permissions.0,
        write: permissions.1,
        exec: permissions.2,
        page_shift: out.rsp_size as u8,
        pbmt: out.rsp_pbmt as u8,
        rcid: out.rsp_rcid as u16,
        mcid: out.rsp_mcid as u16,
        mrif: out.rsp_mrif != 0,
        ats,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> (TranslationPort<u32>, Random) {
        let mut random = Random::new(1);
        (TranslationPort::new(&Design::shipped("default").unwrap(), &mut random), random)
    }

    /// Offers a request that the hardware takes, and returns its id.
    fn taken(port: &mut TranslationPort<u32>, random: &mut Random, now: u64, tag: u32) -> u64 {
        let mut input = ReqIn::default();
        assert!(port.can_offer());
        port.offer(now, tag, &Request::default(), &mut input, random);
        port.request(&ReqOut { ready: 1, ..ReqOut::default() }, &mut input);
        assert_eq!(input.valid, 1);
        input.id
    }

    fn granted(id: u64) -> ReqOut {
        ReqOut { rsp_valid: 1, rsp_id: id, rsp_spa: 0x1000, rsp_r: 1, rsp_size: 12, ..ReqOut::default() }
    }

    #[test]
    fn an_answer_comes_back_with_its_tag_and_its_times() {
        let (mut port, mut random) = port();
        let ids: Vec<u64> =
            (0..MOST_OUTSTANDING as u32).map(|tag| taken(&mut port, &mut random, tag.into(), tag)).collect();
        assert!(!port.can_offer() && port.outstanding() == MOST_OUTSTANDING);
        let mut input = ReqIn::default();
        assert_eq!(port.response(100, &granted(ids[7]), &mut input, false), Ok(None));
        assert_eq!(input.rsp_ready, 0);
        let answer = port.response(103, &granted(ids[7]), &mut input, true).unwrap().unwrap();
        assert_eq!((answer.tag, answer.offered, answer.shown, answer.taken), (7, 7, 100, 103));
        assert!(matches!(answer.response, Response::Success(Translation { spa: 0x1000, read: true, .. })));
        assert_eq!(port.outstanding(), MOST_OUTSTANDING - 1);
        // Its id is free, and nobody waits for it any more.
        assert!(
            port.response(104, &granted(ids[7]), &mut input, true).unwrap_err().contains("nobody waits for")
        );
        let forgotten = port.forget_taken();
        assert_eq!((forgotten.len(), port.outstanding()), (MOST_OUTSTANDING - 1, 0));
    }

    #[test]
    fn what_the_hardware_must_not_do_is_said() {
        let mut input = ReqIn::default();
        let shown = |change: fn(&mut ReqOut), later: u64| {
            let (mut port, mut random) = port();
            let id = taken(&mut port, &mut random, 0, 0);
            let mut input = ReqIn::default();
            port.response(1, &granted(id), &mut input, false).unwrap();
            let mut out = granted(id);
            change(&mut out);
            port.response(later, &out, &mut input, true).map(|answer| answer.map(|answer| answer.response))
        };
        let refusal = |out: &mut ReqOut| {
            let id = out.rsp_id;
            *out = ReqOut { rsp_valid: 1, rsp_id: id, rsp_status: 1, rsp_cause: 256, ..ReqOut::default() };
        };
        assert!(shown(|out| out.rsp_valid = 0, 2).unwrap_err().contains("taken back"));
        assert!(shown(|out| out.rsp_spa = 0x2000, 2).unwrap_err().contains("changed while it waited"));
        assert!(shown(|out| out.rsp_spa = 0x2000, 10_000).unwrap_err().contains("changed while it waited"));
        assert!(shown(refusal, 1 + fence::PATIENCE).unwrap_err().contains("changed while it waited"));
        // A fence that has waited for it in vain refuses it.
        assert!(matches!(shown(refusal, 2 + fence::PATIENCE), Ok(Some(Response::Fault(_)))));
        let abort = |out: &mut ReqOut| {
            let id = out.rsp_id;
            *out = ReqOut { rsp_valid: 1, rsp_id: id, rsp_status: 1, rsp_cause: 256, ..ReqOut::default() };
            out.rsp_abort = 1;
        };
        assert!(matches!(shown(abort, 2 + fence::PATIENCE), Ok(Some(Response::Fault(_)))));
        // `ready` is of the other handshake.
        assert!(matches!(shown(|out| out.ready = 1, 2), Ok(Some(Response::Success(_)))));
        let malformed = |change: fn(&mut ReqOut)| {
            let (mut port, mut random) = port();
            let id = taken(&mut port, &mut random, 0, 0);
            let mut out = granted(id);
            change(&mut out);
            port.response(1, &out, &mut ReqIn::default(), true).unwrap_err()
        };
        for change in [
            |out: &mut ReqOut| out.rsp_status = 1,
            |out: &mut ReqOut| out.rsp_cause = 13,
            |out: &mut ReqOut| out.rsp_abort = 1,
            |out: &mut ReqOut| out.rsp_global = 1,
        ] {
            assert!(malformed(change).contains("an answer with status"));
        }
        // An answer to what is on offer and was not taken.
        let (mut port, mut random) = port();
        port.offer(0, 0, &Request::default(), &mut input, &mut random);
        assert!(
            port.response(1, &granted(input.id), &mut input, true).unwrap_err().contains("nobody waits for")
        );
        assert!(port.is_offering() && port.forget_taken().is_empty());
    }
}
