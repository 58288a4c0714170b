//! The header that is kept is the one that the sources say. `UPDATE=1` writes it.

use std::{env, fs, path::Path};

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_root_or_default(root);
    let builder = cbindgen::Builder::new().with_config(config).with_crate(root);
    let mut text = Vec::new();
    builder.generate().expect("the sources can be read").write(&mut text);
    let text = String::from_utf8(text).expect("a header is text");
    let file = root.join("include/pasidon.h");
    if env::var_os("UPDATE").is_some() {
        fs::write(&file, &text).expect("the header can be written");
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == text, "include/pasidon.h is stale: UPDATE=1 cargo test -p pasidon-capi writes it");
}
