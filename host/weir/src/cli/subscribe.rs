//! `weir sub`: prints what a device or an application receives.

use base64::{Engine, engine::general_purpose::STANDARD};
use rumqttc::{Event, Packet, Publish, SubscribeFilter, SubscribeReasonCode};
use serde_json::{Value, json};
use weir_core::TopicFilter;

use super::{
    failure::Failure,
    hub::Target,
    mqtt::{self, Identity},
    output::Output,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topic filters, such as 'A1B2C3D4E5/+/event'
    #[arg(required = true, value_name = "FILTER")]
    filters: Vec<TopicFilter>,
    #[command(flatten)]
    identity: Identity,
    /// Quality of service, at most
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// End after this many messages
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
}

pub(crate) async fn run(args: Args, target: &Target, out: Output) -> Result<(), Failure> {
    let (client, mut events) = mqtt::connect(&args.identity, target).await?;
    let filters = args.filters.iter().map(|filter| SubscribeFilter::new(filter.to_string(), mqtt::qos(args.qos)));
    client.subscribe_many(filters).await.map_err(|_| Failure::refused("the MQTT client has ended"))?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        match events.poll().await.map_err(|error| mqtt::lost(&error))? {
            Event::Incoming(Packet::SubAck(answer)) => {
                granted(&args.filters, &answer.return_codes)?;
                if !out.is_json() {
                    eprintln!("subscribed");
                }
            }
            Event::Incoming(Packet::Publish(message)) => {
                print(&message, out)?;
                left -= 1;
            }
            _ => {}
        }
    }
    Ok(())
}

fn granted(filters: &[TopicFilter], answers: &[SubscribeReasonCode]) -> Result<(), Failure> {
    let refused = filters.iter().zip(answers).find(|(_, answer)| **answer == SubscribeReasonCode::Failure);
    match refused {
        Some((filter, _)) => Err(Failure::refused(format!("the hub refused the subscription to {filter}"))
            .hint("a device subscribes to PRODUCT/DEVICE/control and …/data, a key to the filters it was given")),
        None => Ok(()),
    }
}

fn print(message: &Publish, out: Output) -> Result<(), Failure> {
    if !out.is_json() {
        return out.bytes(&[message.topic.as_bytes(), b"  ", &message.payload]);
    }
    let (key, payload) = match std::str::from_utf8(&message.payload) {
        Ok(text) => ("payload", Value::from(text)),
        Err(_) => ("payload_base64", Value::from(STANDARD.encode(&message.payload))),
    };
    // One object per line, so that programs can read on.
    out.line(
        &json!({"topic": message.topic, "qos": message.qos as u8, "retain": message.retain, key: payload}).to_string(),
    )
}
