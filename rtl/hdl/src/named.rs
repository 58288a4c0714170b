//! Names from the source: what [`names`](crate::names) puts behind each `let`.

use crate::E;

/// A value whose signals can be called something.
pub trait Named {
    /// Calls the signals `name`, or what begins with it.
    fn call_all(&self, name: &str);
}

impl Named for E {
    fn call_all(&self, name: &str) {
        self.call(name);
    }
}

impl<T: Named> Named for Option<T> {
    fn call_all(&self, name: &str) {
        self.iter().for_each(|value| value.call_all(name));
    }
}

impl<T: Named> Named for [T] {
    fn call_all(&self, name: &str) {
        self.iter().enumerate().for_each(|(i, value)| value.call_all(&format!("{name}_{i}")));
    }
}

impl<T: Named, const N: usize> Named for [T; N] {
    fn call_all(&self, name: &str) {
        self[..].call_all(name);
    }
}

impl<T: Named> Named for Vec<T> {
    fn call_all(&self, name: &str) {
        self[..].call_all(name);
    }
}

/// A value of any type: only [`Named`] ones are called something. The compiler prefers the method that needs no reference more.
#[doc(hidden)]
pub struct Any<'a, T: ?Sized>(pub &'a T);

#[doc(hidden)]
pub trait CallNamed {
    fn call(&self, name: &str);
}

impl<T: Named + ?Sized> CallNamed for Any<'_, T> {
    fn call(&self, name: &str) {
        self.0.call_all(name);
    }
}

#[doc(hidden)]
pub trait CallNothing {
    fn call(&self, name: &str);
}

impl<T: ?Sized> CallNothing for &Any<'_, T> {
    fn call(&self, _: &str) {}
}

/// Calls the signals of a value, if it has any.
#[doc(hidden)]
#[macro_export]
macro_rules! call {
    ($value:expr, $name:expr) => {{
        #[allow(unused_imports, reason = "the type of the value decides which one is used")]
        use $crate::named::{CallNamed, CallNothing};
        (&$crate::named::Any(&$value)).call($name);
    }};
}
