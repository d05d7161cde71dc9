//! Being an MQTT client for `pub` and `sub`: who to be, and connecting as that.

use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, Packet, QoS, StateError,
};

use super::{
    device::{create_token, parse_device},
    failure::Failure,
    hub::Target,
    output::text,
};

/// A token is checked when a client connects, so it need not live longer than connecting may take.
const TOKEN_LIFETIME: Duration = Duration::from_secs(60);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Bytes of a packet, either way; the hub's own limit is lower.
const MAX_PACKET: usize = 256 << 20;
/// Requests that wait for the event loop.
const REQUESTS: usize = 16;

/// Who to be. Without any of these: whoever the hub's key is.
#[derive(Debug, clap::Args)]
pub(crate) struct Identity {
    /// Be this device, with a token made for the purpose; a connection that it has elsewhere ends
    #[arg(long = "as", value_name = "PRODUCT/DEVICE", conflicts_with = "user")]
    device: Option<String>,
    /// User name: PRODUCT/DEVICE, or the name of a key
    #[arg(long, value_name = "NAME", requires = "password")]
    user: Option<String>,
    /// Password: a token, or the secret of a key
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// The MQTT listener, if it is not where the hub is
    #[arg(long, value_name = "HOST:PORT")]
    mqtt: Option<String>,
}

struct Access {
    host: String,
    port: u16,
    user: String,
    password: String,
    client_id: String,
}

/// Connects, and answers when the hub has accepted.
pub(crate) async fn connect(identity: &Identity, target: &Target) -> Result<(AsyncClient, EventLoop), Failure> {
    let access = access(identity, target).await?;
    // The client library joins host and port by a colon.
    let host = if access.host.contains(':') { format!("[{}]", access.host) } else { access.host };
    let address = format!("{host}:{}", access.port);
    let mut options = MqttOptions::new(access.client_id, host, access.port);
    options.set_credentials(access.user, access.password);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_max_packet_size(MAX_PACKET, MAX_PACKET);
    let (client, mut events) = AsyncClient::new(options, REQUESTS);
    match events.poll().await {
        Ok(Event::Incoming(Packet::ConnAck(_))) => Ok((client, events)),
        Ok(_) => Err(Failure::refused(format!("{address} does not speak MQTT as it should"))),
        Err(error) => Err(connect_failure(&address, &error)),
    }
}

async fn access(identity: &Identity, target: &Target) -> Result<Access, Failure> {
    let given = identity.mqtt.as_deref().map(parse_address).transpose()?;
    if let (Some(user), Some(password)) = (&identity.user, &identity.password) {
        let (host, port) = match given {
            Some(address) => address,
            None => parse_address(&target.hub()?.mqtt())?,
        };
        let (user, password) = (user.clone(), password.clone());
        return Ok(Access { host, port, user, password, client_id: client_id()? });
    }
    let hub = target.hub()?;
    let Some(device) = &identity.device else {
        let (host, port) = match given {
            Some(address) => address,
            None => parse_address(&hub.mqtt())?,
        };
        let (user, password) = hub.key();
        let (user, password) = (user.to_owned(), password.to_owned());
        return Ok(Access { host, port, user, password, client_id: client_id()? });
    };
    let token = create_token(&hub, &parse_device(device)?, Some(TOKEN_LIFETIME)).await?;
    let (host, port) = match given {
        Some(address) => address,
        None => parse_address(&hub.mqtt())?,
    };
    Ok(Access {
        host,
        port,
        user: text(&token, "username"),
        password: text(&token, "password"),
        client_id: text(&token, "client_id"),
    })
}

/// `HOST:PORT`; an IPv6 address stands in brackets.
fn parse_address(text: &str) -> Result<(String, u16), Failure> {
    let wrong = || Failure::usage(format!("{text:?} is not an address; write HOST:PORT"));
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(wrong());
    }
    Ok((host.to_owned(), port.parse().map_err(|_| wrong())?))
}

/// Unlike any other: two clients with one name would push each other out.
fn client_id() -> Result<String, Failure> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|error| Failure::refused(format!("no randomness: {error}")))?;
    Ok(format!("weir-{:016x}", u64::from_ne_bytes(random)))
}

fn connect_failure(address: &str, error: &ConnectionError) -> Failure {
    match error {
        ConnectionError::ConnectionRefused(code) => {
            let reason = match code {
                ConnectReturnCode::BadUserNamePassword => "user name or password is wrong, or the token has expired",
                ConnectReturnCode::NotAuthorized => "it is disabled",
                ConnectReturnCode::BadClientId => "the client id is taken or not valid",
                ConnectReturnCode::ServiceUnavailable => "the hub cannot take more now",
                ConnectReturnCode::RefusedProtocolVersion | ConnectReturnCode::Success => {
                    "the hub speaks another version"
                }
            };
            Failure::refused(format!("the hub refused the connection: {reason}"))
        }
        error => Failure::Unreachable {
            message: format!("cannot reach the MQTT listener at {address}: {error}"),
            hint: "say where it is by --mqtt HOST:PORT".to_owned(),
        },
    }
}

/// A connection that ended by itself.
pub(crate) fn lost(error: &ConnectionError) -> Failure {
    match error {
        ConnectionError::MqttState(StateError::ConnectionAborted) => Failure::refused("the hub closed the connection")
            .hint("it goes down, or the same device connected elsewhere: weir status"),
        error => Failure::refused(format!("the connection ended: {error}")),
    }
}

pub(crate) fn qos(level: u8) -> QoS {
    if level == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_be_of_version_six() {
        assert_eq!(parse_address("hub:1883").unwrap(), ("hub".to_owned(), 1883));
        assert_eq!(parse_address("[::1]:1883").unwrap(), ("::1".to_owned(), 1883));
        for wrong in ["hub", "hub:", ":1883", "hub:mqtt"] {
            assert!(matches!(parse_address(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
