//! Where visitors are received, between the listener and the table.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use shared::id::InfoHash;
use shared::peer_wire::{Handshake, Reserved};
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use super::process::Shared;
use super::table::Request;
use crate::driver::Visitor;
use crate::net::encryption::{Mask, Secrecy};
use crate::net::line::Line;
use crate::net::listener::Reception;

/// Where visitors are received: a clone stands at every open connection until its handshake is done.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    shared: Arc<Shared>,
    requests: mpsc::WeakSender<Request>,
}

impl Desk {
    pub(super) fn new(shared: &Arc<Shared>, requests: mpsc::WeakSender<Request>) -> Self {
        Self {
            shared: Arc::clone(shared),
            requests,
        }
    }
}

impl Reception for Desk {
    fn admits(&self, address: IpAddr) -> bool {
        !self.shared.is_banned(address)
    }

    async fn answer(&self, hash: InfoHash, reserved: Reserved) -> Option<Handshake> {
        let (answer, answered) = oneshot::channel();
        self.requests
            .upgrade()?
            .send(Request::Route(hash, reserved, answer))
            .await
            .ok()?;
        answered.await.ok()?
    }

    fn secrecy(&self) -> &Secrecy {
        &self.shared.secrecy
    }

    async fn unmask(&self, mask: Mask) -> Option<InfoHash> {
        let (answer, answered) = oneshot::channel();
        self.requests
            .upgrade()?
            .send(Request::Unmask(mask, answer))
            .await
            .ok()?;
        answered.await.ok()?
    }

    async fn receive(&self, line: Line, address: SocketAddr, handshake: Handshake) {
        let (Some(place), Some(requests)) = (self.shared.place(address.ip()), self.requests.upgrade()) else {
            debug!(%address, "turned away: all places are taken");
            return;
        };
        let visitor = Visitor {
            line,
            address,
            handshake,
            place,
        };
        // The table is gone only when the engine stops.
        let _ = requests.send(Request::Visitor(visitor)).await;
    }
}
