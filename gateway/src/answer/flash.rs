//! What the page that flashes boards has to know.

use serde::Serialize;

/// `GET /api/v1/flash`.
#[derive(Clone, Debug, Serialize)]
pub struct FlashView {
    /// Every board there is firmware for.
    pub boards: Vec<BoardView>,
    /// What devices will be told about this gateway.
    pub gateway: GatewayView,
}

/// A board.
#[derive(Clone, Debug, Serialize)]
pub struct BoardView {
    /// Its name in files.
    pub board: &'static str,
    /// Its chip as esptool calls it.
    pub chip: &'static str,
    /// Size of its flash in MiB.
    pub flash_mib: u32,
    /// The newest image that this gateway has for it.
    pub image: Option<ImageView>,
}

/// An image for offset 0 of an erased flash.
#[derive(Clone, Debug, Serialize)]
pub struct ImageView {
    /// Its version.
    pub version: String,
    /// Its size.
    pub bytes: u64,
    /// Where it is to be had.
    pub url: String,
}

/// The gateway as a device will see it.
#[derive(Clone, Debug, Serialize)]
pub struct GatewayView {
    /// Names in its certificate; none while that is still to come.
    pub names: Vec<String>,
    /// Why no device can be set up now, and what would help.
    pub problem: Option<String>,
    /// When devices must be set up anew, because the certificate that they are given ends.
    pub until_ms: Option<i64>,
}
