//! One translation port, seen from the device: offers requests, takes answers, and checks that both sides keep what they offer.

use super::Ticket;
use super::bus::Pace;
use crate::machine::Random;
use crate::model::ports::{ReqIn, ReqOut};
use pasidon_rtl::design::Design;
use pasidon_spec::fault::Cause;
use pasidon_spec::request::{AddressType, AtsCompletion, Denial, Fault, Request, Response, Translation};
use std::collections::VecDeque;

/// The most requests that a port has under way, whatever its id width allows.
const MOST: usize = 64;

const FREE: u16 = u16::MAX;

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

/// A translation port.
pub(super) struct Port {
    waiting: VecDeque<(Ticket, Request)>,
    /// The slot of the request on offer.
    offer: Option<u16>,
    tickets: Vec<Ticket>,
    /// What each slot asks: a translation request has other answers.
    asked: Vec<Asked>,
    free: Vec<u16>,
    /// The slot of each id.
    slots: Vec<u16>,
    ids: Vec<u64>,
    /// An answer that was shown and not taken.
    held: Option<ReqOut>,
    /// Cycles for which no answer is taken.
    still: u16,
    process_id_mask: u64,
}

impl Port {
    pub(super) fn new(design: &Design, random: &mut Random) -> Port {
        let ids = 1usize << design.id_width;
        let count = MOST.min(ids);
        // Ids all over their range, so that every bit of them matters.
        let (start, step) = (random.word() as usize, random.word() as usize | 1);
        let ids_used: Vec<u64> =
            (0..count).map(|i| (start.wrapping_add(i.wrapping_mul(step)) & (ids - 1)) as u64).collect();
        let mut slots = vec![FREE; ids];
        ids_used.iter().enumerate().for_each(|(slot, &id)| slots[id as usize] = slot as u16);
        Port {
            waiting: VecDeque::new(),
            offer: None,
            tickets: vec![Ticket::MAX; count],
            asked: vec![Asked::Access; count],
            free: (0..count as u16).collect(),
            slots,
            ids: ids_used,
            held: None,
            still: 0,
            process_id_mask: (1 << design.process_id_width) - 1,
        }
    }

    /// Forgets all requests.
    pub(super) fn reset(&mut self) {
        self.waiting.clear();
        self.offer = None;
        (self.held, self.still) = (None, 0);
        self.tickets.fill(Ticket::MAX);
        self.free = (0..self.tickets.len() as u16).collect();
    }

    pub(super) fn submit(&mut self, ticket: Ticket, request: Request) {
        self.waiting.push_back((ticket, request));
    }

    /// Requests that the hardware has not accepted yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + usize::from(self.offer.is_some())
    }

    /// The answer of this cycle, if there is one and the device takes it, which it does not while it is `held` back.
    ///
    /// # Errors
    /// What the hardware did wrong.
    #[inline]
    pub(super) fn response(
        &mut self,
        out: &ReqOut,
        input: &mut ReqIn,
        pace: &Pace,
        random: &mut Random,
        held: bool,
    ) -> Result<Option<(Ticket, Response)>, String> {
        let mut ready =
            !held && (pace.response_pauses == 0 || random.below(256) >= u64::from(pace.response_pauses));
        if pace.stalls != 0 && out.rsp_valid & 1 != 0 {
            if self.held.is_none() && random.below(48) == 0 {
                self.still = random.below(2 * u64::from(pace.stalls)) as u16;
            }
            ready &= self.still == 0;
            self.still = self.still.saturating_sub(1);
        }
        input.rsp_ready = u64::from(ready);
        if out.rsp_valid & 1 == 0 {
            return if self.held.is_none() { Ok(None) } else { Err("an answer was taken back".into()) };
        }
        // `ready` belongs to the other handshake of the port.
        let shown = ReqOut { ready: 0, ..*out };
        if self.held.is_some_and(|held| held != shown) {
            return Err("an answer changed while it waited".into());
        }
        self.held = (!ready).then_some(shown);
        if !ready {
            return Ok(None);
        }
        let slot = self.slots.get(out.rsp_id as usize).copied().unwrap_or(FREE);
        let ticket = self.tickets.get_mut(usize::from(slot));
        match ticket {
            Some(ticket) if *ticket != Ticket::MAX && self.offer != Some(slot) => {
                self.free.push(slot);
                let ticket = std::mem::replace(ticket, Ticket::MAX);
                Ok(Some((ticket, response(out, self.asked[usize::from(slot)])?)))
            }
            _ => Err(format!("an answer for id {}, which nobody waits for", out.rsp_id)),
        }
    }

    /// Offers the next request.
    #[inline]
    pub(super) fn request(&mut self, out: &ReqOut, input: &mut ReqIn, pace: &Pace, random: &mut Random) {
        if self.offer.is_none()
            && !self.waiting.is_empty()
            && (pace.request_pauses == 0 || random.below(256) >= u64::from(pace.request_pauses))
            && let Some(slot) = self.free.pop()
            && let Some((ticket, request)) = self.waiting.pop_front()
        {
            self.tickets[usize::from(slot)] = ticket;
            self.asked[usize::from(slot)] = Asked::of(&request);
            self.offer = Some(slot);
            input.valid = 1;
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
        if self.offer.is_none() {
            input.valid = 0;
        } else if out.ready & 1 != 0 {
            self.offer = None;
        }
    }
}

/// What the wires of an answer say. The record of a fault says more than they do: those fields are 0.
///
/// # Errors
/// What the wires must not say.
fn response(out: &ReqOut, asked: Asked) -> Result<Response, String> {
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
    let plain = completion == [false; 3] && (ats.is_some() || out.rsp_abort == 0);
    match (out.rsp_status, cause, ats) {
        (0, None, _) if out.rsp_cause == 0 && out.rsp_abort == 0 && (ats.is_some() || plain) => {}
        (0, Some(_), Some(_)) if nothing && plain && out.rsp_abort == 0 => {}
        (1, Some(cause), _) if nothing && plain => {
            let denial = if out.rsp_abort == 0 { Denial::UnsupportedRequest } else { Denial::CompleterAbort };
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
