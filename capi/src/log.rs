//! The log messages of the driver.

use crate::{error::fail, iommu_error};
use core::{
    ffi::{c_char, c_int},
    fmt,
    sync::atomic::{AtomicPtr, Ordering},
};
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

/// A text of limited length, so that a message needs no memory: messages are written in interrupt handlers too.
pub(crate) struct Text {
    bytes: [u8; Self::LENGTH],
    length: usize,
}

impl Text {
    const LENGTH: usize = 240;

    pub(crate) const fn new() -> Self {
        Self { bytes: [0; Self::LENGTH], length: 0 }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Write for Text {
    /// What does not fit is left out.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut fits = text.len().min(Self::LENGTH - self.length);
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        self.bytes[self.length..self.length + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += fits;
        if fits == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// The function that messages go to, once there is one.
static SINK: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let sink = SINK.load(Ordering::Acquire);
        if sink.is_null() {
            return;
        }
        // SAFETY: only `iommu_log_to` stores something here, and that is a `Sink`.
        let sink = unsafe { core::mem::transmute::<*mut (), Sink>(sink) };
        let mut text = Text::new();
        _ = fmt::write(&mut text, *record.args());
        let message = text.as_bytes();
        // SAFETY: as the caller of `iommu_log_to` has promised.
        unsafe { sink(record.level() as c_int, message.as_ptr().cast(), message.len()) }
    }

    fn flush(&self) {}
}

/// Has messages up to a level (enum iommu_log_level) passed to a function, with their length; they are not terminated,
/// and cut off after 240 bytes. Once per program: later calls are refused with IOMMU_ERROR_EXISTS.
///
/// # Safety
/// `sink` is NULL or can be called from any thread for as long as the program runs, also with the driver's locks held
/// and from interrupt handlers that call the driver, and does not call the driver.
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
    let first =
        SINK.compare_exchange(core::ptr::null_mut(), sink as *mut (), Ordering::AcqRel, Ordering::Acquire);
    if first.is_err() || log::set_logger(&Logger).is_err() {
        return fail(iommu_error::Exists);
    }
    log::set_max_level(filter);
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    #[test]
    fn long_messages_are_cut_between_characters() {
        let mut text = Text::new();
        assert!(write!(text, "{:239}", "x").is_ok());
        assert!(write!(text, "\u{e4}").is_err());
        assert_eq!(text.as_bytes().len(), 239);
        assert!(write!(text, "ab").is_err());
        assert_eq!(text.as_bytes().last(), Some(&b'a'));
    }
}
