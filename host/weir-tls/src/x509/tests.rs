use openssl::{
    asn1::Asn1Time,
    hash::MessageDigest,
    nid::Nid,
    x509::{X509, X509Name, extension::SubjectAlternativeName},
};

use weir_core::Voucher;

use super::identity::identify;
use crate::{
    Certificate,
    authority::{KeyKind, new_key},
};

/// Self-signed: who vouches for it is said beside it.
fn certificate(common_name: &str, uris: &[&str]) -> Certificate {
    let key = new_key(KeyKind::EcdsaP256).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    if !common_name.is_empty() {
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, common_name).unwrap();
        builder.set_subject_name(&name.build()).unwrap();
    }
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(2_000_000_000).unwrap()).unwrap();
    let mut names = SubjectAlternativeName::new();
    names.dns("whatever");
    for uri in uris {
        names.uri(uri);
    }
    let names = names.build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    Certificate::from_x509(builder.build()).unwrap()
}

#[test]
fn a_certificate_names_a_device_only_within_the_reach_of_who_vouches_for_it() {
    let hub = || Voucher::Hub;
    let product = |id: &str| Voucher::Product(id.parse().unwrap());
    let (a, b) = ("AAAAAAAAAA", "BBBBBBBBBB");
    let check = |common_name: &str, uris: &[&str], vouchers: &[Voucher], expected: Option<&str>| {
        let (device, voucher) = identify(&certificate(common_name, uris), vouchers).unwrap();
        assert_eq!(
            device.map(|device| device.to_string()).as_deref(),
            expected,
            "{common_name:?} {uris:?} {vouchers:?}"
        );
        assert!(vouchers.contains(&voucher));
    };
    let uri = "weir:device:AAAAAAAAAA/dev";
    check("", &[uri], &[hub()], Some("AAAAAAAAAA/dev"));
    check("AAAAAAAAAAdev", &[], &[hub()], None);
    check("", &[uri], &[product(a)], Some("AAAAAAAAAA/dev"));
    check("AAAAAAAAAA/x", &[uri], &[product(a)], Some("AAAAAAAAAA/dev"));
    check("", &[uri], &[product(b)], None);
    check("BBBBBBBBBBdev", &[uri], &[product(b)], None);
    check("", &[uri], &[product(b), product(a)], Some("AAAAAAAAAA/dev"));
    check("", &[uri, "weir:device:AAAAAAAAAA/other"], &[product(a)], None);
    check("", &[uri, uri], &[hub()], None);
    check("", &["weir:device:nonsense"], &[hub()], None);
    check("dev", &["urn:something:else"], &[product(a)], Some("AAAAAAAAAA/dev"));
    check("dev", &[], &[product(a)], Some("AAAAAAAAAA/dev"));
    check("AAAAAAAAAAdev", &[], &[product(a)], Some("AAAAAAAAAA/dev"));
    check("AAAAAAAAAA/dev", &[], &[product(a)], Some("AAAAAAAAAA/dev"));
    check("BBBBBBBBBB/dev", &[], &[product(a)], None);
    // One that looks like another product's is a name within this one.
    check("BBBBBBBBBBdev", &[], &[product(a)], Some("AAAAAAAAAA/BBBBBBBBBBdev"));
    check("AAAAAAAAAA", &[], &[product(a)], Some("AAAAAAAAAA/AAAAAAAAAA"));
    check("dev", &[], &[product(a), product(b)], None);
    check("BBBBBBBBBBdev", &[], &[product(a), product(b)], Some("BBBBBBBBBB/dev"));
    check("not a name", &[], &[product(a)], None);
    check("", &[], &[product(a)], None);
    assert!(identify(&certificate("dev", &[]), &[]).is_none());
}
