//! TCP as a device has it on a quiet network: small packets go out at once. Otherwise each upload waits 40 ms for this
//! computer's delayed acknowledgements, and a week takes ten minutes.

use edge_nal::TcpConnect;
use edge_nal_std::{Stack, TcpSocket};
use std::io;
use std::net::SocketAddr;

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
