//! Binding ports, before anything is served: a port that is taken must be known at once.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use socket2::SockRef;
use tokio::net::{TcpListener, UdpSocket};

use super::start_error::StartError;
use crate::{config::Config, data::Endpoints};

/// Bytes of datagrams that wait to be read.
const SOCKET_BUFFER: usize = 4 << 20;

/// Every port that the hub serves.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) mqtt: TcpListener,
    /// None of the encrypted ones is there without TLS.
    pub(super) mqtts: Option<TcpListener>,
    pub(super) ws: TcpListener,
    pub(super) wss: Option<TcpListener>,
    pub(super) http: TcpListener,
    pub(super) coap: Option<UdpSocket>,
    pub(super) coaps: Option<UdpSocket>,
}

/// A listener that is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) what: &'static str,
    pub(super) address: SocketAddr,
    /// The flags that choose another port and address.
    pub(super) port_flag: &'static str,
    pub(super) address_flag: &'static str,
}

impl Listeners {
    pub(super) async fn bind(config: &Config) -> Result<Self, StartError> {
        let for_devices = |what, address, port, port_flag| {
            bind(Wanted { what, address: SocketAddr::new(address, port), port_flag, address_flag: "--listen" })
        };
        let (plain, address) = (config.plain_address(), config.listen.address);
        let mqtt = for_devices("MQTT", plain, config.listen.mqtt_port, "--mqtt-port").await?;
        let ws = for_devices("MQTT over WebSocket", plain, config.listen.ws_port, "--ws-port").await?;
        let (mut mqtts, mut wss) = (None, None);
        if config.tls.enabled {
            mqtts = Some(for_devices("MQTT over TLS", address, config.tls.mqtt_port, "--mqtts-port").await?);
            wss = Some(for_devices("MQTT over secure WebSocket", address, config.tls.ws_port, "--wss-port").await?);
        }
        let http = bind(Wanted {
            what: "management",
            address: SocketAddr::new(config.admin.address, config.admin.port),
            port_flag: "--admin-port",
            address_flag: "--admin-listen",
        })
        .await?;
        let coap = match config.coap.enabled {
            true => Some(bind_datagrams(datagrams("CoAP", plain, config.listen.coap_port, "--coap-port")).await?),
            false => None,
        };
        let coaps = match config.coap.enabled && config.tls.enabled {
            true => {
                Some(bind_datagrams(datagrams("CoAP over DTLS", address, config.tls.coap_port, "--coaps-port")).await?)
            }
            false => None,
        };
        Ok(Self { mqtt, mqtts, ws, wss, http, coap, coaps })
    }

    pub(super) fn all(&self) -> Vec<&TcpListener> {
        [&self.mqtt, &self.ws, &self.http].into_iter().chain(&self.mqtts).chain(&self.wss).collect()
    }

    /// Where they really are: a port may have been 0.
    pub(super) fn endpoints(&self, version: &str) -> io::Result<Endpoints> {
        let place = |listener: &TcpListener| Ok::<_, io::Error>(reachable(listener.local_addr()?).to_string());
        let datagram_place = |socket: &UdpSocket| Ok::<_, io::Error>(reachable(socket.local_addr()?).to_string());
        Ok(Endpoints {
            pid: std::process::id(),
            version: version.to_owned(),
            http: format!("http://{}", place(&self.http)?),
            mqtt: place(&self.mqtt)?,
            mqtts: self.mqtts.as_ref().map(place).transpose()?,
            ws: place(&self.ws)?,
            wss: self.wss.as_ref().map(place).transpose()?,
            coap: self.coap.as_ref().map(datagram_place).transpose()?,
            coaps: self.coaps.as_ref().map(datagram_place).transpose()?,
        })
    }
}

async fn bind(wanted: Wanted) -> Result<TcpListener, StartError> {
    TcpListener::bind(wanted.address).await.map_err(|source| StartError::Bind { wanted, source })
}

fn datagrams(what: &'static str, address: IpAddr, port: u16, port_flag: &'static str) -> Wanted {
    Wanted { what, address: SocketAddr::new(address, port), port_flag, address_flag: "--listen" }
}

async fn bind_datagrams(wanted: Wanted) -> Result<UdpSocket, StartError> {
    let socket = UdpSocket::bind(wanted.address).await.map_err(|source| StartError::Bind { wanted, source })?;
    // A burst that finds the listener busy waits in the socket; the system may allow less.
    let _as_far_as_allowed = SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER);
    Ok(socket)
}

/// What to say, and what to do about it.
pub(super) fn explain(wanted: &Wanted, error: &io::Error) -> (String, String) {
    let Wanted { what, address, port_flag, address_flag } = wanted;
    let (ip, port) = (address.ip(), address.port());
    match error.kind() {
        io::ErrorKind::AddrInUse => (
            format!("port {port} on {ip}, wanted for {what}, is in use by another program"),
            format!(
                "end that program (ss -ltnp 'sport = :{port}' names it), or choose another port: \
                 weir serve {port_flag} PORT (0: any that is free)"
            ),
        ),
        io::ErrorKind::AddrNotAvailable => (
            format!("{ip}, wanted for {what}, is not an address of this machine"),
            format!("choose one that is: weir serve {address_flag} ADDR"),
        ),
        io::ErrorKind::PermissionDenied => (
            format!("port {port} on {ip}, wanted for {what}, may not be used"),
            format!("choose a port above 1023: weir serve {port_flag} PORT"),
        ),
        _ => (
            format!("cannot listen on {address} for {what}: {error}"),
            format!("choose another place: weir serve {address_flag} ADDR {port_flag} PORT"),
        ),
    }
}

/// An address at which a client on this machine reaches a listener.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named_with_what_to_do() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let wanted = Wanted { what: "MQTT", address, port_flag: "--mqtt-port", address_flag: "--listen" };
        let Err(StartError::Bind { wanted, source }) = bind(wanted).await else { panic!("the port is taken") };
        let (message, hint) = explain(&wanted, &source);
        let port = address.port();
        assert_eq!(message, format!("port {port} on 127.0.0.1, wanted for MQTT, is in use by another program"));
        assert!(hint.contains("--mqtt-port PORT"), "{hint}");
    }

    #[test]
    fn every_address_is_reached_by_loopback() {
        let check = |bound: &str, expected: &str| assert_eq!(reachable(bound.parse().unwrap()).to_string(), expected);
        check("0.0.0.0:1", "127.0.0.1:1");
        check("[::]:1", "[::1]:1");
        check("10.0.0.1:1", "10.0.0.1:1");
    }
}
