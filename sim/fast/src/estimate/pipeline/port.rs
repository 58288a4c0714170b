//! A translation port with its L1 TLB and its miss buffer, and the device's side of it.

use super::{Flight, Pipeline, Port, Stage};
use crate::estimate::record::Stamps;
use crate::pages::Place;

impl Port {
    /// Nothing is under way in it.
    #[inline]
    fn is_quiet(&self) -> bool {
        self.stage == Stage::Empty
            && self.response.is_none()
            && self.offer.is_none()
            && self.miss_count == 0
            && self.outstanding == 0
    }
}

impl Pipeline<'_> {
    /// One cycle of a port. `deliver` is the completion on offer, `taken` says that the miss table takes the oldest miss.
    #[inline]
    pub(super) fn port(&mut self, index: usize, deliver: Option<u32>, taken: bool) -> bool {
        let now = self.now;
        let port = &self.ports[index];
        let mine = deliver.filter(|&flight| usize::from(self.flights[flight as usize].port) == index);
        if port.is_quiet() && mine.is_none() && !self.devices.uses(index) {
            return false;
        }
        let mut changed = taken;
        let answered = self.ports[index].response.take();
        if let Some(flight) = answered {
            self.answer(flight, now);
            changed = true;
        }
        let port = &mut self.ports[index];
        if port.offer.is_none()
            && port.free > 0
            && let Some((stream, request)) = self.devices.choose(index, now)
        {
            changed = true;
            port.free -= 1;
            let binding = self.devices.streams[usize::from(stream)].binding;
            let place = match self.pages.find(binding as usize, request.address, self.mapping) {
                Ok(place) => place,
                Err(error) => {
                    self.failure.get_or_insert(error);
                    Place::default()
                }
            };
            let (id, granted) = (place.id, place.grants & request.need != 0);
            let stamps = Stamps { offered: now, ..Stamps::default() };
            let port = index as u8;
            let flight = Flight { stream, port, granted, id, binding, request, stamps, ..Flight::default() };
            let number = self.hold(flight);
            self.ports[index].offer = Some(number);
        }
        // The edge.
        let port = &mut self.ports[index];
        let waits = port.stage == Stage::Empty && port.offer.is_none();
        if waits && mine.is_none() && answered.is_none() && !taken {
            return changed;
        }
        let completes = mine.filter(|_| !matches!(port.stage, Stage::Complete(..)));
        let looking = matches!(port.stage, Stage::Lookup(_));
        let room = port.miss_count == 0 || (port.miss_count == 1 && !looking);
        let ready = port.outstanding != port.places && room && completes.is_none();
        let accepted = if ready { port.offer.take() } else { None };
        port.outstanding += u32::from(accepted.is_some());
        port.outstanding -= u32::from(answered.is_some());
        if taken {
            port.misses[0] = port.misses[1];
            port.miss_count -= 1;
        }
        changed |= port.stage != Stage::Empty;
        match port.stage {
            Stage::Empty => {}
            Stage::Lookup(flight) => {
                let Flight { id, granted, .. } = self.flights[flight as usize];
                port.lookups += 1;
                if granted && port.l1.holds(id) {
                    port.hits += 1;
                    port.l1.touch(id);
                    port.response = Some(flight);
                } else {
                    port.misses[usize::from(port.miss_count)] = flight;
                    port.miss_count += 1;
                }
            }
            Stage::Complete(flight, fills) => {
                if fills {
                    port.l1.fill(self.flights[flight as usize].id);
                }
                port.response = Some(flight);
            }
        }
        port.stage = match (completes, accepted) {
            (Some(flight), _) => Stage::Complete(flight, self.completion.cacheable),
            (None, Some(flight)) => Stage::Lookup(flight),
            (None, None) => Stage::Empty,
        };
        changed |= port.stage != Stage::Empty;
        if let Some(flight) = accepted {
            self.flights[flight as usize].stamps.accepted = now;
        }
        changed
    }

    /// A place for an access.
    fn hold(&mut self, flight: Flight) -> u32 {
        match self.vacant.pop() {
            Some(number) => {
                self.flights[number as usize] = flight;
                number
            }
            None => {
                self.flights.push(flight);
                self.flights.len() as u32 - 1
            }
        }
    }

    /// The device takes a response: its access goes to memory, or ends.
    fn answer(&mut self, number: u32, now: u64) {
        let flight = &mut self.flights[number as usize];
        flight.stamps.answered = now;
        let Flight { port, request, granted, id, stamps, .. } = *flight;
        self.ports[usize::from(port)].free += 1;
        self.latencies.add(now - stamps.offered);
        self.accesses += 1;
        if granted {
            self.bytes += u64::from(request.bytes);
            let address = self.pages.physical(id, request.address);
            self.memory.access(now, number, address, request.bytes);
        } else {
            self.faults += 1;
            self.end_flight(number, now);
        }
    }
}
