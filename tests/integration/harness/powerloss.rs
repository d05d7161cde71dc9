//! Storage that forgets everything unsynced: builds and applies `tests/powerloss/powerloss.c`.

use std::{path::Path, process::Command};

use tempfile::TempDir;

use super::root;

pub(crate) struct Powerloss {
    folder: TempDir,
}

impl Powerloss {
    pub(crate) fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("journal")).unwrap();
        compile(folder.path(), &["-shared", "-fPIC", "-o", "powerloss.so"]);
        compile(folder.path(), &["-DREWIND", "-o", "rewind"]);
        Self { folder }
    }

    /// Makes `data` forget what `command` does not sync.
    pub(crate) fn preload(&self, command: &mut Command, data: &Path) {
        command.env("LD_PRELOAD", self.folder.path().join("powerloss.so"));
        command.env("WEIR_POWERLOSS_DIR", data).env("WEIR_POWERLOSS_JOURNAL", self.folder.path().join("journal"));
    }

    /// Takes `data` back to what was synced. Says how many changes were undone.
    pub(crate) fn rewind(&self, data: &Path) -> usize {
        let mut rewind = Command::new(self.folder.path().join("rewind"));
        let output = rewind.arg(data).arg(self.folder.path().join("journal")).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "rewind: {said}{}", String::from_utf8_lossy(&output.stderr));
        said.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

fn compile(folder: &Path, arguments: &[&str]) {
    let source = root().join("tests/powerloss/powerloss.c");
    let mut compiler = Command::new("cc");
    let compiler = compiler.current_dir(folder).args(["-O2", "-Wall", "-Wextra"]);
    let output = compiler.args(arguments).arg(source).output().unwrap();
    assert!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
}
