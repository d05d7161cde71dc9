//! Authorities that products register, made by OpenSSL's command line as a manufacturer would.

use std::{fs, process::Command};

use super::*;

const NEW_KEY: &str = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

/// A root, an authority of a plant below it, and the certificate of a device below that.
fn make_chain(tls: &Encrypted, name: &str) {
    tls.shell(&format!(
        "printf 'basicConstraints=critical,CA:TRUE\\nkeyUsage=critical,keyCertSign\\n' > ca.ext
         echo extendedKeyUsage=clientAuth > v3.ext
         {NEW_KEY} -x509 -days 30 -subj '/CN=Acme root' -keyout ca.key -out acme.pem
         {NEW_KEY} -subj '/CN=Acme plant' -keyout plant.key -out plant.csr
         openssl x509 -req -in plant.csr -CA acme.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ca.ext -out plant.pem"
    ));
    make_leaf(tls, name);
}

/// The certificate of a device, below the plant.
fn make_leaf(tls: &Encrypted, name: &str) {
    tls.shell(&format!(
        "{NEW_KEY} -subj '/CN={name}' -keyout d.key -out d.csr
         openssl x509 -req -in d.csr -CA plant.pem -CAkey plant.key -CAcreateserial -days 30 -extfile v3.ext -out leaf.pem
         cat leaf.pem plant.pem > d.pem"
    ));
}

const OWN: [&str; 6] = ["--cafile", "ca.pem", "--cert", "d.pem", "--key", "d.key"];

#[test]
fn a_product_lets_in_what_its_own_authority_signed() {
    let tls = Encrypted::start();
    make_chain(&tls, "dev");
    tls.publish("{}", &OWN).unwrap_err();
    tls.refused("certificate_unknown_authority", 1.0);

    // The refusal says how to prove that one has the key; its commands are followed word by word.
    let register = ["create", "authority", PRODUCT, "--certificate", "acme.pem"];
    let refusal = tls.hub.command(&register).current_dir(tls.files.path()).output().unwrap();
    assert_eq!(refusal.status.code(), Some(1));
    let refusal = String::from_utf8(refusal.stderr).unwrap();
    let commands = refusal.split_once("as with: ").unwrap().1.split_once("; and send").unwrap().0;
    tls.shell(&commands.replace("ca.pem", "acme.pem"));
    let said = tls.weir(&[&register[..], &["--proof", "proof.pem"]].concat());
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.starts_with("authority CN=Acme root of product A1B2C3D4E5 registered\n"), "{said}");

    // No restart was needed, in either version.
    for version in ["tlsv1.2", "tlsv1.3"] {
        tls.publish(r#"{"n":1}"#, &[&OWN[..], &["--tls-version", version]].concat()).unwrap();
    }
    assert_eq!(tls.published(), ["1", "1"]);
    let listed: Value =
        serde_json::from_slice(&tls.weir(&["get", "authorities", PRODUCT, "-o", "json"]).stdout).unwrap();
    assert_eq!((&listed["total"], &listed["items"][0]["proved"]), (&json!(1), &json!(true)));
    let fingerprint = listed["items"][0]["fingerprint"].as_str().unwrap();
    let described = tls.weir(&["describe", "authority", PRODUCT, fingerprint]).stdout;
    assert!(String::from_utf8(described).unwrap().contains("CN=Acme root"));

    // Taken away, it takes along who came by it, and nobody else.
    let by_certificate = tls.subscriber("d.pem", "d.key", "dev");
    tls.weir(&["create", "device", PRODUCT, "own", "--certificate", "--out", "own"]);
    let by_the_hub = tls.subscriber("own.pem", "own.key", "own");
    tls.weir(&["delete", "authority", PRODUCT, fingerprint]);
    tls.put_out("dev", by_certificate);
    assert!(tls.hub.session("own").is_some());
    end(by_the_hub);
    tls.publish("{}", &OWN).unwrap_err();
    tls.refused("certificate_unknown_authority", 2.0);
}

#[test]
fn an_authority_vouches_within_its_product_only() {
    let tls = Encrypted::start();
    let other = "ZZZZZZZZZZ";
    tls.weir(&["create", "product", "--id", other]);
    tls.weir(&["create", "device", other, "dev"]);
    make_chain(&tls, &format!("{PRODUCT}dev"));
    tls.weir(&["create", "authority", other, "--certificate", "acme.pem", "--trusted"]);
    // There it is a name like any other, and nobody has it.
    tls.publish("{}", &OWN).unwrap_err();
    assert_eq!(tls.published().len(), 0);
    tls.weir(&["create", "authority", PRODUCT, "--certificate", "acme.pem", "--trusted"]);
    tls.publish(r#"{"n":1}"#, &OWN).unwrap();
    // Of two products, a name alone says too little.
    make_leaf(&tls, "dev");
    tls.publish("{}", &OWN).unwrap_err();
    // A slash parts names there unless it is escaped.
    make_leaf(&tls, &format!("{PRODUCT}\\/dev"));
    tls.publish(r#"{"n":2}"#, &OWN).unwrap();
    // And the device must exist.
    make_leaf(&tls, &format!("{PRODUCT}nobody"));
    tls.publish("{}", &OWN).unwrap_err();
    assert_eq!(tls.published(), ["1", "2"]);
}

#[test]
fn version_1_is_refused_and_the_log_says_what_to_do() {
    let tls = Encrypted::start();
    make_chain(&tls, "dev");
    tls.weir(&["create", "authority", PRODUCT, "--certificate", "acme.pem", "--trusted"]);
    tls.shell("openssl x509 -req -in d.csr -CA acme.pem -CAkey ca.key -CAcreateserial -days 30 -out d.pem");
    for version in ["tlsv1.2", "tlsv1.3"] {
        tls.publish("{}", &[&OWN[..], &["--tls-version", version]].concat()).unwrap_err();
    }
    tls.refused("certificate_version", 2.0);
    let log = fs::read_to_string(tls.hub.data().parent().unwrap().join("hub.log")).unwrap();
    assert!(log.contains("openssl x509 -req -in device.csr"), "{log}");

    tls.shell(&format!(
        "{NEW_KEY} -subj /CN=Old -keyout old.key -out old.csr
         openssl x509 -req -in old.csr -signkey old.key -days 30 -out old.pem"
    ));
    let old = ["create", "authority", PRODUCT, "--certificate", "old.pem", "--trusted"];
    let refusal = tls.hub.command(&old).current_dir(tls.files.path()).output().unwrap();
    let refusal = String::from_utf8(refusal.stderr).unwrap();
    assert!(refusal.contains("version 1") && refusal.contains("openssl x509 -in ca.pem -signkey"), "{refusal}");
}

impl Encrypted {
    /// Lines of shell beside the files.
    fn shell(&self, lines: &str) {
        let output = Command::new("sh").args(["-euc", lines]).current_dir(self.files.path()).output().unwrap();
        assert!(output.status.success(), "{lines}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
