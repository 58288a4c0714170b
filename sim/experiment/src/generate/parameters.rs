//! The parameters of generators: one table each, from which struct, defaults, checks, messages and the book's page follow.

/// What a parameter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legal {
    /// From the first to the second.
    From(u64, u64),
    /// A power of two from the first to the second.
    Power(u64, u64),
}

impl Legal {
    /// Whether it may be this.
    pub fn allows(self, value: u64) -> bool {
        match self {
            Legal::From(least, most) => (least..=most).contains(&value),
            Legal::Power(least, most) => (least..=most).contains(&value) && value.is_power_of_two(),
        }
    }
}

impl std::fmt::Display for Legal {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match *self {
            Legal::From(least, u64::MAX) => write!(f, "{least} and more"),
            Legal::From(least, most) => write!(f, "{least} to {most}"),
            Legal::Power(least, most) => write!(f, "a power of two, {least} to {most}"),
        }
    }
}

/// A parameter of a generator.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its key.
    pub name: &'static str,
    /// What it is if nothing is said.
    pub default: u64,
    /// What it may be.
    pub legal: Legal,
    /// What it means.
    pub what: &'static str,
}

/// Parameters with values.
pub trait Parameters {
    /// Name of the generator, as in `work = { NAME = { ... } }`.
    const NAME: &'static str;
    /// What it does, in one sentence.
    const ABOUT: &'static str;
    /// Its parameters, in the order of [`Parameters::values`].
    const TABLE: &'static [Parameter];

    /// Their values.
    fn values(&self) -> Vec<u64>;

    /// Sets one; false if there is none of that name.
    fn set(&mut self, name: &str, value: u64) -> bool;
}

/// Declares the parameters of a generator: documentation, type, name, and a line for each: what it means, key, default, legal values.
macro_rules! parameters {
    (#[doc = $about:literal] $type:ident $name:literal { $(#[doc = $what:literal] $key:ident = $default:expr, $legal:expr;)* }) => {
        #[doc = $about]
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $type {
            $(#[doc = $what] pub $key: u64,)*
        }

        impl Default for $type {
            fn default() -> $type {
                $type { $($key: $default,)* }
            }
        }

        impl $crate::generate::parameters::Parameters for $type {
            const NAME: &'static str = $name;
            const ABOUT: &'static str = $about.trim_ascii_start();
            const TABLE: &'static [$crate::generate::parameters::Parameter] = &[
                $($crate::generate::parameters::Parameter {
                    name: stringify!($key), default: $default, legal: $legal, what: $what.trim_ascii_start(),
                },)*
            ];

            fn values(&self) -> Vec<u64> {
                vec![$(self.$key,)*]
            }

            fn set(&mut self, name: &str, value: u64) -> bool {
                match name {
                    $(stringify!($key) => self.$key = value,)*
                    _ => return false,
                }
                true
            }
        }
    };
}
pub(crate) use parameters;
