//! Writes the timing diagrams of the book: `cargo run --release -p pasidon-tests --example timing`.

fn main() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for (name, svg) in pasidon_tests::timing::diagrams() {
        if let Err(error) = std::fs::write(folder.join(name), svg) {
            eprintln!("error: docs/{name}: {error}");
            std::process::exit(1);
        }
        println!("docs/{name}");
    }
}
