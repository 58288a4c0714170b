//! `#[names]`: signals are called in Verilog what they are called in Rust.

use proc_macro::TokenStream;
use quote::quote;
use syn::visit_mut::{self, VisitMut};
use syn::{Block, Ident, ItemFn, Pat, Stmt, parse_macro_input, parse_quote};

/// On a function that describes hardware: what `let` calls an expression, its wire is called in Verilog, if it needs one. A bundle
/// calls its fields, a list its elements. Names that begin with `_`, and those of `let mut`, are not given.
#[proc_macro_attribute]
pub fn names(_: TokenStream, item: TokenStream) -> TokenStream {
    let mut function = parse_macro_input!(item as ItemFn);
    Namer.visit_block_mut(&mut function.block);
    quote!(#function).into()
}

struct Namer;

impl VisitMut for Namer {
    fn visit_block_mut(&mut self, block: &mut Block) {
        visit_mut::visit_block_mut(self, block);
        let statements = std::mem::take(&mut block.stmts);
        for statement in statements {
            let mut names = vec![];
            if let Stmt::Local(local) = &statement
                && local.init.is_some()
            {
                bound(&local.pat, &mut names);
            }
            block.stmts.push(statement);
            block.stmts.extend(names.into_iter().map(|name| -> Stmt {
                let text = name.to_string();
                parse_quote!(::pasidon_hdl::call!(#name, #text);)
            }));
        }
    }
}

/// The names that a pattern binds.
fn bound(pattern: &Pat, names: &mut Vec<Ident>) {
    match pattern {
        Pat::Ident(p)
            if p.by_ref.is_none() && p.mutability.is_none() && !p.ident.to_string().starts_with('_') =>
        {
            names.push(p.ident.clone());
        }
        Pat::Tuple(p) => p.elems.iter().for_each(|p| bound(p, names)),
        Pat::Slice(p) => p.elems.iter().for_each(|p| bound(p, names)),
        Pat::Type(p) => bound(&p.pat, names),
        _ => {}
    }
}
