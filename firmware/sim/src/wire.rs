//! TCP as a device has it on a quiet network: small packets go out at once. Otherwise each upload waits 40 ms for this
//! computer's delayed acknowledgements, and a week takes ten minutes.

use edge_nal::{AddrType, Dns, TcpConnect};
use edge_nal_std::{Stack, TcpSocket};
use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Opens connections.
#[derive(Clone, Copy, Default)]
pub struct Wire(Stack);

impl TcpConnect for Wire {
    type Error = io::Error;
    type Socket<'a> = TcpSocket;

    async fn connect(&self, remote: SocketAddr) -> Result<TcpSocket, io::Error> {
        let socket = self.0.connect(remote).await?;
        socket.get_ref().set_nodelay(true)?;
        Ok(socket)
    }
}

/// Its name service. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub struct Names(Rc<Cell<Answer>>);

/// What the name service says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// What this computer's says.
    #[default]
    Right,
    /// That there is no such name.
    Unknown,
    /// Nothing.
    Silence,
    /// This address, whatever is asked, as a Wi-Fi does that wants somebody to sign in.
    Always(IpAddr),
}

impl Names {
    /// From now on it says this.
    pub fn answer(&self, answer: Answer) {
        self.0.set(answer);
    }
}

impl Dns for Names {
    type Error = io::Error;

    async fn get_host_by_name(&self, host: &str, kind: AddrType) -> Result<IpAddr, io::Error> {
        match self.0.get() {
            Answer::Right => Stack::new().get_host_by_name(host, kind).await,
            Answer::Unknown => Err(io::ErrorKind::NotFound.into()),
            Answer::Silence => std::future::pending().await,
            Answer::Always(address) => Ok(address),
        }
    }

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> Result<usize, io::Error> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
