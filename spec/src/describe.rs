//! Macros that turn a table of fields into constants, so that each fact is written once.
//!
//! In each table a line `NAME "name" [hi:lo] ACCESS = reset;` declares one field; `[n]` is a single bit and the
//! reset value is 0 unless given. The doc comment becomes both the rustdoc of the constant and
//! [`Field::doc`](crate::field::Field::doc). Bits that no line mentions are reserved. A table whose fields
//! overlap or leave the word does not compile.

/// Second argument if there is one, otherwise the first.
macro_rules! last_of {
    ($default:expr) => {
        $default
    };
    ($default:expr, $given:expr) => {
        $given
    };
}

/// The [`Field`](crate::field::Field) constants of one word.
macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $field:ident $name:literal [$hi:literal $(: $lo:literal)?] $access:ident $(= $reset:literal)?;)*) => {
        $(
            $(#[doc = $doc])+
            ///
            #[doc = concat!("`", $name, "`, bits ", $hi $(, ":", $lo)?, ", ", stringify!($access), ".")]
            pub const $field: $crate::field::Field = $crate::field::Field {
                name: $name,
                lo: last_of!($hi $(, $lo)?),
                width: $hi - last_of!($hi $(, $lo)?) + 1,
                access: $crate::field::Access::$access,
                reset: last_of!(0 $(, $reset)?),
                doc: concat!($($doc),+).trim_ascii(),
            };
        )*
    };
}

/// A module with one memory-mapped register: `REG`, `RESERVED` and a constant for each field.
macro_rules! register {
    (
        $(#[doc = $doc:literal])+
        $module:ident @ $offset:literal, $bytes:literal bytes, $presence:ident
        $(, $count:literal times every $stride:literal)?
        { $($(#[doc = $fdoc:literal])+ $field:ident $name:literal [$($bits:tt)+] $access:ident $(= $reset:literal)?;)* }
    ) => {
        $(#[doc = $doc])+
        pub mod $module {
            fields! { $($(#[doc = $fdoc])+ $field $name [$($bits)+] $access $(= $reset)?;)* }

            /// The register.
            pub const REG: $crate::registers::Register = $crate::registers::Register {
                name: stringify!($module),
                offset: $offset,
                bytes: $bytes,
                count: last_of!(1 $(, $count)?),
                stride: last_of!($bytes $(, $stride)?),
                presence: $crate::registers::Presence::$presence,
                fields: &[$($field),*],
                doc: concat!($($doc),+).trim_ascii(),
            };

            /// The bits reserved for standard use: read 0, writes ignored.
            pub const RESERVED: u64 = REG.reserved();

            const _: () = assert!(REG.is_well_formed());
        }
    };
}

/// A module with one word of a structure in memory: `WORD`, `OFFSET`, `RESERVED` and a constant for each field.
macro_rules! word {
    (
        $(#[doc = $doc:literal])+
        $module:ident $title:literal @ $offset:literal, $size:literal bits
        { $($(#[doc = $fdoc:literal])+ $field:ident $name:literal [$($bits:tt)+] $access:ident;)* }
    ) => {
        $(#[doc = $doc])+
        pub mod $module {
            fields! { $($(#[doc = $fdoc])+ $field $name [$($bits)+] $access;)* }

            /// The word.
            pub const WORD: $crate::field::Word = $crate::field::Word {
                name: $title,
                offset: $offset,
                bits: $size,
                fields: &[$($field),*],
                doc: concat!($($doc),+).trim_ascii(),
            };

            /// Offset in bytes from the start of the structure.
            pub const OFFSET: u64 = $offset;

            /// The bits reserved for future standard use: they must be 0.
            pub const RESERVED: u64 = WORD.reserved();

            const _: () = assert!(WORD.is_well_formed());
        }
    };
}

/// A module with all doublewords of a command or queue record: `DWORDS` and a constant for each field.
macro_rules! record {
    (
        $(#[doc = $doc:literal])+
        $module:ident
        $({ $($(#[doc = $fdoc:literal])+ $field:ident $name:literal [$($bits:tt)+] $access:ident;)* })+
    ) => {
        $(#[doc = $doc])+
        pub mod $module {
            $(fields! { $($(#[doc = $fdoc])+ $field $name [$($bits)+] $access;)* })+

            /// The fields of each 64-bit doubleword.
            pub const DWORDS: &[&[$crate::field::Field]] = &[$(&[$($field),*]),+];

            /// For each doubleword, the bits reserved for future standard use: they must be 0.
            pub const RESERVED: [u64; DWORDS.len()] = {
                let mut masks = [0; DWORDS.len()];
                let mut i = 0;
                while i < DWORDS.len() {
                    assert!($crate::field::is_well_formed(DWORDS[i], 64));
                    masks[i] = $crate::field::reserved(DWORDS[i], 64);
                    i += 1;
                }
                masks
            };
        }
    };
}

/// A module with the named values of a field: a `u64` constant for each, and `ALL`.
macro_rules! encodings {
    (
        $(#[doc = $doc:literal])+
        $module:ident
        { $($(#[doc = $vdoc:literal])+ $value:ident $name:literal = $number:literal;)+ }
        $($item:item)*
    ) => {
        $(#[doc = $doc])+
        pub mod $module {
            $($(#[doc = $vdoc])+ pub const $value: u64 = $number;)+

            /// Every value that has a name.
            pub const ALL: &[$crate::field::Encoding] = &[$(
                $crate::field::Encoding { name: $name, value: $number, doc: concat!($($vdoc),+).trim_ascii() }
            ),+];

            $($item)*
        }
    };
}
