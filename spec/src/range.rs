//! Ranges of pages encoded in a page number: as in the `S` operand of the IOTINVAL commands (section "Address
//! Range Invalidation Extension"), in `tr_response`, and in ATS invalidation requests.
//!
//! The page number's lowest 0 at bit X says that the range has `2^(X+1)` pages of 4 KiB and is aligned to its size.

use crate::page_table::PAGE_SHIFT;

/// Bits of a page number.
const PAGE_BITS: u32 = 64 - PAGE_SHIFT as u32;

/// The page number that encodes the aligned range of `1 << shift` bytes around `address`.
///
/// `shift` is 13 (two pages, the smallest range) to 64 (everything); `None` for any other value. One page is
/// encoded by leaving the range bit 0, not by a page number.
pub const fn encode(address: u64, shift: u32) -> Option<u64> {
    if shift <= PAGE_SHIFT as u32 || shift > 64 {
        return None;
    }
    let zero = shift - PAGE_SHIFT as u32 - 1;
    let page = address >> PAGE_SHIFT;
    Some((page & !(1 << zero)) | ((1 << zero) - 1))
}

/// First and last address of the range that `page` encodes. A page number of 52 ones, which the specification leaves
/// undefined, is taken as the whole address space. Bits 63:52 of `page` are ignored.
pub const fn bounds(page: u64) -> (u64, u64) {
    let ones = (page & (u64::MAX >> PAGE_SHIFT)).trailing_ones();
    if ones >= PAGE_BITS - 1 {
        return (0, u64::MAX);
    }
    let inside = (1 << (ones + 1 + PAGE_SHIFT as u32)) - 1;
    let address = page << PAGE_SHIFT;
    (address & !inside, address | inside)
}
