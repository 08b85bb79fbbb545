//! The two pages: how the air is, in the local network, and the portal in the device's own. What they say is decided in
//! `casement-core`; here is a socket for each, an address for whoever joins, and a name service that knows one answer.

use crate::driver::{NEWS, News};
use crate::setup::Setup;
use crate::{now, radio};
use casement_core::http::{EXCHANGE_MS, NoRequest, REQUEST_BYTES_MAX, Request, SILENT_MS, receive, send};
use casement_core::improv::Facts;
use casement_core::page::{ANSWER_BYTES_MAX, Answer};
use casement_core::portal::{self, Tried};
use casement_core::radio::OWN_ADDRESS;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration as Lifetime;
use edge_dhcp::io::DEFAULT_SERVER_PORT;
use edge_dhcp::server::{Server, ServerOptions};
use edge_nal::UdpBind;
use edge_nal_embassy::{Udp, UdpBuffers};
use embassy_futures::join::join3;
use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_time::{Duration, Timer, with_timeout};
use log::{info, warn};
use static_cell::ConstStaticCell;

const HTTP: u16 = 80;
const EXCHANGE: Duration = Duration::from_millis(EXCHANGE_MS);
const SILENT: Duration = Duration::from_millis(SILENT_MS);
/// After something that cannot be mended here.
const PAUSE: Duration = Duration::from_secs(5);
/// Phones that can be in the device's own network at once.
const GUESTS: usize = 8;
/// How long a name's address is good: a phone must ask anew once it is back in its own network.
const NAME_LIFETIME: Lifetime = Lifetime::from_secs(5);

/// Paper for one request and its answer. There is one, for both pages.
pub struct Sheet {
    request: [u8; REQUEST_BYTES_MAX],
    out: [u8; ANSWER_BYTES_MAX],
    /// What is asked for, for the one who answers.
    pub method: heapless::String<8>,
    pub target: heapless::String<128>,
    answer: Option<Answer>,
}

impl Sheet {
    /// All zero, so that it takes no room in the image.
    pub const fn new() -> Self {
        Self {
            request: [0; REQUEST_BYTES_MAX],
            out: [0; ANSWER_BYTES_MAX],
            method: heapless::String::new(),
            target: heapless::String::new(),
            answer: None,
        }
    }

    /// Writes the answer.
    pub fn fill(&mut self, write: impl FnOnce(&str, &str, &mut [u8]) -> Answer) {
        self.answer = Some(write(&self.method, &self.target, &mut self.out));
    }
}

type Drawer = Channel<CriticalSectionRawMutex, &'static mut Sheet, 1>;

/// Where the sheet lies when nobody needs it, and where the driver puts it once the page is written.
static SHEET: Drawer = Channel::new();
pub static WRITTEN: Drawer = Channel::new();

/// Puts the sheet out.
pub fn begin() {
    static PAPER: ConstStaticCell<Sheet> = ConstStaticCell::new(Sheet::new());
    let _fits = SHEET.try_send(PAPER.take());
}

/// The page in the local network, for ever.
#[embassy_executor::task]
pub async fn page(stack: Stack<'static>) {
    let (mut receiving, mut sending) = ([0; 512], [0; 1_024]);
    loop {
        let Some(mut socket) = caller(stack, &mut receiving, &mut sending).await else { continue };
        let mut sheet = SHEET.receive().await;
        let Sheet { request, out, method, target, .. } = sheet;
        let asked = match read(&mut socket, request, out).await {
            None => false,
            // A method or a path that is longer than any of ours is none of ours.
            Some(request) => {
                *method = heapless::String::try_from(request.method).unwrap_or_default();
                *target = heapless::String::try_from(request.target).unwrap_or_default();
                true
            }
        };
        if asked {
            NEWS.send(News::Visit(sheet)).await;
            sheet = WRITTEN.receive().await;
            write(&mut socket, sheet).await;
        }
        let _room = SHEET.try_send(sheet);
        hang_up(&mut socket).await;
    }
}

/// The device's own network: addresses, names, and the form. It does nothing while nobody can join.
#[embassy_executor::task]
pub async fn own_network(stack: Stack<'static>, setup: &'static Setup) {
    static BUFFERS: ConstStaticCell<UdpBuffers<2, 600, 600, 2>> = ConstStaticCell::new(UdpBuffers::new());
    let udp = Udp::new(stack, BUFFERS.take());
    join3(addresses(udp), names(udp), portal(stack, setup)).await;
}

async fn addresses(udp: Udp<'static>) {
    let dns = [OWN_ADDRESS];
    let mut gateway = [OWN_ADDRESS];
    let mut options = ServerOptions::new(OWN_ADDRESS, Some(&mut gateway));
    options.dns = &dns;
    let mut server = Server::<_, GUESTS>::new(|| now().0 / 1_000, OWN_ADDRESS);
    let mut buffer = [0; 600];
    loop {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DEFAULT_SERVER_PORT);
        if let Ok(mut socket) = udp.bind(any).await {
            let ended = edge_dhcp::io::server::run(&mut server, &options, &mut socket, &mut buffer).await;
            warn!("addresses: {:?}", ended.err());
        }
        Timer::after(PAUSE).await;
    }
}

async fn names(udp: Udp<'static>) {
    let (mut asked, mut answered) = ([0; 512], [0; 512]);
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 53);
    loop {
        let ended =
            edge_captive::io::run(&udp, any, &mut answered, &mut asked, OWN_ADDRESS, NAME_LIFETIME).await;
        warn!("names: {:?}", ended.err());
        Timer::after(PAUSE).await;
    }
}

async fn portal(stack: Stack<'static>, setup: &'static Setup) {
    let (mut receiving, mut sending) = ([0; 512], [0; 1_024]);
    let mut tried: Option<Tried> = None;
    loop {
        let Some(mut socket) = caller(stack, &mut receiving, &mut sending).await else { continue };
        let scan = radio::last_scan().await;
        let networks = scan.networks();
        let sheet = SHEET.receive().await;
        let mut wanted = None;
        let Sheet { request, out, method, answer, .. } = sheet;
        if let Some(request) = read(&mut socket, request, out).await {
            let facts = Facts { networks: &networks, ..setup.facts() };
            let (said, settings) = portal::answer(&request, &facts, tried.as_ref(), out);
            (*answer, wanted) = (Some(said), settings);
            *method = heapless::String::try_from(request.method).unwrap_or_default();
            write(&mut socket, sheet).await;
        }
        let _room = SHEET.try_send(sheet);
        hang_up(&mut socket).await;
        let Some(wanted) = wanted else { continue };
        match setup.attempt(&wanted).await {
            Ok(()) => setup.start_anew().await,
            Err(why) => {
                info!("what the portal was told does not work: {why}");
                tried = wanted.wifi.map(|wifi| Tried { wifi, why });
            }
        }
    }
}

/// Waits until somebody connects.
async fn caller<'s>(
    stack: Stack<'static>,
    receiving: &'s mut [u8],
    sending: &'s mut [u8],
) -> Option<TcpSocket<'s>> {
    let mut socket = TcpSocket::new(stack, receiving, sending);
    socket.set_timeout(Some(EXCHANGE));
    match socket.accept(HTTP).await {
        Ok(()) if with_timeout(SILENT, socket.wait_read_ready()).await.is_ok() => Some(socket),
        // A browser that only looked.
        Ok(()) => {
            socket.abort();
            None
        }
        Err(error) => {
            warn!("nobody can be heard: {error:?}");
            Timer::after(PAUSE).await;
            None
        }
    }
}

/// Reads a request. One that is refused is answered here.
async fn read<'s>(socket: &mut TcpSocket<'_>, request: &'s mut [u8], out: &mut [u8]) -> Option<Request<'s>> {
    let refusal = match with_timeout(EXCHANGE, receive(socket, request)).await {
        Ok(Ok(request)) => return Some(request),
        Ok(Err(NoRequest::Refused(refusal))) => refusal,
        Ok(Err(NoRequest::Broken(_) | NoRequest::Closed)) | Err(_) => return None,
    };
    let answer = refusal.answer(out);
    let _left = with_timeout(EXCHANGE, send(socket, "GET", &answer, out)).await;
    None
}

async fn write(socket: &mut TcpSocket<'_>, sheet: &Sheet) {
    let Some(answer) = &sheet.answer else { return };
    // Who hangs up early has seen enough.
    let _left = with_timeout(EXCHANGE, send(socket, &sheet.method, answer, &sheet.out)).await;
}

async fn hang_up(socket: &mut TcpSocket<'_>) {
    socket.close();
    // The last bytes are still under way; whoever does not take them is left.
    let _left = with_timeout(EXCHANGE, socket.flush()).await;
    socket.abort();
}
