use std::{io::Write, time::Duration};

use super::*;

fn load(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str, &str)]) -> Result<Config, String> {
    let mut on_disk = tempfile::NamedTempFile::new().unwrap();
    on_disk.write_all(file.as_bytes()).unwrap();
    let overrides = Overrides {
        file: Some(on_disk.path().to_owned()),
        environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        flags: flags
            .iter()
            .map(|(flag, key, value)| [flag, key, value].map(|text| (*text).to_owned()).into())
            .collect(),
    };
    Config::load(overrides).map_err(|error| error.to_string().replace(&on_disk.path().display().to_string(), "FILE"))
}

fn fails(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str, &str)], expected: &str) {
    assert_eq!(load(file, environment, flags).unwrap_err(), expected);
}

#[test]
fn defaults_are_complete_and_valid() {
    let config = Config::load(Overrides::default()).unwrap();
    assert_eq!(config.listen.mqtt_port, 1883);
    assert_eq!((config.listen.ws_port, config.tls.ws_port), (8081, 8443));
    assert_eq!(config.admin.port, 8080);
    assert_eq!(config.log.segment_bytes, 64 << 20);
    assert_eq!(config.log.retain_age, Duration::from_secs(7 * 24 * 3600));
    assert_eq!(config.limits.keep_alive, Duration::from_secs(15 * 60));
    assert_eq!(config.log.sync, Sync::Always);
}

#[test]
fn a_flag_wins_over_the_environment_over_a_file_over_the_default() {
    let file = "[listen]\nmqtt_port = 1\n[log]\nsync = 'never'\nsync_interval = '1 s'";
    let environment =
        [("WEIR_LISTEN__MQTT_PORT", "2"), ("WEIR_LOG__SYNC", "interval"), ("WEIR_DATA", "/x"), ("PATH", "/")];
    let config = load(file, &environment, &[("--mqtt-port", "listen.mqtt_port", "3")]).unwrap();
    assert_eq!(config.listen.mqtt_port, 3);
    assert_eq!(config.log.sync, Sync::Interval);
    assert_eq!(config.log.sync_interval, Duration::from_secs(1));
    assert_eq!(config.admin.port, 8080);
}

#[test]
fn an_unknown_setting_is_named_with_its_nearest() {
    fails("[log]\nsink = 'always'", &[], &[], "FILE: unknown setting log.sink; did you mean log.sync?");
    fails("[listen]\nsync = 'always'", &[], &[], "FILE: unknown setting listen.sync; did you mean log.sync?");
    fails("colour = 1", &[], &[], "FILE: unknown setting colour");
    fails("log = 1", &[], &[], "FILE: unknown setting log");
    fails(
        "",
        &[("WEIR_LISTEN__MQTTPORT", "0")],
        &[],
        "environment variable WEIR_LISTEN__MQTTPORT: unknown setting listen.mqttport; did you mean listen.mqtt_port?",
    );
    fails("", &[], &[("--set", "logs.sync", "x")], "flag --set: unknown setting logs.sync; did you mean log.sync?");
}

#[test]
fn a_bad_value_is_named_with_who_gave_it() {
    fails(
        "[log]\nretain_age = '7'",
        &[],
        &[],
        "FILE: setting log.retain_age: \"7\" is not a time; write a number and its unit, such as \"10 ms\", \"30 s\" or \"7 days\"",
    );
    fails(
        "[log]\nmax_bytes = 'much'",
        &[],
        &[],
        "FILE: setting log.max_bytes: \"much\" is not a size; write a number and its unit, such as \"64 KiB\" or \"1 GiB\"",
    );
    fails(
        "",
        &[("WEIR_ADMIN__PORT", "http")],
        &[],
        "environment variable WEIR_ADMIN__PORT: setting admin.port: \"http\" is not a whole number",
    );
    let error = load("[admin]\nport = 70000", &[], &[]).unwrap_err();
    assert!(error.starts_with("FILE: setting admin.port: "), "{error}");
    let error = load("[log]\nsync = 'sometimes'", &[], &[]).unwrap_err();
    assert!(error.starts_with("FILE: setting log.sync: unknown variant `sometimes`, expected one of"), "{error}");
    let error = load("[log\n", &[], &[]).unwrap_err();
    assert!(error.starts_with("FILE is not valid TOML: "), "{error}");
    let missing = Config::load(Overrides { file: Some("/nowhere/weir.toml".into()), ..Overrides::default() });
    assert_eq!(missing.unwrap_err().to_string(), "cannot read configuration file /nowhere/weir.toml");
}

#[test]
fn origins_are_a_list() {
    let origins = |text| load("", &[("WEIR_WEBSOCKET__ORIGINS", text)], &[]).map(|config| config.websocket.origins);
    assert_eq!(origins("").unwrap(), Vec::<String>::new());
    assert_eq!(origins("https://a.example, http://b:81").unwrap(), ["https://a.example", "http://b:81"]);
    let file = load("[websocket]\norigins = ['https://a.example']", &[], &[]).unwrap();
    assert_eq!(file.websocket.origins, ["https://a.example"]);
    assert_eq!(
        origins("https://a.example/").unwrap_err(),
        "environment variable WEIR_WEBSOCKET__ORIGINS: setting websocket.origins: \"https://a.example/\" is not an \
         origin; write scheme and host without a path, such as \"https://app.example.org\"",
    );
}

#[test]
fn plaintext_leaves_loopback_only_when_told_to() {
    let plain = |address: &'static str, flags: &[(&str, &str, &str)]| {
        let flags = [&[("--listen", "listen.address", address)], flags].concat();
        load("", &[], &flags).map(|config| config.plain_address().to_string())
    };
    let allow = ("--allow-plaintext", "listen.allow_plaintext", "true");
    assert_eq!(plain("::1", &[]).unwrap(), "::1");
    assert_eq!(plain("127.0.0.9", &[]).unwrap(), "127.0.0.9");
    assert_eq!(plain("0.0.0.0", &[]).unwrap(), "127.0.0.1");
    assert_eq!(plain("::", &[]).unwrap(), "::1");
    assert_eq!(plain("0.0.0.0", &[allow]).unwrap(), "0.0.0.0");
    let without_tls = ("--set", "tls.enabled", "false");
    assert_eq!(plain("0.0.0.0", &[without_tls, allow]).unwrap(), "0.0.0.0");
    assert_eq!(
        plain("0.0.0.0", &[without_tls]).unwrap_err(),
        "flag --set: setting tls.enabled: plain MQTT on 0.0.0.0 would show passwords to everyone on the way; \
         add --allow-plaintext if the network is trusted, or serve TLS (tls.enabled), or stay on 127.0.0.1",
    );
}

#[test]
fn a_certificate_comes_with_its_key() {
    fails(
        "[tls]\ncertificate = '/c.pem'",
        &[],
        &[],
        "FILE: setting tls.certificate: tls.certificate and tls.private_key are given together, or neither is",
    );
    load("[tls]\ncertificate = '/c.pem'\nprivate_key = '/c.key'", &[], &[]).unwrap();
}

#[test]
fn more_certificates_are_a_list() {
    let one = |name: &str| CertificateFiles {
        certificate: format!("/{name}.pem").into(),
        private_key: format!("/{name}.key").into(),
    };
    let table =
        |name: &str| format!("[[tls.certificates]]\ncertificate = '/{name}.pem'\nprivate_key = '/{name}.key'\n");
    let config = load(&format!("{}{}", table("a"), table("b")), &[], &[]).unwrap();
    assert_eq!(config.tls.certificates, [one("a"), one("b")]);
    let list = "[{ certificate = '/a.pem', private_key = '/a.key' }]";
    let config = load("", &[("WEIR_TLS__CERTIFICATES", list)], &[]).unwrap();
    assert_eq!(config.tls.certificates, [one("a")]);
    let error = load("[[tls.certificates]]\ncertificate = '/a.pem'", &[], &[]).unwrap_err();
    assert!(error.starts_with("FILE: setting tls.certificates: ") && error.contains("private_key"), "{error}");
    fails(
        "",
        &[("WEIR_TLS__CERTIFICATES", "[/a.pem]")],
        &[],
        "environment variable WEIR_TLS__CERTIFICATES: setting tls.certificates: \"[/a.pem]\" is not a list in TOML",
    );
}

#[test]
fn limits_without_sense_are_refused() {
    let set = |key: &'static str, value: &'static str| load("", &[], &[("--set", key, value)]);
    assert_eq!(
        set("limits.device_bytes_burst", "0").unwrap_err(),
        "flag --set: setting limits.device_bytes_burst: limits.device_bytes_burst must be at least 1, \
         or limits.device_bytes_per_second must be 0",
    );
    set("limits.device_bytes_per_second", "0").unwrap();
    assert_eq!(
        set("limits.session_expiry", "200 years").unwrap_err(),
        "flag --set: setting limits.session_expiry: a session is kept for less than 136 years",
    );
    for key in ["limits.receive_maximum", "limits.inflight_messages"] {
        for value in ["0", "65536"] {
            let error = set(key, value).unwrap_err();
            assert!(
                error.starts_with(&format!("flag --set: setting {key}: invalid value: integer `{value}`")),
                "{error}"
            );
        }
    }
}

#[test]
fn the_limits_of_the_library_are_those_of_the_defaults() {
    let config = Config::load(Overrides::default()).unwrap();
    assert_eq!(format!("{:?}", config.client_limits()), format!("{:?}", weir_broker::Limits::default()));
}

#[test]
fn sizes_that_contradict_each_other_are_refused() {
    fails(
        "[log]\nmax_bytes = '64 MiB'",
        &[],
        &[],
        "FILE: setting log.max_bytes: log.max_bytes must hold at least two segments (log.segment_bytes)",
    );
}
