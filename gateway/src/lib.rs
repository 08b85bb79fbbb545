//! Casement's gateway: readings in, readings out, behind a door with a certificate.
//!
//! Arrows point down; a module names only lower rows, never a neighbour (checked by `tests/layers.rs`):
//!
//! | row | modules |
//! |---|---|
//! | composition | [`cli`], [`app`] |
//! | surfaces | [`api`], [`web`], [`edge`] |
//! | services | [`desk`], [`access`], [`intake`], [`simulate`] |
//! | adapters | [`store`], [`tls`], [`live`], [`config`], [`disk`], [`observe`] |
//! | rules (pure) | [`answer`], [`ingest`], [`telemetry`], [`guard`], [`export`] |
//! | ground | [`clock`], `casement-proto`, `casement-core` |
//!
//! The journey of a reading: [`edge`] accepts and decrypts, [`api`] finds out who sends, [`ingest`] decodes and settles
//! its time, [`intake`] queues it and commits it with others through [`store`], [`live`] tells everybody who watches,
//! and only then the device hears that it is stored.

pub mod access;
pub mod answer;
pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod desk;
pub mod disk;
pub mod edge;
pub mod export;
pub mod guard;
pub mod ingest;
pub mod intake;
pub mod live;
pub mod observe;
pub mod simulate;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod web;
