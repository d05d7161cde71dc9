//! Where a webhook may connect to.

use weir_core::address::{Class, class};

use super::{
    super::address::{Reach, Refusal},
    *,
};

#[test]
fn classes() {
    let check = |expected: Class, addresses: &[&str]| {
        for address in addresses {
            assert_eq!(class(address.parse().unwrap()), expected, "{address}");
        }
    };
    check(Class::Reserved, &["169.254.169.254", "169.254.0.1", "169.254.170.2", "0.0.0.0", "0.1.2.3"]);
    check(Class::Reserved, &["224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"]);
    check(Class::Reserved, &["100.100.100.200", "192.0.0.192", "168.63.129.16"]);
    check(Class::Reserved, &["::", "fe80::1", "febf::1", "ff02::1", "fd00:ec2::254", "fd20:ce::254", "100::1"]);
    check(Class::Reserved, &["::ffff:169.254.169.254", "::169.254.169.254", "::ffff:0:169.254.169.254"]);
    check(Class::Reserved, &["64:ff9b::169.254.169.254", "64:ff9b:1::169.254.169.254", "2002:a9fe:a9fe::1"]);
    check(Class::Private, &["127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255"]);
    check(Class::Private, &["192.168.1.1", "100.64.0.1", "100.127.255.255", "192.0.0.8", "198.18.0.1"]);
    check(Class::Private, &["::1", "fc00::1", "fd12:3456::1", "fec0::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1"]);
    check(Class::Private, &["64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8", "2002:7f00:1::1", "::127.0.0.1"]);
    check(Class::Public, &["8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "192.0.1.1"]);
    check(Class::Public, &["2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]);
}

#[test]
fn what_each_may_reach() {
    let check = |private, own_port, address: &str, expected: Result<(), Refusal>| {
        let reach = Reach { private, own_port };
        assert_eq!(reach.permit(address.parse().unwrap()), expected, "{address} {reach:?}");
    };
    check(false, false, "8.8.8.8", Ok(()));
    check(false, true, "8.8.8.8", Ok(()));
    check(false, false, "127.0.0.1", Err(Refusal::Private));
    check(true, false, "127.0.0.1", Ok(()));
    check(true, false, "10.255.255.254", Ok(()));
    check(true, true, "127.0.0.1", Err(Refusal::Own));
    check(true, true, "127.9.9.9", Err(Refusal::Own));
    check(true, true, "::ffff:127.0.0.1", Err(Refusal::Own));
    check(true, false, "169.254.169.254", Err(Refusal::Reserved));
    check(true, false, "0.0.0.0", Err(Refusal::Reserved));
}

/// Forms in which an address hides: the URL parser gives them all their plain form.
#[test]
fn an_address_in_a_setting_is_refused_when_the_rule_is_saved() {
    let refused = |owner: Principal, url: &str, expected: Refusal| {
        let error = open_as(owner, &[8080], &[("url", url)]).err().map(|error| error.to_string());
        assert_eq!(error, Some(format!("url: {expected}")), "{url}");
    };
    for url in [
        "http://127.0.0.1:9000/hot",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "https://192.168.1.1/",
        "http://%31%32%37.0.0.1/",
        "http://example.com@127.0.0.1/",
    ] {
        refused(application(), url, Refusal::Private);
        open_as(administrator(), &[8080], &[("url", url)]).unwrap();
    }
    for url in ["http://169.254.169.254/latest", "http://[fd00:ec2::254]/", "http://0/", "http://[fe80::1]/"] {
        refused(application(), url, Refusal::Reserved);
        refused(administrator(), url, Refusal::Reserved);
    }
    refused(administrator(), "http://127.0.0.1:8080/v1/keys", Refusal::Own);
    refused(administrator(), "http://[::1]:8080/", Refusal::Own);
}

#[test]
fn a_rule_has_the_reach_of_its_owner() {
    let rule = |owner| Principal::Rule { rule: "hot".parse().unwrap(), owner: Box::new(owner) };
    let url = [("url", "http://127.0.0.1:9000/")];
    assert!(open_as(rule(administrator()), &[], &url).is_ok());
    assert!(open_as(rule(application()), &[], &url).is_err());
    assert!(open_as(Principal::Device("A1B2C3D4E5/dev".parse().unwrap()), &[], &url).is_err());
}

/// A name passes when the rule is saved; what it resolves to is what is refused.
#[tokio::test]
async fn a_name_is_judged_by_the_address_that_it_resolves_to() {
    let (port, mut received) = serve(|_| async { status(200) }).await;
    let url = format!("http://localhost:{port}/");
    let settings = [("url", url.as_str())];
    let refused = |refusal: Refusal| Outcome::Rejected { reason: refusal.to_string(), retry: false };

    let target = open_as(application(), &[], &settings).unwrap();
    assert_eq!(write_one(&target, row("dev", 1, b"1")).await, refused(Refusal::Private));
    let target = open_as(administrator(), &[port], &settings).unwrap();
    assert_eq!(write_one(&target, row("dev", 1, b"1")).await, refused(Refusal::Own));
    assert!(received.try_recv().is_err());
    let target = open_as(administrator(), &[], &settings).unwrap();
    assert_eq!(write_one(&target, row("dev", 1, b"1")).await, Outcome::Delivered);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_unavailable() {
    let target = open(&[("url", "http://weir.invalid/")]);
    let outcome = write_one(&target, row("dev", 1, b"1")).await;
    let Outcome::Unavailable { reason, .. } = outcome else { panic!("{outcome:?}") };
    assert!(reason.starts_with("cannot connect: "), "{reason}");
}
