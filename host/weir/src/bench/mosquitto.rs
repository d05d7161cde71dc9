//! The peer: mosquitto with a configuration that asks nothing of it but to pass messages on.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::process::Process;

/// What it is told, in every measurement; shown beside the figures. 100 messages in flight are what the hub allows too,
/// and a queue of 0 has no bound. Nothing is kept on disk, and nothing but errors is logged.
pub(super) const SETTINGS: [&str; 7] = [
    "allow_anonymous true",
    "max_inflight_messages 100",
    "max_queued_messages 0",
    "max_connections -1",
    "persistence false",
    "log_type error",
    "log_dest stderr",
];

/// What makes its listener one for WebSockets.
pub(super) const WEBSOCKETS: &str = "protocol websockets";

#[derive(Debug)]
pub(super) struct Mosquitto {
    // Fields are dropped in order: the process ends before its folder goes.
    pub(super) process: Process,
    pub(super) address: String,
    _folder: TempDir,
}

/// Where it is, if it is installed. Debian puts daemons where the path of most users does not lead.
pub(super) fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    places.map(|folder| folder.join("mosquitto")).find(|program| program.is_file())
}

/// What it says it is, such as `mosquitto version 2.0.11`.
pub(super) fn version(program: &Path) -> Result<String> {
    // It has no other way to say so, and ends with an error after it.
    let output = Command::new(program).arg("-h").output().context("cannot run mosquitto")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or("mosquitto of an unknown version").trim().to_owned())
}

impl Mosquitto {
    /// Starts it with a listener on loopback, of which `listener` says more.
    pub(super) async fn start(program: &Path, listener: &[String]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("weir-bench-mosquitto-").tempdir()?;
        let port = free_port()?;
        let configuration = folder.path().join("mosquitto.conf");
        // As root it would become another user, who cannot read files of ours.
        let mut lines = vec!["user root".to_owned()];
        if listener.iter().any(|line| line == WEBSOCKETS) {
            // A listener for WebSockets alone is not enough for it to start.
            lines.push(format!("listener {} 127.0.0.1", free_port()?));
        }
        // Without the latter it listens for WebSockets on every address.
        lines.extend([format!("listener {port} 127.0.0.1"), "socket_domain ipv4".to_owned()]);
        lines.extend_from_slice(listener);
        lines.extend(SETTINGS.map(str::to_owned));
        fs::write(&configuration, lines.join("\n") + "\n")?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&configuration);
        let mut process = Process::start("mosquitto", &mut command, folder.path())?;
        let address = format!("127.0.0.1:{port}");
        process.wait_for(async || TcpStream::connect(&address).await.ok()).await?;
        Ok(Self { process, address, _folder: folder })
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
