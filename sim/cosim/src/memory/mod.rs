//! What is behind the memory port. [`BusMemory`] is what the port needs of it; whoever has memory of another kind implements that.
//!
//! | memory | what it is |
//! |---|---|
//! | [`Sparse`] | doublewords anywhere in a physical address space, for tests that look at single entries |
//! | [`Flat`] | one range of bytes |
//! | [`Shared`] | one range that somebody else owns and uses at the same time, such as the memory of a virtual machine |
//! | [`Faulty`] | any of them, with failures by address |

mod faulty;
mod flat;
mod shared;
mod sparse;

pub use faulty::Faulty;
pub use flat::Flat;
pub use shared::Shared;
pub use sparse::{AddressMap, Extent, Sparse};

use pasidon_spec::memory::Failure;

/// Physical memory as the hardware accesses it: little-endian doublewords. Addresses are those of a byte within the doubleword.
pub trait BusMemory {
    /// The doubleword that holds `address`; `None` where there is no memory.
    fn load(&mut self, address: u64) -> Option<u64>;

    /// Writes those bytes of the doubleword that `strobes` selects, bit 0 the byte at the lowest address; false where there is no
    /// memory.
    fn write(&mut self, address: u64, value: u64, strobes: u8) -> bool;

    /// Writes so if the doubleword still holds `seen`, as one indivisible step. Says whether it did; `None` where there is no memory.
    ///
    /// The default is for memory that nobody else accesses at the same time.
    fn exchange(&mut self, address: u64, seen: u64, value: u64, strobes: u8) -> Option<bool> {
        let held = self.load(address)? == seen;
        if held { self.write(address, value, strobes).then_some(true) } else { Some(false) }
    }

    /// The cycle of the first data of a read burst that is accepted in cycle `now`, or from which a write may be answered; `None` where
    /// the port's pace decides.
    #[inline]
    fn due(&mut self, _now: u64, _address: u64, _bytes: u64) -> Option<u64> {
        None
    }

    /// Whether accesses to the doubleword at `address` fail so.
    #[inline]
    fn fails(&self, _address: u64, _failure: Failure) -> bool {
        false
    }
}

/// `old` with those bytes of `new` that `strobes` selects.
#[inline]
pub fn merge(old: u64, new: u64, strobes: u8) -> u64 {
    // A byte of ones for each strobe: the multiplication puts a copy of the strobes into each byte, the masks leave one bit of each.
    let spread = u64::from(strobes).wrapping_mul(0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
    let ones = (spread.wrapping_add(0x7f7f_7f7f_7f7f_7f7f) | spread) & 0x8080_8080_8080_8080;
    let mask = (ones >> 7).wrapping_mul(0xff);
    old & !mask | new & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strobes_select_bytes() {
        for strobes in 0..=255u8 {
            let mask = (0..8)
                .filter(|lane| strobes >> lane & 1 != 0)
                .fold(0, |mask, lane| mask | 0xff << (8 * lane));
            assert_eq!(merge(0, u64::MAX, strobes), mask, "{strobes:#x}");
            assert_eq!(merge(u64::MAX, 0, strobes), !mask, "{strobes:#x}");
        }
    }
}
