//! Batches to the gateway. The driver fills a job and hands it over a counter; the courier carries it out and hands it
//! back. There is one job, so its memory is set aside once.

use crate::updates::Updates;
use casement_core::queue::Readings;
use casement_core::{Ack, UploadError, uplink};
use casement_net::{Fault, Gateway, HttpsConnection, Limits, Network};
use casement_proto::wire::{Batch, DeviceHealth};
use edge_nal::{Dns, TcpConnect};
use embassy_futures::select::{Either3, select3};
use embassy_sync::blocking_mutex::raw::{CriticalSectionRawMutex, NoopRawMutex};
use embassy_sync::channel::Channel;
use embassy_sync::signal::Signal;
use embedded_svc::http::client::asynch::Client;
use log::warn;

/// Most readings of one batch on a chip, whatever the settings allow. One takes 1.6 KB while it waits here.
pub const BATCH_MAX: usize = 20;

/// Room for one body: sixteen values of a reading take about 320 bytes, and how the device is
/// about 500.
const BODY_BYTES: usize = 7_168;

/// The TLS session must go, because the radio needs its memory; said again once it is gone.
pub static HANG_UP: Signal<CriticalSectionRawMutex, ()> = Signal::new();
pub static HUNG_UP: Signal<CriticalSectionRawMutex, ()> = Signal::new();

/// One batch on its way. All zero when new, so that it takes no room in the image.
pub struct Job {
    pub boot: u64,
    pub readings: Readings<BATCH_MAX>,
    body: [u8; BODY_BYTES],
}

/// A job that came back, and what became of it.
pub type Done = (&'static mut Job, Result<Ack, UploadError>);

impl Job {
    pub const fn new() -> Self {
        Self { boot: 0, readings: Readings::new(), body: [0; BODY_BYTES] }
    }
}

/// Where the job changes hands.
pub struct Counter {
    outbound: Channel<NoopRawMutex, (&'static mut Job, DeviceHealth<'static>), 1>,
    inbound: Channel<NoopRawMutex, Done, 1>,
}

impl Counter {
    /// The job lies ready for the driver.
    pub fn new(job: &'static mut Job) -> Self {
        let counter = Self { outbound: Channel::new(), inbound: Channel::new() };
        // There is room for the only one.
        let _fits = counter.inbound.try_send((job, Ok(Ack::default())));
        counter
    }

    /// The job, once it is back.
    pub async fn take(&self) -> Done {
        self.inbound.receive().await
    }

    /// The job, to be carried out, and how the device is.
    pub fn send(&self, job: &'static mut Job, health: DeviceHealth<'static>) {
        let _fits = self.outbound.try_send((job, health));
    }
}

/// Carries jobs out for ever, over one kept connection, and sees to updates while there is no job.
pub async fn run<T: TcpConnect, D: Dns>(
    network: Network<'_, T, D>,
    gateway: &Gateway,
    token: &str,
    counter: &Counter,
    mut updates: Updates,
) -> ! {
    let mut client = Client::wrap(HttpsConnection::new(network, gateway, Limits::default()));
    let target = uplink::Target { host: gateway.host(), token };
    loop {
        // Readings go first.
        let (job, health) = match select3(counter.outbound.receive(), updates.due(), HANG_UP.wait()).await {
            Either3::First(order) => order,
            Either3::Second(()) => {
                updates.work(&mut client, &target).await;
                continue;
            }
            Either3::Third(()) => {
                client.connection().close().await;
                HUNG_UP.signal(());
                continue;
            }
        };
        let said = updates.said();
        let health = DeviceHealth { update: said.as_deref(), ..health };
        let batch = Batch { boot: Some(job.boot), readings: &job.readings, health: Some(&health) };
        let mut result = uplink::post(&mut client, &target, &batch, &mut job.body).await;
        if let Err(error) = result {
            // Not taken out of its client and wrapped again: that panics while an answer is open, as after each 503.
            let last_fault = client.connection().last_fault();
            match last_fault {
                Some(fault) => warn!("not uploaded: {fault}"),
                None => warn!("not uploaded: {error}"),
            }
            result = Err(Fault::tell(last_fault, error));
        }
        updates.uploaded(result.is_ok());
        let _fits = counter.inbound.try_send((job, result));
    }
}
