//! The same accesses on the same machine without translation: a port sends a request per cycle, and its access to data begins in that
//! cycle, at the address that translation would give.

use super::devices::Devices;
use super::memory::{Data, Memory};
use crate::error::FastError;
use crate::layout::Layout;
use crate::pages::Pages;

/// Cycles of the run.
///
/// # Errors
/// [`FastError`]
pub fn run(
    devices: &mut Devices,
    pages: &mut Pages,
    mut memory: Memory,
    layout: &dyn Layout,
    ports: usize,
) -> Result<u64, FastError> {
    let mut now = 0;
    while !devices.is_idle() {
        let mut changed = false;
        while let Some(stream) = memory.end(now) {
            devices.finish(stream as u16);
            changed = true;
        }
        changed |= memory.admit(now);
        for port in 0..ports {
            let Some((stream, request)) = devices.choose(port, now)? else { continue };
            changed = true;
            let binding = devices.streams[usize::from(stream)].binding as usize;
            let id = pages.find(binding, request.address, layout)?;
            if pages.known(id).grants & request.need == 0 {
                // What faults reaches no memory.
                devices.finish(stream);
                continue;
            }
            let address = pages.physical(id, request.address);
            memory.access(now, Data { flight: stream.into(), address, bytes: request.bytes });
        }
        now = if changed { now + 1 } else { memory.next_event().min(devices.next_event(now)).max(now + 1) };
    }
    Ok(now)
}
