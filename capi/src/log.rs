//! What the driver has to say.

use crate::{error::fail, iommu_error};
use core::ffi::{c_char, c_int};
use log::{LevelFilter, Log, Metadata, Record};

/// How important a message is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum iommu_log_level {
    /// Something failed.
    Error = 1,
    /// Something was wrong and has been dealt with.
    Warning = 2,
    /// What an operator may want to know.
    Info = 3,
    /// What a developer may want to know.
    Debug = 4,
}

type Sink = unsafe extern "C" fn(level: c_int, message: *const c_char, length: usize);

struct Logger(Sink);

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let message = record.args().to_string();
        // SAFETY: as the caller of `iommu_log_to` has promised.
        unsafe { (self.0)(record.level() as c_int, message.as_ptr().cast(), message.len()) }
    }

    fn flush(&self) {}
}

/// Has messages up to a level (enum iommu_log_level) passed to a function, with their length; they are not terminated.
/// Once per program: later calls are refused with IOMMU_ERROR_EXISTS.
///
/// # Safety
/// `sink` is NULL or can be called from any thread for as long as the program runs, also with the driver's locks held,
/// and does not call the driver.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_log_to(
    level: c_int,
    sink: Option<unsafe extern "C" fn(level: c_int, message: *const c_char, length: usize)>,
) -> c_int {
    let filter = match level {
        1 => LevelFilter::Error,
        2 => LevelFilter::Warn,
        3 => LevelFilter::Info,
        4 => LevelFilter::Debug,
        _ => return fail(iommu_error::Invalid),
    };
    let Some(sink) = sink else { return fail(iommu_error::Invalid) };
    if log::set_boxed_logger(Box::new(Logger(sink))).is_err() {
        return fail(iommu_error::Exists);
    }
    log::set_max_level(filter);
    0
}
