//! Fields of the programmer's model as hardware: where a field of a register stands on the 64-bit register bus.

use pasidon_spec::field::Field;
use pasidon_spec::registers::Register;

use pasidon_hdl::{E, Module, cat, lit, names, onehot};

/// A write to the registers, as `axi_lite` hands it over.
#[derive(Clone, Copy)]
pub struct WriteBus {
    /// A write takes place in this cycle.
    pub valid: E,
    /// Which doubleword.
    pub index: E,
    /// Which of its 4-byte halves; bit 0 is the low one.
    pub halves: E,
    /// The data, 64 bits.
    pub data: E,
}

/// A register as it is written in this cycle.
#[derive(Clone, Copy)]
pub struct Written {
    /// Bits 31:0 are written.
    pub low: E,
    /// Bits 63:32 are written; in a 4-byte register there are none.
    pub high: E,
    word: E,
}

impl WriteBus {
    /// Input ports `PREFIXwr_*`.
    pub fn inputs(m: &mut Module, prefix: &str) -> WriteBus {
        m.section("Write: doubleword index, 4-byte halves, data; takes effect in the next cycle");
        WriteBus {
            valid: m.input(&format!("{prefix}wr_valid"), 1),
            index: m.input(&format!("{prefix}wr_index"), 9),
            halves: m.input(&format!("{prefix}wr_halves"), 2),
            data: m.input(&format!("{prefix}wr_data"), 64),
        }
    }

    /// How `register` is written in this cycle.
    pub fn to(self, register: &Register) -> Written {
        let here = self.valid & self.index.is(doubleword(register));
        let half = half(register);
        if register.bytes == 4 {
            return Written {
                low: here & self.halves.bit(half),
                high: lit(0, 1),
                word: self.data.bits(32 * half, 32),
            };
        }
        Written { low: here & self.halves.bit(0), high: here & self.halves.bit(1), word: self.data }
    }
}

impl Written {
    /// The value written to `field`.
    pub fn field(self, field: Field) -> E {
        self.word.bits(field.lo.into(), field.width.into())
    }
}

/// What can be read: registers with their contents.
#[derive(Default)]
pub struct ReadMap {
    words: Vec<(u64, u32, E)>,
}

impl ReadMap {
    /// Adds a register whose fields have these values; its other bits read 0. A value narrower than its field is extended
    /// with zeros.
    #[names]
    pub fn add(&mut self, register: &Register, fields: &[(Field, E)]) {
        let mut sorted = fields.to_vec();
        sorted.sort_by_key(|(field, _)| std::cmp::Reverse(field.lo));
        let mut parts = vec![];
        let mut above = u32::from(register.bits());
        for (field, value) in sorted {
            let next = u32::from(field.hi()) + 1;
            if next < above {
                parts.push(lit(0, above - next));
            }
            parts.push(value.resize(field.width.into()));
            above = field.lo.into();
        }
        if above > 0 {
            parts.push(lit(0, above));
        }
        self.words.push((doubleword(register), half(register), cat(&parts)));
    }

    /// The doubleword at `index`; 0 where there is no register.
    #[names]
    pub fn read(&self, index: E) -> E {
        let choices: Vec<(E, E)> = self
            .words
            .iter()
            .map(|(at, half, word)| {
                let wide = if *half == 1 { cat(&[*word, lit(0, 32)]) } else { word.resize(64) };
                (index.is(*at), wide)
            })
            .collect();
        onehot(&choices)
    }
}

/// A page number of `width` bits in an 8-byte register, whose halves can be written one at a time. Such fields are WARL: bits of the
/// field above `width`, beyond the physical address space, read 0.
#[names]
pub fn page_number(m: &mut Module, name: &str, write: Written, field: Field, width: u32, enable: E) -> E {
    let value = write.field(field);
    let below = (32 - u32::from(field.lo)).min(width);
    let low = m.reg(&format!("{name}_low"), below, 0);
    m.when(write.low & enable, |m| m.set(low, value.bits(0, below)));
    if width == below {
        return low;
    }
    let high = m.reg(&format!("{name}_high"), width - below, 0);
    m.when(write.high & enable, |m| m.set(high, value.bits(below, width - below)));
    cat(&[high, low])
}

fn doubleword(register: &Register) -> u64 {
    u64::from(register.offset / 8)
}

fn half(register: &Register) -> u32 {
    u32::from(register.offset % 8 / 4)
}
