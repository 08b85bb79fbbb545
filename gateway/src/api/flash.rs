//! What the page needs that puts firmware and settings onto a board: images, and a device with its settings.

use super::ApiError;
use super::visitor::Admin;
use crate::answer::flash::{BoardView, FlashView, GatewayView, ImageView};
use crate::desk::Desk;
use crate::reading::Device;
use crate::releases::ReleaseError;
use crate::store::StoreError;
use crate::{access, clock, provision};
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderName, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use casement_proto::DeviceId;
use casement_proto::device_settings::{self, DeviceSettings, GatewayUrl};
use casement_proto::release::{BoardId, Version};
use serde::Deserialize;

/// Largest request, in bytes.
const REQUEST_BYTES_MAX: usize = 2048;

/// How often another name is tried when somebody else takes the same one at the same moment.
const NAMES_TRIED: usize = 5;

pub(super) fn router() -> Router<Desk> {
    Router::new()
        .route("/api/v1/flash", get(overview))
        .route("/api/v1/flash/devices", post(add).layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX)))
        .route("/api/v1/flash/images/{board}/{version}", get(image))
}

async fn overview(State(desk): State<Desk>, _admin: Admin) -> Result<Json<FlashView>, ApiError> {
    let releases = desk.releases.clone();
    let found = blocking(move || releases.newest_flash_images()).await?;
    let boards = provision::boards().map(|board| BoardView {
        board: board.id,
        chip: board.chip,
        flash_mib: board.flash_mib,
        image: found.iter().find(|image| image.board.as_str() == board.id).map(|image| ImageView {
            version: image.version.to_string(),
            bytes: image.bytes,
            url: format!("/api/v1/flash/images/{}/{}", board.id, image.version),
        }),
    });
    let gateway = match desk.keeper.trust() {
        Ok(trust) => GatewayView { names: trust.names, problem: None, until_ms: trust.until_ms },
        Err(why) => GatewayView { names: Vec::new(), problem: Some(why.to_string()), until_ms: None },
    };
    Ok(Json(FlashView { boards: boards.collect(), gateway }))
}

async fn image(
    State(desk): State<Desk>,
    _admin: Admin,
    asked: Result<Path<(String, String)>, PathRejection>,
) -> Result<([(HeaderName, &'static str); 1], Vec<u8>), ApiError> {
    let none = || ApiError::not_found("there is no such image; GET /api/v1/flash lists them");
    let Path((board, version)) = asked.map_err(|_| none())?;
    let board = BoardId::parse(&board).ok_or_else(none)?;
    let version: Version = version.parse().map_err(|_| none())?;
    let releases = desk.releases.clone();
    let bytes = blocking(move || releases.flash_image(&board, version)).await?.ok_or_else(none)?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], bytes))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReleaseError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)?.map_err(ApiError::internal)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewDevice {
    /// Where it will hang.
    room: String,
    /// What it is called; after the room when nothing is said.
    id: Option<String>,
    /// The address under which it finds this gateway.
    url: String,
}

/// Adds a device and gives its settings as an image: gateway, name, room, a new token, and whom to trust:
/// for HTTPS, and for firmware. Wi-Fi is not
/// among them; the page puts it in, so that its password never comes here.
async fn add(
    State(desk): State<Desk>,
    _admin: Admin,
    wish: Result<Json<NewDevice>, JsonRejection>,
) -> Result<(StatusCode, [(HeaderName, String); 2], Vec<u8>), ApiError> {
    let Json(wish) = wish.map_err(|error| {
        ApiError::unreadable(format!("the request cannot be read: {}", error.body_text()))
    })?;
    let room =
        provision::label(&wish.room).map_err(|why| ApiError::unreadable(format!("the room: {why}")))?;
    let mut settings = DeviceSettings::default();
    settings.room = device_settings::room(&room).map_err(|error| ApiError::unreadable(error.to_string()))?;
    let bands = desk.settings.load().site.bands;
    settings.profile = bands;
    let url = GatewayUrl::parse(&wish.url).map_err(|error| ApiError::unreadable(error.to_string()))?;
    let trust = desk.keeper.trust().map_err(|why| ApiError::conflict(why.to_string()))?;
    let (name, _) = url.name_and_port();
    if !trust.covers(name) {
        return Err(ApiError::conflict(format!(
            "devices would refuse this gateway: its certificate is for {}, not for {name}; open this page under one of these names, or add {name} to tls.names",
            trust.names.join(", ")
        )));
    }
    // Without it the device would take no release of this gateway, ever.
    let releases = desk.releases.clone();
    settings.release_key = Some(blocking(move || releases.public_key()).await?);
    let id = register(&desk, room, wish.id.as_deref()).await?;
    let secret = access::device_token(&*desk.store, id, clock::now_ms()).await?;
    let image = provision::introduce(settings, id, &url, secret.reveal(), trust.authority.as_deref())
        .map_err(|error| ApiError::conflict(error.to_string()))?
        .encode();
    desk.refresh().await?;
    tracing::info!(device.id = %id, "a device was added from the flash page");
    let headers =
        [(CONTENT_TYPE, "application/octet-stream".to_owned()), (LOCATION, format!("/api/v1/devices/{id}"))];
    Ok((StatusCode::CREATED, headers, image.to_vec()))
}

async fn register(desk: &Desk, room: String, id: Option<&str>) -> Result<DeviceId, ApiError> {
    let asked = match id {
        None => None,
        Some(id) => Some(
            DeviceId::parse(id)
                .ok_or_else(|| ApiError::unreadable(device_settings::SettingsError::Device.to_string()))?,
        ),
    };
    for _ in 0..NAMES_TRIED {
        let known = desk.store.devices().await?;
        let id = asked
            .unwrap_or_else(|| provision::name_for(&room, |id| known.iter().any(|device| device.id == *id)));
        let device = Device {
            id,
            room: Some(room.clone()),
            name: None,
            simulated: false,
            created_ms: clock::now_ms(),
        };
        match desk.store.add_device(&device).await {
            Ok(()) => return Ok(id),
            Err(StoreError::Exists(_)) if asked.is_none() => {}
            Err(StoreError::Exists(_)) => {
                return Err(ApiError::conflict(format!(
                    "there is a device {id} already; leave the id out, and it is called after its room"
                )));
            }
            Err(other) => return Err(other.into()),
        }
    }
    Err(ApiError::crowded("devices are being added"))
}
