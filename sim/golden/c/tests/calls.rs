//! The calls as C makes them: with NULL, with numbers out of range, and with everything that a model does.

use pasidon_golden_c::*;
use pasidon_spec::command::Command;
use pasidon_spec::registers::{capabilities, cqb, cqcsr, cqt, ddtp};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{null, null_mut};

type Ram = Vec<u64>;

unsafe extern "C" fn read(context: *mut c_void, address: u64, bytes: u32, value: *mut u64) -> c_int {
    // SAFETY: the context is the `Ram` of the test, which outlives the model.
    let ram = unsafe { &mut *context.cast::<Ram>() };
    let Some(word) = ram.get(address as usize / 8) else { return 1 };
    // SAFETY: the model hands over a place for the value.
    unsafe { *value = if bytes == 8 { *word } else { word >> (8 * (address & 4)) } };
    0
}

unsafe extern "C" fn write(context: *mut c_void, address: u64, bytes: u32, value: u64) -> c_int {
    // SAFETY: as for reads.
    let ram = unsafe { &mut *context.cast::<Ram>() };
    let Some(word) = ram.get_mut(address as usize / 8) else { return 1 };
    let (mask, shift) = if bytes == 8 { (u64::MAX, 0) } else { (0xffff_ffff, 8 * (address & 4)) };
    *word = *word & !(mask << shift) | (value & mask) << shift;
    0
}

fn memory(ram: &mut Ram) -> golden_memory {
    let context = std::ptr::from_mut(ram).cast();
    golden_memory { context, read: Some(read), write: Some(write), compare_exchange: None }
}

fn problem(parameters: *const golden_parameters, memory: *const golden_memory) -> String {
    let mut error = [0 as c_char; 60];
    // SAFETY: the pointers are NULL or valid.
    let model = unsafe { golden_new(parameters, memory, error.as_mut_ptr(), error.len()) };
    assert!(model.is_null());
    // SAFETY: a message ends with a zero byte.
    unsafe { CStr::from_ptr(error.as_ptr()) }.to_str().unwrap().to_string()
}

#[test]
fn what_is_wrong_with_a_parameter_is_said() {
    let mut ram = Ram::new();
    let memory = memory(&mut ram);
    let fine = golden_parameters_of(golden_full_capabilities());
    let pas = capabilities::PAS.set(fine.capabilities, 57);
    for (parameters, said) in [
        (golden_parameters { device_id_width: 25, ..fine }, "device_id_width = 25: it must be 1 to 24"),
        (golden_parameters { process_id_width: 0, ..fine }, "process_id_width = 0: it must be 1 to 20"),
        (golden_parameters { command_log2_max: 33, ..fine }, "command_log2_max = 33: it must be 1 to 32"),
        (golden_parameters { fault_log2_max: 0, ..fine }, "fault_log2_max = 0: it must be 1 to 32"),
        (
            golden_parameters { page_request_log2_max: 1000, ..fine },
            "page_request_log2_max = 255: it must be 1 to 32",
        ),
        (golden_parameters { vectors: 0, ..fine }, "vectors = 0: it must be 1, 2, 4, 8 or 16"),
        (golden_parameters { hpm_counters: 32, ..fine }, "hpm_counters = 32: it must be 0 to 31"),
        (
            golden_parameters { invalidations_in_flight: 0, ..fine },
            "invalidations_in_flight = 0: it must be 1 to 32",
        ),
        (golden_parameters { capabilities: pas, ..fine }, "capabilities.PAS = 57: it must be 32 to 56"),
    ] {
        assert_eq!(problem(&parameters, &memory), said);
    }
    assert_eq!(problem(null(), &memory), "parameters: must not be NULL");
    assert_eq!(problem(&fine, null()), "memory: must not be NULL");
    let half = golden_memory { write: None, ..memory };
    assert_eq!(problem(&fine, &half), "memory: read and write must not be NULL");
    // Without a place for the message, or with a small one.
    // SAFETY: the pointers are NULL or valid.
    unsafe {
        assert!(golden_new(null(), null(), null_mut(), 9).is_null());
        let mut error = [1 as c_char; 3];
        assert!(golden_new(null(), null(), error.as_mut_ptr(), 2).is_null());
        assert_eq!(error, [b'p' as c_char, 0, 1]);
    }
}

#[test]
fn null_does_nothing() {
    let mut message = golden_message::default();
    // SAFETY: NULL is allowed everywhere.
    unsafe {
        golden_free(null_mut());
        golden_reset(null_mut());
        golden_write(null_mut(), 0, 8, 0);
        golden_advance(null_mut(), 1);
        golden_translate(null_mut(), null(), null_mut());
        assert_eq!((golden_read(null_mut(), 0, 8), golden_wires(null_mut())), (0, 0));
        assert!(!golden_run(null_mut()) && !golden_page_request(null_mut(), 0, 0));
        assert!(!golden_invalidation_completion(null_mut(), 0, -1, 1, 1));
        assert!(!golden_take_message(null_mut(), &mut message));
    }
}

#[test]
fn registers_commands_and_messages() {
    let mut ram: Ram = vec![0; 0x1_0000 / 8];
    let memory = memory(&mut ram);
    let parameters = golden_parameters_of(golden_full_capabilities());
    // SAFETY: valid pointers, and one thread.
    unsafe {
        let model = golden_new(&parameters, &memory, null_mut(), 0);
        assert_eq!(golden_read(model, 0, 8), parameters.capabilities);
        for (offset, bytes) in [(0, 3), (1, 8), (4096, 8), (0x1_0000, 8), (u32::MAX, 8), (0, 260)] {
            assert_eq!(golden_read(model, offset, bytes), 0);
            golden_write(model, offset, bytes, u64::MAX);
        }
        let at = |register: pasidon_spec::registers::Register| u32::from(register.offset);
        // A queue of commands with one of ATS: an invalidation request to device 3.
        golden_write(model, at(ddtp::REG), 8, 1);
        golden_write(model, at(cqb::REG), 8, cqb::LOG2SZ_1.of(1) | cqb::PPN.of(2));
        golden_write(model, at(cqcsr::REG), 4, cqcsr::CQEN.mask() | cqcsr::CIE.mask());
        while golden_run(model) {}
        let command = Command::AtsInval { pid: None, dseg: None, rid: 3, payload: 0 };
        (0..2).for_each(|i| ram[0x2000 / 8 + i] = command.encode()[i]);
        golden_write(model, at(cqt::REG), 4, 1);
        while golden_run(model) {}
        let mut message = golden_message::default();
        assert!(golden_take_message(model, &mut message));
        assert_eq!((message.code, message.rid, message.segment, message.process_id), (1, 3, -1, -1));
        assert!(!golden_take_message(model, &mut message));
        // Nobody waits for another tag; a device without a context may not answer at all.
        assert!(!golden_invalidation_completion(model, 3, -1, !(1 << message.itag), 1));
        golden_reset(model);
        assert_eq!(golden_read(model, at(ddtp::REG), 8), 0);
        golden_free(model);
    }
}
