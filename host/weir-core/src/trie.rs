//! A trie of topic filters: which values were filed under the filters that match a topic.

use std::mem;

use hashbrown::HashMap;

use crate::TopicFilter;

/// Values filed under topic filters. Looking a topic up costs its levels and the matches, not the filters.
#[derive(Debug, Clone)]
pub struct FilterTrie<V> {
    root: Node<V>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Node<V> {
    // Boxed, because most nodes have one child, and a table has room for more.
    children: HashMap<Box<str>, Box<Node<V>>>,
    any: Option<Box<Node<V>>>,
    /// Values of filters that end here.
    here: Vec<V>,
    /// Values of filters that end with `#` below here.
    below: Vec<V>,
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Self { children: HashMap::new(), any: None, here: Vec::new(), below: Vec::new() }
    }
}

impl<V> Default for FilterTrie<V> {
    fn default() -> Self {
        Self { root: Node::default(), len: 0 }
    }
}

impl<V> FilterTrie<V> {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn insert(&mut self, filter: &TopicFilter, value: V) {
        let mut node = &mut self.root;
        self.len += 1;
        for level in filter.as_str().split('/') {
            match level {
                "#" => {
                    push(&mut node.below, value);
                    return;
                }
                "+" => node = node.any.get_or_insert_default(),
                level => node = node.children.entry(level.into()).or_default(),
            }
        }
        push(&mut node.here, value);
    }

    /// Takes out the values under exactly this filter for which `which` says true; returns how many.
    pub fn remove(&mut self, filter: &TopicFilter, which: impl Fn(&V) -> bool) -> usize {
        let levels: Vec<&str> = filter.as_str().split('/').collect();
        let removed = remove(&mut self.root, &levels, &which);
        self.len -= removed;
        removed
    }

    /// Calls `found` with every value whose filter matches `topic`, once per filter.
    pub fn matches<'a>(&'a self, topic: &str, mut found: impl FnMut(&'a V)) {
        // Wildcards at the first level leave out topics that begin with '$' [MQTT-4.7.2-1].
        let wildcards = !topic.starts_with('$');
        if wildcards {
            self.root.below.iter().for_each(&mut found);
        }
        let (first, rest) = split(topic);
        if let Some(child) = self.root.children.get(first) {
            visit(child, rest, &mut found);
        }
        if let (true, Some(any)) = (wildcards, &self.root.any) {
            visit(any, rest, &mut found);
        }
    }
}

/// Most filters have one value: room for a second is taken when it comes.
fn push<V>(values: &mut Vec<V>, value: V) {
    if values.is_empty() {
        values.reserve_exact(1);
    }
    values.push(value);
}

fn split(topic: &str) -> (&str, Option<&str>) {
    match topic.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (topic, None),
    }
}

// Depth is bounded by the levels of the filters filed, not by the topic.
fn visit<'a, V>(node: &'a Node<V>, rest: Option<&str>, found: &mut impl FnMut(&'a V)) {
    node.below.iter().for_each(&mut *found);
    let Some(rest) = rest else {
        node.here.iter().for_each(found);
        return;
    };
    let (level, rest) = split(rest);
    if let Some(child) = node.children.get(level) {
        visit(child, rest, found);
    }
    if let Some(any) = &node.any {
        visit(any, rest, found);
    }
}

fn remove<V>(node: &mut Node<V>, levels: &[&str], which: &impl Fn(&V) -> bool) -> usize {
    let take = |values: &mut Vec<V>| {
        let before = values.len();
        values.retain(|value| !which(value));
        before - values.len()
    };
    let Some((level, rest)) = levels.split_first() else {
        return take(&mut node.here);
    };
    match *level {
        "#" => take(&mut node.below),
        "+" => {
            let Some(any) = &mut node.any else { return 0 };
            let removed = remove(any, rest, which);
            if any.is_vacant() {
                mem::take(&mut node.any);
            }
            removed
        }
        level => {
            let Some(child) = node.children.get_mut(level) else { return 0 };
            let removed = remove(child, rest, which);
            if child.is_vacant() {
                node.children.remove(level);
            }
            removed
        }
    }
}

impl<V> Node<V> {
    fn is_vacant(&self) -> bool {
        self.children.is_empty() && self.any.is_none() && self.here.is_empty() && self.below.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(trie: &FilterTrie<usize>, topic: &str) -> Vec<usize> {
        let mut values = Vec::new();
        trie.matches(topic, |value| values.push(*value));
        values.sort_unstable();
        values
    }

    /// Ten lines that cannot be wrong, beside the trie.
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

    fn levels() -> impl Strategy<Value = Vec<&'static str>> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "", "$s", "é"]), 1..5)
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["a", "b", "", "$s", "é", "+"]);
        (prop::collection::vec(level, 1..5), any::<bool>()).prop_map(|(mut levels, hash)| {
            if hash {
                levels.push("#");
            }
            levels.join("/")
        })
    }

    proptest! {
        #[test]
        fn finds_what_the_naive_matcher_finds(filters in prop::collection::vec(filter(), 0..20), topic in levels()) {
            let topic = topic.join("/");
            let filters: Vec<String> = filters.into_iter().filter(|f| !f.is_empty()).collect();
            let mut trie = FilterTrie::new();
            for (i, text) in filters.iter().enumerate() {
                let parsed: TopicFilter = text.parse().unwrap();
                prop_assert_eq!(parsed.matches(&topic), naive(text, &topic), "{} on {}", text, topic);
                trie.insert(&parsed, i);
            }
            let expected: Vec<usize> = (0..filters.len()).filter(|i| naive(&filters[*i], &topic)).collect();
            prop_assert_eq!(found(&trie, &topic), expected);

            // What is removed is found no more, and leaves nothing behind.
            for (i, text) in filters.iter().enumerate() {
                prop_assert_eq!(trie.remove(&text.parse().unwrap(), |value| *value == i), 1);
            }
            prop_assert!(trie.is_empty() && trie.root.is_vacant());
        }
    }
}
