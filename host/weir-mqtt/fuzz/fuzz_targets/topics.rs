//! Whatever topic and filters come, one a line: the trie, a filter alone and ten lines that cannot be wrong agree on
//! what matches; what a filter covers it matches; and what is parsed is written as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_core::{FilterTrie, SubscriptionFilter, Topic, TopicFilter};

/// Filters of one input; they are compared in pairs.
const FILTERS: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let topic = lines.next().unwrap_or_default();
    let lines: Vec<&str> = lines.take(FILTERS).collect();
    for line in &lines {
        check_subscription(line);
    }
    // A filter without wildcards is a topic as well.
    let filters: Vec<TopicFilter> = lines.iter().filter_map(|line| line.parse().ok()).collect();
    let topics = [topic].into_iter().chain(lines.iter().copied());
    let topics: Vec<Topic> = topics.filter_map(|topic| topic.parse().ok()).collect();
    check_trie(&filters, &topics);
    check_covers(&filters, &topics);
});

fn check_subscription(line: &str) {
    let filter = line.parse::<TopicFilter>();
    let subscription = line.parse::<SubscriptionFilter>();
    let is_shared = line.starts_with("$share/");
    assert!(filter.is_ok() || subscription.is_err(), "a subscription is a filter as well");
    assert!(is_shared || subscription.is_ok() == filter.is_ok());
    if let Ok(filter) = &filter {
        assert_eq!(filter.as_str(), line);
        let topic = filter.as_topic();
        assert_eq!(topic.is_some(), !line.contains(['+', '#']));
        assert!(topic.is_none_or(|topic| topic.as_str() == line));
    }
    if let Ok(subscription) = subscription {
        assert_eq!(subscription.group().is_some(), is_shared);
        assert!(subscription.group().is_none_or(|group| !group.is_empty() && !group.contains(['/', '+', '#'])));
        assert!(line.ends_with(subscription.filter().as_str()));
        assert_eq!(subscription.to_string(), line);
        assert_eq!(SubscriptionFilter::try_from(line.to_owned()), Ok(subscription));
    }
}

fn check_trie(filters: &[TopicFilter], topics: &[Topic]) {
    let mut trie = FilterTrie::new();
    for (number, filter) in filters.iter().enumerate() {
        trie.insert(filter, number);
    }
    for (number, filter) in filters.iter().enumerate() {
        for topic in topics.iter().map(Topic::as_str) {
            let expected: Vec<usize> = (number..filters.len()).filter(|n| naive(filters[*n].as_str(), topic)).collect();
            let alone: Vec<usize> = (number..filters.len()).filter(|n| filters[*n].matches(topic)).collect();
            let mut found = Vec::new();
            trie.matches(topic, |number| found.push(*number));
            found.sort_unstable();
            assert_eq!(found, expected, "{filters:?} on {topic:?}");
            assert_eq!(alone, expected, "{filters:?} on {topic:?}");
        }
        assert_eq!(trie.len(), filters.len() - number);
        assert_eq!(trie.remove(filter, |filed| *filed == number), 1);
        assert_eq!(trie.remove(filter, |filed| *filed == number), 0);
    }
    assert!(trie.is_empty());
}

fn check_covers(filters: &[TopicFilter], topics: &[Topic]) {
    for filter in filters {
        assert!(filter.covers(filter), "{filter} covers itself");
        for other in filters.iter().filter(|other| filter.covers(other)) {
            for topic in topics.iter().map(Topic::as_str).filter(|topic| other.matches(topic)) {
                assert!(filter.matches(topic), "{filter} covers {other}, but does not match {topic}");
            }
            for third in filters.iter().filter(|third| other.covers(third)) {
                assert!(filter.covers(third), "{filter} covers {other}, and that {third}");
            }
        }
        // To cover a topic is to match it.
        for topic in topics {
            let as_filter: TopicFilter = topic.as_str().parse().expect("a topic is a filter");
            assert_eq!(filter.covers(&as_filter), filter.matches(topic.as_str()), "{filter} on {topic}");
        }
    }
}

fn naive(filter: &str, topic: &str) -> bool {
    let (f, t): (Vec<&str>, Vec<&str>) = (filter.split('/').collect(), topic.split('/').collect());
    if topic.starts_with('$') && (f[0] == "+" || f[0] == "#") {
        return false;
    }
    match f.iter().position(|level| *level == "#") {
        Some(n) => t.len() >= n && (0..n).all(|i| f[i] == "+" || f[i] == t[i]),
        None => t.len() == f.len() && (0..f.len()).all(|i| f[i] == "+" || f[i] == t[i]),
    }
}
