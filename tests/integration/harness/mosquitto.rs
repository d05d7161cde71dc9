//! mosquitto's command line clients: real ones, which we did not write.

use std::process::Command;

use super::mqtt::Login;

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
