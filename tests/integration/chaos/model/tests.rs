use super::*;

fn message(number: u64, qos: u8) -> Message {
    let id = MessageId { publisher: "p".to_owned(), number };
    Message { payload: format!(r#"{{"p":"p","n":{number}}}"#), id, topic: "t/p/event".to_owned(), qos }
}

/// `s` is subscribed at `qos`, and `p` has published and been acknowledged.
fn ready(qos: u8, messages: &[Message]) -> Model {
    let mut model = Model::default();
    model.connected("s", false, Some(false));
    model.subscribing("s", "t/+/event", qos);
    model.subscribed("s", "t/+/event");
    for message in messages {
        publish(&mut model, message);
    }
    model
}

fn publish(model: &mut Model, message: &Message) {
    model.sending(message);
    if message.qos > 0 {
        model.acknowledged(&message.id);
    }
}

fn receive(model: &mut Model, message: &Message, qos: u8) {
    model.received("s", &message.topic, &message.payload, qos);
}

/// Whether the only fault so far is one of the kind that `is_it` knows.
#[track_caller]
fn one(model: &Model, is_it: impl Fn(&Fault) -> bool) {
    assert!(matches!(model.faults(), [fault] if is_it(fault)), "{:?}", model.faults());
}

#[track_caller]
fn none(model: &Model) {
    assert_eq!((model.faults(), model.missing()), (&[][..], Vec::new()));
}

#[test]
fn what_should_arrive_and_does_is_no_fault() {
    for subscribed in 0..=2 {
        let messages = [message(1, 0), message(2, 1), message(3, 2)];
        let mut model = ready(subscribed, &messages);
        for message in &messages {
            receive(&mut model, message, message.qos.min(subscribed));
        }
        none(&model);
    }
}

#[test]
fn loss_is_noticed() {
    for qos in [1, 2] {
        let mut model = ready(2, &[message(1, qos), message(2, qos)]);
        receive(&mut model, &message(2, qos), qos);
        let missing = model.missing();
        assert!(matches!(&missing[..], [Fault::Lost { message, .. }] if message.number == 1), "{missing:?}");
        // What was not acknowledged may be lost, and so may QoS 0.
        model.sending(&message(3, qos));
        publish(&mut model, &message(4, 0));
        assert_eq!(model.missing().len(), 1);
    }
}

#[test]
fn a_second_copy_needs_a_cause() {
    let mut model = ready(1, &[message(1, 1)]);
    receive(&mut model, &message(1, 1), 1);
    receive(&mut model, &message(1, 1), 1);
    one(&model, |fault| matches!(fault, Fault::Repeated { qos: 1, .. }));

    // The subscriber came back.
    let mut model = ready(1, &[message(1, 1)]);
    receive(&mut model, &message(1, 1), 1);
    model.connected("s", true, Some(true));
    receive(&mut model, &message(1, 1), 1);
    none(&model);

    // The publisher sent twice, as it may at QoS 1; at QoS 0 that makes two copies and not three.
    let mut model = ready(0, &[message(1, 1)]);
    model.sending(&message(1, 1));
    receive(&mut model, &message(1, 1), 0);
    receive(&mut model, &message(1, 1), 0);
    none(&model);
    receive(&mut model, &message(1, 1), 0);
    one(&model, |fault| matches!(fault, Fault::Repeated { qos: 0, .. }));
}

#[test]
fn exactly_once_knows_no_cause() {
    for subscribed in [0, 2] {
        let mut model = ready(subscribed, &[message(1, 2)]);
        receive(&mut model, &message(1, 2), subscribed);
        model.sending(&message(1, 2));
        model.connected("s", true, Some(true));
        receive(&mut model, &message(1, 2), subscribed);
        one(&model, |fault| matches!(fault, Fault::Repeated { .. }));
    }
}

#[test]
fn reordering_is_noticed() {
    for qos in 0..=2 {
        let messages = [message(1, qos), message(2, qos), message(3, qos)];
        let mut model = ready(2, &messages);
        receive(&mut model, &messages[1], qos);
        receive(&mut model, &messages[0], qos);
        one(&model, |fault| matches!(fault, Fault::OutOfOrder { after: 2, .. }));
    }
    // Repetitions and other lanes have no place in the order.
    let mut model = ready(2, &[message(1, 1), message(2, 1), message(3, 2)]);
    receive(&mut model, &message(3, 2), 2);
    receive(&mut model, &message(1, 1), 1);
    receive(&mut model, &message(2, 1), 1);
    model.connected("s", true, Some(true));
    receive(&mut model, &message(1, 1), 1);
    none(&model);
    // Nor has what was first sent while the subscription was taken back, and again when it stood.
    let mut model = ready(1, &[]);
    model.unsubscribing("s", "t/+/event");
    model.sending(&message(1, 1));
    model.unsubscribed("s", "t/+/event");
    model.subscribing("s", "t/+/event", 1);
    model.subscribed("s", "t/+/event");
    publish(&mut model, &message(2, 1));
    model.sending(&message(1, 1));
    receive(&mut model, &message(2, 1), 1);
    receive(&mut model, &message(1, 1), 1);
    none(&model);
}

#[test]
fn what_nobody_asked_for_is_noticed() {
    let mut model = ready(1, &[message(1, 1)]);
    model.received("other", "t/p/event", &message(1, 1).payload, 1);
    one(&model, |fault| matches!(fault, Fault::NotSubscribed { .. }));

    // Unsubscribed before it was sent.
    let mut model = ready(1, &[]);
    model.unsubscribing("s", "t/+/event");
    publish(&mut model, &message(1, 1));
    receive(&mut model, &message(1, 1), 1);
    none(&model);
    model.unsubscribed("s", "t/+/event");
    publish(&mut model, &message(2, 1));
    receive(&mut model, &message(2, 1), 1);
    one(&model, |fault| matches!(fault, Fault::NotSubscribed { .. }));

    // Subscribed after it had been acknowledged.
    let mut model = Model::default();
    publish(&mut model, &message(1, 1));
    model.sending(&message(2, 1));
    model.subscribing("s", "t/+/event", 1);
    receive(&mut model, &message(2, 1), 1);
    none(&model);
    receive(&mut model, &message(1, 1), 1);
    one(&model, |fault| matches!(fault, Fault::NotSubscribed { .. }));
}

#[test]
fn a_filter_promises_only_while_it_surely_stands() {
    let mut model = ready(1, &[message(1, 1)]);
    model.unsubscribing("s", "t/+/event");
    publish(&mut model, &message(2, 1));
    none(&model);
    // Asked for again, and not yet granted.
    model.subscribing("s", "t/+/event", 1);
    publish(&mut model, &message(3, 1));
    none(&model);
    model.subscribed("s", "t/+/event");
    publish(&mut model, &message(4, 1));
    assert_eq!(model.missing().len(), 1);
}

#[test]
fn changed_and_invented_messages_are_noticed() {
    let sent = message(1, 1);
    let changed = ["", r#"{"p":"p","n":1,"more":1}"#, r#"{"p":"p","n":7}"#].map(|payload| ("t/p/event", payload));
    for (topic, payload) in [&changed[..], &[("t/p/data", &*sent.payload)]].concat() {
        let mut model = ready(1, std::slice::from_ref(&sent));
        model.received("s", topic, payload, 1);
        one(&model, |fault| matches!(fault, Fault::Forged { .. }));
    }
    let mut model = ready(1, &[message(1, 2)]);
    receive(&mut model, &message(1, 2), 2);
    one(&model, |fault| matches!(fault, Fault::WrongQos { qos: 2, expected: 1, .. }));
}

#[test]
fn lost_sessions_are_noticed() {
    let mut model = Model::default();
    model.connected("s", true, Some(false));
    model.connected("s", true, None);
    model.connected("s", false, None);
    model.connected("s", false, Some(true));
    let nowhere = Fault::SessionFromNowhere { client: "s".to_owned() };
    assert_eq!(model.faults(), [nowhere, Fault::SessionLost { client: "s".to_owned() }]);
}

#[test]
fn filters_match() {
    let check = |filter, topic, expected| assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
    check("t/p/event", "t/p/event", true);
    check("t/+/event", "t/p/event", true);
    check("t/+/event", "t/p/data", false);
    check("t/+", "t/p/data", false);
    check("t/p/data/x", "t/p/data", false);
    check("t/#", "t/p/data", true);
    check("t/#", "t", true);
}
