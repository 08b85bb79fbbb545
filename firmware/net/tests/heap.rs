//! How much memory one session takes: every allocation of Mbed TLS is counted. This host has pointers of eight bytes, so a
//! chip needs less; its own allocator rounds differently.
#![expect(unsafe_code, reason = "Mbed TLS is given an allocator that counts")]

mod server;

use casement_net::{Gateway, HttpsConnection, Limits, Network, Trust};
use casement_proto::device_settings::GatewayUrl;
use core::ffi::c_void;
use core::net::IpAddr;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use edge_nal::AddrType;
use embedded_svc::http::Method;
use embedded_svc::http::client::asynch::Client;
use embedded_svc::io::ErrorKind;
use futures_lite::future::block_on;
use mbedtls_rs::sys::mbedtls_platform_set_calloc_free;
use server::{Authority, Leaf, Server, Talk, Version, with_tls};
use std::alloc::{Layout, alloc_zeroed, dealloc};

/// The goal: at most 34 KB.
const PEAK_BYTES_MAX: usize = 34_000;

/// Before each block its length is kept.
const HEADER: usize = 16;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    let Some(bytes) = count.checked_mul(size) else { return core::ptr::null_mut() };
    let Ok(layout) = Layout::from_size_align(bytes + HEADER, HEADER) else { return core::ptr::null_mut() };
    // SAFETY: the layout is not empty. The header has room for a length before the block, and is aligned for it.
    let block = unsafe {
        let start = alloc_zeroed(layout);
        if start.is_null() {
            return core::ptr::null_mut();
        }
        start.cast::<usize>().write(bytes);
        start.add(HEADER)
    };
    PEAK.fetch_max(NOW.fetch_add(bytes, SeqCst) + bytes, SeqCst);
    block.cast()
}

unsafe extern "C" fn free(block: *mut c_void) {
    if block.is_null() {
        return;
    }
    // SAFETY: it came from `calloc` above, which put the length before it.
    unsafe {
        let start = block.cast::<u8>().sub(HEADER);
        let bytes = start.cast::<usize>().read();
        NOW.fetch_sub(bytes, SeqCst);
        dealloc(start, Layout::from_size_align_unchecked(bytes + HEADER, HEADER));
    }
}

struct Nobody;

impl edge_nal::Dns for Nobody {
    type Error = ErrorKind;

    async fn get_host_by_name(&self, _host: &str, _kind: AddrType) -> Result<IpAddr, ErrorKind> {
        Ok(IpAddr::from([127, 0, 0, 1]))
    }

    async fn get_host_by_address(&self, _address: IpAddr, _name: &mut [u8]) -> Result<usize, ErrorKind> {
        Err(ErrorKind::Unsupported)
    }
}

async fn exchange(client: &mut Client<HttpsConnection<'_, edge_nal_std::Stack, Nobody>>) -> bool {
    let headers = [("Host", "air.example.org"), ("Content-Length", "2")];
    let Ok(mut request) = client.request(Method::Post, "/", &headers).await else { return false };
    request.write(b"{}").await.expect("sends");
    let mut response = request.submit().await.expect("answers");
    while response.read(&mut [0; 256]).await.expect("reads") > 0 {}
    response.status() == 200
}

#[test]
fn one_session_fits_beside_the_radio() {
    // SAFETY: nothing of Mbed TLS is allocated yet: this is the only test of its program.
    unsafe { mbedtls_platform_set_calloc_free(Some(calloc), Some(free)) };
    let authority = Authority::new();
    let tcp = edge_nal_std::Stack::new();
    let mut rows = Vec::new();
    let mut largest = 0;
    for (version, what) in [(Version::Tls12, "TLS 1.2"), (Version::Tls13, "TLS 1.3")] {
        let server = Server::start(&authority.sign(Leaf::good("air.example.org")), version, Talk::Gateway);
        let gateway = Gateway::new(
            &GatewayUrl::parse(&format!("https://air.example.org:{}", server.port)).expect("an address"),
        );
        with_tls(|tls| {
            let before = NOW.load(SeqCst);
            let public = Trust::lets_encrypt().expect("is built in");
            let roots = NOW.load(SeqCst) - before;
            drop(public);
            let own = Trust::own(authority.der()).expect("a certificate");
            let one_root = NOW.load(SeqCst) - before;
            let network = Network { tcp: &tcp, dns: &Nobody, tls, trust: &own };
            let mut client = Client::wrap(HttpsConnection::new(network, &gateway, Limits::default()));
            if version == Version::Tls13 {
                assert!(!block_on(exchange(&mut client)), "the first offer is TLS 1.2");
            }
            PEAK.store(NOW.load(SeqCst), SeqCst);
            assert!(block_on(exchange(&mut client)));
            let (peak, open) = (PEAK.load(SeqCst) - before, NOW.load(SeqCst) - before);
            // Kept open, and used again.
            assert!(block_on(exchange(&mut client)));
            let mut connection = client.release();
            block_on(connection.close());
            PEAK.store(NOW.load(SeqCst), SeqCst);
            let mut client = Client::wrap(connection);
            assert!(block_on(exchange(&mut client)));
            let again = PEAK.load(SeqCst) - before;
            // With Let's Encrypt's four roots in place of one.
            let most = peak.max(again) - one_root + roots;
            rows.push(format!(
                "{what}, own authority: {peak} bytes at most, {open} open, {again} at most when reopened"
            ));
            rows.push(format!("{what}, Let's Encrypt: {most} bytes at most, {roots} of them roots"));
            largest = largest.max(most);
        });
        assert_eq!(server.resumed(), usize::from(version == Version::Tls12));
    }
    let size = size_of::<HttpsConnection<'_, edge_nal_std::Stack, Nobody>>();
    rows.push(format!("the connection itself: {size} bytes, on the stack or static"));
    let text = format!(
        "TLS of a device, heap of one session (goal: at most {PEAK_BYTES_MAX} bytes)\n  {}\n",
        rows.join("\n  ")
    );
    // Where tests/run looks for figures.
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/artifacts/figures");
    std::fs::create_dir_all(folder).expect("the folder can be made");
    std::fs::write(format!("{folder}/device_tls.txt"), &text).expect("the figures can be written");
    assert!(largest <= PEAK_BYTES_MAX, "{text}");
    assert!(largest > 10_000, "nothing was counted: {text}");
    eprint!("{text}");
}
