//! Isolation, shown: what one address space must never see of another, of the past, or of what it may not do.
//!
//! Each check makes devices try it on the hardware and looks at the response, the fault record that the driver
//! fetched, and memory.

use super::{Device, RunError, System};
use crate::endpoint::{Channel, ChannelKind, DmaRequest, Outcome};
use crate::memory::PAGE;
use crate::os::{Mapping, Permissions};
use crate::report::Check;
use pasidon_cosim::{Pace, Random};
use pasidon_driver::{Cause, DeviceOptions, FaultRecord};
use pasidon_spec::message::response_code;
use std::sync::Arc;

/// Pages that the checks map, in both processes: above what programs use in practice, below the end of Sv39's user half.
const PLACE: u64 = 0x3f_c000_0000;
/// Rounds of the munmap check, each with another alignment between walks and the invalidation.
const ROUNDS: u64 = 64;
/// Cycles that memory is late, more than the driver takes for an invalidation.
const SLOW: u32 = 1000;
/// Pages that keep walkers busy meanwhile.
const STORM: u64 = 24;

/// Makes all checks on the first two processes and devices of `system`.
///
/// # Errors
/// [`RunError`] if the machine fails; a check that finds something is not an error but in the result.
pub fn check(system: &mut System) -> Result<Vec<Check>, RunError> {
    let mut checks = Vec::new();
    system.os.set_frames(usize::MAX);
    for process in 0..2 {
        let id = system.processes[process].mm.id();
        let mapping = Mapping { locked: true, ..Mapping::of(Permissions::READ_WRITE, 1 + process as u64) };
        system.os.map(id, PLACE..PLACE + (STORM + 2) * PAGE, mapping)?;
        system.os.populate(id, PLACE..PLACE + (STORM + 2) * PAGE)?;
    }
    system.iommu.service_faults(|_| ());
    checks.push(same_address(system)?);
    checks.push(refused_pasid(system, "a PASID that was never bound faults", unused_pasid(system))?);
    checks.push(unbound(system)?);
    checks.push(read_only(system)?);
    checks.push(unmapped(system, ChannelKind::Untranslated)?);
    checks.push(unknown_device(system)?);
    if system.demand {
        checks.push(unmapped(system, ChannelKind::Ats)?);
        checks.push(not_mapped(system)?);
        checks.push(forged(system)?);
    }
    Ok(checks)
}

/// A PASID of the design's width that nothing is bound to.
fn unused_pasid(system: &System) -> u32 {
    let used: Vec<u32> = system.bonds().map(|(_, _, pasid)| pasid).collect();
    let top = (1u32 << system.design.process_id_width) - 1;
    (1..=top).rev().find(|pasid| !used.contains(pasid)).unwrap_or(0)
}

fn observe(
    system: &System,
    device_id: u32,
    port: usize,
    pasid: u32,
    kind: ChannelKind,
    request: DmaRequest,
) -> Result<Outcome, RunError> {
    let mut machine = system.platform.machine();
    let channel = Channel { kind, ..Channel::new(device_id, Some(pasid), port, Arc::from([request])) };
    let mut outcomes = machine.observe(channel)?;
    outcomes.pop().ok_or_else(|| RunError::Unsuitable("a request had no outcome".into()))
}

fn access(system: &System, device: usize, pasid: u32, va: u64, write: bool) -> Result<Outcome, RunError> {
    let request = DmaRequest { va, length: 64, write, exec: false };
    let device = system.devices[device];
    observe(system, device.id, device.port, pasid, ChannelKind::Untranslated, request)
}

/// An access through the device's own cache, with the page requests that it takes.
fn access_with_ats(system: &mut System, pasid: u32, va: u64, write: bool) -> Result<Outcome, RunError> {
    let request = DmaRequest { va, length: 64, write, exec: false };
    let Device { id, port } = system.devices[0];
    let channel = Channel::new(id, Some(pasid), port, Arc::from([request]));
    let mut machine = system.platform.machine();
    machine.dma.take_outcomes();
    machine.dma.add(Channel { kind: ChannelKind::Ats, observe: true, ..channel });
    loop {
        let idle = machine.run(1000)?;
        if let Some(outcome) = machine.dma.take_outcomes().pop() {
            return Ok(outcome);
        }
        if idle {
            return Err(RunError::Unsuitable("an access had no outcome".into()));
        }
        drop(machine);
        system.service();
        machine = system.platform.machine();
    }
}

/// Describes what differs from "the page request was answered Invalid Request"; empty if nothing does.
fn expect_refused(outcome: &Outcome) -> Vec<String> {
    let invalid = outcome.refused.map(u64::from) == Some(response_code::INVALID_REQUEST);
    if invalid && outcome.data.is_empty() { Vec::new() } else { vec![format!("{outcome:x?}")] }
}

/// The records that the driver has for us now. The record is written after the response, so wait for it a little.
fn records(system: &System) -> Vec<FaultRecord> {
    let mut found = Vec::new();
    for _ in 0..40 {
        system.iommu.service_faults(|record| found.push(*record));
        if !found.is_empty() {
            break;
        }
        (0..50).for_each(|_| system.platform.machine().step());
    }
    found
}

/// Describes what differs from "aborted with this cause, and so recorded"; empty if nothing does.
fn expect_fault(system: &System, outcome: &Outcome, cause: Cause, device_id: u32, pasid: u32) -> Vec<String> {
    let mut wrong = Vec::new();
    if outcome.is_success() || outcome.cause != u64::from(cause.code()) {
        let (status, got) = (outcome.status, outcome.cause);
        wrong.push(format!(
            "response has status {status}, cause {got}, not {} ({})",
            cause.code(),
            cause.name()
        ));
    }
    let records = records(system);
    let fits = |r: &FaultRecord| {
        r.cause == cause.code()
            && r.did == device_id
            && r.pv
            && r.pid == pasid
            && r.iotval == outcome.request.va
    };
    if records.len() != 1 || !records.iter().all(fits) {
        wrong.push(format!("fault records: {records:x?}"));
    }
    wrong
}

fn verdict(name: &str, good: String, wrong: Vec<String>) -> Check {
    let passed = wrong.is_empty();
    Check { check: name.into(), passed, detail: if passed { good } else { wrong.join("; ") } }
}

fn frame(system: &System, process: usize, va: u64) -> u64 {
    system.os.translate(system.processes[process].mm.id(), va).unwrap_or(u64::MAX)
}

fn memory(system: &System, address: u64) -> Vec<u8> {
    system.platform.machine().bench.memory.slice(address, 64).unwrap_or(&[]).to_vec()
}

fn same_address(system: &System) -> Result<Check, RunError> {
    let mut wrong = Vec::new();
    let mut seen = Vec::new();
    for process in 0..2 {
        let outcome = access(system, 0, system.pasid(0, process), PLACE, false)?;
        let frame = frame(system, process, PLACE);
        if !outcome.is_success() || outcome.spa != frame || outcome.data != memory(system, frame) {
            wrong.push(format!("process {process}: {outcome:x?} instead of the page at {frame:#x}"));
        }
        seen.push(outcome);
    }
    if seen[0].data == seen[1].data {
        wrong.push("both read the same".into());
    }
    let (a, b) = (system.pasid(0, 0), system.pasid(0, 1));
    let good = format!("{PLACE:#x} is {:#x} for PASID {a} and {:#x} for PASID {b}", seen[0].spa, seen[1].spa);
    Ok(verdict("one address in two PASIDs is two pages", good, wrong))
}

/// Reads and writes with a PASID that must be refused for want of a process context.
fn refused_pasid(system: &System, name: &str, pasid: u32) -> Result<Check, RunError> {
    let mut wrong = Vec::new();
    let before: Vec<_> = (0..2).map(|process| memory(system, frame(system, process, PLACE))).collect();
    for write in [false, true] {
        let outcome = access(system, 0, pasid, PLACE, write)?;
        wrong.extend(expect_fault(system, &outcome, Cause::PdtEntryNotValid, system.devices[0].id, pasid));
        if !outcome.data.is_empty() {
            wrong.push("data was moved".into());
        }
    }
    let after: Vec<_> = (0..2).map(|process| memory(system, frame(system, process, PLACE))).collect();
    if before != after {
        wrong.push("memory has changed".into());
    }
    let cause = Cause::PdtEntryNotValid;
    Ok(verdict(
        name,
        format!("PASID {pasid}: cause {} ({}), no data moved", cause.code(), cause.name()),
        wrong,
    ))
}

fn unbound(system: &mut System) -> Result<Check, RunError> {
    let pasid = system.pasid(0, 1);
    // Warm caches: what was cached of the bond must go with it.
    let warm = access(system, 0, pasid, PLACE, false)?;
    system.unbind(0, 1);
    let mut check = refused_pasid(system, "a PASID that was unbound faults", pasid)?;
    let other = access(system, 1, system.pasid(1, 1), PLACE, false)?;
    let neighbour = access(system, 0, system.pasid(0, 0), PLACE, false)?;
    for (what, outcome) in
        [("before", &warm), ("on the other device", &other), ("of the other process", &neighbour)]
    {
        if !outcome.is_success() {
            check.passed = false;
            check.detail = format!("{}; the access {what} failed: {outcome:x?}", check.detail);
        }
    }
    system.bind(0, 1)?;
    if !access(system, 0, system.pasid(0, 1), PLACE, false)?.is_success() {
        check.passed = false;
        check.detail.push_str("; bound again, it is still refused");
    }
    Ok(check)
}

fn read_only(system: &mut System) -> Result<Check, RunError> {
    let va = PLACE + PAGE;
    let pasid = system.pasid(0, 0);
    let mut wrong = Vec::new();
    // The page is cached as writable first.
    if !access(system, 0, pasid, va, true)?.is_success() {
        wrong.push("the page could not be written before".into());
    }
    system.os.protect(system.processes[0].mm.id(), va..va + PAGE, Permissions::READ)?;
    let frame = frame(system, 0, va);
    let before = memory(system, frame);
    let read = access(system, 0, pasid, va, false)?;
    if !read.is_success() || read.data != before {
        wrong.push(format!("reading: {read:x?}"));
    }
    let write = access(system, 0, pasid, va, true)?;
    wrong.extend(expect_fault(system, &write, Cause::WriteAmoPageFault, system.devices[0].id, pasid));
    if memory(system, frame) != before {
        wrong.push("memory has changed".into());
    }
    let cause = Cause::WriteAmoPageFault;
    let good = format!("cause {} ({}), the page is as before, and can be read", cause.code(), cause.name());
    Ok(verdict("a read-only page refuses a write", good, wrong))
}

/// Devices read pages of a process all the time while one of the pages is unmapped: after the invalidation nothing may
/// reach its frame, whatever was in flight. Memory is as unkind as it may be: reads of that page's entry return what it held
/// long ago, after the commands have overtaken them; and data follows its translation so late that the fence
/// would be over without the drain.
fn unmapped(system: &mut System, kind: ChannelKind) -> Result<Check, RunError> {
    let victim = PLACE + 2 * PAGE;
    let id = system.processes[0].mm.id();
    let mut wrong = Vec::new();
    let mut random = Random::new(7);
    let (pasid, mut busiest) = (system.pasid(0, 0), 0);
    let pace = system.platform.machine().bench.memory_port.pace();
    for round in 0..ROUNDS {
        let entry = system.os.leaf_address(id, victim).unwrap_or(0);
        let mut machine = system.platform.machine();
        machine.bench.memory_port.set_pace(Pace { jitter: 2 * pace.latency, ..pace });
        machine.bench.memory_port.set_slow(Some((entry..entry + 8, SLOW)));
        let data_latency = machine.bench.memory.timing.set_data_latency(SLOW);
        machine.reset_counters();
        let bound = |d: usize| system.handles.contains_key(&(d, 0));
        for (d, device) in system.devices.iter().enumerate().filter(|(d, _)| bound(*d)) {
            // The victim is every other request.
            let pages = (0..STORM).flat_map(|page| [victim, PLACE + (2 + page) * PAGE]);
            let request = |va| DmaRequest { va: va + 64 * d as u64, length: 64, write: false, exec: false };
            let requests = pages.map(request).collect();
            let mut storm = Channel::new(device.id, Some(pasid), device.port, requests);
            (storm.kind, storm.space) = (kind, Some(id));
            storm.remaining = u64::MAX;
            machine.dma.add(storm);
        }
        for _ in 0..random.below(2 * u64::from(SLOW)) {
            machine.step();
        }
        drop(machine);
        // Unmapped, invalidated, and from then on not to be reached.
        system.os.munmap(id, victim..victim + PAGE)?;
        let mut machine = system.platform.machine();
        busiest = busiest.max(machine.counters.walks);
        (0..2 * SLOW).for_each(|_| machine.step());
        machine.dma.stop();
        machine.bench.memory_port.set_pace(pace);
        machine.bench.memory_port.set_slow(None);
        machine.bench.memory.timing.set_data_latency(data_latency);
        while !machine.run(100_000)? {
            drop(machine);
            system.service();
            machine = system.platform.machine();
        }
        if machine.counters.mismatches != 0 {
            wrong.push(format!("round {round}: {} wrong bytes", machine.counters.mismatches));
        }
        let (findings, _) = machine.truth.take_findings();
        wrong.extend(findings.iter().map(|finding| format!("round {round}: {}", finding.what)));
        drop(machine);
        // All records of the storm are faults on the victim; then exactly one more.
        drain_records(system);
        if kind == ChannelKind::Ats {
            wrong.extend(expect_refused(&access_with_ats(system, pasid, victim, false)?));
        } else {
            let outcome = access(system, 0, pasid, victim, false)?;
            wrong.extend(expect_fault(system, &outcome, Cause::ReadPageFault, system.devices[0].id, pasid));
        }
        let mapping = Mapping { locked: true, ..Mapping::of(Permissions::READ_WRITE, 8 + round) };
        system.os.map(id, victim..victim + PAGE, mapping)?;
        system.os.populate(id, victim..victim + PAGE)?;
    }
    let good =
        format!("{ROUNDS} rounds with up to {busiest} walks meanwhile: the old page was never reached again");
    wrong.truncate(4);
    let name = match kind {
        ChannelKind::Ats => "after munmap and fence the old page is gone from devices' caches too",
        _ => "after munmap and fence the old page is gone",
    };
    Ok(verdict(name, good, wrong))
}

/// Page requests for what is not mapped, and for what may not be written.
fn not_mapped(system: &mut System) -> Result<Check, RunError> {
    let pasid = system.pasid(0, 0);
    let (nowhere, read_only) = (PLACE - PAGE, PLACE + PAGE);
    let mut wrong = expect_refused(&access_with_ats(system, pasid, nowhere, false)?);
    // Made read-only by an earlier check.
    wrong.extend(expect_refused(&access_with_ats(system, pasid, read_only, true)?));
    let read = access_with_ats(system, pasid, read_only, false)?;
    if !read.is_success() {
        wrong.push(format!("reading: {read:x?}"));
    }
    let good = "no page, and no page to write: both answered Invalid DmaRequest".into();
    Ok(verdict("a page request gives nothing that the process does not have", good, wrong))
}

/// A device that may not use ATS says that its address is translated.
fn forged(system: &mut System) -> Result<Check, RunError> {
    let name = "a physical address of a device without ATS is refused";
    let refused = |e: &dyn std::fmt::Display| RunError::driver("enable a device without ATS", e.to_string());
    let top = (1u32 << system.design.device_id_width) - 1;
    let known = |id: &u32| system.devices.iter().any(|device| device.id == *id);
    let Some(id) = (0..=top).rev().find(|id| !known(id)) else {
        return Ok(verdict(name, "the design has no device_id left to try".into(), Vec::new()));
    };
    system.iommu.enable_sva(id, DeviceOptions::default()).map_err(|e| refused(&e))?;
    let spa = frame(system, 0, PLACE);
    let before = memory(system, spa);
    let mut wrong = Vec::new();
    for write in [false, true] {
        let request = DmaRequest { va: spa, length: 64, write, exec: false };
        let channel =
            Channel { kind: ChannelKind::Forged, ..Channel::new(id, None, 0, Arc::from([request])) };
        let outcome = system.platform.machine().observe(channel)?.pop();
        let cause = Cause::TransactionTypeDisallowed.code();
        if outcome.as_ref().is_none_or(|it| it.is_success() || it.cause != u64::from(cause)) {
            wrong.push(format!("{outcome:x?}"));
        }
        let records = records(system);
        if !matches!(&records[..], [record] if record.cause == cause && record.did == id && record.iotval == spa)
        {
            wrong.push(format!("fault records: {records:x?}"));
        }
    }
    if memory(system, spa) != before {
        wrong.push("memory has changed".into());
    }
    system.iommu.disable_sva(id).map_err(|e| refused(&e))?;
    let cause = Cause::TransactionTypeDisallowed;
    Ok(verdict(name, format!("device {id:#x}: cause {} ({})", cause.code(), cause.name()), wrong))
}

fn drain_records(system: &System) {
    loop {
        (0..500).for_each(|_| system.platform.machine().step());
        let report = system.iommu.service_faults(|_| ());
        if report.records == 0 && !report.more && !report.overflow {
            return;
        }
    }
}

fn unknown_device(system: &System) -> Result<Check, RunError> {
    let top = (1u32 << system.design.device_id_width) - 1;
    let known: Vec<u32> = system.devices.iter().map(|device| device.id).collect();
    let name = "a device that was never enabled faults";
    let Some(id) = (0..=top).rev().find(|id| !known.contains(id)) else {
        return Ok(verdict(name, "the design has no device_id left to try".into(), Vec::new()));
    };
    let (pasid, cause) = (system.pasid(0, 0), Cause::DdtEntryNotValid);
    let request = DmaRequest { va: PLACE, length: 64, write: false, exec: false };
    let outcome = observe(system, id, 0, pasid, ChannelKind::Untranslated, request)?;
    let wrong = expect_fault(system, &outcome, cause, id, pasid);
    Ok(verdict(name, format!("device {id:#x}: cause {} ({})", cause.code(), cause.name()), wrong))
}
