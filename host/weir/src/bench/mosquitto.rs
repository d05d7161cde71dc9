//! The peer: mosquitto with a configuration that asks nothing of it but to pass messages on.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::process::Process;

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

impl Mosquitto {
    pub(super) async fn start(program: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("weir-bench-mosquitto-").tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let configuration = folder.path().join("mosquitto.conf");
        fs::write(
            &configuration,
            format!(
                "listener {port} 127.0.0.1\n\
                 allow_anonymous true\n\
                 max_inflight_messages 100\n\
                 max_queued_messages 0\n\
                 persistence false\n"
            ),
        )?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&configuration);
        let mut process = Process::start("mosquitto", &mut command, folder.path())?;
        let address = format!("127.0.0.1:{port}");
        process.wait_for(async || TcpStream::connect(&address).await.ok()).await?;
        Ok(Self { process, address, _folder: folder })
    }
}
