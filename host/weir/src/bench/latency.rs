//! How long it takes from a device's publish to what a rule makes of it at another device, on an idle hub.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    hub::{HubUnderTest, PRODUCT},
    payload,
    report::{Figures, Percentiles},
    wire::{self, ANSWER_TIMEOUT, Ring},
};

const WARM_UP: usize = 50;
/// Time between an effect and the next publish, so that each finds the hub idle.
const PAUSE: Duration = Duration::from_millis(5);

/// Sends `samples` messages at QoS 1, one after the other, each when the effect of the last has arrived.
pub(super) async fn measure(hub: &HubUnderTest, samples: usize, at_most: Duration) -> Result<Figures> {
    let logins = hub.devices(2).await?;
    let (Some(source), Some(sink)) = (logins.first(), logins.get(1)) else {
        return Err(anyhow::anyhow!("two devices are needed"));
    };
    let names = [0, 1].map(payload::device_name);
    let [from, to] = &names;
    hub.apply(format!(
        "CREATE RULE effect TO republish(topic => '{PRODUCT}/{to}/control') \
         AS SELECT deviceName() AS device, temp FROM '{PRODUCT}/{from}/event' WHERE temp > 30;"
    ))
    .await?;
    let mut publisher = wire::connect(&hub.endpoints.mqtt, source).await?;
    let mut subscriber = wire::connect(&hub.endpoints.mqtt, sink).await?;
    wire::subscribe(&mut subscriber, &format!("{PRODUCT}/{to}/control"), 1).await?;

    // Slot 0 has a temperature above 30.
    let mut ring = Ring::new(&format!("{PRODUCT}/{from}/event"), 0, 1, 1);
    let mut latencies = Vec::with_capacity(samples);
    let began = Instant::now();
    let before = hub.process.cpu_seconds()?;
    for number in 0..WARM_UP + samples {
        if began.elapsed() > at_most {
            break;
        }
        let sent = Instant::now();
        publisher.write_all(ring.stamped(0, 1, 0)).await?;
        let effect = effect(&mut subscriber).await.context("the effect of a message")?;
        if number >= WARM_UP {
            latencies.push(u32::try_from(effect.duration_since(sent).as_micros()).unwrap_or(u32::MAX));
        }
        let mut puback = [0; 4];
        timeout(ANSWER_TIMEOUT, publisher.read_exact(&mut puback)).await.context("no PUBACK came")??;
        ensure!(puback == [0x40, 2, 0, 1], "the broker answered PUBLISH with {puback:02x?}");
        tokio::time::sleep(PAUSE).await;
    }
    ensure!(!latencies.is_empty(), "there was no time for a single sample; raise --seconds");
    let (rss_bytes, peak_rss_bytes) = hub.process.memory()?;
    let messages = (WARM_UP + latencies.len()) as u64;
    Ok(Figures {
        messages,
        lost: 0,
        seconds: began.elapsed().as_secs_f64(),
        latency: Percentiles::of(latencies),
        cpu_seconds: hub.process.cpu_seconds()? - before,
        generator_cpu_seconds: None,
        rss_bytes,
        peak_rss_bytes,
    })
}

/// Waits for one message, acknowledges it, and says when it was there.
async fn effect(stream: &mut TcpStream) -> Result<Instant> {
    let mut buffer = vec![0; 4 * 1024];
    let mut held = 0;
    loop {
        let room = buffer.get_mut(held..).unwrap_or_default();
        let read = timeout(ANSWER_TIMEOUT, stream.read(room)).await.context("nothing arrived")??;
        ensure!(read > 0, "the broker closed the connection");
        held += read;
        let arrived = Instant::now();
        let Some((first, body, length)) = wire::packet(buffer.get(..held).unwrap_or_default()) else { continue };
        ensure!(first >> 4 == wire::PUBLISH && length == held, "something else than one message arrived");
        let (id, _) = wire::publish_parts(first, body).context("a PUBLISH was malformed")?;
        ensure!(id > 0, "the effect came at QoS 0");
        let mut acknowledgement = Vec::new();
        wire::acknowledge(&mut acknowledgement, wire::PUBACK, id);
        stream.write_all(&acknowledgement).await?;
        return Ok(arrived);
    }
}
