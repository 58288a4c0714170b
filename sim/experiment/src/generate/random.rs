//! Numbers that look random and are the same everywhere: for a seed, on every machine.
//!
//! No function of a mathematics library is used, since these differ in the last bit from one system to the next.

/// A stream of numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

/// Spreads the bits of a number over all of the result (the finaliser of SplitMix64).
#[inline]
pub fn mix(value: u64) -> u64 {
    let x = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// A number below `bound` from 64 random bits.
#[inline]
pub fn scale(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

impl Random {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Random {
        Random(mix(seed ^ 0x7061_7369_646f_6e21))
    }

    /// The next 64 bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// The next number below `bound`; 0 for 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        scale(self.bits(), bound)
    }

    /// True in `percent` of 100 cases.
    #[inline]
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// An order of the numbers below `count`: each comes once.
#[derive(Clone, Debug)]
pub struct Shuffle {
    count: u64,
    mask: u64,
    shift: u32,
    keys: [u64; 2],
}

impl Shuffle {
    /// An order for a seed.
    pub fn new(count: u64, seed: u64) -> Shuffle {
        let mask = count.max(2).next_power_of_two() - 1;
        let shift = mask.count_ones().div_ceil(2);
        Shuffle { count, mask, shift, keys: [mix(seed), mix(seed ^ 0x5bd1_e995)] }
    }

    /// Which number comes at this place.
    #[inline]
    pub fn at(&self, place: u64) -> u64 {
        let mut x = place;
        loop {
            // Each step can be undone, hence all of it; what lands outside goes on until it lands inside.
            x = (x ^ self.keys[0]).wrapping_mul(0x9e37_79b9_7f4a_7c15) & self.mask;
            x ^= x >> self.shift;
            x = (x ^ self.keys[1]).wrapping_mul(0xd6e8_feb8_6659_fd93) & self.mask;
            x ^= x >> self.shift;
            if x < self.count {
                return x;
            }
        }
    }
}

const STEPS: usize = 256;

/// Numbers below `count` of which number `r` comes with a probability that falls as `(r + 1)^-alpha`, 0 <= alpha < 1.
#[derive(Clone, Debug)]
pub struct PowerLaw {
    count: u64,
    /// By the inverse of the distribution: `r = count * u^inverse` of a uniform `u`.
    inverse: f64,
    logarithm: Box<[f64; STEPS + 1]>,
    power: Box<[f64; STEPS + 1]>,
    /// `count * 2^(-q * inverse)`, and what is left of it within the octave.
    octaves: Box<[f64; 64]>,
    within: Box<[f64; STEPS + 1]>,
}

impl PowerLaw {
    /// With `alpha` in thousandths, at most 999.
    pub fn new(count: u64, alpha: u64) -> PowerLaw {
        let mut step = 2f64;
        (0..STEPS.trailing_zeros()).for_each(|_| step = step.sqrt());
        let mut power = Box::new([1f64; STEPS + 1]);
        (1..=STEPS).for_each(|i| power[i] = power[i - 1] * step);
        let logarithm = Box::new(std::array::from_fn(|i| log2(1.0 + i as f64 / STEPS as f64)));
        let inverse = 1000.0 / (1000 - alpha.min(999)) as f64;
        let (octaves, within) = (Box::new([0.0; 64]), Box::new([0.0; STEPS + 1]));
        let mut law = PowerLaw { count, inverse, logarithm, power, octaves, within };
        for q in 0..64 {
            law.octaves[q] = count as f64 * law.exp2_of(-(q as f64) * inverse);
        }
        for i in 0..=STEPS {
            law.within[i] = law.exp2_of((law.logarithm[i] - 1.0) * inverse);
        }
        law
    }

    /// The number for 64 random bits.
    #[inline]
    pub fn at(&self, bits: u64) -> u64 {
        // A uniform number in (0, 1): an octave, a step in it, and the rest of the step.
        let octave = (bits | 1).leading_zeros();
        let bits = bits << octave;
        let step = (bits >> 55 & 0xff) as usize;
        let rest = (bits >> 11 & ((1 << 44) - 1)) as i64 as f64 * (1.0 / (1u64 << 44) as f64);
        let within = self.within[step] + (self.within[step + 1] - self.within[step]) * rest;
        let scaled = self.octaves[octave as usize & 63] * within;
        (scaled as i64 as u64).min(self.count.saturating_sub(1))
    }

    /// `x^-alpha` for `x` from 1 on.
    pub fn weight(&self, x: f64) -> f64 {
        self.exp2_of(-self.log2_of(x) * (1.0 - 1.0 / self.inverse))
    }

    #[inline]
    fn log2_of(&self, x: f64) -> f64 {
        let bits = x.to_bits();
        let exponent = (bits >> 52) as i64 - 1023;
        let at = (bits >> 44 & 0xff) as usize;
        let rest = (bits & ((1 << 44) - 1)) as i64 as f64 * (1.0 / (1u64 << 44) as f64);
        exponent as f64 + self.logarithm[at] + (self.logarithm[at + 1] - self.logarithm[at]) * rest
    }

    /// 2^x for x of at most 0.
    #[inline]
    fn exp2_of(&self, x: f64) -> f64 {
        let steps = (-x).min(1000.0) * STEPS as f64;
        let whole = steps as i64;
        let rest = steps - whole as f64;
        let whole = whole as u64;
        // 2^-(q + f) = 2^(1 - f) / 2^(q + 1), with f in steps of the table.
        let at = STEPS - (whole % STEPS as u64) as usize;
        let fraction = self.power[at] + (self.power[at - 1] - self.power[at]) * rest;
        fraction * f64::from_bits((1023 - 1 - whole / STEPS as u64) << 52)
    }
}

/// log2 for 1 <= x <= 2, by squaring: a bit of the result each time.
fn log2(mut x: f64) -> f64 {
    let (mut result, mut bit) = (0.0, 1.0);
    for _ in 0..48 {
        if x >= 2.0 {
            result += bit;
            x /= 2.0;
        }
        x *= x;
        bit /= 2.0;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_has_each_number_once() {
        for count in [1, 2, 3, 7, 64, 1000] {
            let shuffle = Shuffle::new(count, 5);
            let mut all: Vec<u64> = (0..count).map(|place| shuffle.at(place)).collect();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
        let shuffle = Shuffle::new(1000, 5);
        let in_order = (1..1000).filter(|&i| shuffle.at(i) == shuffle.at(i - 1) + 1).count();
        assert!(in_order < 10, "{in_order} of 1000 follow each other");
    }

    #[test]
    fn the_power_law_is_one() {
        let law = PowerLaw::new(1 << 20, 700);
        for x in [1.0, 1.5, 3.0, 1000.0, 123456.0f64] {
            assert!((law.weight(x) / x.powf(-0.7) - 1.0).abs() < 1e-4, "{x}");
        }
        let mut random = Random::new(3);
        let count = 400_000;
        let below = |limit: u64, random: &mut Random| {
            (0..count).filter(|_| law.at(random.bits()) < limit).count() as f64 / f64::from(count)
        };
        // The distribution function is (r / n)^(1 - alpha).
        for (limit, share) in [(1u64 << 19, 0.5f64.powf(0.3)), (1 << 10, 2f64.powf(-3.0)), (1 << 20, 1.0)] {
            let seen = below(limit, &mut random);
            assert!((seen - share).abs() < 0.005, "{limit}: {seen} instead of {share}");
        }
        assert_eq!(PowerLaw::new(10, 0).at(u64::MAX), 9);
        assert_eq!(PowerLaw::new(10, 999).at(0), 0);
    }
}
