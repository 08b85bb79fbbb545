//! The front desk: what every surface may use, and who is asking.

use crate::access::{Access, Denied, Who};
use crate::answer::{DevicesView, SiteView};
use crate::clock;
use crate::config::Site;
use crate::doctor::checkup::Checkup;
use crate::guard;
use crate::intake::Intake;
use crate::keeper::Keeper;
use crate::live::Live;
use crate::observe::Counters;
use crate::releases::Releases;
use crate::store::{Store, StoreError};
use crate::telemetry::time;
use crate::updates::Updates;
use arc_swap::ArcSwap;
use axum::http::header::{AUTHORIZATION, COOKIE, ORIGIN};
use axum::http::{Extensions, HeaderMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// What every handler may use. Each layer that a request goes through holds one: a single pointer.
#[derive(Clone)]
pub struct Desk(Arc<Things>);

impl std::ops::Deref for Desk {
    type Target = Things;

    fn deref(&self) -> &Things {
        &self.0
    }
}

impl From<Things> for Desk {
    fn from(things: Things) -> Self {
        Self(Arc::new(things))
    }
}

/// What lies on the desk.
pub struct Things {
    /// The way in.
    pub intake: Intake,
    /// The way back.
    pub store: Arc<dyn Store>,
    /// What is going on now.
    pub live: Arc<Live>,
    /// Who has which token.
    pub access: Arc<Access>,
    /// What may change while running.
    pub settings: Arc<ArcSwap<Settings>>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// What requests may take up together.
    pub budget: Budget,
    /// The certificate.
    pub keeper: Keeper,
    /// Looks at everything around the gateway.
    pub checkup: Checkup,
    /// Firmware on disk.
    pub releases: Releases,
    /// Firmware for devices, and what they report.
    pub updates: Arc<Updates>,
    /// Ends streams that would not end by themselves.
    pub shutdown: CancellationToken,
}

/// Bodies of readings held at once, in KiB: 16 MiB, whatever 1,024 connections with 100 streams each would send.
const BODIES_KIB_MAX: usize = 16 * 1024;

/// Live streams at once. Each costs a place in the fan-out and some 10 kB.
const VIEWERS_MAX: usize = 512;

/// Images of firmware on their way at once. Each has a file open and some 32 kB in memory.
const DOWNLOADS_MAX: usize = 32;

/// What requests may take up together; beyond it they are refused with Retry-After, never queued.
#[derive(Clone, Debug)]
pub struct Budget {
    bodies: Arc<Semaphore>,
    viewers: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bodies: Arc::new(Semaphore::new(BODIES_KIB_MAX)),
            viewers: Arc::new(Semaphore::new(VIEWERS_MAX)),
            downloads: Arc::new(Semaphore::new(DOWNLOADS_MAX)),
        }
    }
}

impl Budget {
    /// Room for a body of at most so many bytes; `None` when too much is held already.
    pub fn body(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.div_ceil(1024).max(1)).ok()?;
        Arc::clone(&self.bodies).try_acquire_many_owned(kib).ok()
    }

    /// Room for one more live stream.
    pub fn viewer(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.viewers).try_acquire_owned().ok()
    }

    /// Room for one more image of firmware on its way.
    pub fn download(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.downloads).try_acquire_owned().ok()
    }
}

/// What may change while running.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Anybody may read.
    pub public: bool,
    /// The place.
    pub site: Site,
}

/// Who is at the other end of the connection; every request carries it as an extension.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// The peer among a request's extensions; an address that is nobody's when it is missing.
    pub fn of(extensions: &Extensions) -> IpAddr {
        extensions.get::<Self>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0)
    }
}

/// Why a request's credentials are no good.
#[derive(Debug)]
pub enum BadCredentials {
    /// The header is not `Bearer TOKEN`.
    Malformed,
    /// The token is.
    Denied(Denied),
}

impl Desk {
    /// Who sent a request: by its `Authorization` header, else by its session cookie. `None` when it shows neither; a
    /// stale cookie is as good as none, a wrong token is an error.
    ///
    /// # Errors
    /// [`BadCredentials`].
    pub async fn who(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Option<Who>, BadCredentials> {
        let header = headers.get(AUTHORIZATION);
        let token = match header {
            Some(header) => header.to_str().ok().and_then(guard::bearer).ok_or(BadCredentials::Malformed)?,
            None => match session_of(headers) {
                Some(session) => session,
                None => return Ok(None),
            },
        };
        match self.access.who(token, peer, clock::now_ms()).await {
            Ok(who) => Ok(Some(who)),
            Err(Denied::Unknown | Denied::Wait { .. }) if header.is_none() => Ok(None),
            Err(denied) => Err(BadCredentials::Denied(denied)),
        }
    }

    /// The place as a visitor sees it.
    pub fn site(&self, signed_in: bool) -> SiteView {
        let settings = self.settings.load();
        SiteView {
            name: settings.site.name.clone(),
            time_zone: settings.site.zone_name.clone(),
            public: settings.public,
            signed_in,
            bands: settings.site.bands.into(),
        }
    }

    /// Takes in what the command line has changed about devices since.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        self.live.register(self.store.devices().await?);
        Ok(())
    }

    /// Every device as a visitor sees it, and the newest reading that this reflects.
    pub fn devices(&self, signed_in: bool) -> (i64, DevicesView) {
        let now_ms = clock::now_ms();
        let (newest, devices) = self.live.devices(now_ms);
        let view = DevicesView {
            server_time: time::rfc3339(now_ms),
            server_time_ms: now_ms,
            site: self.site(signed_in),
            devices,
        };
        (newest, view)
    }
}

/// The cookie of a signed-in browser. The prefix makes browsers insist on Secure, Path=/ and no Domain (RFC 6265bis
/// §4.1.3.2).
pub const SESSION_COOKIE: &str = "__Host-casement";

/// The session in a request's cookies.
pub fn session_of(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == SESSION_COOKIE && value.len() <= guard::TOKEN_TEXT_MAX)
        .map(|(_, value)| value)
}

/// A form from our own page, or from a program that is no browser. Browsers say where a form comes from.
pub fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("sec-fetch-site"), text(ORIGIN.as_str()), text("host")) {
        (Some("same-origin" | "none"), ..) => true,
        (Some(_), ..) => false,
        (None, None, _) => true,
        (None, Some(origin), Some(host)) => origin.strip_prefix("https://") == Some(host),
        // HTTP/2 carries the host elsewhere; every browser that speaks it sends Sec-Fetch-Site.
        (None, Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_together_are_bounded_and_room_comes_back() {
        let budget = Budget::default();
        let held: Vec<_> = std::iter::from_fn(|| budget.body(1 << 20)).collect();
        assert_eq!(held.len(), 16);
        assert!(budget.body(1).is_none());
        drop(held);
        assert!(budget.body(1 << 20).is_some());
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        assert_eq!(session_of(&headers), None);
        headers.insert(COOKIE, "a=b; __Host-casement=cas_ses_x; c=d".parse().unwrap());
        assert_eq!(session_of(&headers), Some("cas_ses_x"));
        headers.insert(COOKIE, format!("__Host-casement={}", "x".repeat(500)).parse().unwrap());
        assert_eq!(session_of(&headers), None);
    }
}
