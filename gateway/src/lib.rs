//! Casement's gateway: readings in, readings out, behind a door with a certificate.
//!
//! Arrows point down; a module names only lower rows, never a neighbour (checked by `tests/layers.rs`):
//!
//! | row | modules |
//! |---|---|
//! | program | [`cli`] |
//! | composition | [`app`], [`bench`](mod@bench) |
//! | surfaces | [`api`], [`web`], [`edge`] |
//! | desk | [`desk`] |
//! | services | [`access`], [`intake`], [`simulate`], [`keeper`], [`doctor`], [`backup`], [`updates`] |
//! | fan-out | [`live`] |
//! | adapters | [`store`], [`tls`], [`config`], [`observe`], [`machine`], [`releases`], [`archive`] |
//! | files | [`disk`] |
//! | rules (pure) | [`answer`], [`ingest`], [`export`], [`provision`] |
//! | basic rules (pure) | [`telemetry`], [`guard`], [`renewal`], [`rollout`] |
//! | ground | [`clock`], [`reading`], `casement-proto`, `casement-core` |
//!
//! One exception: rules may name the plain data of the [`store`]'s port (a reading, a device, a row of an export), but
//! never the port itself.
//!
//! The journey of a reading: [`edge`] accepts and decrypts, [`api`] finds out who sends, [`ingest`] decodes and settles
//! its time, [`intake`] queues it and commits it with others through [`store`], [`live`] tells everybody who watches,
//! and only then the device hears that it is stored.

pub mod access;
pub mod answer;
pub mod api;
pub mod app;
pub mod archive;
pub mod backup;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod config;
pub mod desk;
pub mod disk;
pub mod doctor;
pub mod edge;
pub mod export;
pub mod guard;
pub mod ingest;
pub mod intake;
pub mod keeper;
pub mod live;
pub mod machine;
pub mod observe;
pub mod provision;
pub mod reading;
pub mod releases;
pub mod renewal;
pub mod rollout;
pub mod simulate;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod updates;
pub mod web;
