//! Single certificates: listed, revoked, pinned.

use super::*;

/// The certificates that a command lists.
fn listed(tls: &Encrypted) -> Vec<Value> {
    let printed = tls.weir(&["get", "certificates", PRODUCT, "dev", "-o", "json"]);
    serde_json::from_slice::<Value>(&printed.stdout).unwrap()["items"].as_array().unwrap().clone()
}

#[test]
fn a_revoked_certificate_is_put_out_and_kept_out() {
    let tls = Encrypted::start();
    for name in ["first", "second"] {
        tls.weir(&["create", "certificate", PRODUCT, "dev", "--out", name]);
    }
    let by = |name: &str| {
        tls.publish(
            r#"{"n":1}"#,
            &["--cafile", "ca.pem", "--cert", &format!("{name}.pem"), "--key", &format!("{name}.key")],
        )
    };
    by("first").unwrap();
    by("second").unwrap();
    let certificates = listed(&tls);
    assert_eq!(certificates.len(), 2);
    let text = |at: usize, field: &str| certificates[at][field].as_str().unwrap().to_owned();

    let connected = tls.subscriber("first.pem", "first.key", "dev");
    let session = tls.hub.session("dev").unwrap();
    let used = certificates.iter().position(|one| one["fingerprint"] == session["certificate"]).unwrap();
    // By its number, as `openssl x509 -serial` prints it.
    tls.weir(&["delete", "certificate", &text(used, "serial")]);
    tls.put_out("dev", connected);
    by("first").unwrap_err();
    tls.refused("certificate_revoked", 1.0);
    by("second").unwrap();
    tls.weir(&["delete", "certificate", &text(1 - used, "fingerprint")]);
    by("second").unwrap_err();
    assert!(listed(&tls).iter().all(|certificate| certificate["revoked_at"].is_number()));

    // What the hub did not issue has no number here.
    let unknown = tls.hub.command(&["delete", "certificate", "1234"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));

    // A device that is made again does not inherit.
    tls.weir(&["create", "certificate", PRODUCT, "dev", "--out", "third"]);
    by("third").unwrap();
    tls.weir(&["delete", "device", PRODUCT, "dev"]);
    tls.weir(&["create", "device", PRODUCT, "dev"]);
    by("third").unwrap_err();
    tls.refused("certificate_revoked", 3.0);
}

#[test]
fn a_pinned_certificate_needs_no_authority_and_admits_no_other() {
    let tls = Encrypted::start();
    make_certificate(tls.files.path(), &tls.file("self.pem"), &tls.file("self.key"));
    let own = ["--cafile", "ca.pem", "--cert", "self.pem", "--key", "self.key"];
    tls.publish("{}", &own).unwrap_err();
    let other = ["--cafile", "ca.pem", "--cert", "hub.pem", "--key", "hub.key"];
    tls.weir(&["create", "certificate", PRODUCT, "dev", "--out", "hub"]);
    let by_another = tls.subscriber("hub.pem", "hub.key", "dev");

    tls.weir(&["create", "pin", PRODUCT, "dev", "--certificate", "self.pem"]);
    tls.put_out("dev", by_another);
    tls.publish(r#"{"n":1}"#, &own).unwrap();
    tls.publish("{}", &other).unwrap_err();
    tls.refused("certificate_not_pinned", 1.0);
    let pinned = listed(&tls).into_iter().find(|certificate| certificate["pinned"] == true).unwrap();
    let fingerprint = pinned["fingerprint"].as_str().unwrap();

    let connected = tls.subscriber("self.pem", "self.key", "dev");
    tls.weir(&["delete", "pin", PRODUCT, "dev", "--fingerprint", fingerprint]);
    tls.put_out("dev", connected);
    tls.publish("{}", &own).unwrap_err();
    tls.publish(r#"{"n":2}"#, &other).unwrap();
    assert_eq!(tls.published(), ["1", "2"]);

    // A private key does not leave the machine by mistake.
    let key = ["create", "pin", PRODUCT, "dev", "--certificate", "self.key"];
    let refused = tls.hub.command(&key).current_dir(tls.files.path()).output().unwrap();
    assert!(String::from_utf8(refused.stderr).unwrap().contains("private key"));
}
