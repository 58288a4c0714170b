//! Every function of the header keeps the convention of errors that the header states, and is tried, from C, with
//! everything that its pointers must not be.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

#[allow(dead_code, reason = "the tests of the example use the rest")]
mod compile;

/// A function of the header: what it returns, its name, and the names of the pointers that it takes.
#[derive(Debug, PartialEq)]
struct Function {
    returns: String,
    name: String,
    pointers: Vec<String>,
}

/// The functions that a header declares, but for those that the program brings.
fn functions(header: &str) -> Vec<Function> {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, after)) = rest.split_once("/*") {
        code.push_str(before);
        rest = after.split_once("*/").expect("a comment ends").1;
    }
    code.push_str(rest);
    let code: String = code.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ");
    // What is between braces is a type; `extern "C" {` is not closed before the functions are over.
    let mut depth = 0_usize;
    let mut outside = String::new();
    for (at, letter) in code.char_indices() {
        match letter {
            '{' if code[..at].trim_end().ends_with("extern \"C\"") => outside.push(';'),
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => outside.push(letter),
            _ => {}
        }
    }
    let declared = outside.split(';').filter_map(function);
    declared.filter(|function| !function.name.starts_with("iommu_host_")).collect()
}

/// One declaration, if it is one of a function.
fn function(declaration: &str) -> Option<Function> {
    let (head, parameters) = declaration.trim().split_once('(')?;
    let start = head.rfind(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
    let (returns, name) = head.split_at(start + 1);
    let mut pointers = Vec::new();
    let mut depth = 0;
    let parameters = parameters.trim_end().strip_suffix(')')?;
    let separate = |letter: char| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ',' && depth == 0
    };
    for parameter in parameters.split(separate).filter(|parameter| parameter.contains('*')) {
        // The name of a function that is passed stands behind the first asterisk, that of another pointer behind the last.
        let name = match parameter.split_once("(*") {
            Some((_, behind)) => behind.split(')').next(),
            None => parameter.rsplit('*').next(),
        };
        pointers.push(name?.trim().to_owned());
    }
    Some(Function { returns: returns.trim().to_owned(), name: name.to_owned(), pointers })
}

fn header() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/pasidon.h");
    fs::read_to_string(file).expect("the header is there")
}

#[test]
fn the_reader_of_headers_finds_functions_and_their_pointers() {
    let found = functions(
        "/** int no(void *p); */\n#ifdef X\nextern \"C\" {\n#endif\nvoid iommu_host_x(void);\nstruct s {\n  int (*f)(void *c);\n};\n\
         int a(struct s *one,\n      uint64_t two);\nstruct s *b(int (*each)(void *c, int d), const void *last);\n",
    );
    let function = |returns: &str, name: &str, pointers: &[&str]| Function {
        returns: returns.into(),
        name: name.into(),
        pointers: pointers.iter().map(|&pointer| pointer.into()).collect(),
    };
    assert_eq!(found, [function("int", "a", &["one"]), function("struct s *", "b", &["each", "last"])]);
}

#[test]
fn every_function_returns_errors_as_the_header_says() {
    let found = functions(&header());
    // The header has this many at least: the reader has not lost them.
    assert!(found.len() > 40, "{}", found.len());
    for Function { returns, name, .. } in found {
        let cannot_fail = name == "iommu_strerror" && returns == "const char *";
        let can = returns == "int" || (returns.starts_with("struct iommu") && returns.ends_with('*'));
        assert!(can || cannot_fail, "{name} returns {returns:?}, which can't say what went wrong");
    }
}

#[test]
fn every_function_refuses_what_its_pointers_must_not_be() {
    let capi = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = compile::program(capi, "handles", &["tests/c/handles.c"]);
    let output = compile::run(&mut Command::new(program));
    let said = String::from_utf8(output.stdout).expect("text");
    let tried: BTreeSet<&str> = said.lines().map(str::trim).collect();
    assert!(tried.contains("ok"), "{said}");
    for Function { name, pointers, .. } in functions(&header()) {
        let lines = match pointers.is_empty() {
            true => vec![name],
            false => pointers.iter().map(|pointer| format!("{name} {pointer}")).collect(),
        };
        for line in lines {
            assert!(tried.contains(line.as_str()), "no case for {line:?} in tests/c/handles.c");
        }
    }
}
