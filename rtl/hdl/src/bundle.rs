//! Bundles: groups of signals that blocks hand to each other, as tables.
//!
//! [`bundle!`](crate::bundle!) declares a bundle by its fields: width, whether a design has it, what its register is reset to, which
//! word it lies in. The struct, ports, registers, connections and packing follow from the table. A field that a design does not have
//! is the constant 0 and has no port, no register and no place in a word.

use crate::{E, Instance, Module, Named, cat, lit, onehot};

/// A row of a bundle's table: a field as one design has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// What its ports and registers are called, after the prefix of their bundle.
    pub name: &'static str,
    /// Bits.
    pub width: u32,
    /// The design has it.
    pub there: bool,
    /// What its registers are reset to; without a value they are not reset.
    pub reset: Option<u64>,
    /// The word that it lies in when the bundle is packed.
    pub word: u32,
}

/// A group of signals, declared by [`bundle!`](crate::bundle!).
///
/// A port of a bundle is called by the bundle's prefix and the field's name: `PREFIX_NAME`; with an empty prefix, by the name alone.
pub trait Bundle: Copy + Named {
    /// What decides which fields there are and how wide they are.
    type Of;

    /// The fields of `of`, in order.
    fn table(of: &Self::Of) -> Vec<Field>;

    /// The bundle of these signals, one for each row of the table.
    ///
    /// # Panics
    /// If there are fewer signals than rows.
    #[doc(hidden)]
    fn from_signals(signals: impl IntoIterator<Item = E>) -> Self;

    /// A signal for each row of the table.
    #[doc(hidden)]
    fn signals(&self) -> Vec<E>;

    /// A bundle whose signals come from `f`.
    fn from_table(of: &Self::Of, mut f: impl FnMut(Field) -> E) -> Self {
        let signals = Self::table(of).into_iter().map(|field| {
            let signal = if field.there { f(field) } else { lit(0, field.width.max(1)) };
            assert!(
                signal.width() == field.width || !field.there,
                "{} has {} bits, not {}",
                field.name,
                field.width,
                signal.width()
            );
            signal
        });
        Self::from_signals(signals.collect::<Vec<_>>())
    }

    /// A bundle whose signals come from `f(name, width)`.
    fn from_fn(of: &Self::Of, mut f: impl FnMut(&'static str, u32) -> E) -> Self {
        Self::from_table(of, |field| f(field.name, field.width))
    }

    /// A bundle of constants 0.
    fn zero(of: &Self::Of) -> Self {
        Self::from_table(of, |field| lit(0, field.width))
    }

    /// The fields that `of` has, with their signals.
    fn fields(&self, of: &Self::Of) -> Vec<(&'static str, E)> {
        let all = Self::table(of).into_iter().zip(self.signals());
        all.filter(|(field, _)| field.there).map(|(field, e)| (field.name, e)).collect()
    }

    /// Input ports.
    #[track_caller]
    fn inputs(m: &mut Module, of: &Self::Of, prefix: &str) -> Self {
        Self::from_fn(of, |name, width| m.input(&port(prefix, name), width))
    }

    /// Output ports.
    #[track_caller]
    fn outputs(&self, m: &mut Module, of: &Self::Of, prefix: &str) {
        for (name, e) in self.fields(of) {
            m.output(&port(prefix, name), e);
        }
    }

    /// Registers.
    #[track_caller]
    fn registers(m: &mut Module, of: &Self::Of, prefix: &str) -> Self {
        Self::from_table(of, |field| {
            let name = port(prefix, field.name);
            match field.reset {
                Some(value) => m.reg(&name, field.width, value),
                None => m.reg_data(&name, field.width),
            }
        })
    }

    /// Sets the registers of this bundle; a field that is a constant stays one.
    #[track_caller]
    fn set(&self, m: &mut Module, value: &Self) {
        for (register, value) in self.signals().into_iter().zip(value.signals()) {
            if register.constant().is_none() {
                m.set(register, value);
            }
        }
    }

    /// The outputs of a child.
    #[track_caller]
    fn outputs_of(of: &Self::Of, child: &Instance, prefix: &str) -> Self {
        Self::from_fn(of, |name, _| child.out(&port(prefix, name)))
    }

    /// Connects the inputs of a child.
    #[track_caller]
    fn connect(&self, m: &mut Module, of: &Self::Of, child: &Instance, prefix: &str) {
        for (name, e) in self.fields(of) {
            child.connect(m, &port(prefix, name), e);
        }
    }

    /// Connects the inputs of one child to the outputs of another; each is named with the prefix of its ports.
    #[track_caller]
    fn join(m: &mut Module, of: &Self::Of, from: (&Instance, &str), to: (&Instance, &str)) {
        Self::outputs_of(of, from.0, from.1).connect(m, of, to.0, to.1);
    }

    /// What `f` makes of each field: its name and signal.
    fn map(&self, of: &Self::Of, mut f: impl FnMut(&'static str, E) -> E) -> Self {
        let mut fields = self.fields(of).into_iter();
        Self::from_table(of, |field| {
            let e = fields.next().map_or_else(|| lit(0, field.width), |(_, e)| e);
            f(field.name, e)
        })
    }

    /// The bundle whose bit is 1, field by field; 0 if none is. At most one bit may be 1.
    fn onehot(choices: &[(E, Self)]) -> Self {
        let all: Vec<Vec<E>> = choices.iter().map(|(_, bundle)| bundle.signals()).collect();
        let field = |i: usize| {
            onehot(&choices.iter().zip(&all).map(|((hot, _), e)| (*hot, e[i])).collect::<Vec<_>>())
        };
        Self::from_signals((0..all[0].len()).map(field).collect::<Vec<_>>())
    }

    /// `self` where `choice` is 1, else `other`.
    fn or(&self, choice: E, other: &Self) -> Self {
        let pairs = self.signals().into_iter().zip(other.signals());
        Self::from_signals(pairs.map(|(yes, no)| choice.mux(yes, no)).collect::<Vec<_>>())
    }

    /// Bits of the words of a packed bundle.
    fn widths(of: &Self::Of) -> Vec<u32> {
        let table = Self::table(of);
        let in_word = |word| table.iter().filter(move |field| field.there && field.word == word);
        words(&table).into_iter().map(|word| in_word(word).map(|field| field.width).sum()).collect()
    }

    /// The fields as words in the order of their numbers, the first of each word at its top: signals of more than 64 bits are slow to
    /// simulate, and hardware gains nothing by them.
    fn pack(&self, of: &Self::Of) -> Vec<E> {
        let (table, signals) = (Self::table(of), self.signals());
        let word = |number: u32| {
            let pairs = table.iter().zip(&signals);
            cat(&pairs
                .filter(|(field, _)| field.there && field.word == number)
                .map(|(_, e)| *e)
                .collect::<Vec<_>>())
        };
        words(&table).into_iter().map(word).collect()
    }

    /// From the words of [`pack`](Self::pack).
    ///
    /// # Panics
    /// If there are not as many words as the table has.
    fn unpack(of: &Self::Of, packed: &[E]) -> Self {
        let numbers = words(&Self::table(of));
        assert!(numbers.len() == packed.len(), "{} words, not {}", numbers.len(), packed.len());
        let mut top: Vec<u32> = packed.iter().map(|word| word.width()).collect();
        Self::from_table(of, |field| {
            let word = numbers.partition_point(|number| *number < field.word);
            top[word] -= field.width;
            packed[word].bits(top[word], field.width)
        })
    }
}

/// What a port is called.
fn port(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.into() } else { format!("{prefix}_{name}") }
}

/// The numbers of the words of a table, in order.
fn words(table: &[Field]) -> Vec<u32> {
    let mut numbers: Vec<u32> = table.iter().filter(|field| field.there).map(|field| field.word).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Declares a [`Bundle`](crate::Bundle): a struct of signals and its table. A row is a field, its width, and as far as it needs them,
/// in this order: `if` (the design has it), `reset` (its registers are reset to this), `word` (it lies there when packed). `as` gives
/// ports another name than the field's.
///
/// ```
/// use pasidon_hdl::{Bundle, Module, bundle};
///
/// pub struct Design { tagged: bool }
///
/// bundle! {
///     /// What a client asks for.
///     pub struct Order(d: Design) {
///         /// It is there.
///         valid: 1, reset 0;
///         /// Which kind.
///         kind as "type": 3;
///         /// Its number.
///         tag: 8, if d.tagged;
///     }
/// }
/// # fn main() {
/// let mut m = Module::new("client", "");
/// let order = Order::inputs(&mut m, &Design { tagged: false }, "order");
/// assert_eq!((order.kind.width(), order.tag.constant()), (3, Some(0)));
/// # }
/// ```
#[macro_export]
macro_rules! bundle {
    (
        $(#[$doc:meta])*
        $vis:vis struct $bundle:ident ($of:ident: $design:ty) {
            $(
                $(#[$field_doc:meta])*
                $field:ident $(as $name:literal)?: $width:expr $(, if $there:expr)? $(, reset $reset:expr)? $(, word $word:literal)?;
            )+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        $vis struct $bundle {
            $(
                $(#[$field_doc])*
                pub $field: $crate::E,
            )+
        }

        impl $crate::Bundle for $bundle {
            type Of = $design;

            fn table($of: &$design) -> Vec<$crate::Field> {
                let _ = $of;
                #[allow(unused_mut, unused_assignments, reason = "not every row says everything")]
                let rows = vec![
                    $({
                        let mut field = $crate::Field {
                            name: stringify!($field),
                            width: $width,
                            there: true,
                            reset: None,
                            word: 0,
                        };
                        $(field.name = $name;)?
                        $(field.there = $there;)?
                        $(field.reset = Some($reset);)?
                        $(field.word = $word;)?
                        field
                    }),+
                ];
                rows
            }

            fn from_signals(signals: impl IntoIterator<Item = $crate::E>) -> $bundle {
                let mut signals = signals.into_iter();
                let mut next = || signals.next().unwrap_or_else(|| panic!("a signal for each row"));
                $bundle { $($field: next()),+ }
            }

            fn signals(&self) -> Vec<$crate::E> {
                vec![$(self.$field),+]
            }
        }

        impl $crate::Named for $bundle {
            fn call_all(&self, name: &str) {
                $(self.$field.call(&format!("{name}_{}", stringify!($field)));)+
            }
        }
    };
}
