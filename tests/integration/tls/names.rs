//! Several certificates of the hub, chosen by the host that a client names.

use std::{fs, process::Command};

use super::*;

#[test]
fn the_host_that_a_client_names_chooses_the_certificate_and_all_reload() {
    let files = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let lines = format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=hub \
             -addext subjectAltName=DNS:{name}.example.org -keyout {name}.key -out {name}.pem"
        );
        let made = Command::new("sh").args(["-euc", &lines]).current_dir(files.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    make("a");
    make("b");
    let files_of = |name: &str| {
        let path = |ending: &str| files.path().join(format!("{name}.{ending}")).display().to_string();
        format!("{{ certificate = '{}', private_key = '{}' }}", path("pem"), path("key"))
    };
    let tls = Encrypted::with(&[&format!("tls.certificates=[{}, {}]", files_of("a"), files_of("b"))]);
    let shown = |host: &str| {
        let connect = format!("127.0.0.1:{}", tls.hub.mqtts_port());
        let arguments = ["30", "openssl", "s_client", "-connect", &connect, "-servername", host];
        let output = Command::new("timeout").args(arguments).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let start = text.find("-----BEGIN CERT").unwrap_or_else(|| panic!("{host}: {text}"));
        let end = text[start..].find("-----END CERT").unwrap();
        text[start..start + end].to_owned()
    };
    let on_disk = |name: &str| {
        let text = fs::read_to_string(files.path().join(format!("{name}.pem"))).unwrap();
        text[..text.find("-----END CERT").unwrap()].to_owned()
    };
    assert_eq!(shown("a.example.org"), on_disk("a"));
    assert_eq!(shown("B.example.org"), on_disk("b"));
    let usual = shown("c.example.org");
    assert!(usual != on_disk("a") && usual != on_disk("b"));

    let login = tls.hub.administrator("x");
    let mut staying = tls.client(
        "mosquitto_sub",
        "localhost",
        &["--cafile", "ca.pem", "-u", &login.username, "-P", &login.password, "-t", "a/b", "-C", "1"],
    );
    let mut staying = staying.stdout(Stdio::piped()).spawn().unwrap();
    make("b");
    let endpoints: Value = serde_json::from_slice(&fs::read(tls.hub.data().join("endpoints.json")).unwrap()).unwrap();
    let pid = endpoints["pid"].to_string();
    let hangup = || assert!(Command::new("sh").args(["-c", "kill -HUP $0", &pid]).status().unwrap().success());
    hangup();
    eventually("the new one is shown", SOON, || (shown("b.example.org") == on_disk("b")).then_some(()));

    // One that cannot be read leaves all as they are.
    let before = on_disk("a");
    make("a");
    fs::write(files.path().join("b.pem"), "nothing").unwrap();
    hangup();
    let log = tls.hub.data().parent().unwrap().join("hub.log");
    let refused = || fs::read_to_string(&log).unwrap().contains("the certificates in use stay").then_some(());
    eventually("the log says so", SOON, refused);
    assert_eq!(shown("a.example.org"), before);

    // Who was connected all the time still is.
    eventually("it is told", SOON, || {
        tls.hub.post("/v1/publish", &json!({"topic": "a/b", "payload": "still", "qos": 1}));
        staying.try_wait().unwrap()
    });
    assert_eq!(staying.wait_with_output().unwrap().stdout, b"still\n");
}
