//! `weir pub`: one message, as a device or an application would send it.

use std::{io::Read, time::Duration};

use rumqttc::{Event, EventLoop, Outgoing, Packet};
use serde_json::json;
use weir_core::Topic;

use super::{
    failure::Failure,
    hub::Target,
    mqtt::{self, Identity},
    output::Output,
};

/// How long to wait for the hub to acknowledge.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    topic: Topic,
    /// The payload, or - to read it from standard input
    message: String,
    #[command(flatten)]
    identity: Identity,
    /// Quality of service: 1 waits until the hub has it safe, 0 does not
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// Set the retain flag
    #[arg(short, long)]
    retain: bool,
}

pub(crate) async fn run(args: Args, target: &Target, out: Output) -> Result<(), Failure> {
    let payload = payload(&args.message)?;
    let (client, mut events) = mqtt::connect(&args.identity, target).await?;
    // The channel has room and its reader lives, so neither request can fail.
    let gone = |_| Failure::refused("the MQTT client has ended");
    client.publish(args.topic.as_str(), mqtt::qos(args.qos), args.retain, payload).await.map_err(gone)?;
    let acknowledged = tokio::time::timeout(ACKNOWLEDGE_TIMEOUT, sent(&mut events, args.qos)).await;
    acknowledged.map_err(|_| Failure::refused("the hub did not acknowledge the message in time"))??;
    client.disconnect().await.map_err(gone)?;
    // What was sent has arrived or is on its way; how the connection ends adds nothing.
    while let Ok(event) = events.poll().await {
        if event == Event::Outgoing(Outgoing::Disconnect) {
            break;
        }
    }
    if out.is_json() { out.json(&json!({"topic": args.topic, "qos": args.qos})) } else { Ok(()) }
}

/// Ends when the message is written, and at QoS 1 acknowledged.
async fn sent(events: &mut EventLoop, qos: u8) -> Result<(), Failure> {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::PubAck(_))) => return Ok(()),
            Ok(Event::Outgoing(Outgoing::Publish(_))) if qos == 0 => return Ok(()),
            Ok(_) => {}
            Err(_) => {
                // MQTT 3.1.1 has no other way to refuse a message than to close the connection.
                return Err(Failure::refused("the hub closed the connection instead of accepting the message").hint(
                    "either it may not publish to this topic (a device may to PRODUCT/DEVICE/event and …/data, a key to \
                     the filters it was given),\n\
                     or the message is larger than the hub's limits.payload_bytes",
                ));
            }
        }
    }
}

/// The payload that an argument stands for: itself, or for `-` standard input.
pub(super) fn payload(message: &str) -> Result<Vec<u8>, Failure> {
    if message != "-" {
        return Ok(message.as_bytes().to_vec());
    }
    let mut payload = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut payload)
        .map_err(|error| Failure::refused(format!("cannot read standard input: {error}")))?;
    Ok(payload)
}
