//! What DNS says of names: addresses, and who may issue.

use crate::doctor::facts::{Caa, CaaRecord, Lookup, Name, Target};
use futures_util::StreamExt;
use futures_util::stream;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long one server may take for one question, and how often it is asked.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// How long all questions about a name may take.
const NAME_TIMEOUT: Duration = Duration::from_secs(7);

/// Names that are asked for at once.
const AT_ONCE: usize = 8;

/// Labels up to the root that are asked for CAA records.
const LABELS_MAX: usize = 12;

/// Addresses and records that are taken of one answer.
const RECORDS_MAX: usize = 16;

/// Longest value of a record that is taken, in bytes.
const VALUE_BYTES_MAX: usize = 1024;

/// Asks for names. Only a private authority may see names that stand in this machine's own hosts file.
pub(super) async fn ask(names: Vec<String>, server: Option<SocketAddr>, hosts: bool) -> Vec<Name> {
    let resolver = resolver(server, hosts && server.is_none());
    let look = |name: String| {
        let resolver = resolver.as_ref();
        async move {
            let target = match (name.parse::<IpAddr>(), resolver) {
                (Ok(address), _) => Target::Address(address),
                (Err(_), Ok(resolver)) => look_up(resolver, &name).await,
                (Err(_), Err(why)) => failed(why),
            };
            Name { name, target }
        }
    };
    stream::iter(names.into_iter().map(look)).buffered(AT_ONCE).collect().await
}

fn failed(why: &str) -> Target {
    Target::Dns {
        a: Lookup::Failed(why.to_owned()),
        aaaa: Lookup::Failed(why.to_owned()),
        caa: Caa::Failed { at: "the name".to_owned(), why: why.to_owned() },
    }
}

fn resolver(server: Option<SocketAddr>, hosts: bool) -> Result<TokioResolver, String> {
    let (config, mut options) = match server {
        None => hickory_resolver::system_conf::read_system_conf()
            .map_err(|error| format!("/etc/resolv.conf: {error}"))?,
        Some(server) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            let server = NameServerConfig::new(server.ip(), true, connections.to_vec());
            (ResolverConfig::from_name_servers(vec![server]), ResolverOpts::default())
        }
    };
    options.timeout = ANSWER_TIMEOUT;
    options.attempts = ATTEMPTS;
    options.edns0 = true;
    options.use_hosts_file = if hosts { ResolveHosts::Always } else { ResolveHosts::Never };
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|error| error.to_string())
}

async fn look_up(resolver: &TokioResolver, name: &str) -> Target {
    // What a wildcard stands for is asked as one of its names.
    let host =
        name.strip_prefix("*.").map_or_else(|| name.to_owned(), |parent| format!("casement-doctor.{parent}"));
    let all = async {
        let (a, aaaa, caa) = tokio::join!(
            addresses(resolver, &host, RecordType::A),
            addresses(resolver, &host, RecordType::AAAA),
            climb(resolver, name.strip_prefix("*.").unwrap_or(name)),
        );
        Target::Dns { a, aaaa, caa }
    };
    tokio::time::timeout(NAME_TIMEOUT, all)
        .await
        .unwrap_or_else(|_| failed(&format!("no answer within {} s", NAME_TIMEOUT.as_secs())))
}

async fn addresses(resolver: &TokioResolver, name: &str, kind: RecordType) -> Lookup {
    match records(resolver, name, kind).await {
        Ok(found) => {
            let addresses: Vec<IpAddr> = found
                .iter()
                .filter_map(|data| match data {
                    RData::A(address) => Some(IpAddr::V4(address.0)),
                    RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                    _ => None,
                })
                .collect();
            if addresses.is_empty() { Lookup::Nothing } else { Lookup::Addresses(addresses) }
        }
        Err(lookup) => lookup,
    }
}

/// The first records on the way up (RFC 8659 §3); a name that is an alias has those of its target.
async fn climb(resolver: &TokioResolver, name: &str) -> Caa {
    let mut at = name.trim_end_matches('.');
    for _ in 0..LABELS_MAX {
        match records(resolver, at, RecordType::CAA).await {
            Ok(found) => {
                let records: Vec<CaaRecord> = found
                    .into_iter()
                    .filter_map(|data| match data {
                        RData::CAA(caa) => Some(CaaRecord {
                            critical: caa.issuer_critical,
                            value: text(&caa.value),
                            tag: text(caa.tag.as_bytes()),
                        }),
                        _ => None,
                    })
                    .collect();
                if !records.is_empty() {
                    return Caa::Records { at: at.to_owned(), records };
                }
            }
            Err(Lookup::Failed(why)) => return Caa::Failed { at: at.to_owned(), why },
            Err(Lookup::Addresses(_) | Lookup::Nothing | Lookup::NoSuchName) => {}
        }
        match at.split_once('.') {
            Some((_, parent)) => at = parent,
            None => break,
        }
    }
    Caa::Nobody
}

/// What stands in a zone may be anything; it is shown to people.
fn text(value: &[u8]) -> String {
    let value = value.get(..VALUE_BYTES_MAX).unwrap_or(value);
    String::from_utf8_lossy(value).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The records of one kind; the error is an answer, too.
async fn records(resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Vec<RData>, Lookup> {
    // With a dot at the end no search list is tried: an authority has none.
    match resolver.lookup(format!("{name}."), kind).await {
        Ok(lookup) => {
            Ok(lookup.answers().iter().take(RECORDS_MAX).map(|record| record.data.clone()).collect())
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
            ResponseCode::NXDomain => Err(Lookup::NoSuchName),
            ResponseCode::NoError => Err(Lookup::Nothing),
            code => Err(Lookup::Failed(words(code))),
        },
        Err(NetError::Dns(DnsError::ResponseCode(code))) => Err(Lookup::Failed(words(code))),
        Err(NetError::Timeout) => Err(Lookup::Failed("the DNS server does not answer".to_owned())),
        Err(error) => Err(Lookup::Failed(error.to_string())),
    }
}

fn words(code: ResponseCode) -> String {
    match code {
        ResponseCode::ServFail => "SERVFAIL: the domain's DNS servers fail".to_owned(),
        ResponseCode::Refused => "REFUSED: the DNS server does not want to answer".to_owned(),
        other => other.to_string(),
    }
}
