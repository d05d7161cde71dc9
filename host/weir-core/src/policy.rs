//! Who may publish and subscribe where: the one place that decides.
//!
//! Deny by default. A device reaches its own topics only, and a gateway those of the devices that are online through it;
//! otherwise data crosses devices through rules.

use std::{collections::HashMap, sync::Arc};

use crate::{Classify, DeviceId, ErrorKind, Principal, ProductId, Topic, TopicFilter, TopicSuffix};

/// What someone wants to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Publish,
    Subscribe,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{principal} may not {} {topic:?}", match access { Access::Publish => "publish to", Access::Subscribe => "subscribe to" })]
pub struct Denied {
    pub principal: String,
    pub access: Access,
    pub topic: String,
}

impl Classify for Denied {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Forbidden
    }
}

/// A class of topics below `PRODUCT/DEVICE/` and who may use it (vendor protocol §2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicClass {
    pub suffix: TopicSuffix,
    pub publish: bool,
    pub subscribe: bool,
}

/// Who may use which topics: a value, replaced as a whole when something changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What devices of every product have.
    defaults: Vec<TopicClass>,
    /// What products have besides. Shared, so that a changed copy of the policy is cheap.
    own: HashMap<ProductId, Arc<[TopicClass]>>,
}

/// System topics of a device: prefix before and suffix after `PRODUCT/DEVICE`, publish, subscribe (vendor protocol §2.4,
/// and named shadows).
const SYSTEM: [(&str, &str, bool, bool); 20] = [
    ("$shadow/operation", "", true, false),
    ("$shadow/operation/result", "", false, true),
    ("$shadow/name/+/operation", "", true, false),
    ("$shadow/name/+/operation/result", "", false, true),
    ("$sys/operation", "", true, false),
    ("$sys/operation/result", "", false, true),
    ("$ota/report", "", true, false),
    ("$ota/update", "", false, true),
    ("$broadcast/rxd", "", false, true),
    ("$rrpc/rxd", "+", false, true),
    ("$rrpc/txd", "+", true, false),
    ("$gateway/operation", "", true, false),
    ("$gateway/operation/result", "", false, true),
    ("$config/operation", "", true, false),
    ("$config/operation/result", "", false, true),
    ("$config/report", "", true, false),
    ("$log/operation", "", true, false),
    ("$log/operation/result", "", false, true),
    ("$resource/up/service", "", true, false),
    ("$resource/down/service", "", false, true),
];

impl Default for Policy {
    /// `control` to subscribe, `event` to publish, `data` for both.
    fn default() -> Self {
        let class = |suffix: &str, publish, subscribe| {
            suffix.parse().ok().map(|suffix| TopicClass { suffix, publish, subscribe })
        };
        let classes = [class("control", false, true), class("event", true, false), class("data", true, true)];
        Self { defaults: classes.into_iter().flatten().collect(), own: HashMap::new() }
    }
}

impl Policy {
    /// Replaces the classes that a product has beside the defaults. What a class allows is added to what others allow:
    /// one of the suffix `event` with the right to subscribe leaves the default's right to publish.
    pub fn set_classes(&mut self, product: ProductId, classes: Vec<TopicClass>) {
        if classes.is_empty() {
            self.own.remove(&product);
        } else {
            self.own.insert(product, classes.into());
        }
    }

    /// Adds a class to those of a product, in the place of the one with the same suffix if there is one.
    pub fn put_class(&mut self, product: &ProductId, class: TopicClass) {
        let mut classes = self.classes(product).to_vec();
        classes.retain(|other| other.suffix != class.suffix);
        classes.push(class);
        classes.sort_by(|a, b| a.suffix.cmp(&b.suffix));
        self.set_classes(product.clone(), classes);
    }

    pub fn remove_class(&mut self, product: &ProductId, suffix: &TopicSuffix) {
        let mut classes = self.classes(product).to_vec();
        classes.retain(|class| class.suffix != *suffix);
        self.set_classes(product.clone(), classes);
    }

    /// The classes that a product has beside the defaults.
    pub fn classes(&self, product: &ProductId) -> &[TopicClass] {
        self.own.get(product).map(|classes| &**classes).unwrap_or_default()
    }

    /// The classes that every product has.
    pub fn defaults(&self) -> &[TopicClass] {
        &self.defaults
    }

    /// Whether `principal` may publish to `topic`, which `Topic::check` has passed.
    pub fn may_publish(&self, principal: &Principal, topic: &str) -> Result<(), Denied> {
        if self.allows_publish(principal, topic) { Ok(()) } else { Err(denied(principal, Access::Publish, topic)) }
    }

    /// As [`Policy::may_publish`], for whoever does not tell why not.
    pub fn allows_publish(&self, principal: &Principal, topic: &str) -> bool {
        match principal {
            Principal::Administrator(_) => true,
            Principal::Rule { owner, .. } => self.allows_publish(owner, topic),
            Principal::Application { grants, .. } => grants.publish.iter().any(|filter| filter.matches(topic)),
            Principal::Device(device) => self.device_may(device, Access::Publish, topic),
        }
    }

    /// Whether a gateway may publish to `topic` as one of the devices that are online through it, which only `online`
    /// knows: with the rights of that device, and of no other.
    pub fn allows_publish_for(&self, topic: &str, online: impl FnOnce(&DeviceId) -> bool) -> bool {
        named(topic).is_some_and(|device| online(&device) && self.device_may(&device, Access::Publish, topic))
    }

    /// The same for a subscription.
    pub fn allows_subscribe_for(&self, filter: &TopicFilter, online: impl FnOnce(&DeviceId) -> bool) -> bool {
        let path = filter.as_str();
        named(path).is_some_and(|device| online(&device) && self.device_may(&device, Access::Subscribe, path))
    }

    /// Whether `principal` may subscribe to `filter`: every topic that it can match must be allowed. For a shared
    /// subscription, `filter` is the one behind `$share/GROUP/`: sharing gives no rights.
    pub fn may_subscribe(&self, principal: &Principal, filter: &TopicFilter) -> Result<(), Denied> {
        let allowed = match principal {
            Principal::Administrator(_) => true,
            Principal::Rule { owner, .. } => return self.may_subscribe(owner, filter),
            Principal::Application { grants, .. } => grants.subscribe.iter().any(|granted| granted.covers(filter)),
            Principal::Device(device) => self.device_may(device, Access::Subscribe, filter.as_str()),
        };
        if allowed { Ok(()) } else { Err(denied(principal, Access::Subscribe, filter.as_str())) }
    }

    /// `path` is a topic or a filter; for a filter, each of its levels must be allowed as written.
    fn device_may(&self, device: &DeviceId, access: Access, path: &str) -> bool {
        let wanted = |publish: bool, subscribe: bool| match access {
            Access::Publish => publish,
            Access::Subscribe => subscribe,
        };
        if path.starts_with('$') {
            return SYSTEM.iter().any(|(prefix, suffix, publish, subscribe)| {
                wanted(*publish, *subscribe)
                    && below(path, prefix)
                        .and_then(|rest| below_device(rest, device))
                        .is_some_and(|rest| levels_allow(suffix, rest))
            });
        }
        let own = self.classes(&device.product);
        below_device(path, device).is_some_and(|rest| {
            self.defaults
                .iter()
                .chain(own)
                .any(|class| wanted(class.publish, class.subscribe) && levels_allow(class.suffix.as_str(), rest))
        })
    }
}

/// The device that a topic or a filter names. What names none belongs to none.
fn named(path: &str) -> Option<DeviceId> {
    let (product, device) = Topic::device_of(path)?;
    Some(DeviceId { product: product.parse().ok()?, device: device.parse().ok()? })
}

fn denied(principal: &Principal, access: Access, topic: &str) -> Denied {
    Denied { principal: principal.to_string(), access, topic: topic.to_owned() }
}

/// What follows `prefix/` in `path`. A level of the prefix may be `+`.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let Some((before, after)) = prefix.split_once("/+/") else {
        return path.strip_prefix(prefix)?.strip_prefix('/');
    };
    let (level, rest) = below(path, before)?.split_once('/')?;
    if level.is_empty() { None } else { below(rest, after) }
}

/// What follows `PRODUCT/DEVICE` in `path`, without the slash; empty if nothing does.
fn below_device<'a>(path: &'a str, device: &DeviceId) -> Option<&'a str> {
    let rest = below(path, device.product.as_str())?.strip_prefix(device.device.as_str())?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/').filter(|rest| !rest.is_empty()) }
}

/// Whether the levels of `path` lie within `pattern`, whose levels may be `+` and whose last may be `#`.
fn levels_allow(pattern: &str, path: &str) -> bool {
    // Nothing after the device is not the same as one empty level.
    if pattern.is_empty() || path.is_empty() {
        return pattern.is_empty() && path.is_empty();
    }
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (Some("#"), _) | (None, None) => return true,
            (_, Some("#")) => return false,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(other)) if level == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Grants;

    fn device() -> Principal {
        Principal::Device("A1B2C3D4E5/dev".parse().unwrap())
    }

    fn publishes(topic: &str, expected: bool) {
        assert_eq!(Policy::default().may_publish(&device(), topic).is_ok(), expected, "publish {topic}");
    }

    fn subscribes(filter: &str, expected: bool) {
        let filter = filter.parse().unwrap();
        assert_eq!(Policy::default().may_subscribe(&device(), &filter).is_ok(), expected, "subscribe {filter}");
    }

    #[test]
    fn a_device_reaches_its_own_topics_only() {
        publishes("A1B2C3D4E5/dev/event", true);
        publishes("A1B2C3D4E5/dev/data", true);
        publishes("A1B2C3D4E5/dev/control", false);
        publishes("A1B2C3D4E5/dev/other", false);
        publishes("A1B2C3D4E5/dev2/event", false);
        publishes("A1B2C3D4E5/de/event", false);
        publishes("A1B2C3D4E5/dev/event/x", false);
        publishes("A1B2C3D4E5/dev", false);
        publishes("$shadow/operation/A1B2C3D4E5/dev", true);
        publishes("$shadow/operation/result/A1B2C3D4E5/dev", false);
        publishes("$rrpc/txd/A1B2C3D4E5/dev/17", true);
        publishes("$rrpc/txd/A1B2C3D4E5/dev", false);
        publishes("$shadow/operation/A1B2C3D4E5/dev2", false);
        publishes("$shadow/name/fw/operation/A1B2C3D4E5/dev", true);
        publishes("$shadow/name/fw/operation/A1B2C3D4E5/dev2", false);
        publishes("$shadow/name/fw/operation/A1B2C3D4E5/dev/x", false);
        publishes("$shadow/name/fw/operation/result/A1B2C3D4E5/dev", false);
        publishes("$shadow/name//operation/A1B2C3D4E5/dev", false);
        publishes("$shadow/name/operation/A1B2C3D4E5/dev", false);

        subscribes("A1B2C3D4E5/dev/control", true);
        subscribes("A1B2C3D4E5/dev/data", true);
        subscribes("A1B2C3D4E5/dev/event", false);
        subscribes("A1B2C3D4E5/dev/+", false);
        subscribes("A1B2C3D4E5/dev/#", false);
        subscribes("A1B2C3D4E5/+/control", false);
        subscribes("#", false);
        subscribes("$rrpc/rxd/A1B2C3D4E5/dev/+", true);
        subscribes("$rrpc/rxd/A1B2C3D4E5/dev/#", false);
        subscribes("$broadcast/rxd/A1B2C3D4E5/dev", true);
        subscribes("$shadow/name/fw/operation/result/A1B2C3D4E5/dev", true);
        subscribes("$shadow/name/+/operation/result/A1B2C3D4E5/dev", true);
        subscribes("$shadow/name/fw/operation/result/A1B2C3D4E5/+", false);
        subscribes("$shadow/name/+/operation/A1B2C3D4E5/dev", false);
        subscribes("$shadow/name/#", false);
        subscribes("$shadow/#", false);
    }

    #[test]
    fn a_class_of_a_product_is_for_its_devices_alone() {
        let class =
            |suffix: &str, publish, subscribe| TopicClass { suffix: suffix.parse().unwrap(), publish, subscribe };
        let mut policy = Policy::default();
        let classes = vec![
            class("up/+/raw", true, false),
            class("cmd", false, true),
            class("any/+", true, true),
            class("event", false, true),
        ];
        policy.set_classes("A1B2C3D4E5".parse().unwrap(), classes);
        let other = Principal::Device("ZZZZZZZZZZ/dev".parse().unwrap());
        let publishes =
            |policy: &Policy, rest: &str| policy.may_publish(&device(), &format!("A1B2C3D4E5/dev/{rest}")).is_ok();
        let subscribes = |policy: &Policy, rest: &str| {
            policy.may_subscribe(&device(), &format!("A1B2C3D4E5/dev/{rest}").parse().unwrap()).is_ok()
        };
        for (rest, publish, subscribe) in [
            ("up/1/raw", true, false),
            ("up/raw", false, false),
            ("up/1/2/raw", false, false),
            ("cmd", false, true),
            ("cmd/x", false, false),
            ("any/x", true, true),
            ("any/", true, true),
            ("any", false, false),
            // Beside the defaults: these keep what they allow.
            ("event", true, true),
            ("control", false, true),
        ] {
            assert_eq!((publishes(&policy, rest), subscribes(&policy, rest)), (publish, subscribe), "{rest}");
            let theirs = format!("ZZZZZZZZZZ/dev/{rest}");
            let default = Policy::default();
            assert_eq!(policy.may_publish(&other, &theirs), default.may_publish(&other, &theirs), "{rest}");
        }
        // A filter is allowed as far as every topic that it matches is.
        for (rest, expected) in [("any/+", true), ("any/#", false), ("+/x", false), ("#", false), ("up/+/raw", false)] {
            assert_eq!(subscribes(&policy, rest), expected, "{rest}");
        }
        policy.set_classes("A1B2C3D4E5".parse().unwrap(), Vec::new());
        assert_eq!(policy, Policy::default());
    }

    #[test]
    fn an_application_reaches_what_its_key_was_granted() {
        let grants = Grants {
            publish: vec!["A1B2C3D4E5/+/control".parse().unwrap()],
            subscribe: vec!["A1B2C3D4E5/+/event".parse().unwrap()],
        };
        let application = Principal::Application { key: "app".parse().unwrap(), grants: Arc::new(grants) };
        let policy = Policy::default();
        assert!(policy.may_subscribe(&application, &"A1B2C3D4E5/+/event".parse().unwrap()).is_ok());
        assert!(policy.may_subscribe(&application, &"A1B2C3D4E5/dev/event".parse().unwrap()).is_ok());
        assert!(policy.may_subscribe(&application, &"A1B2C3D4E5/#".parse().unwrap()).is_err());
        assert!(policy.may_publish(&application, "A1B2C3D4E5/dev/control").is_ok());
        assert!(policy.may_publish(&application, "A1B2C3D4E5/dev/event").is_err());
        let rule = Principal::Rule { rule: "r".parse().unwrap(), owner: Box::new(application) };
        assert!(policy.may_publish(&rule, "A1B2C3D4E5/dev/event").is_err());
    }

    #[test]
    fn a_gateway_has_the_rights_of_each_device_that_is_online_through_it() {
        let mut policy = Policy::default();
        let class = TopicClass { suffix: "up".parse().unwrap(), publish: true, subscribe: false };
        policy.put_class(&"SUBSUBSUB1".parse().unwrap(), class);
        let publishes = |topic: &str| policy.allows_publish_for(topic, |device| device.to_string() == "SUBSUBSUB1/s");
        let subscribes = |filter: &str| {
            policy.allows_subscribe_for(&filter.parse().unwrap(), |device| device.to_string() == "SUBSUBSUB1/s")
        };
        for (path, publish, subscribe) in [
            ("SUBSUBSUB1/s/event", true, false),
            ("SUBSUBSUB1/s/control", false, true),
            ("SUBSUBSUB1/s/up", true, false),
            ("SUBSUBSUB1/t/event", false, false),
            ("ZZZZZZZZZZ/s/event", false, false),
            ("$shadow/operation/SUBSUBSUB1/s", true, false),
            ("$shadow/operation/result/SUBSUBSUB1/s", false, true),
            ("$shadow/name/fw/operation/SUBSUBSUB1/s", true, false),
            ("$shadow/operation/SUBSUBSUB1/t", false, false),
            ("$rrpc/txd/SUBSUBSUB1/s/17", true, false),
            ("$ota/report/SUBSUBSUB1/s", true, false),
            ("$broadcast/rxd/SUBSUBSUB1/s", false, true),
            // The device is named by its place, not by a level that looks like it.
            ("$rrpc/txd/SUBSUBSUB1/t/SUBSUBSUB1/s", false, false),
            ("$shadow/name/SUBSUBSUB1/s/operation/SUBSUBSUB1/t", false, false),
            ("SUBSUBSUB1/s", false, false),
            ("plain/topic/event", false, false),
        ] {
            assert_eq!((publishes(path), subscribes(path)), (publish, subscribe), "{path}");
        }
        for (filter, expected) in [
            ("SUBSUBSUB1/+/control", false),
            ("SUBSUBSUB1/s/+", false),
            ("SUBSUBSUB1/s/#", false),
            ("$rrpc/rxd/SUBSUBSUB1/s/+", true),
            ("$rrpc/rxd/SUBSUBSUB1/+/+", false),
            ("$shadow/name/+/operation/result/SUBSUBSUB1/s", true),
            ("$shadow/name/+/operation/result/SUBSUBSUB1/+", false),
            ("#", false),
        ] {
            assert_eq!(subscribes(filter), expected, "{filter}");
        }
    }

    #[test]
    fn a_refusal_names_who_and_what() {
        let error = Policy::default().may_publish(&device(), "x/y").unwrap_err();
        assert_eq!(error.to_string(), "device:A1B2C3D4E5/dev may not publish to \"x/y\"");
    }
}
