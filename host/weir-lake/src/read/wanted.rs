//! Which messages a reader wants, as far as files and row groups can be left out for it. Whatever is said here may be
//! weaker than what the reader wants, never stronger: who is unsure reads.

use weir_core::{Offset, Timestamp, TopicFilter, history::TimeRange};

use crate::archive::DataFile;

/// All of these hold for the messages that are wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// `None`: messages of every topic.
    pub(crate) filter: Option<TopicFilter>,
    /// The clock's ticks are wanted too, whatever else is said.
    pub(crate) ticks: bool,
    /// From the first up to and without the second.
    pub(crate) offsets: (Offset, Offset),
    pub(crate) time: TimeRange,
    /// One of these; `None`: any.
    pub(crate) products: Option<Vec<String>>,
    pub(crate) devices: Option<Vec<String>>,
    pub(crate) topics: Option<Vec<String>>,
}

impl Wanted {
    pub(crate) fn of(filter: Option<TopicFilter>, ticks: bool) -> Self {
        let topic = filter.as_ref().and_then(TopicFilter::as_topic);
        let topics = topic.map(|topic| vec![topic.as_str().to_owned()]);
        Self {
            filter,
            ticks,
            offsets: (Offset::ZERO, Offset(u64::MAX)),
            time: TimeRange::ALL,
            products: None,
            devices: None,
            topics,
        }
    }

    /// Narrows a list of values that are allowed.
    pub(crate) fn narrow(list: &mut Option<Vec<String>>, values: Vec<String>) {
        *list = Some(match list.take() {
            Some(known) => known.into_iter().filter(|value| values.contains(value)).collect(),
            None => values,
        });
    }

    pub(crate) fn narrow_time(&mut self, from: Timestamp, to: Timestamp) {
        self.time = TimeRange { from: self.time.from.max(from), to: self.time.to.min(to) };
    }

    pub(crate) fn narrow_offsets(&mut self, from: Offset, to: Offset) {
        self.offsets = (self.offsets.0.max(from), self.offsets.1.min(to));
    }

    /// Whether a file may hold something of it.
    pub(crate) fn may_be_in(&self, file: &DataFile) -> bool {
        if self.ticks && file.ticks > 0 {
            return true;
        }
        let (from, to) = self.offsets;
        let topics = file.topics.as_ref().map(|(first, last)| (first.as_bytes(), last.as_bytes()));
        file.meets(from, to, self.time) && self.product_may_be(file.product.as_deref()) && self.topic_may_be(topics)
    }

    /// `product`: that of all messages of a file, if they have one.
    fn product_may_be(&self, product: Option<&str>) -> bool {
        let Some(product) = product else { return true };
        // Topics of a product begin with it, but for the hub's own.
        let first = self.filter.as_ref().and_then(|filter| filter.as_str().split('/').next());
        let is_named = first.is_none_or(|first| first.starts_with(['$', '+', '#']) || first == product);
        is_named && is_among(self.products.as_deref(), Some((product.as_bytes(), product.as_bytes())))
    }

    /// Whether a topic from the first to the last may be wanted. `None`: nothing is known of them.
    pub(crate) fn topic_may_be(&self, range: Option<(&[u8], &[u8])>) -> bool {
        let Some((first, last)) = range else { return true };
        let prefix = self.filter.as_ref().map_or("", literal_prefix).as_bytes();
        let begins = |topic: &[u8]| topic.get(..prefix.len()).unwrap_or(topic).cmp(prefix);
        // A topic that is a beginning of the prefix sorts before it, and is the parent level of `#` at best.
        let is_before = begins(last).is_lt() && !prefix.starts_with(last);
        let is_behind = begins(first).is_gt();
        !is_before && !is_behind && is_among(self.topics.as_deref(), Some((first, last)))
    }

    /// Whether values from the first to the last may be among those that are allowed for a column.
    pub(crate) fn value_may_be(&self, column: &str, range: Option<(&[u8], &[u8])>) -> bool {
        match column {
            "product" => is_among(self.products.as_deref(), range),
            "device" => is_among(self.devices.as_deref(), range),
            "topic" => self.topic_may_be(range),
            _ => true,
        }
    }

    /// Values of a column, one of which every wanted message has.
    pub(crate) fn values(&self, column: &str) -> Option<&[String]> {
        match column {
            "product" => self.products.as_deref(),
            "device" => self.devices.as_deref(),
            "topic" => self.topics.as_deref(),
            _ => None,
        }
    }
}

fn is_among(values: Option<&[String]>, range: Option<(&[u8], &[u8])>) -> bool {
    let (Some(values), Some((first, last))) = (values, range) else { return true };
    values.iter().any(|value| first <= value.as_bytes() && value.as_bytes() <= last)
}

/// What every topic of a filter begins with, but for the parent level that `#` means too.
fn literal_prefix(filter: &TopicFilter) -> &str {
    let text = filter.as_str();
    text.find(['+', '#']).and_then(|wildcard| text.get(..wildcard)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_a_range_may_hold() {
        let check = |filter: &str, first: &str, last: &str, expected: bool| {
            let wanted = Wanted::of(filter.parse().ok(), false);
            let range = Some((first.as_bytes(), last.as_bytes()));
            assert_eq!(wanted.topic_may_be(range), expected, "{filter} in {first} to {last}");
        };
        check("#", "a", "b", true);
        check("a/+/x", "a/b/x", "a/c/x", true);
        check("a/+/x", "b/b/x", "c/c/x", false);
        check("b/+/x", "a/b/x", "a/c/x", false);
        check("b/+/x", "a/b/x", "c/c/x", true);
        check("a/b/#", "a/b", "a/b", true); // The parent level.
        check("a/b/#", "a", "a/a", false);
        check("a/b", "a/a", "a/c", true);
        check("a/b", "a/c", "a/d", false);
    }

    /// Whatever a filter matches may be in the range of one topic.
    #[test]
    fn nothing_that_matches_is_left_out() {
        let topics = ["a", "a/b", "a/b/c", "a/bb", "A1B2C3D4E5/dev/event", "$shadow/operation/A1B2C3D4E5/dev", "b//c"];
        let filters = ["#", "+", "a/#", "a/+", "a/b", "a/b/#", "a/+/c", "$shadow/#", "+/dev/event", "b/+/c", "a/b/c"];
        for topic in topics {
            for filter in filters {
                let filter: TopicFilter = filter.parse().unwrap();
                let wanted = Wanted::of(Some(filter.clone()), false);
                let range = Some((topic.as_bytes(), topic.as_bytes()));
                assert!(!filter.matches(topic) || wanted.topic_may_be(range), "{filter} {topic}");
                let product = weir_core::Topic::device_of(topic).map(|(product, _)| product);
                assert!(!filter.matches(topic) || wanted.product_may_be(product), "{filter} {topic}");
            }
        }
    }
}
