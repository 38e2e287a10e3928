//! The link as a TCP proxy on loopback: it works anywhere, but shapes byte streams, not packets.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use bytes::{BufMut, Bytes, BytesMut};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

use crate::{
    accept::accept,
    direction::{Direction, Pair},
};

/// What goes through the link at once, as large as the payload of a TCP packet on Ethernet.
const PIECE: usize = 1448;
/// Most that is read at once.
const READ: u32 = 64 * PIECE as u32;
/// Most bytes of one connection and direction that are on their way: only so that memory is bounded
/// when the far side does not read.
const ON_THE_WAY: usize = 32 << 20;
/// Small, so that what the link does not take yet waits at the sender.
const RECEIVE_BUFFER: u32 = 128 << 10;

/// A piece of a connection's bytes, and where it goes when it arrives.
pub struct Piece {
    to: mpsc::UnboundedSender<Arrived>,
    what: Arrived,
}

enum Arrived {
    Bytes(Bytes, Option<OwnedSemaphorePermit>),
    End,
}

/// Listens on a free port of loopback.
pub fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // Connections inherit it.
    set_socket_recv_buffer_size(&listener, RECEIVE_BUFFER as usize)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Passes every connection on to `server`, without end.
pub async fn serve(listener: TcpListener, server: SocketAddr, pair: Arc<Pair<Piece>>) {
    let deliver = |piece: Piece| {
        // Whoever was to receive it is gone: so is the connection.
        let _ = piece.to.send(piece.what);
    };
    let serve = |client| connection(client, server, Arc::clone(&pair));
    tokio::join!(
        pair.up.run(deliver),
        pair.down.run(deliver),
        accept(listener, serve)
    );
}

/// One connection, until both sides have ended it, one has failed, or the link is cut.
async fn connection(client: TcpStream, server: SocketAddr, pair: Arc<Pair<Piece>>) {
    let (mut up_cuts, mut down_cuts) = (pair.up.cuts(), pair.down.cuts());
    if pair.is_cut() {
        return;
    }
    let through = async {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        let server = socket.connect(server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::try_join!(
            stream(from_client, to_server, &pair.up),
            stream(from_server, to_client, &pair.down),
        )
    };
    tokio::select! {
        ended = through => if let Err(error) = ended {
            tracing::debug!(%error, "link: a connection has failed");
        },
        _ = up_cuts.changed() => {}
        _ = down_cuts.changed() => {}
    }
}

/// One direction of a connection.
async fn stream(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    link: &Direction<Piece>,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::try_join!(read(from, sender, link), write(receiver, to))?;
    Ok(())
}

async fn read(
    from: OwnedReadHalf,
    to: mpsc::UnboundedSender<Arrived>,
    link: &Direction<Piece>,
) -> io::Result<()> {
    let on_the_way = Arc::new(Semaphore::new(ON_THE_WAY));
    let mut buffer = BytesMut::new();
    loop {
        let mut permits = Arc::clone(&on_the_way)
            .acquire_many_owned(READ)
            .await
            .map_err(io::Error::other)?;
        from.readable().await?;
        let room = link.room(PIECE).await.min(READ as usize);
        // From here on no other connection runs, so that the room is still there.
        buffer.reserve(room);
        match from.try_read_buf(&mut (&mut buffer).limit(room)) {
            // After all bytes before it; cut, the connection ends anyway.
            Ok(0) => {
                let what = Arrived::End;
                let _ = link.push(Piece { to, what }, 0);
                return Ok(());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        while !buffer.is_empty() {
            let bytes = buffer.split_to(buffer.len().min(PIECE)).freeze();
            let length = bytes.len();
            let what = Arrived::Bytes(bytes, permits.split(length));
            let to = to.clone();
            link.push(Piece { to, what }, length)
                .map_err(|dropped| io::Error::other(format!("bytes are lost: {dropped:?}")))?;
        }
    }
}

async fn write(
    mut arrived: mpsc::UnboundedReceiver<Arrived>,
    mut to: OwnedWriteHalf,
) -> io::Result<()> {
    while let Some(Arrived::Bytes(bytes, _permit)) = arrived.recv().await {
        to.write_all(&bytes).await?;
    }
    to.shutdown().await
}
