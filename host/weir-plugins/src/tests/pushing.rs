//! What is taken as a plugin, and what becomes of the one before.

use weir_core::plugin::{PluginError, PluginWorld};

use super::*;
use crate::{SigningKey, TrustedKey};

async fn refused(host: &TestHost, bytes: &[u8]) -> PluginError {
    host.host.check(bytes.into()).await.unwrap_err()
}

#[tokio::test]
async fn a_component_tells_what_it_is() {
    let host = TestHost::start();
    let component = guests::component("influxdb");
    let summary = host.host.check(component.as_slice().into()).await.unwrap();
    assert_eq!((summary.world, summary.size), (PluginWorld::Sink, component.len() as u64));
    assert_eq!(summary.imports, ["http", "log"]);
    assert_eq!(summary.warnings, ["the component is not signed"]);
}

#[tokio::test]
async fn what_is_no_plugin_is_refused_with_the_reason() {
    let host = TestHost::with(|options| options.component_bytes = 1 << 20);
    let invalid = async |bytes: &[u8], expected: &str| match refused(&host, bytes).await {
        PluginError::Invalid(reason) => assert!(reason.contains(expected), "{reason}"),
        other => panic!("{other:?}"),
    };
    invalid(b"hello", "this is not a WebAssembly component").await;
    invalid(b"\0asm\x01\0\0\0", "this is a core module, not a component").await;
    invalid(b"\0asm\x0d\0\x01\0", "exports nothing, and no world").await;
    invalid(b"\0asm\x0d\0\x01\0\xff\xff", "cannot be compiled").await;
    let mut damaged = guests::component("hostile");
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0xff);
    assert!(matches!(refused(&host, &damaged).await, PluginError::Invalid(_)));
    assert!(matches!(refused(&host, &vec![0; 2 << 20]).await, PluginError::TooLarge { .. }));
}

#[tokio::test]
async fn a_hub_that_demands_signatures_takes_signed_ones_alone() {
    let key = SigningKey::generate().unwrap();
    let trusted = TrustedKey { name: "ops".to_owned(), key: key.public() };
    let host = TestHost::with(|options| {
        options.trusted_keys = vec![trusted];
        options.require_signature = true;
    });
    let component = guests::component("hostile");
    assert!(matches!(refused(&host, &component).await, PluginError::Signature(_)));
    let summary = host.host.check(key.sign(&component).into()).await.unwrap();
    assert_eq!((summary.signed_by.as_deref(), summary.warnings.len()), (Some("ops"), 0));
}

#[tokio::test]
async fn a_new_version_takes_over_between_two_batches() {
    let host = TestHost::start();
    let component = guests::component("hostile");
    host.push("hostile", &component).await;
    let target = host.open("hostile", &[], &[]).unwrap();
    assert_eq!(write(&target, &["fine"]).await, [Outcome::Delivered]);
    // The same code under another signature is another version.
    host.push("hostile", &SigningKey::generate().unwrap().sign(&component)).await;
    assert_eq!(write(&target, &["fine"]).await, [Outcome::Delivered]);
    host.host.forget(&"hostile".parse().unwrap());
    let outcomes = write(&target, &["fine"]).await;
    assert!(matches!(outcomes[0], Outcome::Unavailable { .. }), "{outcomes:?}");
    assert_eq!(reason(&outcomes[0]), "there is no plugin hostile any more");
}

#[tokio::test]
async fn compiled_code_is_kept_for_its_owner_alone_and_used_again() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let start = || TestHost::with(|options| options.cache.clone_from(&cache));
    let component = guests::component("hostile");
    start().push("hostile", &component).await;
    assert_eq!(std::fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    let files = || std::fs::read_dir(&cache).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
    let [compiled] = files().try_into().unwrap();
    let written = std::fs::metadata(&compiled).unwrap().modified().unwrap();
    let host = start();
    host.push("hostile", &component).await;
    assert_eq!(std::fs::metadata(&compiled).unwrap().modified().unwrap(), written, "it was not compiled again");

    // A file that is no code is compiled anew, and code that belongs to no plugin is forgotten.
    drop(host);
    std::fs::write(&compiled, "no code").unwrap();
    std::fs::write(cache.join("old.cwasm"), "old").unwrap();
    let host = start();
    host.push("hostile", &component).await;
    host.host.tidy_cache();
    assert_eq!(files(), [compiled]);
    let target = host.open("hostile", &[], &[]).unwrap();
    assert_eq!(write(&target, &["fine"]).await, [Outcome::Delivered]);
}
