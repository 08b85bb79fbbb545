//! Batches to whoever the settings name: a gateway over HTTPS, or a broker over MQTT. A driver need not care which.

use crate::fault::Fault;
use crate::https::{Gateway, HttpsConnection};
use crate::mqtt::{Broker, MqttConnection};
use crate::secure::{Limits, Network};
use casement_core::uplink::{Target, post};
use casement_core::{Ack, UploadError};
use casement_proto::DeviceSettings;
use casement_proto::device_settings::{Secret, TOKEN_BYTES_MAX};
use casement_proto::wire::Batch;
use edge_nal::{Dns, TcpConnect};
use embassy_time::Instant;
use embedded_svc::http::client::asynch::Client;
use heapless::String;

/// Who takes the readings, and how the device proves who it is.
#[derive(Clone, Debug)]
pub enum Peer {
    /// A gateway, and the token.
    Gateway(Gateway, Secret<String<TOKEN_BYTES_MAX>>),
    /// A broker.
    Broker(Broker),
}

impl Peer {
    /// Whom the settings name; `None` while there is nobody, or something is missing. A broker comes before a gateway.
    pub fn of(settings: &DeviceSettings) -> Option<Self> {
        let token = settings.token.as_ref()?;
        match &settings.broker {
            Some(url) => Some(Self::Broker(Broker::new(url, settings.device?, token))),
            None => Some(Self::Gateway(Gateway::new(settings.gateway.as_ref()?), token.clone())),
        }
    }
}

/// One kept connection that takes batches.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one in a device, set aside once, and nothing is allocated"
)]
pub enum Uplink<'a, T: TcpConnect, D> {
    /// To a gateway.
    Https(Client<HttpsConnection<'a, T, D>>, Target<'a>),
    /// To a broker.
    Mqtt(MqttConnection<'a, T, D>),
}

impl<'a, T: TcpConnect, D: Dns> Uplink<'a, T, D> {
    /// A connection that is opened with the first batch.
    pub fn new(network: Network<'a, T, D>, peer: &'a Peer, limits: Limits) -> Self {
        match peer {
            Peer::Gateway(gateway, token) => Self::Https(
                Client::wrap(HttpsConnection::new(network, gateway, limits)),
                Target { host: gateway.host(), token: token.reveal() },
            ),
            Peer::Broker(broker) => Self::Mqtt(MqttConnection::new(network, broker, limits)),
        }
    }

    /// Sends a batch and waits until it is acknowledged. `body` is where it is written, the same place each time; 128 bytes
    /// for each reading of three values are enough.
    ///
    /// # Errors
    /// See [`UploadError`].
    pub async fn send(&mut self, batch: &Batch<'_>, body: &mut [u8]) -> Result<Ack, UploadError> {
        match self {
            Self::Https(client, target) => {
                let sent = post(client, target, batch, body).await;
                // Not taken out of its client and wrapped again: that panics while an answer is open, as after each 503.
                let fault = client.connection().last_fault();
                sent.map_err(|error| Fault::tell(fault, error))
            }
            Self::Mqtt(connection) => connection.send(batch, body).await,
        }
    }

    /// Finds out whether the peer is there and knows the token, without a reading.
    ///
    /// # Errors
    /// See [`UploadError`].
    pub async fn knock(&mut self) -> Result<(), UploadError> {
        match self {
            Self::Https(..) => {
                let batch = Batch { boot: None, readings: &[], health: None };
                match self.send(&batch, &mut [0; 512]).await {
                    // A batch without readings may be refused; by then the token was good.
                    Ok(_) | Err(UploadError::Refused) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Self::Mqtt(connection) => connection.knock().await,
        }
    }

    /// Why the last batch did not get through, as the connection saw it.
    pub fn last_fault(&mut self) -> Option<Fault> {
        match self {
            Self::Https(client, _) => client.connection().last_fault(),
            Self::Mqtt(connection) => connection.last_fault(),
        }
    }

    /// When [`Uplink::keep_alive`] is due; `None` while nobody minds silence.
    pub fn keep_alive_at(&self) -> Option<Instant> {
        match self {
            Self::Https(..) => None,
            Self::Mqtt(connection) => connection.ping_at(),
        }
    }

    /// Gives a sign of life. It must run to its end: half a packet would be taken for the beginning of the next.
    pub async fn keep_alive(&mut self) {
        if let Self::Mqtt(connection) = self {
            connection.ping().await;
        }
    }

    /// The connection to a gateway, for whatever else is to be had there; `None` with a broker.
    pub const fn https(&mut self) -> Option<(&mut Client<HttpsConnection<'a, T, D>>, &Target<'a>)> {
        match self {
            Self::Https(client, target) => Some((client, target)),
            Self::Mqtt(_) => None,
        }
    }

    /// Says goodbye and closes, before the network goes or the device sleeps.
    pub async fn close(&mut self) {
        match self {
            Self::Https(client, _) => client.connection().close().await,
            Self::Mqtt(connection) => connection.close().await,
        }
    }
}
