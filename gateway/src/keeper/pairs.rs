//! Certificates that lie on this machine: files of somebody else's, an authority's, the one made here.

use super::{Keeper, Places, Plan, Signature, lock};
use crate::answer::certificate as answer;
use crate::clock;
use crate::config::TlsSource;
use crate::renewal::schedule;
use crate::tls::pair::{self, Pair};
use crate::tls::{Origin, TlsError, self_signed};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// A self-signed certificate is made anew when fewer days are left, in milliseconds.
const OWN_LEFT_MIN_MS: i64 = 30 * 86_400_000;

impl Keeper {
    /// Makes the certificate of our own anew before it ends, when that is what is shown.
    pub(super) fn freshen_own(&self, plan: &Plan, now_ms: i64) {
        let shown = self.0.certificates.shown();
        let ours = shown.origin == Origin::SelfSigned;
        let old = shown.facts.not_after_ms.saturating_sub(now_ms) < OWN_LEFT_MIN_MS;
        let other = !shown.facts.missing(&plan.own_names).is_empty();
        if ours && (old || other) {
            match self_signed::keep(&self.0.places.certs, &plan.own_names, now_ms) {
                Ok(pair) => self.0.certificates.show(pair, Origin::SelfSigned),
                Err(error) => tracing::error!(%error, "the self-signed certificate could not be made anew"),
            }
        }
    }

    /// Takes over files that have changed and rest: a pair is two files, and one is written before the other.
    pub(super) fn watch_files(&self, plan: &Plan, now_ms: i64) {
        let seen = signature(plan);
        let mut known = lock(&self.0.files_seen);
        if *known == seen {
            return;
        }
        let young = seen.iter().flatten().any(|(changed, _)| {
            let age = changed.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
            (0..1000).contains(&(i128::from(now_ms) - i128::try_from(age).unwrap_or(0)))
        });
        if !young {
            *known = seen;
            drop(known);
            self.0.reread.store(true, Ordering::Release);
            self.reread(now_ms);
        }
    }

    /// Reads what lies on disk again, when somebody said that it has changed.
    pub(super) fn reread(&self, now_ms: i64) {
        if !self.0.reread.swap(false, Ordering::AcqRel) {
            return;
        }
        let plan = self.0.plan.load();
        let shown = self.0.certificates.shown();
        if matches!(plan.source, TlsSource::Files { .. }) {
            *lock(&self.0.files_seen) = signature(&plan);
        }
        let read = match kept(&plan, &self.0.places) {
            Some(read) => read,
            // Somebody has removed the file. What is shown is good; after a restart another one is ordered.
            None if matches!(plan.source, TlsSource::Acme(_)) && shown.origin == Origin::Acme => return,
            None => self_signed::keep(&self.0.places.certs, &plan.own_names, now_ms)
                .map(|pair| (pair, Origin::SelfSigned)),
        };
        match read {
            Ok((pair, origin)) => {
                // Nothing better is thrown away: an authority's certificate that is not written yet.
                let unsaved = lock(&self.0.unsaved).is_some();
                if unsaved || (pair.facts.sha256 == shown.facts.sha256 && origin == shown.origin) {
                    return;
                }
                warn_of(&pair, &plan, &self.0.places, now_ms);
                tracing::info!(
                    origin = origin.name(),
                    issuer = pair.facts.issuer,
                    "another certificate is shown"
                );
                schedule::at_hand(&mut lock(&self.0.memory), (origin == Origin::Acme).then_some(&pair.facts));
                self.0.certificates.show(pair, origin);
                self.count(now_ms);
            }
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the certificate was not read again; the one that is shown stays"
            ),
        }
    }
}

/// What the configuration wants to be shown and lies on disk; `None` when there is nothing yet.
fn kept(plan: &Plan, places: &Places) -> Option<Result<(Pair, Origin), TlsError>> {
    match &plan.source {
        TlsSource::Files { cert, key } => Some(Pair::from_files(cert, key).map(|pair| (pair, Origin::Files))),
        TlsSource::Acme(_) if places.bundle().exists() => {
            Some(Pair::from_bundle(&places.bundle()).map(|pair| (pair, Origin::Acme)))
        }
        TlsSource::Acme(_) | TlsSource::SelfSigned => None,
    }
}

/// The best certificate there is, but for the one made here.
pub(super) fn first(plan: &Plan, places: &Places) -> Option<(Pair, Origin)> {
    match kept(plan, places)? {
        Ok((pair, origin)) => {
            warn_of(&pair, plan, places, clock::now_ms());
            Some((pair, origin))
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the certificate cannot be used; HTTPS answers with the gateway's own until it can"
            );
            None
        }
    }
}

fn warn_of(pair: &Pair, plan: &Plan, places: &Places, now_ms: i64) {
    let file = match &plan.source {
        TlsSource::Files { cert, key } => pair::lineage(cert, key).0,
        TlsSource::Acme(_) | TlsSource::SelfSigned => places.bundle(),
    };
    for doubt in doubts(pair, &plan.names, now_ms).iter().chain(&pair.oddities) {
        tracing::warn!("{}: {doubt}", file.display());
    }
}

/// What browsers will not like about a pair, each with its fix.
pub fn doubts(pair: &Pair, names: &[String], now_ms: i64) -> Vec<String> {
    let facts = &pair.facts;
    let mut doubts = Vec::new();
    if now_ms >= facts.not_after_ms {
        doubts.push(format!(
            "the certificate ended {} ago; put a new one in its place",
            answer::span(now_ms - facts.not_after_ms)
        ));
    } else if now_ms < facts.not_before_ms {
        doubts.push("the certificate is not valid yet; is this machine's clock right?".to_owned());
    }
    let missing = facts.missing(names);
    if !missing.is_empty() {
        doubts.push(format!(
            "the certificate is for {}, not for {}; get one for these names, or change tls.names",
            facts.names.join(", "),
            missing.join(", ")
        ));
    }
    doubts
}

pub(super) fn signature(plan: &Plan) -> Signature {
    let TlsSource::Files { cert, key } = &plan.source else { return None };
    let (cert, key) = pair::lineage(cert, key);
    let look = |file: &Path| {
        let meta = std::fs::metadata(file).ok();
        meta.map_or((SystemTime::UNIX_EPOCH, 0), |meta| {
            (meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len())
        })
    };
    Some([look(&cert), look(&key)])
}
