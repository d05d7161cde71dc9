//! A broker under test: started, watched through /proc, and ended with whoever started it.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// Clock ticks of /proc per second: 100 on every Linux that Weir runs on (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes of a broker's own words that are shown when it fails.
const SHOWN_BYTES: usize = 2_000;

/// Killed when dropped, so that nothing outlives the measurement, whatever ends it.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    child: Child,
    errors: std::path::PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Process {
    /// Starts a program whose standard error goes to a file in `folder`.
    pub(super) fn start(name: &'static str, command: &mut Command, folder: &Path) -> Result<Self> {
        let errors = folder.join(format!("{name}.err"));
        let file = File::create(&errors).with_context(|| format!("cannot write {}", errors.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, errors })
    }

    /// Asks again and again until `ready` answers, the process ends, or half a minute is over.
    pub(super) async fn wait_for<T>(&mut self, ready: impl AsyncFn() -> Option<T>) -> Result<T> {
        for _ in 0..1_500 {
            if let Some(found) = ready().await {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.name, self.words());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{} did not get ready: {}", self.name, self.words())
    }

    /// User and system time so far, in seconds.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))
            .with_context(|| format!("{} is gone: {}", self.name, self.words()))?;
        cpu_seconds(&stat).context("/proc/PID/stat is not as expected")
    }

    /// Resident memory now and at its highest, in bytes.
    pub(super) fn memory(&self) -> Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .with_context(|| format!("{} is gone: {}", self.name, self.words()))?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok().map(|kib| kib * 1_024)
        };
        Ok((bytes("VmRSS:").unwrap_or(0), bytes("VmHWM:").unwrap_or(0)))
    }

    /// How many files, and so connections, it has open.
    pub(super) fn open_files(&self) -> Result<usize> {
        let files = fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .with_context(|| format!("{} is gone: {}", self.name, self.words()))?;
        Ok(files.count())
    }

    /// The end of what it wrote to standard error.
    fn words(&self) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(&self.errors) {
            // Half of the words are better than none.
            let _read = file.read_to_end(&mut text);
        }
        let tail = text.get(text.len().saturating_sub(SHOWN_BYTES)..).unwrap_or_default();
        String::from_utf8_lossy(tail).trim().to_owned()
    }
}

/// CPU time of this process: what generating the load costs.
pub(super) fn own_cpu_seconds() -> f64 {
    fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat)).unwrap_or(0.0)
}

/// Fields 14 and 15; the name in field 2 may hold spaces and parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_hostile_name() {
        let stat = "7 (we) ir (x) S 1 7 7 0 -1 4194304 1 2 3 4 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert!(own_cpu_seconds() >= 0.0);
    }
}
