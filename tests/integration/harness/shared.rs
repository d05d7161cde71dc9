//! One hub for many tests. Nothing drops a static, so a shell that reads from a pipe watches over it: when the process that
//! runs the tests ends, however it does, the pipe closes, and the hub and its folder go.

use std::{
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use super::hub::Hub;

static HUB: LazyLock<(Hub, Child)> = LazyLock::new(|| {
    let hub = Hub::start();
    let folder = hub.data().parent().unwrap().to_owned();
    let mut watch = Command::new("sh");
    watch.args(["-c", r#"read -r _; kill -9 "$0"; rm -rf "$1""#, &hub.pid().to_string()]).arg(folder);
    let watch = watch.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    (hub, watch)
});

/// The hub that tests share which neither stop it nor count what it did.
pub(crate) fn hub() -> &'static Hub {
    &HUB.0
}
