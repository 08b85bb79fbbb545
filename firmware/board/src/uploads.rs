//! Batches to the gateway, or to a broker. The driver fills a job and hands it over a counter; the courier carries it out
//! and hands it back. There is one job, so its memory is set aside once.

use crate::updates::Updates;
use casement_core::queue::Readings;
use casement_core::{Ack, UploadError};
use casement_net::{Limits, Network, Peer, Uplink};
use casement_proto::wire::{Batch, DeviceHealth};
use edge_nal::{Dns, TcpConnect};
use embassy_futures::select::{Either4, select4};
use embassy_sync::blocking_mutex::raw::{CriticalSectionRawMutex, NoopRawMutex};
use embassy_sync::channel::Channel;
use embassy_sync::signal::Signal;
use embassy_time::Timer;
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

/// Carries jobs out for ever, over one kept connection, and sees to updates while there is no job. A broker has none.
pub async fn run<T: TcpConnect, D: Dns>(
    network: Network<'_, T, D>,
    peer: &Peer,
    counter: &Counter,
    mut updates: Updates,
) -> ! {
    let mut uplink = Uplink::new(network, peer, Limits::default());
    if uplink.https().is_none() {
        updates.nowhere_to_ask();
    }
    loop {
        let quiet = async {
            match uplink.keep_alive_at() {
                Some(at) => Timer::at(at).await,
                None => core::future::pending().await,
            }
        };
        // Readings go first.
        let next = select4(counter.outbound.receive(), updates.due(), HANG_UP.wait(), quiet).await;
        let (job, health) = match next {
            Either4::First(order) => order,
            Either4::Second(()) => {
                match uplink.https() {
                    Some((client, target)) => updates.work(client, target).await,
                    None => updates.wait_on(),
                }
                continue;
            }
            Either4::Third(()) => {
                uplink.close().await;
                HUNG_UP.signal(());
                continue;
            }
            Either4::Fourth(()) => {
                uplink.keep_alive().await;
                continue;
            }
        };
        let said = updates.said();
        let health = DeviceHealth { update: said.as_deref(), ..health };
        let batch = Batch { boot: Some(job.boot), readings: &job.readings, health: Some(&health) };
        let result = uplink.send(&batch, &mut job.body).await;
        if let Err(error) = result {
            match uplink.last_fault() {
                Some(fault) => warn!("not uploaded: {fault}"),
                None => warn!("not uploaded: {error}"),
            }
        }
        updates.uploaded(result.is_ok());
        let _fits = counter.inbound.try_send((job, result));
    }
}
