//! Parts that the hardware does not have. All are off at first; then the engine is exactly the hardware.

use serde::{Deserialize, Serialize};

/// A rule of replacement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The hardware's.
    #[default]
    Hardware,
    /// Each in turn, with a turn of each set's own. Of a fully associative cache that is the hardware's.
    PerSet,
    /// Least recently used.
    Lru,
    /// A binary tree of bits that points away from what was used last; for ways that are a power of two, else as [`Rule::Lru`].
    Plru,
}

impl Rule {
    /// Whether hits change anything.
    pub fn follows_hits(self) -> bool {
        matches!(self, Rule::Lru | Rule::Plru)
    }
}

/// What is imagined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Imagined {
    /// Non-leaf entries of page tables that are kept, for each level; 0: none.
    pub walk_cache: u32,
    /// L1 and L2 entries answer every device of an address space (PSCID), not only the device that walked.
    pub shared: bool,
    /// Replacement in the L1 TLBs.
    pub l1_replacement: Rule,
    /// Replacement in the L2 TLB.
    pub l2_replacement: Rule,
    /// Following pages that a walk brings in, too, each by a walk of its own.
    pub prefetch: u32,
    /// A read of a leaf entry brings its 64 bytes: all eight pages are kept.
    pub line_fill: bool,
}

impl Imagined {
    /// What is on, in words.
    pub fn parts(&self) -> Vec<String> {
        let rule = |what: &str, rule: Rule| match rule {
            Rule::Hardware => None,
            Rule::PerSet => Some(format!("{what} replaces in turn within each set")),
            Rule::Lru => Some(format!("{what} replaces the least recently used")),
            Rule::Plru => Some(format!("{what} replaces by a tree of bits (PLRU)")),
        };
        let some = |on: bool, text: String| on.then_some(text);
        [
            some(self.walk_cache > 0, format!("walk cache of {} entries for each level", self.walk_cache)),
            some(self.shared, "TLB entries shared by address space".into()),
            rule("L1", self.l1_replacement),
            rule("L2", self.l2_replacement),
            some(self.prefetch > 0, format!("prefetch of the next {} pages", self.prefetch)),
            some(self.line_fill, "fills by lines of 64 bytes".into()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_imagined_at_first() {
        assert_eq!(Imagined::default().parts(), Vec::<String>::new());
        let all = Imagined {
            walk_cache: 8,
            shared: true,
            l1_replacement: Rule::Lru,
            l2_replacement: Rule::PerSet,
            prefetch: 1,
            line_fill: true,
        };
        assert_eq!(all.parts().len(), 6);
    }
}
