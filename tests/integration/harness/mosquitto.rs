//! mosquitto: its command line clients, and its broker as another server to compare with. Real ones, which we did not
//! write.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{SOON, eventually, mqtt::Login};

/// `mosquitto_pub` or `mosquitto_sub`, ready to connect.
pub(crate) fn client(program: &str, port: u16, login: &Login) -> Command {
    assert!(
        Command::new(program).arg("--help").output().is_ok(),
        "{program} is not installed: `make test` does that, or apt-get install mosquitto-clients"
    );
    // Line by line, even into a pipe.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", program, "-h", "127.0.0.1", "-p", &port.to_string(), "-i", &login.client_id]);
    command.args(["-u", &login.username, "-P", &login.password, "-q", "1"]);
    command
}

/// A mosquitto of one's own that lets everybody in and keeps nothing on disk, killed when it is dropped.
pub(crate) struct Broker {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Broker {
    pub(crate) fn start() -> Self {
        Self::with("allow_anonymous true")
    }

    /// With one account that may do everything.
    pub(crate) fn with_password(username: &str, password: &str) -> Self {
        Self::prepared("password_file passwords", |folder| {
            let mut command = Command::new("mosquitto_passwd");
            command.args(["-b", "-c", "passwords", username, password]).current_dir(folder);
            let output = command.output().expect("mosquitto is not installed: `make test` does that");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        })
    }

    fn with(setting: &str) -> Self {
        Self::prepared(setting, |_| {})
    }

    fn prepared(setting: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Started by root it would become another user, who may not read this folder.
        let settings = format!("listener {port} 127.0.0.1\n{setting}\nmax_queued_messages 0\nuser root\n");
        fs::write(folder.path().join("mosquitto.conf"), settings).unwrap();
        let process = spawn(&folder);
        let mut broker = Self { folder, port, process };
        broker.wait_until_it_serves();
        broker
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// kill -9, and a start at the same port.
    pub(crate) fn kill_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(&self.folder);
        self.wait_until_it_serves();
    }

    fn wait_until_it_serves(&mut self) {
        eventually("mosquitto serves", SOON, || {
            assert_eq!(self.process.try_wait().unwrap(), None, "mosquitto ended");
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _may_have_ended = self.process.kill();
        let _no_more_to_do = self.process.wait();
    }
}

fn spawn(folder: &TempDir) -> Child {
    // Debian keeps daemons in folders that are not on everybody's path.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", "exec mosquitto -c mosquitto.conf"]).current_dir(folder).env("PATH", path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("mosquitto is not installed: `make test` does that")
}
