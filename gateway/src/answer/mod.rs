//! The shapes of answers, as they travel. Everything that leaves as JSON is written down here.

pub mod certificate;
pub mod flash;

use crate::reading::{Start, StoredReading};
use crate::rollout::Report;
use crate::telemetry::condition::{Condition, SPARK_STEP_MS};
use crate::telemetry::distribution::Distribution;
use crate::telemetry::series::{Data, Points};
use crate::telemetry::time;
use casement_proto::wire::HealthReport;
use casement_proto::{DeviceId, Method, Profile, Quantity};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// The place, as every page needs it.
#[derive(Clone, Debug, Serialize)]
pub struct SiteView {
    /// Its name.
    pub name: String,
    /// IANA name of its time zone.
    pub time_zone: String,
    /// Anybody may read.
    pub public: bool,
    /// This visitor has signed in.
    pub signed_in: bool,
    /// When air is good.
    pub bands: BandsView,
}

/// A band profile.
#[derive(Clone, Debug, Serialize)]
pub struct BandsView {
    id: &'static str,
    label: &'static str,
    soon_from: u16,
    now_from: u16,
    source: &'static str,
}

impl From<&'static Profile> for BandsView {
    fn from(profile: &'static Profile) -> Self {
        let Profile { id, label, soon_from, now_from, source } = profile;
        Self { id, label, soon_from: *soon_from, now_from: *now_from, source }
    }
}

/// `GET /api/v1/devices`, the stream's snapshot and what a page begins with.
#[derive(Clone, Debug, Serialize)]
pub struct DevicesView {
    /// The gateway's clock, RFC 3339.
    pub server_time: String,
    /// The gateway's clock, in milliseconds since 1970.
    pub server_time_ms: i64,
    /// The place.
    pub site: SiteView,
    /// Every device.
    pub devices: Vec<DeviceView>,
}

/// One device.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceView {
    /// Its name in URLs.
    pub id: String,
    /// A name for people.
    pub name: Option<String>,
    /// The room it hangs in.
    pub room: Option<String>,
    /// Its readings are made up.
    pub simulated: bool,
    /// `online`, `offline` or `never`.
    pub presence: &'static str,
    /// Its usual distance between readings, in seconds.
    pub period_s: Option<f64>,
    /// Age of the last reading, in seconds.
    pub age_s: Option<f64>,
    /// `good`, `soon`, `now`, or nothing to say.
    pub band: Option<&'static str>,
    /// Change of the headline in five minutes.
    pub trend_per_5min: Option<f64>,
    /// The number it is judged by.
    pub headline: Option<HeadlineView>,
    /// Its newest reading.
    pub last: Option<ReadingView>,
    /// The last three hours of the headline.
    pub spark: Option<SparkView>,
}

/// `GET /api/v1/devices/{id}`.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceWithHealth {
    /// The device.
    #[serde(flatten)]
    pub device: DeviceView,
    /// What it last said of itself, if it ever did.
    pub health: Option<HealthView>,
}

/// What a device last said of itself.
#[derive(Clone, Debug, Serialize)]
pub struct HealthView {
    time: String,
    time_ms: i64,
    age_s: f64,
    boot: Option<u64>,
    #[serde(flatten)]
    said: HealthReport,
}

impl HealthView {
    /// What was said, for people: a name and a value each.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let said = &self.said;
        let text = |text: &Option<String>| text.clone();
        let number = |number: Option<u64>, unit: &str| number.map(|number| format!("{number}{unit}"));
        let facts = [
            ("said", Some(format!("{} ago", time::age((self.age_s * 1000.0) as i64)))),
            ("firmware", text(&said.firmware)),
            ("board", text(&said.board)),
            ("update", text(&said.update)),
            ("trouble", text(&said.trouble)),
            ("boot", number(self.boot, "")),
            ("started after", text(&said.reset)),
            ("running for", number(said.uptime_s, " s")),
            ("heap free", number(said.heap_free, " bytes")),
            ("heap free, least", number(said.heap_free_min, " bytes")),
            ("signal", said.rssi.map(|dbm| format!("{dbm} dBm"))),
            ("readings waiting", number(said.queued, "")),
            ("readings dropped", number(said.dropped, "")),
            ("sensor faults", number(said.faults, "")),
            ("uploads failed", number(said.uploads_failed, "")),
            ("radio restarts", number(said.radio_restarts, "")),
        ];
        facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// What a device last said of itself.
pub fn health(report: Report, now_ms: i64) -> HealthView {
    HealthView {
        time: time::rfc3339(report.at_ms),
        time_ms: report.at_ms,
        age_s: (now_ms - report.at_ms).max(0) as f64 / 1000.0,
        boot: report.boot,
        said: report.health,
    }
}

impl DeviceView {
    /// A value of the newest reading.
    pub fn last_value(&self, metric: &str) -> Option<f64> {
        let values = &self.last.as_ref()?.values.0;
        values.iter().find(|(quantity, _)| quantity.name() == metric).map(|(_, value)| *value)
    }

    /// The headline as people read it, for example `812 ppm` or `eCO₂ 812 ppm (estimate)`.
    pub fn headline_text(&self) -> String {
        let Some(headline) = &self.headline else {
            return "–".to_owned();
        };
        let metric = casement_proto::metric::find(&headline.metric);
        let decimals = metric.map_or(2, |metric| usize::from(metric.precision));
        let number = format!("{:.decimals$} {}", headline.value, headline.unit);
        match metric {
            Some(metric) if metric.name == "co2" => number,
            Some(metric) if metric.method == Method::Estimated => {
                format!("{} {number} (estimate)", metric.label)
            }
            Some(metric) => format!("{} {number}", metric.label),
            None => format!("{} {number}", headline.metric),
        }
    }
}

/// The number a device is judged by.
#[derive(Clone, Debug, Serialize)]
pub struct HeadlineView {
    metric: String,
    #[serde(serialize_with = "as_number")]
    value: f64,
    unit: &'static str,
    method: &'static str,
}

/// Means of equal stretches of time.
#[derive(Clone, Debug, Serialize)]
pub struct SparkView {
    metric: String,
    step_s: i64,
    from_ms: i64,
    values: Vec<Option<f64>>,
}

/// A reading without its device.
#[derive(Clone, Debug, Serialize)]
pub struct ReadingView {
    time: String,
    time_ms: i64,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    values: Values,
}

#[derive(Clone, Debug)]
struct Values(Vec<(Quantity, f64)>);

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (quantity, value) in &self.0 {
            map.serialize_entry(quantity.name(), &number(*value))?;
        }
        map.end()
    }
}

/// A live event: a reading and what it makes of its device.
#[derive(Clone, Debug, Serialize)]
pub struct ReadingEvent {
    device: String,
    room: Option<String>,
    #[serde(flatten)]
    reading: ReadingView,
    presence: &'static str,
    band: Option<&'static str>,
    trend_per_5min: Option<f64>,
    headline: Option<HeadlineView>,
}

/// A live event: a device came or went.
#[derive(Clone, Debug, Serialize)]
pub struct PresenceEvent {
    /// Which.
    pub device: String,
    /// `online`, `offline` or `never`.
    pub presence: &'static str,
    /// Its last reading, in milliseconds since 1970.
    pub since_ms: Option<i64>,
}

fn as_number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    number(*value).serialize(serializer)
}

/// A whole number as one, so that `812` does not travel as `812.0`.
fn number(value: f64) -> serde_json::Number {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT_MAX {
        return (value as i64).into();
    }
    // The store holds finite numbers only.
    serde_json::Number::from_f64(value).unwrap_or_else(|| 0.into())
}

fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}

/// A device and how it is doing.
pub fn device(condition: &Condition, now_ms: i64) -> DeviceView {
    let (from_ms, values) = condition.spark(now_ms);
    let device = &condition.device;
    DeviceView {
        id: device.id.to_string(),
        name: device.name.clone(),
        room: device.room.clone(),
        simulated: device.simulated,
        presence: condition.presence(now_ms).as_str(),
        period_s: condition.period_ms().map(|ms| ms as f64 / 1000.0),
        age_s: condition.last.as_ref().map(|last| (now_ms - last.t_ms).max(0) as f64 / 1000.0),
        band: condition.band().map(casement_proto::Band::as_str),
        trend_per_5min: trend(condition, now_ms),
        headline: headline(condition),
        last: condition.last.as_ref().map(reading),
        spark: condition.headline.filter(|_| values.iter().any(Option::is_some)).map(|headline| SparkView {
            metric: headline.name().to_owned(),
            step_s: SPARK_STEP_MS / 1000,
            from_ms,
            values: values.into_iter().map(|mean| mean.map(|mean| rounded(mean, 1))).collect(),
        }),
    }
}

fn trend(condition: &Condition, now_ms: i64) -> Option<f64> {
    condition.trend_per_5min(now_ms).map(|trend| rounded(trend, 1))
}

fn headline(condition: &Condition) -> Option<HeadlineView> {
    let quantity = condition.headline?;
    Some(HeadlineView {
        metric: quantity.name().to_owned(),
        value: condition.headline_value()?,
        unit: quantity.unit(),
        method: method(&quantity),
    })
}

/// Measured or estimated; a custom quantity is taken at its word.
pub fn method(quantity: &Quantity) -> &'static str {
    match quantity {
        Quantity::Known(metric) => metric.method.as_str(),
        Quantity::Custom(_) => Method::Measured.as_str(),
    }
}

fn reading(reading: &StoredReading) -> ReadingView {
    let (boot, seq) = reading.name.unzip();
    ReadingView {
        time: time::rfc3339(reading.t_ms),
        time_ms: reading.t_ms,
        state: reading.state.as_str(),
        boot,
        seq,
        values: Values(reading.values.clone()),
    }
}

/// A reading as a live event.
pub fn reading_event(stored: &StoredReading, condition: &Condition, now_ms: i64) -> ReadingEvent {
    ReadingEvent {
        device: stored.device.to_string(),
        room: condition.device.room.clone(),
        reading: reading(stored),
        presence: condition.presence(now_ms).as_str(),
        band: condition.band().map(casement_proto::Band::as_str),
        trend_per_5min: trend(condition, now_ms),
        headline: headline(condition),
    }
}

/// `GET /api/v1/readings`.
#[derive(Clone, Debug, Serialize)]
pub struct SeriesView {
    device: String,
    metric: String,
    unit: &'static str,
    method: &'static str,
    step_s: i64,
    points: PointsView,
    gaps: Vec<(i64, i64)>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum PointsView {
    Raw(Vec<(i64, serde_json::Number)>),
    Buckets(Vec<(i64, serde_json::Number, serde_json::Number, serde_json::Number, i64)>),
}

/// `GET /api/v1/devices/{id}/ledger`.
#[derive(Clone, Debug, Serialize)]
pub struct LedgerView {
    device: String,
    seen: u64,
    missing: u64,
    boots: Vec<StartView>,
}

/// One start of a device.
#[derive(Clone, Debug, Serialize)]
struct StartView {
    boot: u64,
    first: u64,
    last: u64,
    seen: u64,
    missing: u64,
    /// The first holes, as first and last missing number.
    holes: Vec<(u64, u64)>,
}

/// What has arrived of a device, by its own numbers.
pub fn ledger(device: &DeviceId, starts: &[Start]) -> LedgerView {
    LedgerView {
        device: device.to_string(),
        seen: starts.iter().map(|start| start.seen).sum(),
        missing: starts.iter().map(Start::missing).sum(),
        boots: starts
            .iter()
            .map(|start| StartView {
                boot: start.boot,
                first: start.first,
                last: start.last,
                seen: start.seen,
                missing: start.missing(),
                holes: start.holes.clone(),
            })
            .collect(),
    }
}

/// What [`statistics`] was asked.
#[derive(Clone, Debug)]
pub struct StatisticsAsked {
    /// Whose values.
    pub device: DeviceId,
    /// Of what.
    pub quantity: Quantity,
    /// From this instant on, in milliseconds since 1970.
    pub from_ms: i64,
    /// Before this instant.
    pub to_ms: i64,
    /// Which percentiles.
    pub percentiles: Vec<f64>,
    /// Above which value time is counted.
    pub above: Option<f64>,
}

/// `GET /api/v1/statistics`.
#[derive(Clone, Debug, Serialize)]
pub struct StatisticsView {
    device: String,
    metric: String,
    unit: &'static str,
    from_ms: i64,
    to_ms: i64,
    count: u64,
    min: Option<serde_json::Number>,
    mean: Option<serde_json::Number>,
    max: Option<serde_json::Number>,
    /// Percentile and value; exact, nearest rank.
    percentiles: Vec<(serde_json::Number, serde_json::Number)>,
    /// For how long readings came, silence left out.
    measured_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    above: Option<AboveView>,
}

#[derive(Clone, Debug, Serialize)]
struct AboveView {
    threshold: serde_json::Number,
    readings: u64,
    seconds: f64,
}

/// How values are spread.
pub fn statistics(asked: &StatisticsAsked, found: &Distribution) -> StatisticsView {
    let ends = found.percentiles(&[0.0, 100.0]);
    let percentiles = found.percentiles(&asked.percentiles);
    StatisticsView {
        device: asked.device.to_string(),
        metric: asked.quantity.name().to_owned(),
        unit: asked.quantity.unit(),
        from_ms: asked.from_ms,
        to_ms: asked.to_ms,
        count: found.count(),
        min: ends.first().map(|value| number(*value)),
        mean: found.mean().map(number),
        max: ends.last().map(|value| number(*value)),
        percentiles: asked
            .percentiles
            .iter()
            .zip(percentiles)
            .map(|(p, value)| (number(*p), number(value)))
            .collect(),
        measured_s: found.held_ms() as f64 / 1_000.0,
        above: asked.above.zip(found.above()).map(|(threshold, (readings, ms))| AboveView {
            threshold: number(threshold),
            readings,
            seconds: ms as f64 / 1_000.0,
        }),
    }
}

/// A stretch of a series.
pub fn series(device: &DeviceId, quantity: &Quantity, points: Points) -> SeriesView {
    let (step_s, view) = match points.data {
        Data::Raw(raw) => {
            (0, PointsView::Raw(raw.into_iter().map(|(t, value)| (t, number(value))).collect()))
        }
        Data::Buckets { step_ms, buckets } => (
            step_ms / 1000,
            PointsView::Buckets(
                buckets
                    .into_iter()
                    .map(|b| (b.t_ms, number(b.min), number(b.mean), number(b.max), b.count))
                    .collect(),
            ),
        ),
    };
    SeriesView {
        device: device.to_string(),
        metric: quantity.name().to_owned(),
        unit: quantity.unit(),
        method: method(quantity),
        step_s,
        points: view,
        gaps: points.gaps.into_iter().map(|gap| (gap.start, gap.end)).collect(),
    }
}
