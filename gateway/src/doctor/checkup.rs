//! The checks while the gateway runs, for its own page: one run at a time, whose result stands for a while.

use super::{Report, probe};
use crate::clock;
use crate::config::{Config, Loaded};
use crate::store::Store;
use crate::telemetry::time;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, watch};

/// How long a result stands: whoever mends something wants to see it soon, and whoever presses a key twice does not ask
/// authority and DNS twice.
const STANDS: Duration = Duration::from_secs(10);

/// Longest run: every wait in it has its own limit, and together they are shorter.
const LIMIT: Duration = Duration::from_secs(25);

/// See the module.
pub struct Checkup {
    config: watch::Receiver<Config>,
    store: Arc<dyn Store>,
    last: Mutex<Option<(Instant, Arc<Value>)>>,
}

impl Checkup {
    /// Of the gateway that runs with this configuration and this store.
    pub fn new(config: watch::Receiver<Config>, store: Arc<dyn Store>) -> Self {
        Self { config, store, last: Mutex::new(None) }
    }

    /// The report as `casement doctor --json` has it, with when it was made; `None` when it takes too long.
    pub async fn report(&self) -> Option<Arc<Value>> {
        tokio::time::timeout(LIMIT, self.made()).await.ok()
    }

    async fn made(&self) -> Arc<Value> {
        // Who comes meanwhile waits for the same result.
        let mut last = self.last.lock().await;
        if let Some((at, report)) = last.as_ref()
            && clock::steady().duration_since(*at) < STANDS
        {
            return Arc::clone(report);
        }
        let loaded = Loaded { config: self.config.borrow().clone(), file: None, warnings: Vec::new() };
        let facts = probe::examine_loaded(loaded, None, Some(&*self.store), &|_| {}).await;
        let mut report = serde_json::to_value(Report::of(&facts).json()).unwrap_or_default();
        if let Some(report) = report.as_object_mut() {
            report.insert("at".to_owned(), json!(time::rfc3339(facts.now_ms)));
            report.insert("at_ms".to_owned(), json!(facts.now_ms));
            // The file is the command line's business: what is in force was read when the gateway started.
            if let Some(checks) = report.get_mut("checks").and_then(Value::as_array_mut) {
                checks.retain(|check| check["id"] != "configuration");
            }
        }
        let report = Arc::new(report);
        *last = Some((clock::steady(), Arc::clone(&report)));
        report
    }
}
