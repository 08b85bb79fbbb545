//! The pages: embedded files, a shell that says something before any script has run, signing in and out.

mod plain;

use crate::access::{Denied, NoClaim, Who};
use crate::desk::{self, Desk, Peer, SESSION_COOKIE, same_origin};
use crate::telemetry::series::Window;
use crate::telemetry::time;
use crate::{access, answer, clock, guard};
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Form, Path, Query, Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HOST,
    HeaderName, IF_NONE_MATCH, LOCATION, REFERER, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE,
    STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use rust_embed::RustEmbed;
use serde::Deserialize;
use std::net::IpAddr;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

/// Nothing but our own files, nothing inline, nobody's frame.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                   font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The page that puts firmware onto a board. Serial ports are open to it and to no other page.
const FLASH: &str = "/flash";

/// What pages may use of a machine.
const PERMISSIONS: &str = "camera=(), microphone=(), geolocation=(), serial=()";
const PERMISSIONS_TO_FLASH: &str = "camera=(), microphone=(), geolocation=(), serial=(self)";

/// Largest form, in bytes.
const FORM_BYTES_MAX: usize = 4096;

/// Points of the chart that a room's page begins with.
const FIRST_POINTS: u32 = 1000;

#[derive(RustEmbed)]
#[folder = "$CASEMENT_WEB_OUT"]
struct Files;

/// Every page and file.
pub fn router(desk: Desk) -> Router {
    // Files are embedded compressed; pages are made anew each time.
    let pages = Router::new()
        .route("/", get(rooms))
        .route("/r/{room}", get(room))
        .route("/certificate", get(certificate))
        .route("/doctor", get(doctor))
        .route(FLASH, get(flash))
        .route("/login", get(login_page).post(sign_in).layer(DefaultBodyLimit::max(FORM_BYTES_MAX)))
        .route("/claim", get(claim_page).post(claim).layer(DefaultBodyLimit::max(FORM_BYTES_MAX)))
        .layer(CompressionLayer::new().gzip(true));
    pages.route("/logout", post(sign_out)).fallback(file).with_state(desk)
}

/// What is said while only the certificate is seen to.
pub fn closed() -> Router {
    Router::new().fallback(|| async { (StatusCode::SERVICE_UNAVAILABLE, "The gateway is not running.\n") })
}

/// How long browsers insist on HTTPS after a visit, in seconds: a year. Subdomains are somebody else's.
const HSTS: &str = "max-age=31536000";

/// Puts the headers on every answer that browsers need to be strict. For the outermost layer.
pub async fn strict(State(desk): State<Desk>, mut request: Request, next: Next) -> Response {
    // What another site makes a browser ask for is not compressed: the length would tell that site what a page holds
    // (BREACH).
    if is_foreign(&request) {
        request.headers_mut().remove(ACCEPT_ENCODING);
    }
    let permissions = if request.uri().path() == FLASH { PERMISSIONS_TO_FLASH } else { PERMISSIONS };
    let mut response = next.run(request).await;
    let code = response.status().as_u16();
    desk.counters.responses.get_or_create(&crate::observe::StatusLabel { code }).inc();
    let fixed: [(HeaderName, &str); 6] = [
        (CONTENT_SECURITY_POLICY, CSP),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), permissions),
    ];
    let headers = response.headers_mut();
    // Grown once: there are some already, and the date comes later.
    headers.reserve(fixed.len() + 4);
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Not before a certificate is publicly trusted: a browser that believed it would lock its user out.
    if desk.keeper.hsts() {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
    response
}

fn is_foreign(request: &Request) -> bool {
    let text = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let host = request.uri().authority().map(|authority| authority.as_str()).or_else(|| text(HOST));
    plain::from_elsewhere(text(HeaderName::from_static("sec-fetch-site")), text(REFERER), host)
}

/// A panic ends one request, not the gateway.
fn after_panic(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("unknown"), "a request failed");
    let body = r#"{"type":"/problems/internal","title":"Internal Server Error","status":500,"code":"internal","detail":"the gateway failed; its log says why"}"#;
    (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, "application/problem+json")], body).into_response()
}

/// Layers for everything behind the door.
pub fn behind_the_door(app: Router, desk: Desk) -> Router {
    app.layer(CatchPanicLayer::custom(after_panic)).layer(middleware::from_fn_with_state(desk, strict))
}

/// What a page needs to know of a request; the body stays behind.
struct Asked {
    headers: HeaderMap,
    uri: Uri,
    peer: IpAddr,
}

impl Asked {
    fn new(request: Request) -> Self {
        let (parts, _body) = request.into_parts();
        Self { peer: Peer::of(&parts.extensions), headers: parts.headers, uri: parts.uri }
    }

    /// Whether the visitor has signed in; `None` when it may not read.
    async fn reader(&self, desk: &Desk) -> Option<bool> {
        let signed_in =
            matches!(desk.who(&self.headers, self.peer).await, Ok(Some(Who::Reader | Who::Admin)));
        (signed_in || desk.settings.load().public).then_some(signed_in)
    }

    /// Lets a visitor in who may read. The error is the answer to all others.
    async fn enter(&self, desk: &Desk) -> Result<Entered, Response> {
        let Some(signed_in) = self.reader(desk).await else {
            return Err(to_login(&self.uri));
        };
        desk.refresh().await.map_err(|error| failed(&error))?;
        let (_, view) = desk.devices(signed_in);
        let boot = serde_json::to_value(&view).map_err(|error| failed(&error))?;
        Ok(Entered { signed_in, view, boot })
    }
}

/// A visitor who may read, and what every page begins with.
struct Entered {
    signed_in: bool,
    view: answer::DevicesView,
    /// The same, for the scripts' first paint.
    boot: serde_json::Value,
}

impl Entered {
    /// A page with a title before the site's name.
    fn page(&self, title: &str, content: &str) -> Response {
        let title = format!("{title} · {}", self.view.site.name);
        shell(StatusCode::OK, &title, content, Some(&self.boot))
    }
}

async fn rooms(State(desk): State<Desk>, request: Request) -> Response {
    page(&desk, &Asked::new(request), None).await
}

async fn room(State(desk): State<Desk>, Path(room): Path<String>, request: Request) -> Response {
    page(&desk, &Asked::new(request), Some(&room)).await
}

/// The page that flashes a board. What it needs, it asks for as an administrator.
async fn flash(State(desk): State<Desk>, request: Request) -> Response {
    let entered = match Asked::new(request).enter(&desk).await {
        Ok(entered) => entered,
        Err(answer) => return answer,
    };
    entered.page("Add a device", plain::FLASH)
}

/// The page of the certificate. What it shows is for whoever has signed in, or sits at the machine.
async fn certificate(State(desk): State<Desk>, request: Request) -> Response {
    let asked = Asked::new(request);
    let entered = match asked.enter(&desk).await {
        Ok(entered) => entered,
        Err(answer) => return answer,
    };
    let insider = entered.signed_in || asked.peer.is_loopback();
    let certificate = insider.then(|| desk.keeper.view(clock::now_ms()));
    entered.page("Certificate", &plain::certificate(certificate.as_ref()))
}

/// The page of the checks, for administrators. Without scripts it is as the checks found it; with them it is fetched, so
/// that something can be seen while they run.
async fn doctor(State(desk): State<Desk>, Query(wish): Query<Plainly>, request: Request) -> Response {
    let asked = Asked::new(request);
    let entered = match asked.enter(&desk).await {
        Ok(entered) => entered,
        Err(answer) => return answer,
    };
    let admin = matches!(desk.who(&asked.headers, asked.peer).await, Ok(Some(Who::Admin)));
    let content = match (admin, wish.plain.is_some()) {
        (false, _) => plain::NO_ADMIN.to_owned(),
        (true, false) => plain::DOCTOR.to_owned(),
        (true, true) => match desk.checkup.report().await {
            Some(report) => plain::doctor(&report),
            None => plain::DOCTOR.to_owned(),
        },
    };
    entered.page("Checks", &content)
}

#[derive(Deserialize, Default)]
struct Plainly {
    plain: Option<String>,
}

/// The shell with a plain table and everything that the scripts need for the first paint.
async fn page(desk: &Desk, asked: &Asked, room: Option<&str>) -> Response {
    let Entered { view, mut boot, .. } = match asked.enter(desk).await {
        Ok(entered) => entered,
        Err(answer) => return answer,
    };
    let (mut title, mut content) = (view.site.name.clone(), plain::rooms(&view));
    let mut status = StatusCode::OK;
    if let Some(room) = room {
        title = format!("{room} · {title}");
        content = plain::room(&view, room);
        match series(desk, room, &asked.uri).await {
            Some(series) => {
                if let (Ok(series), Some(boot)) = (serde_json::to_value(series), boot.as_object_mut()) {
                    boot.insert("readings".to_owned(), series);
                }
            }
            None if !plain::has_room(&view, room) => status = StatusCode::NOT_FOUND,
            None => {}
        }
    }
    shell(status, &title, &content, Some(&boot))
}

fn shell(status: StatusCode, title: &str, content: &str, boot: Option<&serde_json::Value>) -> Response {
    let boot = boot.map_or_else(String::new, |boot| {
        format!(
            "<script type=\"application/json\" id=\"casement-boot\">{}</script>",
            plain::json_in_html(boot)
        )
    });
    let Some(html) = template("index.html") else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let html = plain::fill(&html, &[("title", &plain::escape(title)), ("content", content), ("boot", &boot)]);
    html_page(status, html)
}

fn html_page(status: StatusCode, html: String) -> Response {
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    (status, headers, html).into_response()
}

fn template(name: &str) -> Option<String> {
    Files::get(name).and_then(|file| String::from_utf8(file.data.into_owned()).ok())
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Response {
    tracing::error!(error, "a page could not be made");
    (StatusCode::INTERNAL_SERVER_ERROR, "The gateway failed; its log says why.\n").into_response()
}

#[derive(Deserialize, Default)]
struct Range {
    r: Option<String>,
    from: Option<String>,
    to: Option<String>,
    m: Option<String>,
}

/// The series that a room's page shows first.
async fn series(desk: &Desk, room: &str, uri: &Uri) -> Option<answer::SeriesView> {
    let (device, headline) = desk.live.room(room)?;
    let Query(range) = Query::<Range>::try_from_uri(uri).unwrap_or_default();
    let now_ms = clock::now_ms();
    let instant = |text: &Option<String>| text.as_deref().and_then(|text| time::parse_query(text, now_ms));
    let span = range.r.as_deref().and_then(time::parse_span_ms).unwrap_or(time::DAY_MS);
    let to_ms = instant(&range.to).unwrap_or(now_ms + 1);
    let from_ms = instant(&range.from).unwrap_or(to_ms.saturating_sub(span));
    let quantity = range.m.as_deref().and_then(casement_proto::Quantity::parse).unwrap_or(headline);
    let window = Window { from_ms: from_ms.min(to_ms), to_ms, max_points: FIRST_POINTS, now_ms };
    match desk.store.series(&device, &quantity, window).await {
        Ok(points) => Some(answer::series(&device, &quantity, points)),
        Err(error) => {
            // The page asks again; it can say what is wrong better than a missing chart.
            tracing::warn!(%error, "a room's first chart could not be read");
            None
        }
    }
}

fn to_login(uri: &Uri) -> Response {
    let wanted = uri.path_and_query().map_or("/", |path| path.as_str());
    let next: String = plain::percent(wanted);
    (StatusCode::SEE_OTHER, [(LOCATION, format!("/login?next={next}"))]).into_response()
}

#[derive(Deserialize, Default)]
struct Wanted {
    next: Option<String>,
}

async fn login_page(uri: Uri) -> Response {
    let Query(ask) = Query::<Wanted>::try_from_uri(&uri).unwrap_or_default();
    login_form(StatusCode::OK, "", ask.next.as_deref())
}

fn login_form(status: StatusCode, message: &str, next: Option<&str>) -> Response {
    let Some(html) = template("login.html") else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let next = plain::escape(plain::local_path(next));
    html_page(status, plain::fill(&html, &[("message", &plain::escape(message)), ("next", &next)]))
}

#[derive(Deserialize)]
struct SignIn {
    token: String,
    next: Option<String>,
}

async fn sign_in(State(desk): State<Desk>, headers: HeaderMap, request: Request) -> Response {
    let peer = Peer::of(request.extensions());
    if !same_origin(&headers) {
        return login_form(
            StatusCode::FORBIDDEN,
            "This form was sent from another site. Try again here.",
            None,
        );
    }
    let Ok(Form(form)) = <Form<SignIn> as axum::extract::FromRequest<()>>::from_request(request, &()).await
    else {
        return login_form(StatusCode::BAD_REQUEST, "Paste an API token.", None);
    };
    let next = form.next.as_deref();
    let token = form.token.trim();
    if token.is_empty() || token.len() > guard::TOKEN_TEXT_MAX {
        return login_form(StatusCode::UNAUTHORIZED, "Paste an API token.", next);
    }
    match desk.access.sign_in(token, peer, clock::now_ms()).await {
        Ok(session) => signed_in(&session, plain::local_path(next)),
        Err(Denied::Unknown) => login_form(
            StatusCode::UNAUTHORIZED,
            "This token does not open the pages. It may be mistyped, revoked, or a device's.",
            next,
        ),
        Err(Denied::Wait { seconds }) => {
            let message = format!("Too many wrong tokens from your address. Wait {seconds} seconds.");
            let mut response = login_form(StatusCode::TOO_MANY_REQUESTS, &message, next);
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
            response
        }
        Err(Denied::Store(error)) => failed(&error),
    }
}

/// Gives a browser its session and sends it on.
fn signed_in(session: &guard::Secret, to: &str) -> Response {
    let seconds = access::SESSION_MS / 1000;
    let cookie = format!(
        "{SESSION_COOKIE}={}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax",
        session.reveal()
    );
    (StatusCode::SEE_OTHER, [(LOCATION, to.to_owned()), (SET_COOKIE, cookie)]).into_response()
}

/// Where the link of `casement claim` leads. The secret is behind the #, so no server sees it before the form is sent, and
/// what looks at links in passing (a messenger, a virus scanner) does not use it up.
async fn claim_page() -> Response {
    claim_form(StatusCode::OK, "")
}

fn claim_form(status: StatusCode, message: &str) -> Response {
    match template("claim.html") {
        Some(html) => html_page(status, plain::fill(&html, &[("message", &plain::escape(message))])),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[derive(Deserialize)]
struct Claim {
    code: String,
}

async fn claim(State(desk): State<Desk>, headers: HeaderMap, request: Request) -> Response {
    let peer = Peer::of(request.extensions());
    if !same_origin(&headers) {
        return claim_form(
            StatusCode::FORBIDDEN,
            "This form was sent from another site. Open the link itself.",
        );
    }
    let Ok(Form(form)) = <Form<Claim> as axum::extract::FromRequest<()>>::from_request(request, &()).await
    else {
        return claim_form(StatusCode::BAD_REQUEST, "Paste the link that the server has printed.");
    };
    // The whole link will do, too.
    let code = form.code.trim().rsplit('#').next().unwrap_or_default();
    if code.is_empty() || code.len() > guard::TOKEN_TEXT_MAX {
        return claim_form(StatusCode::UNAUTHORIZED, "Paste the link that the server has printed.");
    }
    match desk.access.sign_in_by(code, peer, clock::now_ms()).await {
        Ok(session) => signed_in(&session, "/"),
        Err(NoClaim::Unknown) => claim_form(
            StatusCode::UNAUTHORIZED,
            "No such link was made here. It may be cut off: copy all of it, or make a new one on the server.",
        ),
        Err(NoClaim::Used) => claim_form(
            StatusCode::GONE,
            "This link was used already, or a newer one was made. Each works once: make a new one on the server.",
        ),
        Err(NoClaim::Over) => claim_form(
            StatusCode::GONE,
            "This link is too old: it is good for an hour. Make a new one on the server.",
        ),
        Err(NoClaim::Wait { seconds }) => {
            let message = format!("Too many wrong links from your address. Wait {seconds} seconds.");
            let mut response = claim_form(StatusCode::TOO_MANY_REQUESTS, &message);
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
            response
        }
        Err(NoClaim::Store(error)) => failed(&error),
    }
}

async fn sign_out(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    if !same_origin(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if let Some(session) = desk::session_of(&headers)
        && let Err(error) = desk.access.sign_out(session, clock::now_ms()).await
    {
        return failed(&error);
    }
    let gone = format!("{SESSION_COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax");
    (StatusCode::SEE_OTHER, [(LOCATION, "/login".to_owned()), (SET_COOKIE, gone)]).into_response()
}

async fn file(State(desk): State<Desk>, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let is_template = path.ends_with(".html") || path.ends_with(".br") || path.ends_with(".gz");
    if let Some(file) = Files::get(&path).filter(|_| !is_template) {
        return static_file(&path, file, request.headers());
    }
    if request.method() != Method::GET {
        return StatusCode::NOT_FOUND.into_response();
    }
    match Asked::new(request).reader(&desk).await {
        Some(signed_in) => {
            let (_, view) = desk.devices(signed_in);
            let boot = serde_json::to_value(&view).ok();
            shell(StatusCode::NOT_FOUND, "Not found", plain::NOT_FOUND, boot.as_ref())
        }
        None => to_login(&Uri::from_static("/")),
    }
}

fn static_file(path: &str, file: rust_embed::EmbeddedFile, headers: &HeaderMap) -> Response {
    let accepts = headers.get(ACCEPT_ENCODING).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let offers = |encoding: &str| {
        accepts.split(',').any(|range| range.split(';').next().is_some_and(|name| name.trim() == encoding))
    };
    let etag = format!("\"{}\"", plain::hex(&file.metadata.sha256_hash()));
    let fresh = headers.get(IF_NONE_MATCH).and_then(|tag| tag.to_str().ok()) == Some(etag.as_str());
    let mut response = if fresh { StatusCode::NOT_MODIFIED.into_response() } else { Response::default() };
    let compressed = [("br", ".br"), ("gzip", ".gz")]
        .into_iter()
        .filter(|(encoding, _)| offers(encoding))
        .find_map(|(encoding, suffix)| Some((encoding, Files::get(&format!("{path}{suffix}"))?)));
    if !fresh {
        let data = match compressed {
            Some((encoding, packed)) => {
                response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
                packed.data
            }
            None => file.data,
        };
        *response.body_mut() = match data {
            std::borrow::Cow::Borrowed(bytes) => Body::from(bytes),
            std::borrow::Cow::Owned(bytes) => Body::from(bytes),
        };
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(plain::media_type(path)));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(etag) = HeaderValue::try_from(etag) {
        headers.insert(ETAG, etag);
    }
    // A name with a hash in it never changes its content.
    let forever = path.starts_with("assets/");
    let policy = if forever { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(policy));
    response
}
