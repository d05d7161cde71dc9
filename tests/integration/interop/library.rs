//! A client library: it is told what to do by a JSON object and answers by one, as `tests/interop/README.md` says.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::root;

pub(super) trait Library {
    fn call(&mut self, command: &Value) -> Value;
}

/// Longer than the programs wait for anything themselves.
const PATIENCE: Duration = Duration::from_secs(60);

/// A library in a program of its own, which ends with this.
pub(super) struct Program {
    process: Child,
    input: ChildStdin,
    answers: Receiver<String>,
}

impl Program {
    pub(super) fn python(script: &str) -> Self {
        Self::start(Command::new(installed("python/bin/python")).arg(path_of(script)))
    }

    pub(super) fn node(script: &str) -> Self {
        Self::start(Command::new("node").arg(path_of(script)).env("WEIR_INTEROP", installed("")))
    }

    pub(super) fn start(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (sender, answers) = sync_channel(1);
        // Ends when the process does, which closes the pipe.
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.map_while(|line| sender.send(line).ok()).for_each(drop);
        });
        Self { process, input, answers }
    }
}

impl Library for Program {
    fn call(&mut self, command: &Value) -> Value {
        if writeln!(self.input, "{command}").is_err() {
            return json!({"error": "the program has ended"});
        }
        match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => serde_json::from_str(&line).unwrap_or_else(|_| json!({"error": line})),
            Err(error) => json!({"error": format!("no answer: {error}")}),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _may_have_ended = self.process.kill();
        let _no_more_to_do = self.process.wait();
    }
}

/// What `.ci/setup test` has installed.
pub(crate) fn installed(path: &str) -> PathBuf {
    let folder = PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/weir/interop");
    assert!(folder.join("versions").exists(), "the clients are not installed: `.ci/setup test` does that");
    folder.join(path)
}

pub(crate) fn path_of(script: &str) -> PathBuf {
    root().join("tests/interop").join(script)
}
