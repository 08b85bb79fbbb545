//! Logs and counters.

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::io::IsTerminal;
use std::sync::atomic::AtomicU64;
use tracing_subscriber::EnvFilter;

/// Sends log lines to stderr: level by `$CASEMENT_LOG` (default `info`), colours on a terminal unless `NO_COLOR`.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("CASEMENT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // The journal stamps lines itself.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false);
    // A second subscriber in one process is a test's affair.
    let _already_set = if journal { lines.without_time().try_init() } else { lines.try_init() };
}

/// What became of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// New and durable.
    Stored,
    /// There before.
    Duplicate,
    /// Never acceptable.
    Rejected,
    /// A value other than the one that was there first.
    Conflicting,
}

/// Label of [`Counters::readings`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// What became of it.
    pub outcome: Outcome,
}

/// Label of [`Counters::responses`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StatusLabel {
    /// HTTP status code.
    pub code: u16,
}

/// Everything counted, as Prometheus sees it.
pub struct Counters {
    registry: Registry,
    /// Readings by what became of them.
    pub readings: Family<OutcomeLabel, Counter>,
    /// HTTP answers by status.
    pub responses: Family<StatusLabel, Counter>,
    /// How long a durable commit took, in seconds.
    pub commit_seconds: Histogram,
    /// Batches waiting for the writer.
    pub queued: Gauge,
    /// Open connections.
    pub connections: Gauge,
    /// Connections closed because there were too many.
    pub connections_refused: Counter,
    /// Handshakes that failed.
    pub handshakes_failed: Counter,
    /// Open live streams.
    pub viewers: Gauge,
    /// Devices that report.
    pub devices_online: Gauge,
    /// The certificate that is shown, and the way to the next one.
    pub certificate: CertificateCounters,
    /// Backups that are made by themselves.
    pub backup: BackupCounters,
}

/// What is counted of backups that are made by themselves. Times are unix seconds; 0 stands for never.
#[derive(Clone, Debug, Default)]
pub struct BackupCounters {
    /// Last one that is good.
    pub last_success: Gauge,
    /// Last one that was tried.
    pub last_attempt: Gauge,
    /// 1 when the last one failed.
    pub failed: Gauge,
    /// How long the last one took, in seconds.
    pub seconds: Gauge<f64, AtomicU64>,
    /// How many are kept.
    pub kept: Gauge,
    /// Their length together.
    pub bytes: Gauge,
}

impl BackupCounters {
    fn register(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            (
                "backup_last_success_timestamp_seconds",
                "Last backup that was made by itself and is good; 0 when there is none",
                &self.last_success,
            ),
            ("backup_last_attempt_timestamp_seconds", "Last backup that was tried", &self.last_attempt),
            ("backup_failed", "Whether the last one failed", &self.failed),
            ("backups_kept", "Backups that are kept", &self.kept),
            ("backups_kept_bytes", "Their length together", &self.bytes),
        ] {
            registry.register(name, help, gauge.clone());
        }
        registry.register("backup_duration_seconds", "How long the last one took", self.seconds.clone());
    }
}

/// What is counted of certificates. Times are unix seconds; 0 stands for never.
#[derive(Clone, Debug, Default)]
pub struct CertificateCounters {
    /// End of the certificate that is shown.
    pub not_after: Gauge,
    /// Days until then.
    pub days_left: Gauge<f64, AtomicU64>,
    /// 1 when browsers know the authority behind it.
    pub publicly_trusted: Gauge,
    /// Last attempt to get one.
    pub last_attempt: Gauge,
    /// Last attempt that succeeded.
    pub last_success: Gauge,
    /// Next attempt.
    pub next_attempt: Gauge,
    /// 1 when nothing is tried until somebody mends something.
    pub stopped: Gauge,
    /// Attempts by outcome.
    pub attempts: Family<AttemptLabel, Counter>,
    /// Requests to the authority.
    pub requests: Counter,
}

/// Label of [`CertificateCounters::attempts`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AttemptLabel {
    /// `issued` or `failed`.
    pub outcome: &'static str,
}

impl CertificateCounters {
    fn register(&self, registry: &mut Registry) {
        let gauges = [
            (
                "certificate_not_after_timestamp_seconds",
                "When the certificate that is shown ends",
                &self.not_after,
            ),
            ("certificate_publicly_trusted", "Whether browsers know its authority", &self.publicly_trusted),
            (
                "certificate_last_attempt_timestamp_seconds",
                "Last attempt to get a certificate",
                &self.last_attempt,
            ),
            (
                "certificate_last_success_timestamp_seconds",
                "Last certificate that was issued",
                &self.last_success,
            ),
            (
                "certificate_next_attempt_timestamp_seconds",
                "Next planned attempt; 0 when none is",
                &self.next_attempt,
            ),
            ("certificate_stopped", "Whether nothing is tried until somebody mends something", &self.stopped),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        registry.register(
            "certificate_days_left",
            "Days until the certificate that is shown ends",
            self.days_left.clone(),
        );
        registry.register("certificate_attempts", "Attempts to get a certificate", self.attempts.clone());
        registry.register("acme_requests", "Requests to the certificate authority", self.requests.clone());
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counters")
    }
}

impl Default for Counters {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("casement");
        let made = Self {
            readings: Family::default(),
            responses: Family::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 14)),
            queued: Gauge::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            handshakes_failed: Counter::default(),
            viewers: Gauge::default(),
            devices_online: Gauge::default(),
            certificate: CertificateCounters::default(),
            backup: BackupCounters::default(),
            registry: Registry::default(),
        };
        registry.register("readings", "Readings by what became of them", made.readings.clone());
        registry.register("http_responses", "HTTP answers by status", made.responses.clone());
        registry.register_with_unit(
            "commit",
            "How long a durable commit took",
            Unit::Seconds,
            made.commit_seconds.clone(),
        );
        registry.register("intake_queue_batches", "Batches waiting for the writer", made.queued.clone());
        registry.register("connections", "Open connections", made.connections.clone());
        registry.register(
            "connections_refused",
            "Connections closed because there were too many",
            made.connections_refused.clone(),
        );
        registry.register(
            "tls_handshakes_failed",
            "TLS handshakes that failed",
            made.handshakes_failed.clone(),
        );
        registry.register("live_viewers", "Open live streams", made.viewers.clone());
        registry.register("devices_online", "Devices that report", made.devices_online.clone());
        made.certificate.register(&mut registry);
        made.backup.register(&mut registry);
        registry.register(
            "build",
            "The running version",
            Info::new([("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
        );
        Self { registry, ..made }
    }
}

impl Counters {
    /// Counts readings of one outcome.
    pub fn count(&self, outcome: Outcome, readings: usize) {
        self.readings.get_or_create(&OutcomeLabel { outcome }).inc_by(readings as u64);
    }

    /// Everything in OpenMetrics text form.
    ///
    /// # Errors
    /// When a value cannot be formatted.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
