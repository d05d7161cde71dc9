//! `weir device connect`: everything a plain MQTT client needs to be a device. And how a device is written in arguments.

use std::time::Duration;

use serde_json::{Value, json};
use weir_core::DeviceId;

use super::{
    failure::Failure,
    hub::Hub,
    output::{Output, text, utc},
};

/// A device in arguments: `PRODUCT DEVICE` or `PRODUCT/DEVICE`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DeviceArgs {
    /// The device, as PRODUCT DEVICE or PRODUCT/DEVICE
    #[arg(required = true, num_args = 1..=2, value_names = ["PRODUCT", "DEVICE"])]
    device: Vec<String>,
}

impl DeviceArgs {
    pub(crate) fn id(&self) -> Result<DeviceId, Failure> {
        parse_device(&self.device.join("/"))
    }
}

pub(crate) fn parse_device(text: &str) -> Result<DeviceId, Failure> {
    text.parse().map_err(|error: weir_core::ids::InvalidName| Failure::usage(error.to_string()))
}

/// How long a token lives.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Expiry {
    /// How long the password is good for, such as "1h" or "30 days"; without it until it is revoked
    #[arg(long, value_name = "TIME", value_parser = crate::config::parse_duration)]
    expires_in: Option<Duration>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// Make a token and print host, port, user name, password and a mosquitto_pub line that works
    Connect {
        #[command(flatten)]
        device: DeviceArgs,
        #[command(flatten)]
        expiry: Expiry,
    },
}

pub(crate) async fn run(what: What, hub: &Hub, out: Output) -> Result<(), Failure> {
    let What::Connect { device, expiry } = what;
    let device = device.id()?;
    let token = create_token(hub, &device, expiry.expires_in).await?;
    if out.is_json() { out.json(&token) } else { out.line(&instructions(&device, &token)) }
}

pub(crate) async fn token(device: &DeviceArgs, expiry: &Expiry, hub: &Hub, out: Output) -> Result<(), Failure> {
    let token = create_token(hub, &device.id()?, expiry.expires_in).await?;
    out.fields(&token)
}

/// The credentials that the hub makes: `{host,port,username,password,client_id,expires_at}`.
pub(crate) async fn create_token(hub: &Hub, device: &DeviceId, lifetime: Option<Duration>) -> Result<Value, Failure> {
    // A part of a second is still time to live.
    let body = match lifetime {
        Some(lifetime) => json!({"expires_in": lifetime.as_millis().div_ceil(1_000) as u64}),
        None => json!({}),
    };
    let path = ["products", device.product.as_str(), "devices", device.device.as_str(), "tokens"];
    hub.post(&path, &body).await.map_err(|failure| {
        failure.see(&format!(
            "weir get devices {0}\nor make it: weir create device {0} {1}",
            device.product, device.device
        ))
    })
}

fn instructions(device: &DeviceId, token: &Value) -> String {
    let (host, port) = (text(token, "host"), text(token, "port"));
    let (username, password, client_id) = (text(token, "username"), text(token, "password"), text(token, "client_id"));
    let expires = match token.get("expires_at").and_then(Value::as_i64) {
        Some(at) => utc(at),
        None => format!("never (revoke it: weir delete token {device})"),
    };
    let who = format!("-i '{client_id}' -u '{username}' -P '{password}'");
    let publish = format!("{who} -q 1 -t '{device}/event' -m '{{\"temp\":31.5}}'");
    let encrypted = match token.get("tls").filter(|tls| tls.is_object()) {
        Some(tls) => {
            let place = format!("-h {} -p {}", text(tls, "host"), text(tls, "port"));
            format!("\nBy TLS:     weir get ca > ca.pem; mosquitto_pub --cafile ca.pem {place} {publish}")
        }
        None => String::new(),
    };
    let place = |field: &str, scheme: &str| match token.get(field).filter(|place| place.is_object()) {
        Some(place) => format!("  {scheme}://{}:{}/mqtt", text(place, "host"), text(place, "port")),
        None => String::new(),
    };
    let websocket = match (place("ws", "ws"), place("wss", "wss")) {
        (ws, wss) if ws.is_empty() && wss.is_empty() => String::new(),
        (ws, wss) => format!("\nWebSocket:{ws}{wss}"),
    };
    let coap = match token.get("coap").filter(|place| place.is_object()) {
        Some(coap) => {
            let uri = format!("coap://{}:{}/{device}/event?token={password}", text(coap, "host"), text(coap, "port"));
            format!("\nCoAP:       coap-client -m post -e '{{\"temp\":31.5}}' '{uri}'")
        }
        None => String::new(),
    };
    format!(
        "host       {host}\n\
         port       {port}\n\
         user name  {username}\n\
         password   {password}\n\
         client id  {client_id}\n\
         expires    {expires}\n\
         \n\
         Publish:    mosquitto_pub -h {host} -p {port} {publish}\n\
         Subscribe:  mosquitto_sub -h {host} -p {port} {who} -q 1 -t '{device}/control'{encrypted}{websocket}{coap}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instructions_hold_what_a_client_needs() {
        let device: DeviceId = "A1B2C3D4E5/dev".parse().unwrap();
        let token = json!({"host": "127.0.0.1", "port": 1883, "username": "A1B2C3D4E5/dev", "password": "p-w_",
            "client_id": "A1B2C3D4E5dev", "expires_at": null, "tls": {"host": "hub.example.org", "port": 8883},
            "ws": {"host": "127.0.0.1", "port": 8081}, "wss": {"host": "hub.example.org", "port": 8443}, "coap": {"host": "127.0.0.1", "port": 5683}});
        let shown = instructions(&device, &token);
        assert!(shown.contains(
            "mosquitto_pub -h 127.0.0.1 -p 1883 -i 'A1B2C3D4E5dev' -u 'A1B2C3D4E5/dev' -P 'p-w_' \
             -q 1 -t 'A1B2C3D4E5/dev/event' -m '{\"temp\":31.5}'"
        ));
        assert!(shown.contains("expires    never"));
        assert!(shown.contains("\nWebSocket:  ws://127.0.0.1:8081/mqtt  wss://hub.example.org:8443/mqtt\n"));
        let coap = "'coap://127.0.0.1:5683/A1B2C3D4E5/dev/event?token=p-w_'";
        assert!(shown.ends_with(&format!("\nCoAP:       coap-client -m post -e '{{\"temp\":31.5}}' {coap}")));
        assert!(
            shown.contains(
                "By TLS:     weir get ca > ca.pem; mosquitto_pub --cafile ca.pem -h hub.example.org -p 8883 -i"
            )
        );
    }
}
