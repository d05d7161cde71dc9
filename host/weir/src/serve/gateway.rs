//! The HTTP gateway for devices, put on the listeners for WebSockets: the one knows HTTP, the others have the sockets.

use std::net::IpAddr;

use http_body_util::BodyExt;
use hyper::{Request, body::Incoming};
use weir_core::seams::PeerIdentity;
use weir_http::Gateway;
use weir_mqtt::{HttpAnswer, HttpRequests};

#[derive(Debug)]
pub(super) struct OnWebSocketPorts(pub(super) Gateway);

impl HttpRequests for OnWebSocketPorts {
    fn serves(&self, path: &str) -> bool {
        self.0.serves(path)
    }

    fn answer(&self, request: Request<Incoming>, from: IpAddr, peer: PeerIdentity) -> HttpAnswer {
        let answered = self.0.answer(request, from, peer);
        Box::pin(async move { answered.await.map(|body| body.map_err(Into::into).boxed_unsync()) })
    }
}
