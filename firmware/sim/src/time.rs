//! The date in the virtual world. Nothing here reads a clock: time passes when somebody lets it pass.

use embedded_hal_async::delay::DelayNs;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

/// The date, shared by all that live in the same world.
#[derive(Clone, Debug)]
pub struct World(Rc<Cell<i64>>);

impl World {
    /// A world at a moment, in milliseconds since 1970.
    pub fn at(unix_ms: i64) -> Self {
        Self(Rc::new(Cell::new(unix_ms.saturating_mul(NS_PER_MS))))
    }

    /// Milliseconds since 1970.
    pub fn unix_ms(&self) -> i64 {
        self.0.get() / NS_PER_MS
    }

    /// Lets time pass.
    pub fn pass_ms(&self, ms: u64) {
        self.pass_ns(ms.saturating_mul(NS_PER_MS.unsigned_abs()));
    }

    /// Lets time pass up to a moment. One that is over already changes nothing.
    pub fn pass_until(&self, unix_ms: i64) {
        self.0.set(self.0.get().max(unix_ms.saturating_mul(NS_PER_MS)));
    }

    fn pass_ns(&self, ns: u64) {
        self.0.set(self.0.get().saturating_add_unsigned(ns));
    }
}

const NS_PER_MS: i64 = 1_000_000;

/// Waiting on the sensors' bus: the world's time passes at once.
///
/// It is over when it is asked for the second time. So a transfer that is raced against a time-out, and is done at once,
/// takes no time.
impl DelayNs for World {
    async fn delay_ns(&mut self, ns: u32) {
        let mut asked = false;
        poll_fn(|context| {
            if asked {
                return Poll::Ready(());
            }
            asked = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.pass_ns(ns.into());
    }
}
