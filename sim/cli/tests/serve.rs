//! `pasidon serve` under the example client, over pipes and over a socket.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const PASIDON: &str = env!("CARGO_BIN_EXE_pasidon");

fn example(arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/serve.py");
    Command::new("python3").arg(script).args(arguments).output().expect("python3 starts")
}

fn well(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A server that listens, and is gone when the test is.
struct Server(Child, PathBuf);

impl Server {
    fn start(name: &str, more: &[&str]) -> Server {
        let path = std::env::temp_dir().join(format!("pasidon-serve-{}-{name}", std::process::id()));
        let mut command = Command::new(PASIDON);
        command.args(["serve", "--design", "tiny", "--socket"]).arg(&path).args(more);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the command starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        output.read_line(&mut line).expect("a line");
        assert_eq!(line, format!("listening on {}\n", path.display()));
        Server(child, path)
    }

    fn path(&self) -> &str {
        self.1.to_str().expect("a plain path")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is over already if all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_example_runs_over_pipes_on_every_engine() {
    for engine in ["model", "rtl", "both"] {
        let output = example(&["--pasidon", PASIDON, "--design", "tiny", "--engine", engine]);
        let said = well(&output);
        assert!(said.contains(&format!("engine {engine}")) && said.ends_with("ok\n"), "{said}");
    }
}

#[test]
fn the_example_runs_over_a_socket() {
    let mut server = Server::start("example", &[]);
    // A client that sends half a line and goes away disturbs nobody.
    let mut rude = std::os::unix::net::UnixStream::connect(server.path()).expect("it listens");
    rude.write_all(b"{\"op\": \"st").expect("it reads");
    drop(rude);
    let said = well(&example(&["--socket", server.path()]));
    assert!(said.ends_with("ok\n"), "{said}");
    // The client has ended it.
    assert!(server.0.wait().expect("it ends").success());
    assert!(!server.1.exists(), "the socket is gone");
}

#[test]
fn speed_can_be_measured() {
    let said = well(&example(&["--pasidon", PASIDON, "--design", "tiny", "--measure", "200"]));
    assert!(said.contains("register reads: ") && said.contains("translations: "), "{said}");
}

#[test]
fn the_command_line_is_checked() {
    let fails = |arguments: &[&str], words: &str| {
        let output = Command::new(PASIDON).arg("serve").args(arguments).output().expect("the command starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words) && !said.contains("panicked"), "{said}");
    };
    fails(&["--design", "tiny"], "<--stdio|--socket <PATH>>");
    fails(&["--stdio", "--socket", "x"], "cannot be used with");
    fails(&["--stdio", "--design", "nowhere.toml"], "nowhere.toml");
    fails(&["--design", "tiny", "--engine", "model", "--socket", "/nowhere/at/all"], "/nowhere/at/all: ");
    // A file that is no socket is not removed.
    let file = std::env::temp_dir().join(format!("pasidon-serve-{}-file", std::process::id()));
    std::fs::write(&file, "precious").expect("a file");
    let name = file.to_str().expect("a plain path");
    fails(&["--design", "tiny", "--engine", "model", "--socket", name], "in use");
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "precious");
    std::fs::remove_file(file).expect("it can be removed");
}
