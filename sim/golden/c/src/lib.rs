//! The golden model for C.
//!
//! What each function does stands in the header, `include/pasidon_golden.h`, which is made from this file. A pointer that C hands over
//! is NULL, or valid for the time of the call.

#![allow(non_camel_case_types, reason = "the names are those of C")]

use pasidon_golden::{Golden, Memory, Parameters};
use pasidon_spec::memory::MemoryFault;
use pasidon_spec::message::{InvalidationCompletion, Message, code};
use pasidon_spec::page_request::PageRequest;
use pasidon_spec::request::{AddressType, Denial, Request, Response};
use std::collections::VecDeque;
use std::ffi::{c_char, c_int, c_void};

/// Size and options of an IOMMU. Widths are in bits, sizes as log2 of the most entries.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct golden_parameters {
    /// The `capabilities` register.
    pub capabilities: u64,
    /// Width of a device_id, 1 to 24.
    pub device_id_width: u32,
    /// Width of a process_id, 1 to 20.
    pub process_id_width: u32,
    /// Of the command queue, 1 to 32.
    pub command_log2_max: u32,
    /// Of the fault queue, 1 to 32.
    pub fault_log2_max: u32,
    /// Of the page-request queue, 1 to 32.
    pub page_request_log2_max: u32,
    /// Interrupt vectors: 1, 2, 4, 8 or 16.
    pub vectors: u32,
    /// Event counters of the performance monitor, 0 to 31.
    pub hpm_counters: u32,
    /// ATS invalidation requests that may be in flight, 1 to 32.
    pub invalidations_in_flight: u32,
    /// Clock cycles after which an ATS invalidation request has timed out; 0: never.
    pub invalidation_timeout: u64,
    /// Entries and translations are remembered until they are invalidated; otherwise all tables are read for each request.
    pub caching: bool,
}

/// What an access of the model to memory comes to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum golden_access {
    /// Done.
    GOLDEN_ACCESS_OK = 0,
    /// Not allowed, or there is nothing.
    GOLDEN_ACCESS_FAULT = 1,
    /// The data is corrupt.
    GOLDEN_ACCESS_CORRUPT = 2,
}

/// The memory that the model accesses. Addresses are physical and aligned, values little-endian, and `bytes` is 4 or 8. Each function
/// returns one of golden_access. None of them calls the model.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct golden_memory {
    /// Handed to the functions.
    pub context: *mut c_void,
    /// Puts what is at `address` into `value`.
    pub read: Option<
        unsafe extern "C" fn(context: *mut c_void, address: u64, bytes: u32, value: *mut u64) -> c_int,
    >,
    /// Stores `value`.
    pub write:
        Option<unsafe extern "C" fn(context: *mut c_void, address: u64, bytes: u32, value: u64) -> c_int>,
    /// Stores `new_value` if `old_value` is there, as one indivisible step, and puts what was there into `seen`. NULL if nobody else
    /// changes memory: then it is a read and a write.
    pub compare_exchange: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            address: u64,
            bytes: u32,
            old_value: u64,
            new_value: u64,
            seen: *mut u64,
        ) -> c_int,
    >,
}

/// What kind of address a request carries.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum golden_address_type {
    /// An address that the IOMMU translates.
    GOLDEN_UNTRANSLATED = 0,
    /// The device asks for the translation of the address (ATS).
    GOLDEN_TRANSLATION_REQUEST = 1,
    /// An address that the device got as the answer to a translation request.
    GOLDEN_TRANSLATED = 2,
}

/// A request of a device. (Section "Process to translate an IOVA".)
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct golden_request {
    /// Requester, 24 bits.
    pub device_id: u32,
    /// process_id (PASID), 20 bits; negative if there is none.
    pub process_id: i32,
    /// Supervisor privilege is requested.
    pub privileged: bool,
    /// Read for execute; of a translation request: execute permission is asked for.
    pub exec: bool,
    /// Write; of a translation request: write permission is asked for.
    pub write: bool,
    /// The device is a CXL device of type 1 or 2.
    pub cxl: bool,
    /// One of golden_address_type.
    pub at: u32,
    /// The 4 bytes that a write stores, for memory-resident interrupt files.
    pub data: u32,
    /// The address.
    pub iova: u64,
}

/// How a request is answered.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum golden_status {
    /// Success; of a translation request possibly without any permission.
    GOLDEN_SUCCESS = 0,
    /// Unsupported request.
    GOLDEN_UNSUPPORTED_REQUEST = 1,
    /// Completer abort.
    GOLDEN_COMPLETER_ABORT = 4,
}

/// The answer to a request.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct golden_response {
    /// One of golden_status.
    pub status: u32,
    /// CAUSE of the fault, 0 without one. A translation request may succeed without permissions because of one.
    pub cause: u32,
    /// `iotval2` of the fault record.
    pub iotval2: u64,
    /// A fault record is due.
    pub reported: bool,
    /// Reading is allowed.
    pub read: bool,
    /// Writing is allowed.
    pub write: bool,
    /// Execution is allowed.
    pub exec: bool,
    /// The IOMMU has done the write itself (memory-resident interrupt file): the data path drops it.
    pub mrif: bool,
    /// Of a translation completion: U, Global and CXL.io.
    pub untranslated_only: bool,
    /// Of a translation completion: the translation holds for all PASIDs of the device.
    pub global: bool,
    /// Of a translation completion: accesses use CXL.io only.
    pub cxl_io: bool,
    /// The translated address.
    pub spa: u64,
    /// log2 of the bytes around it that are translated by the same rule.
    pub page_shift: u32,
    /// Memory type: 0 PMA, 1 NC, 2 IO.
    pub pbmt: u32,
    /// Resource control identifier, with QoS ids.
    pub rcid: u32,
    /// Monitoring counter identifier, with QoS ids.
    pub mcid: u32,
}

/// A message of the IOMMU to a device. (Section "Requesting translations and page requests from devices".)
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct golden_message {
    /// 0x01 invalidation request, 0x05 page-request group response.
    pub code: u32,
    /// Requester id of the device.
    pub rid: u32,
    /// Segment of the device; negative if the message has none.
    pub segment: i32,
    /// PASID; negative if the message has none.
    pub process_id: i32,
    /// Tag of an invalidation request.
    pub itag: u32,
    /// Body of the message.
    pub payload: u64,
}

/// A model.
pub struct golden_model {
    golden: Golden,
    memory: golden_memory,
    messages: VecDeque<Message>,
}

/// Memory behind C's functions.
struct Outside(golden_memory);

fn outcome(code: c_int) -> Result<(), MemoryFault> {
    const OK: c_int = golden_access::GOLDEN_ACCESS_OK as c_int;
    const CORRUPT: c_int = golden_access::GOLDEN_ACCESS_CORRUPT as c_int;
    match code {
        OK => Ok(()),
        CORRUPT => Err(MemoryFault::Corrupt),
        _ => Err(MemoryFault::Access),
    }
}

impl Memory for Outside {
    fn read(&mut self, address: u64, bytes: u32) -> Result<u64, MemoryFault> {
        let read = self.0.read.ok_or(MemoryFault::Access)?;
        let mut value = 0;
        // SAFETY: the function and its context are a pair that the caller of `golden_new` has promised to keep.
        outcome(unsafe { read(self.0.context, address, bytes, &mut value) })?;
        Ok(if bytes == 8 { value } else { value & 0xffff_ffff })
    }

    fn write(&mut self, address: u64, bytes: u32, value: u64) -> Result<(), MemoryFault> {
        let write = self.0.write.ok_or(MemoryFault::Access)?;
        // SAFETY: as for reads.
        outcome(unsafe { write(self.0.context, address, bytes, value) })
    }

    fn compare_exchange(
        &mut self,
        address: u64,
        bytes: u32,
        old: u64,
        new: u64,
    ) -> Result<bool, MemoryFault> {
        let Some(compare_exchange) = self.0.compare_exchange else {
            let same = self.read(address, bytes)? == old;
            return if same { self.write(address, bytes, new).map(|()| true) } else { Ok(false) };
        };
        let mut seen = 0;
        // SAFETY: as for reads.
        outcome(unsafe { compare_exchange(self.0.context, address, bytes, old, new, &mut seen) })?;
        Ok(seen == old)
    }
}

/// The model behind a pointer that C hands over.
///
/// # Safety
/// NULL, or from [`golden_new`] and not freed, and no other thread uses it.
unsafe fn model<'a>(model: *mut golden_model) -> Option<&'a mut golden_model> {
    // SAFETY: promised by the caller.
    unsafe { model.as_mut() }
}

/// The `capabilities` value of an IOMMU with every feature, 56-bit physical addresses, and interrupts by wire or message.
#[unsafe(no_mangle)]
pub extern "C" fn golden_full_capabilities() -> u64 {
    Parameters::full_capabilities()
}

/// Parameters with this `capabilities` value and otherwise everything in its greatest size, without caching.
#[unsafe(no_mangle)]
pub extern "C" fn golden_parameters_of(capabilities: u64) -> golden_parameters {
    let parameters = Parameters::new(capabilities);
    golden_parameters {
        capabilities,
        device_id_width: parameters.device_id_width.into(),
        process_id_width: parameters.process_id_width.into(),
        command_log2_max: parameters.command_log2_max.into(),
        fault_log2_max: parameters.fault_log2_max.into(),
        page_request_log2_max: parameters.page_request_log2_max.into(),
        vectors: parameters.vectors.into(),
        hpm_counters: parameters.hpm_counters.into(),
        invalidations_in_flight: parameters.invalidations_in_flight.into(),
        invalidation_timeout: parameters.invalidation_timeout.unwrap_or(0),
        caching: parameters.caching,
    }
}

/// What C's parameters stand for. A number too large for its field is as wrong as the largest that the field holds.
fn parameters(given: &golden_parameters) -> Parameters {
    let byte = |value: u32| value.min(255) as u8;
    Parameters {
        device_id_width: byte(given.device_id_width),
        process_id_width: byte(given.process_id_width),
        command_log2_max: byte(given.command_log2_max),
        fault_log2_max: byte(given.fault_log2_max),
        page_request_log2_max: byte(given.page_request_log2_max),
        vectors: byte(given.vectors),
        hpm_counters: byte(given.hpm_counters),
        invalidations_in_flight: byte(given.invalidations_in_flight),
        invalidation_timeout: (given.invalidation_timeout != 0).then_some(given.invalidation_timeout),
        caching: given.caching,
        ..Parameters::new(given.capabilities)
    }
}

/// A model after reset, in front of this memory. NULL if a parameter is out of range, or a pointer is NULL: then `error`, unless it is
/// NULL, holds up to `error_bytes` bytes of a message that ends with a zero byte.
///
/// # Safety
/// The pointers are NULL or valid, `error` for `error_bytes` bytes; the functions of `memory` may be called with its context until
/// the model is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn golden_new(
    parameters: *const golden_parameters,
    memory: *const golden_memory,
    error: *mut c_char,
    error_bytes: usize,
) -> *mut golden_model {
    // SAFETY: NULL or valid.
    let (given, memory) = unsafe { (parameters.as_ref(), memory.as_ref()) };
    let problem = match (given, memory) {
        (Some(given), Some(memory)) if memory.read.is_some() && memory.write.is_some() => {
            let parameters = self::parameters(given);
            match parameters.check() {
                Ok(()) => {
                    let golden = Golden::new(parameters);
                    let model = golden_model { golden, memory: *memory, messages: VecDeque::new() };
                    return Box::into_raw(Box::new(model));
                }
                Err(problem) => problem.to_string(),
            }
        }
        (Some(_), Some(_)) => "memory: read and write must not be NULL".to_string(),
        (None, _) => "parameters: must not be NULL".to_string(),
        (_, None) => "memory: must not be NULL".to_string(),
    };
    if !error.is_null() && error_bytes > 0 {
        let length = problem.len().min(error_bytes - 1);
        // SAFETY: `error` has `error_bytes` bytes, and the message is another object.
        unsafe {
            std::ptr::copy_nonoverlapping(problem.as_ptr().cast::<c_char>(), error, length);
            *error.add(length) = 0;
        }
    }
    std::ptr::null_mut()
}

/// Ends a model.
///
/// # Safety
/// NULL, or a model that nobody uses any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn golden_free(model: *mut golden_model) {
    if !model.is_null() {
        // SAFETY: made by `golden_new`, and freed once.
        drop(unsafe { Box::from_raw(model) });
    }
}

/// Puts the model into its state after reset. Messages that were not taken are forgotten.
///
/// # Safety
/// NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn golden_reset(model: *mut golden_model) {
    // SAFETY: promised by the caller.
    if let Some(model) = unsafe { self::model(model) } {
        model.golden.reset();
        model.messages.clear();
    }
}

/// Reads `bytes` (4 or 8) of the registers at `offset`, a multiple of `bytes`, less than 4096; anything else reads 0.
///
/// # Safety
/// NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn golden_read(model: *mut golden_model, offset: u32, bytes: u32) -> u64 {
    // SAFETY: promised by the caller.
    match (unsafe { self::model(model) }, u16::try_from(offset)) {
        (Some(model), Ok(offset)) if offset < 4096 => {
            model.golden.read_register(offset, bytes.min(255) as u8)
        }
        _ => 0,
    }
}

/// Writes `bytes` (4 or 8) of the registers at `offset`, a multiple of `bytes`, less than 4096; anything else has no effect. Commands
/// are carried out by golden_run.
///
/// # Safety
/// NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn golden_write(model: *mut golden_model, offset: u32, bytes: u32, value: u64) {
    // SAFETY: promised by the caller.
    if let (Some(model), Ok(offset)) = (unsafe { self::model(model) }, u16::try_from(offset))
        && offset < 4096
    {
        model.golden.write_register(offset, bytes.min(255) as u8, value);
    }
}

/// Does what is due: completes register writes, carries out commands until the queue is empty, stopped or waits for a device, and
/// sends interrupt messages. Whether anything was done: call it until it was not.
///
/// # Safety
/// NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn golden_run(model: *mut golden_model) -> bool {
    // SAFETY: promised by the caller.
    let Some(model) = (unsafe { self::model(model) }) else { return false };
    let done = model.golden.run(&mut Outside(model.memory));
    model.messages.extend(model.golden.take_messages());
    done
}

/// Lets clock cycles pass, for the cycle counter and the time-out of invalidation requests.
///
/// # Safety
/// NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn golden_advance(model: *mut golden_model, cycles: u64) {
    // SAFETY: promised by the caller.
    if let Some(model) = unsafe { self::model(model) } {
        model.golden.advance(cycles);
    }
}

/// Answers a request. A fault that is due is recorded in the fault queue.
///
/// # Safety
/// NULL or a model, and NULL or valid pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn golden_translate(
    model: *mut golden_model,
    request: *const golden_request,
    response: *mut golden_response,
) {
    // SAFETY: promised by the caller.
    let (Some(model), Some(request), Some(response)) =
        (unsafe { (self::model(model), request.as_ref(), response.as_mut()) })
    else {
        return;
    };
    let request = Request {
        device_id: request.device_id & 0xff_ffff,
        process_id: u32::try_from(request.process_id).ok().map(|process_id| process_id & 0xf_ffff),
        privileged: request.privileged,
        exec: request.exec,
        write: request.write,
        at: match request.at {
            0 => AddressType::Untranslated,
            1 => AddressType::TranslationRequest,
            _ => AddressType::Translated,
        },
        iova: request.iova,
        data: request.data,
        cxl: request.cxl,
    };
    *response = answer(&model.golden.translate(&mut Outside(model.memory), &request));
    model.messages.extend(model.golden.take_messages());
}

fn answer(response: &Response) -> golden_response {
    match response {
        Response::Fault(fault) => golden_response {
            status: match fault.denial {
                Denial::UnsupportedRequest => golden_status::GOLDEN_UNSUPPORTED_REQUEST,
                Denial::CompleterAbort => golden_status::GOLDEN_COMPLETER_ABORT,
            } as u32,
            cause: fault.cause.code().into(),
            iotval2: fault.iotval2,
            reported: fault.reported,
            ..golden_response::default()
        },
        Response::Success(translation) => golden_response {
            status: golden_status::GOLDEN_SUCCESS as u32,
            cause: translation.ats.and_then(|ats| ats.withheld).map_or(0, |cause| cause.code().into()),
            read: translation.read,
            write: translation.write,
            exec: translation.exec,
            mrif: translation.mrif,
            untranslated_only: translation.ats.is_some_and(|ats| ats.untranslated_only),
            global: translation.ats.is_some_and(|ats| ats.global),
            cxl_io: translation.ats.is_some_and(|ats| ats.cxl_io),
            spa: translation.spa,
            page_shift: translation.page_shift.into(),
            pbmt: translation.pbmt.into(),
            rcid: translation.rcid.into(),
            mcid: translation.mcid.into(),
            ..golden_response::default()
        },
    }
}

/// Hands over a page request or stop marker of a device, as the two doublewords of a record (section "Page-Request-Queue (PQ)").
/// Whether it reached the queue.
///
/// # Safety
/// NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn golden_page_request(model: *mut golden_model, first: u64, second: u64) -> bool {
    // SAFETY: promised by the caller.
    let Some(model) = (unsafe { self::model(model) }) else { return false };
    let request = PageRequest::decode([first, second]);
    let queued = model.golden.page_request(&mut Outside(model.memory), &request).is_ok();
    model.messages.extend(model.golden.take_messages());
    queued
}

/// Hands over an invalidation completion of a device: requester id, segment (negative: none), a bit for each tag that it answers, and
/// how many completions answer each of them, 1 to 8. Whether it answers requests in flight.
///
/// # Safety
/// NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn golden_invalidation_completion(
    model: *mut golden_model,
    rid: u32,
    segment: i32,
    itags: u32,
    count: u32,
) -> bool {
    // SAFETY: promised by the caller.
    let Some(model) = (unsafe { self::model(model) }) else { return false };
    let completion = InvalidationCompletion {
        rid: rid as u16,
        dseg: u8::try_from(segment).ok(),
        itags,
        count: (count & 7) as u8,
    };
    model.golden.invalidation_completion(&mut Outside(model.memory), &completion)
}

/// Takes the oldest message to a device. Whether there was one.
///
/// # Safety
/// NULL or a model, and NULL or a valid pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn golden_take_message(model: *mut golden_model, message: *mut golden_message) -> bool {
    // SAFETY: promised by the caller.
    let (Some(model), Some(place)) = (unsafe { (self::model(model), message.as_mut()) }) else {
        return false;
    };
    let Some(message) = model.messages.pop_front() else { return false };
    let negative = |field: Option<u32>| field.map_or(-1, |value| value as i32);
    *place = match message {
        Message::Invalidation { rid, dseg, pid, itag, body } => golden_message {
            code: code::INVALIDATION_REQUEST as u32,
            rid: rid.into(),
            segment: negative(dseg.map(u32::from)),
            process_id: negative(pid),
            itag: itag.into(),
            payload: body.encode(),
        },
        Message::GroupResponse { rid, dseg, pid, body } => golden_message {
            code: code::PAGE_REQUEST_GROUP_RESPONSE as u32,
            rid: rid.into(),
            segment: negative(dseg.map(u32::from)),
            process_id: negative(pid),
            itag: 0,
            payload: body.encode(),
        },
    };
    true
}

/// The interrupt wires: bit i is vector i.
///
/// # Safety
/// NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn golden_wires(model: *mut golden_model) -> u32 {
    // SAFETY: promised by the caller.
    unsafe { self::model(model) }.map_or(0, |model| model.golden.wires())
}
