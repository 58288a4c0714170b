//! How a bit field, a word made of bit fields, and the values of a field are described.

/// What software may do with a field, and what the hardware does with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read-only: writes are ignored.
    RO,
    /// Read-write: holds what was written.
    RW,
    /// Write 1 to clear: writing 0 has no effect.
    RW1C,
    /// Write 1 to set: writing 0 has no effect.
    RW1S,
    /// Write any value, read a legal one: an implementation may support only some values.
    WARL,
    /// No standard meaning (designated for custom use): software writes 0, this hardware reads 0.
    Reserved,
}

impl Access {
    /// The abbreviation that the specification uses.
    pub const fn name(self) -> &'static str {
        match self {
            Access::RO => "RO",
            Access::RW => "RW",
            Access::RW1C => "RW1C",
            Access::RW1S => "RW1S",
            Access::WARL => "WARL",
            Access::Reserved => "WPRI",
        }
    }
}

/// A bit field of a word of up to 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The specification's name of the field.
    pub name: &'static str,
    /// Position of the least significant bit.
    pub lo: u8,
    /// Number of bits, 1 to 64.
    pub width: u8,
    /// What software may do with it.
    pub access: Access,
    /// Value after reset, as a field value (not in place). Where the specification leaves the reset value
    /// unspecified, this is the value that this project chose: 0.
    pub reset: u64,
    /// One or two sentences on the meaning.
    pub doc: &'static str,
}

impl Field {
    /// Position of the most significant bit.
    pub const fn hi(self) -> u8 {
        self.lo + self.width - 1
    }

    /// The largest value that the field holds: `width` ones.
    pub const fn max(self) -> u64 {
        u64::MAX >> (64 - self.width as u32)
    }

    /// The bits of the field, in place.
    pub const fn mask(self) -> u64 {
        self.max() << self.lo
    }

    /// The field's value in `word`.
    pub const fn get(self, word: u64) -> u64 {
        (word >> self.lo) & self.max()
    }

    /// `word` with the field replaced by `value`. Bits of `value` beyond the field's width are dropped.
    pub const fn set(self, word: u64, value: u64) -> u64 {
        (word & !self.mask()) | self.of(value)
    }

    /// `value` in place in a word that is otherwise 0. Bits beyond the field's width are dropped.
    pub const fn of(self, value: u64) -> u64 {
        (value & self.max()) << self.lo
    }

    /// Whether any bit of the field is 1 in `word`. For one-bit fields: whether the bit is set.
    pub const fn is_set(self, word: u64) -> bool {
        word & self.mask() != 0
    }
}

/// A word of a structure in memory: one doubleword of a device context, of a command, of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The specification's name of the word.
    pub name: &'static str,
    /// Offset in bytes from the start of the structure.
    pub offset: u16,
    /// Number of bits, 32 or 64.
    pub bits: u8,
    /// The fields that have a meaning, in rising order of position. All other bits are reserved.
    pub fields: &'static [Field],
    /// One or two sentences on the meaning.
    pub doc: &'static str,
}

impl Word {
    /// The bits that are reserved for future standard use, and so must be 0.
    pub const fn reserved(&self) -> u64 {
        reserved(self.fields, self.bits)
    }

    /// Whether the fields are in rising order, do not overlap, fit into the word, and have reset values that
    /// fit into them.
    pub const fn is_well_formed(&self) -> bool {
        is_well_formed(self.fields, self.bits)
    }
}

/// One value that a field can take, where values have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// The specification's name of the value.
    pub name: &'static str,
    /// The value.
    pub value: u64,
    /// One sentence on the meaning.
    pub doc: &'static str,
}

/// A slice of an index (a device_id, a process_id, an address): the part that selects the entry in one level
/// of a radix tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Position of the slice's least significant bit.
    pub lo: u8,
    /// Number of bits; the level's table has `1 << width` entries.
    pub width: u8,
}

impl Level {
    /// The slice of `index`.
    pub const fn of(self, index: u64) -> u64 {
        (index >> self.lo) & ((1 << self.width) - 1)
    }

    /// Number of entries in a table of this level.
    pub const fn entries(self) -> usize {
        1 << self.width
    }
}

/// The bits of a word of `bits` bits that none of `fields` covers.
pub const fn reserved(fields: &[Field], bits: u8) -> u64 {
    let mut free = u64::MAX >> (64 - bits as u32);
    let mut i = 0;
    while i < fields.len() {
        free &= !fields[i].mask();
        i += 1;
    }
    free
}

/// Whether `fields` are in rising order, do not overlap, fit into `bits` bits, and have resets that fit.
pub const fn is_well_formed(fields: &[Field], bits: u8) -> bool {
    let mut next = 0u32;
    let mut i = 0;
    while i < fields.len() {
        let field = fields[i];
        if field.width == 0 || (field.lo as u32) < next {
            return false;
        }
        next = field.lo as u32 + field.width as u32;
        if next > bits as u32 || field.reset > field.max() {
            return false;
        }
        i += 1;
    }
    true
}
