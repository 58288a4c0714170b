//! How memory and devices behave in time.

use serde::{Deserialize, Serialize};

/// The most cycles from the last write data to the write response, where no other number is given.
pub const MOST_WRITE_LATENCY: u32 = 30;

/// How memory and devices behave in time. Times are in clock cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// From the cycle in which a read address is accepted to that of its first data; at least 1. Then a beat per cycle.
    pub latency: u32,
    /// From the last write data to the write response; 0 stands for as long as a read takes, but at most [`MOST_WRITE_LATENCY`].
    #[serde(default)]
    pub write_latency: u32,
    /// Each read takes up to this much longer, at random, so that reads with different ids overtake each other.
    pub jitter: u32,
    /// Bursts that memory accepts before the oldest has ended, of each kind; at least 1.
    pub outstanding: u32,
    /// Chance of 256 that memory pauses, for each channel and cycle.
    pub memory_pauses: u8,
    /// Chance of 256 that a device does not take a response, for each port and cycle.
    pub response_pauses: u8,
    /// Chance of 256 that a device does not offer the request that it has, for each port and cycle.
    pub request_pauses: u8,
    /// Chance of 256 that an exclusive write fails although nothing came between; less than 256, so that it ends.
    pub exclusive_failures: u8,
    /// Now and then a channel of memory, or the device behind a port, takes and gives nothing for up to this many cycles.
    #[serde(default)]
    pub stalls: u16,
    /// Chance of 256 that memory goes on with another read after a beat.
    #[serde(default)]
    pub interleaving: u8,
    /// Memory takes write data before its address.
    #[serde(default)]
    pub data_first: bool,
}

impl Pace {
    /// Everybody is always ready; memory takes `latency` cycles.
    pub const fn even(latency: u32) -> Pace {
        Pace {
            latency,
            write_latency: 0,
            jitter: 0,
            outstanding: 32,
            memory_pauses: 0,
            response_pauses: 0,
            request_pauses: 0,
            exclusive_failures: 0,
            stalls: 0,
            interleaving: 0,
            data_first: false,
        }
    }

    /// From the last write data to the write response.
    pub fn write_response_after(&self) -> u32 {
        match self.write_latency {
            0 => self.latency.clamp(1, MOST_WRITE_LATENCY),
            cycles => cycles,
        }
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace::even(20)
    }
}
