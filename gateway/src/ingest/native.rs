//! Casement's own batch, as JSON and as CBOR: see [`casement_proto::wire`].

use super::Format;
use casement_proto::wire::{decode_cbor, decode_json};

/// The batch as JSON.
pub(super) const JSON: Format = Format { media_types: &["application/json"], decode: decode_json };

/// The batch as CBOR.
pub(super) const CBOR: Format = Format { media_types: &["application/cbor"], decode: decode_cbor };
