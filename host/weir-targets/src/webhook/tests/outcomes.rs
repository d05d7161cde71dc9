//! What becomes of a row.

use std::{
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use axum::body::Body;
use tokio::sync::Barrier;

use super::*;

fn rejected(outcome: &Outcome) -> (&str, bool) {
    match outcome {
        Outcome::Rejected { reason, retry } => (reason, *retry),
        other => panic!("{other:?}"),
    }
}

fn unavailable(outcome: &Outcome) -> (&str, Option<Duration>) {
    match outcome {
        Outcome::Unavailable { reason, retry_after } => (reason, *retry_after),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn statuses() {
    for code in [200, 201, 204, 299] {
        let (port, _received) = serve(move |_| async move { status(code) }).await;
        assert_eq!(write_one(&to(port), row("dev", 1, b"1")).await, Outcome::Delivered, "{code}");
    }
    for code in [400, 401, 404, 410, 422, 499] {
        let (port, _received) = serve(move |_| async move { status(code) }).await;
        let outcome = write_one(&to(port), row("dev", 1, b"1")).await;
        let (reason, retry) = rejected(&outcome);
        assert!(reason.starts_with(&format!("the receiver answered {code}")) && retry, "{outcome:?}");
    }
    for code in [408, 429, 500, 502, 503, 599] {
        let (port, _received) = serve(move |_| async move { status(code) }).await;
        let outcome = write_one(&to(port), row("dev", 1, b"1")).await;
        let (reason, retry_after) = unavailable(&outcome);
        assert!(reason.starts_with(&format!("the receiver answered {code}")), "{reason}");
        assert_eq!(retry_after, None);
    }
}

async fn retry_after(headers: &'static [(&'static str, &'static str)], expected: Option<u64>) {
    let (port, _received) = serve(move |_| async move {
        let answer = Response::builder().status(503);
        headers.iter().fold(answer, |answer, (name, value)| answer.header(*name, *value)).body(Body::empty()).unwrap()
    })
    .await;
    let outcome = write_one(&to(port), row("dev", 1, b"1")).await;
    assert_eq!(unavailable(&outcome).1, expected.map(Duration::from_secs), "{headers:?}");
}

#[tokio::test]
async fn retry_after_is_passed_on() {
    retry_after(&[("retry-after", "17")], Some(17)).await;
    retry_after(&[("retry-after", "soon")], None).await;
    const DATE: (&str, &str) = ("date", "Wed, 21 Oct 2015 07:28:00 GMT");
    retry_after(&[DATE, ("retry-after", "Wed, 21 Oct 2015 07:29:30 GMT")], Some(90)).await;
    retry_after(&[DATE, ("retry-after", "Wed, 21 Oct 2015 07:27:00 GMT")], Some(0)).await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (port, mut received) = serve(|_| async {
        Response::builder().status(302).header("location", "/elsewhere").body(Body::empty()).unwrap()
    })
    .await;
    let outcome = write_one(&to(port), row("dev", 1, b"1")).await;
    assert_eq!(rejected(&outcome), ("the receiver answered 302 Found; redirects are not followed", true));
    assert_eq!(received.recv().await.unwrap().path, "/hook");
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn a_receiver_that_hangs_is_unavailable() {
    let (port, _received) = serve(|_| pending()).await;
    let url = format!("http://127.0.0.1:{port}/");
    let target = open(&[("url", &url), ("timeout", "20ms")]);
    let outcome = write_one(&target, row("dev", 1, b"1")).await;
    assert_eq!(unavailable(&outcome), ("no answer within 20ms", None));
}

#[tokio::test]
async fn a_receiver_that_does_not_listen_is_unavailable_and_its_url_stays_secret() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("http://user:hidden@127.0.0.1:{port}/hidden?key=hidden");
    let target = open(&[("url", &url), ("token", "hidden")]);
    let outcome = write_one(&target, row("dev", 1, b"1")).await;
    assert!(unavailable(&outcome).0.starts_with("cannot connect: Connection refused"), "{outcome:?}");
    assert!(!format!("{outcome:?}").contains("hidden"));
}

#[tokio::test]
async fn a_receiver_that_does_not_speak_the_protocol_is_unavailable() {
    let (port, _received) = serve(|_| async { status(200) }).await;
    let target = open(&[("url", &format!("https://127.0.0.1:{port}/hidden"))]);
    let outcome = write_one(&target, row("dev", 1, b"1")).await;
    assert!(unavailable(&outcome).0.starts_with("cannot connect: "), "{outcome:?}");
    assert!(!format!("{outcome:?}").contains("hidden"));
}

#[tokio::test]
async fn rows_of_a_device_arrive_in_order() {
    let (port, mut received) = serve(|_| async { status(200) }).await;
    let rows: Vec<_> = (0..60).map(|index| row(&format!("dev{}", index % 12), index, b"1")).collect();
    let outcomes = to(port).write(&rows).await;
    assert!(outcomes.len() == 60 && outcomes.iter().all(|outcome| *outcome == Outcome::Delivered));
    let mut last = std::collections::HashMap::new();
    for _ in 0..60 {
        let body: serde_json::Value = serde_json::from_slice(&received.recv().await.unwrap().body).unwrap();
        let (device, seq) = (body["devicename"].to_string(), body["seq"].as_i64().unwrap());
        assert!(last.insert(device, seq).is_none_or(|before| before < seq));
    }
}

#[tokio::test]
async fn eight_devices_are_served_at_a_time() {
    let together = Arc::new(Barrier::new(8));
    let (most, now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let (port, _received) = serve(move |_| {
        let (together, most, now) = (together.clone(), most.clone(), now.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            together.wait().await;
            now.fetch_sub(1, Ordering::SeqCst);
            status(200)
        }
    })
    .await;
    // No request ends before eight are there.
    let rows: Vec<_> = (0..16).map(|index| row(&format!("dev{index}"), index, b"1")).collect();
    assert!(to(port).write(&rows).await.iter().all(|outcome| *outcome == Outcome::Delivered));
    assert_eq!(seen.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn nothing_is_sent_after_the_receiver_was_found_unavailable() {
    let (port, mut received) = serve(|_| async { status(503) }).await;
    let rows: Vec<_> = (0..5).map(|index| row("dev", index, b"1")).collect();
    let outcomes = to(port).write(&rows).await;
    assert_eq!(outcomes.len(), 5);
    assert!(outcomes.iter().all(|outcome| unavailable(outcome).0 == "the receiver answered 503 Service Unavailable"));
    received.recv().await.unwrap();
    assert!(received.try_recv().is_err(), "the later rows must not overtake the first");
}

#[tokio::test]
async fn a_rejected_row_does_not_hold_up_the_others() {
    let requests = Arc::new(AtomicUsize::new(0));
    let (port, _received) = serve(move |_| {
        let first = requests.fetch_add(1, Ordering::SeqCst) == 0;
        async move { status(if first { 400 } else { 200 }) }
    })
    .await;
    let outcomes = to(port).write(&[row("dev", 1, b"1"), row("dev", 2, b"2")]).await;
    assert!(rejected(&outcomes[0]).1);
    assert_eq!(outcomes[1], Outcome::Delivered);
}

#[tokio::test]
async fn a_url_of_each_row() {
    let (port, mut received) = serve(|_| async { status(200) }).await;
    let target = open(&[]);
    let with = |url: &str| Delivery { arguments: vec![("url".to_owned(), url.to_owned())], ..row("dev", 1, b"1") };
    let rows = [
        with(&format!("http://127.0.0.1:{port}/one")),
        row("dev", 2, b"1"),
        with("hidden"),
        with("ftp://hidden/"),
        with("http://169.254.169.254/hidden"),
    ];
    let outcomes = target.write(&rows).await;
    assert_eq!(outcomes[0], Outcome::Delivered);
    assert_eq!(received.recv().await.unwrap().path, "/one");
    assert_eq!(rejected(&outcomes[1]), ("the row has no url", false));
    assert_eq!(rejected(&outcomes[2]), ("url: not a URL: relative URL without a base", false));
    assert_eq!(rejected(&outcomes[3]), ("url: begin with http:// or https://", false));
    assert!(!rejected(&outcomes[4]).1);
    assert!(!format!("{outcomes:?}").contains("hidden"));
}

#[test]
fn settings_are_checked() {
    let error = |settings: &[(&str, &str)]| open_as(administrator(), &[], settings).err().unwrap().to_string();
    assert_eq!(error(&[("url", "example.com/x")]), "url: not a URL: relative URL without a base");
    assert_eq!(error(&[("url", "file:///etc/passwd")]), "url: begin with http:// or https://");
    for timeout in ["0s", "16 s", "soon", ""] {
        let error = error(&[("url", "http://example.com"), ("timeout", timeout)]);
        assert_eq!(error, "timeout: write a time such as '5 s', at most '15 s'");
    }
    open(&[("url", "https://example.com"), ("timeout", "15 s"), ("token", "x")]);
}
