//! Guests that misbehave: each ends with its typed error, and harms nothing but its own rows.

use std::time::Instant;

use super::*;

async fn hostile() -> TestHost {
    let host = TestHost::start();
    host.push("hostile", &guests::component("hostile")).await;
    host
}

#[tokio::test]
async fn what_a_guest_does_harms_its_own_row_alone() {
    let host = hostile().await;
    let target = host.open("hostile", &[], &[]).unwrap();
    let check = async |told: &str, expected: &str| {
        let outcomes = write(&target, &["fine", told, "fine"]).await;
        assert_eq!((&outcomes[0], &outcomes[2]), (&Outcome::Delivered, &Outcome::Delivered), "{told}: {outcomes:?}");
        assert!(matches!(outcomes[1], Outcome::Rejected { retry: true, .. }), "{told}: {outcomes:?}");
        let reason = reason(&outcomes[1]);
        assert!(reason.starts_with("plugin hostile failed in write at offset "), "{told}: {reason}");
        assert!(reason.contains(expected), "{told}: {reason}");
        assert_eq!(write(&target, &["fine"]).await, [Outcome::Delivered], "after {told}");
    };
    check("trap", "it trapped: wasm `unreachable` instruction executed").await;
    check("hog", "it wanted more than 67108864 bytes of memory").await;
    // The part of a stack that is in the guest's memory ends first.
    check("recurse", "it trapped: out of bounds memory access").await;
    // Forty megabytes fit into the memory of a guest, and into an answer; more than a reason may have is cut off.
    let giant = write(&target, &["giant"]).await;
    assert!(reason(&giant[0]).len() <= 1_100, "{}", reason(&giant[0]).len());
    assert_eq!(write(&target, &["flood", "fine"]).await, [Outcome::Delivered, Outcome::Delivered]);
}

#[tokio::test]
async fn a_runaway_guest_is_cut_and_others_go_on_meanwhile() {
    let host = hostile().await;
    let runaway = host.open("hostile", &[], &[]).unwrap();
    let other = host.open("hostile", &[], &[]).unwrap();
    let begun = Instant::now();
    let mut others = 0;
    let mut cut = runaway.write(std::slice::from_ref(Box::leak(Box::new(row(0, "loop")))));
    // On one thread: the runaway gives way at each tick.
    let outcomes = loop {
        tokio::select! {
            outcomes = &mut cut => break outcomes,
            outcomes = write(&other, &["fine"]) => {
                assert_eq!(outcomes, [Outcome::Delivered]);
                others += 1;
            }
        }
    };
    assert!(reason(&outcomes[0]).contains("it computed for more than 200ms"), "{outcomes:?}");
    assert!(others > 10, "{others} writes beside it in {:?}", begun.elapsed());
    assert_eq!(write(&runaway, &["fine"]).await, [Outcome::Delivered]);
}

#[tokio::test]
async fn one_that_misbehaves_when_it_is_opened_is_told_to_who_opens_it() {
    let host = hostile().await;
    let refused = |open: &str| host.open("hostile", &[("open", open)], &[]).err().unwrap().to_string();
    assert!(refused("loop").contains("failed in open: it computed for more than 200ms"), "{}", refused("loop"));
    assert!(refused("trap").contains("failed in open: it trapped"), "{}", refused("trap"));
    assert!(refused("http").contains("may not"), "{}", refused("http"));
    assert_eq!(refused("else"), "settings: open: \"else\" is not known");
    let error = host.open("hostile", &[("opne", "x")], &[]).err().unwrap().to_string();
    assert_eq!(error, "settings: unknown field `opne`, expected `open` or `url`");
    let error = host.open("hostile", &[("columns", "x")], &[]).err().unwrap().to_string();
    assert!(error.starts_with("columns: \"x\": write a field and a type"), "{error}");
}

#[tokio::test]
async fn nothing_is_reached_that_is_not_granted() {
    let host = hostile().await;
    let grants = [
        Grant::Http("127.0.0.1:9".parse().unwrap()),
        Grant::Http("metadata.test:80".parse().unwrap()),
        Grant::Http("169.254.169.254:80".parse().unwrap()),
        Grant::Tcp("metadata.test:6379".parse().unwrap()),
        Grant::Kv { bytes: 8 },
    ];
    let none = host.open("hostile", &[], &[]).unwrap();
    let some = host.open("hostile", &[], &grants).unwrap();
    let check = async |target: &Arc<dyn Target>, told: &str, expected: &str| {
        let outcomes = write(target, &[told]).await;
        assert!(reason(&outcomes[0]).contains(expected), "{told}: {outcomes:?}");
    };
    let would = "allow it by CREATE SINK archive USING plugin.hostile … GRANT";
    check(&none, "http http://127.0.0.1:9/x", &format!("{would} http '127.0.0.1:9'")).await;
    check(&none, "tcp 127.0.0.1:9", &format!("{would} tcp '127.0.0.1:9'")).await;
    check(&none, "set a", &format!("{would} kv '10 MiB'")).await;
    check(&some, "http http://127.0.0.1:10/", "kv '8 B', http '127.0.0.1:10'").await;
    check(&some, "http https://127.0.0.1:9@evil.test:9/", "http 'evil.test:9'").await;
    check(&some, "http file:///etc/passwd", "a URL begins with http:// or https://").await;
    // Granted, and nobody listens there.
    check(&some, "http http://127.0.0.1:9/", "cannot connect").await;
    let reserved = "plugins do not connect to link-local";
    check(&some, "http http://metadata.test/", reserved).await;
    check(&some, "http http://169.254.169.254/", reserved).await;
    check(&some, "tcp metadata.test:6379", reserved).await;
    assert_eq!(write(&some, &["set abc"]).await, [Outcome::Delivered]);
    check(&some, "get abc", "abc").await;
    check(&some, "set abcdef", "the 8 bytes that are granted are used up").await;
}
