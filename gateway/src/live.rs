//! What is going on right now, and everybody who watches it.
//!
//! One lock guards the conditions of all devices; it is held for microseconds and never across a wait. Events go to a
//! bounded channel: a viewer that falls [`BEHIND_MAX`] events behind is told so and catches up from the store.

use crate::answer::{self, DeviceView, PresenceEvent};
use crate::reading::{Device, StoredReading};
use crate::telemetry::condition::Condition;
use crate::telemetry::presence::Presence;
use casement_proto::{DeviceId, Profile, Quantity};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

/// Events a viewer may be behind before it has to catch up from the store.
pub const BEHIND_MAX: usize = 512;

/// Something that viewers want to know.
#[derive(Clone, Debug)]
pub enum Event {
    /// A reading.
    Reading {
        /// Its place in the order of arrival.
        id: i64,
        /// Its device.
        device: DeviceId,
        /// JSON.
        json: Arc<str>,
    },
    /// A device came or went.
    Presence {
        /// Which.
        device: DeviceId,
        /// JSON.
        json: Arc<str>,
    },
    /// Devices were added or renamed, or so much arrived at once that a viewer should look at everything anew.
    Changed {
        /// Readings up to this one are not told one by one.
        until: Option<i64>,
    },
}

/// The conditions of all devices and the channel to the viewers.
pub struct Live {
    state: Mutex<All>,
    events: broadcast::Sender<Event>,
}

struct All {
    profile: &'static Profile,
    conditions: BTreeMap<DeviceId, Condition>,
    newest: i64,
}

impl Live {
    /// Nothing yet, judged by a profile.
    pub fn new(profile: &'static Profile) -> Self {
        let all = All { profile, conditions: BTreeMap::new(), newest: 0 };
        Self { state: Mutex::new(all), events: broadcast::Sender::new(BEHIND_MAX) }
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces everything by what the store says: conditions learned from history, and the newest number.
    pub fn learn(&self, conditions: Vec<Condition>, newest: i64) {
        let mut all = self.all();
        all.conditions = conditions.into_iter().map(|condition| (condition.device.id, condition)).collect();
        all.newest = newest;
        drop(all);
        self.tell(Event::Changed { until: Some(newest) });
    }

    /// The profile that rooms are judged by.
    pub fn profile(&self) -> &'static Profile {
        self.all().profile
    }

    /// Judges by another profile from the next reading on.
    pub fn judge_by(&self, profile: &'static Profile) {
        self.all().profile = profile;
    }

    /// The newest reading that viewers know of.
    pub fn newest(&self) -> i64 {
        self.all().newest
    }

    /// Tells viewers about readings, in order of arrival. Those they know of already are passed over.
    pub fn publish(&self, readings: &[StoredReading], now_ms: i64) {
        let mut events = Vec::new();
        {
            let mut all = self.all();
            // Whoever begins to watch from here on takes its snapshot, behind this lock, with these readings in it.
            let watched = self.events.receiver_count() > 0;
            for reading in readings {
                if reading.id <= all.newest {
                    continue;
                }
                all.newest = reading.id;
                let profile = all.profile;
                let condition = all.conditions.entry(reading.device).or_insert_with(|| {
                    Condition::new(Device {
                        id: reading.device,
                        room: None,
                        name: None,
                        simulated: false,
                        created_ms: now_ms,
                    })
                });
                condition.take(reading, profile);
                if watched && let Some(json) = to_json(&answer::reading_event(reading, condition, now_ms)) {
                    events.push(Event::Reading { id: reading.id, device: reading.device, json });
                }
            }
        }
        events.into_iter().for_each(|event| self.tell(event));
    }

    /// Is this device shown?
    pub fn knows(&self, id: &DeviceId) -> bool {
        self.all().conditions.contains_key(id)
    }

    /// Makes sure that registered devices are shown with what is known of them, whether they report or not.
    pub fn register(&self, devices: Vec<Device>) {
        let mut changed = false;
        {
            let mut all = self.all();
            for device in devices {
                match all.conditions.get_mut(&device.id) {
                    Some(condition) if condition.device == device => {}
                    Some(condition) => {
                        condition.device = device;
                        changed = true;
                    }
                    None => {
                        all.conditions.insert(device.id, Condition::new(device));
                        changed = true;
                    }
                }
            }
        }
        if changed {
            self.tell(Event::Changed { until: None });
        }
    }

    /// Tells viewers who came and who went; gives how many devices are online.
    pub fn watch_presence(&self, now_ms: i64) -> usize {
        let mut events = Vec::new();
        let mut online = 0;
        for condition in self.all().conditions.values_mut() {
            let changed = condition.presence_changed(now_ms);
            online += usize::from(condition.presence(now_ms) == Presence::Online);
            let Some(presence) = changed else { continue };
            let event = PresenceEvent {
                device: condition.device.id.to_string(),
                presence: presence.as_str(),
                since_ms: condition.last.as_ref().map(|last| last.t_ms),
            };
            if let Some(json) = to_json(&event) {
                events.push(Event::Presence { device: condition.device.id, json });
            }
        }
        events.into_iter().for_each(|event| self.tell(event));
        online
    }

    /// Every device, and the newest reading that they reflect.
    pub fn devices(&self, now_ms: i64) -> (i64, Vec<DeviceView>) {
        let all = self.all();
        (all.newest, all.conditions.values().map(|condition| answer::device(condition, now_ms)).collect())
    }

    /// One device.
    pub fn device(&self, id: &DeviceId, now_ms: i64) -> Option<DeviceView> {
        self.all().conditions.get(id).map(|condition| answer::device(condition, now_ms))
    }

    /// The newest reading of a device.
    pub fn last(&self, id: &DeviceId) -> Option<StoredReading> {
        self.all().conditions.get(id)?.last.clone()
    }

    /// The device and quantity that stand for a room: the worst measured CO2, else the best there is.
    pub fn room(&self, room: &str) -> Option<(DeviceId, Quantity)> {
        let all = self.all();
        let mut found: Vec<_> = all
            .conditions
            .values()
            .filter(|c| {
                c.device.room.as_deref().or(c.device.name.as_deref()).unwrap_or(c.device.id.as_str()) == room
            })
            .filter_map(|c| Some((c.headline?, c.headline_value().unwrap_or(f64::MIN), c.device.id)))
            .collect();
        let weight = |q: &Quantity| match q.name() {
            "co2" => 0,
            "eco2" => 1,
            _ => 2,
        };
        found.sort_by(|a, b| weight(&a.0).cmp(&weight(&b.0)).then(b.1.total_cmp(&a.1)));
        found.first().map(|(quantity, _, device)| (*device, *quantity))
    }

    /// A reading from the store as a live event, with what its device is like now.
    pub fn event(&self, reading: &StoredReading, now_ms: i64) -> Option<Arc<str>> {
        let all = self.all();
        let condition = all.conditions.get(&reading.device)?;
        to_json(&answer::reading_event(reading, condition, now_ms))
    }

    /// Watches from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    fn tell(&self, event: Event) {
        // Nobody may be watching.
        let _watchers = self.events.send(event);
    }
}

fn to_json(event: &impl serde::Serialize) -> Option<Arc<str>> {
    serde_json::to_string(event).ok().map(Arc::from)
}
