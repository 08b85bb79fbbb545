//! Sockets that the service manager opened for this process (`sd_listen_fds(3)`): they outlive it, and whoever calls while
//! it restarts waits in the kernel instead of being refused.

use super::roles::Heard;
use socket2::Socket;
use std::io;
use std::net::TcpListener;

/// Most sockets that are taken.
const SOCKETS_MAX: usize = 16;

/// The first descriptor that is passed (`SD_LISTEN_FDS_START`).
const FIRST: usize = 3;

/// Sockets that were passed.
#[derive(Debug, Default)]
pub struct Passed(pub(super) Vec<Socketed>);

/// One of them.
#[derive(Debug)]
pub(super) struct Socketed {
    /// What the service manager calls it (`FileDescriptorName=`).
    pub(super) name: Option<String>,
    pub(super) heard: Heard,
    pub(super) listener: TcpListener,
}

/// Why what was passed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// A variable of the service manager is not what it should be.
    #[error("{variable}=\"{value}\" is not a number")]
    Malformed {
        /// Its name.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// More than `SOCKETS_MAX`.
    #[error("the service manager passes {0} sockets; at most {SOCKETS_MAX} are taken")]
    TooMany(usize),
    /// Nothing is there, or it is no socket.
    #[error("descriptor {0}, which the service manager is said to pass, is no socket")]
    NotASocket(usize),
    /// A socket, but nobody can connect to it over TCP.
    #[error("the socket {0}, passed by the service manager, does not listen for TCP connections")]
    NotListening(String),
    /// It is not said what it is for.
    #[error("the socket {name} at {address}, passed by the service manager, is neither http nor https")]
    Stranger {
        /// What it is called.
        name: String,
        /// Where it listens.
        address: std::net::SocketAddr,
    },
    /// The system does not let it be used.
    #[error("the socket {0}, passed by the service manager, cannot be used")]
    Unusable(String, #[source] io::Error),
}

impl Passed {
    /// Takes what was passed to this process; nothing when nothing was. To be called once, before anything is opened.
    ///
    /// # Errors
    /// [`PassedError`] when anything of it cannot be used: to serve on the rest would be a gateway that half listens.
    pub fn take() -> Result<Self, PassedError> {
        let said = |variable| std::env::var(variable).ok().filter(|value| !value.is_empty());
        let number = |variable: &'static str, value: String| {
            value.parse::<usize>().map_err(|_| PassedError::Malformed { variable, value })
        };
        let (Some(pid), Some(count)) = (said("LISTEN_PID"), said("LISTEN_FDS")) else {
            return Ok(Self::default());
        };
        // Meant for a process that this one descends from.
        if number("LISTEN_PID", pid)? != std::process::id() as usize {
            return Ok(Self::default());
        }
        let count = number("LISTEN_FDS", count)?;
        if count > SOCKETS_MAX {
            return Err(PassedError::TooMany(count));
        }
        // To own a descriptor that is not there would close somebody else's later.
        let is_socket = |fd: &usize| {
            std::fs::read_link(format!("/proc/self/fd/{fd}"))
                .is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
        };
        if let Some(fd) = (FIRST..FIRST + count).find(|fd| !is_socket(fd)) {
            return Err(PassedError::NotASocket(fd));
        }
        let passed = sd_listen_fds::get()
            .map_err(|_| PassedError::Malformed { variable: "LISTEN_FDS", value: count.to_string() })?;
        passed
            .into_iter()
            .map(|(name, fd)| Socketed::new(name, fd.into_std().into()))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Socketed {
    fn new(name: Option<String>, socket: Socket) -> Result<Self, PassedError> {
        let called = name.clone().unwrap_or_else(|| "without a name".to_owned());
        let unusable = |error| PassedError::Unusable(called.clone(), error);
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        let stream = socket.r#type().map_err(unusable)? == socket2::Type::STREAM;
        let listens = stream && socket.is_listener().map_err(unusable)?;
        let (Some(address), true) = (address, listens) else {
            return Err(PassedError::NotListening(called));
        };
        let only_v6 = address.is_ipv6() && socket.only_v6().map_err(unusable)?;
        socket.set_nonblocking(true).and_then(|()| socket.set_cloexec(true)).map_err(unusable)?;
        Ok(Self { name, heard: Heard { address, only_v6 }, listener: socket.into() })
    }
}
