//! Constants with names: states, causes, commands. In Verilog each is a `localparam`.

/// Constants that belong together, such as the states of a machine.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Set {
    /// What the names in Verilog begin with.
    pub name: &'static str,
    /// What they say.
    pub doc: &'static str,
}

/// A constant with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// What it belongs to.
    pub set: &'static Set,
    /// Its value.
    pub value: u64,
    /// Its name in the set, a word or several.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// A constant: a number, or one with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A constant with a name.
    Label(Label),
}

impl Label {
    /// What it is called in Verilog: `STATE_IDLE`.
    pub fn verilog(&self) -> String {
        let words = format!("{} {}", self.set.name, self.name).to_uppercase();
        let letters = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        letters.collect::<Vec<_>>().join("_")
    }
}

impl Value {
    /// The number.
    pub fn number(self) -> u64 {
        match self {
            Value::Number(value) => value,
            Value::Label(label) => label.value,
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Number(value)
    }
}

impl From<Label> for Value {
    fn from(label: Label) -> Value {
        Value::Label(label)
    }
}

/// Declares [`Label`]s: a module with a constant for each, numbered from 0 or as said, and `WIDTH`, the bits that they need.
///
/// ```
/// pasidon_hdl::labels! {
///     /// What a port does.
///     pub mod state {
///         IDLE,
///         /// Waits for memory.
///         WAIT,
///     }
/// }
/// # fn main() {
/// assert_eq!((state::WAIT.value, state::WIDTH), (1, 1));
/// assert_eq!(state::WAIT.verilog(), "STATE_WAIT");
/// # }
/// ```
#[macro_export]
macro_rules! labels {
    ($(#[doc = $set:literal])+ $vis:vis mod $module:ident { $($(#[doc = $doc:literal])* $name:ident $(= $value:expr)?),+ $(,)? }) => {
        $(#[doc = $set])+
        $vis mod $module {
            use $crate::label::{Label, Set};

            #[allow(clippy::upper_case_acronyms, non_camel_case_types, reason = "they count the names")]
            #[derive(Clone, Copy)]
            #[repr(u64)]
            enum Number { $($name $(= $value)?),+ }

            static SET: Set = Set { name: stringify!($module), doc: concat!($($set),+) };
            const MOST: u64 = {
                let (all, mut most, mut i) = ([$(Number::$name as u64),+], 1, 0);
                while i < all.len() {
                    if all[i] > most {
                        most = all[i];
                    }
                    i += 1;
                }
                most
            };
            /// Bits that the constants need.
            #[allow(dead_code, reason = "not every set is stored")]
            pub const WIDTH: u32 = u64::BITS - MOST.leading_zeros();
            $(
                $(#[doc = $doc])*
                #[allow(missing_docs, reason = "some names say all")]
                pub const $name: Label = Label {
                    set: &SET,
                    value: Number::$name as u64,
                    name: stringify!($name),
                    doc: concat!("" $(, $doc)*),
                };
            )+
        }
    };
}
