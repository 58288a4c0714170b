//! The same accesses on the same machine without translation: a port sends a request per cycle, and its access to data begins in that
//! cycle, at the address that translation would give.

use super::devices::Devices;
use super::memory::Memory;
use crate::channel::Request;
use crate::error::FastError;
use crate::mapping::Mapping;
use crate::pages::Pages;

/// Cycles of the run.
///
/// # Errors
/// [`FastError`]
pub fn run(
    devices: &mut Devices,
    pages: &mut Pages,
    mut memory: Memory,
    mapping: &dyn Mapping,
    ports: usize,
) -> Result<u64, FastError> {
    let mut now = 0;
    let mut flights: Vec<(u16, Request)> = Vec::new();
    let mut vacant: Vec<u32> = Vec::new();
    while !devices.is_idle() {
        let mut changed = false;
        while let Some(flight) = memory.end(now) {
            let (stream, request) = flights[flight as usize];
            devices.finish(stream, &request);
            vacant.push(flight);
            changed = true;
        }
        for port in 0..ports {
            let Some((stream, request)) = devices.choose(port, now) else { continue };
            changed = true;
            let binding = devices.streams[usize::from(stream)].binding as usize;
            let place = pages.find(binding, request.address, mapping)?;
            if place.grants & request.need == 0 {
                // What faults reaches no memory.
                devices.finish(stream, &request);
                continue;
            }
            let address = pages.physical(place.id, request.address);
            let flight = vacant.pop().unwrap_or(flights.len() as u32);
            if flight as usize == flights.len() {
                flights.push((stream, request));
            } else {
                flights[flight as usize] = (stream, request);
            }
            memory.access(now, flight, address, request.bytes);
        }
        now = if changed { now + 1 } else { memory.next_event().min(devices.next_event(now)).max(now + 1) };
    }
    devices.failure.take().map_or(Ok(now), Err)
}
