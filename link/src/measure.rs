//! What a link does to connections through it, measured by this machine's monotonic clock.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Of one [`ping`].
const PING: usize = 64;
/// How long anything may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Listens on loopback and answers each connection's bytes with the same, until the process ends.
///
/// # Errors
/// It cannot listen.
pub fn echo_server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || echo(&client));
        }
    });
    Ok(address)
}

fn echo(client: &TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    io::copy(&mut &*client, &mut &*client).map(drop)
}

/// Sends 64 bytes `count` times, and returns how long each took to come back, shortest first.
///
/// # Errors
/// The connection fails, or an answer does not come within half a minute.
pub fn ping(echo: SocketAddr, count: usize) -> io::Result<Vec<Duration>> {
    let mut connection = TcpStream::connect(echo)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        connection.write_all(&[0; PING])?;
        connection.read_exact(&mut [0; PING])?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times)
}

/// A server that takes all bytes of one connection and measures how fast they come.
#[derive(Debug)]
pub struct Sink {
    /// Where it listens, on loopback.
    pub address: SocketAddr,
    receiver: JoinHandle<io::Result<f64>>,
}

impl Sink {
    /// Starts to listen.
    ///
    /// # Errors
    /// It cannot.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let receiver = std::thread::spawn(move || receive(listener.accept()?.0));
        Ok(Self { address, receiver })
    }

    /// Sends to it through `address` for `time`, and returns the bits a second that came, from the
    /// first byte to the last. Its own connection has to be the first that it gets.
    ///
    /// # Errors
    /// A connection fails, or stalls for half a minute.
    pub fn throughput(self, connection: &mut TcpStream, time: Duration) -> io::Result<f64> {
        connection.set_write_timeout(Some(PATIENCE))?;
        let start = Instant::now();
        while start.elapsed() < time {
            connection.write_all(&[0; 16 << 10])?;
        }
        connection.shutdown(std::net::Shutdown::Write)?;
        self.receiver
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn receive(mut from: TcpStream) -> io::Result<f64> {
    from.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = vec![0; 256 << 10];
    // What comes first has no time of its own.
    from.read_exact(&mut buffer[..1])?;
    let (start, mut bytes) = (Instant::now(), 0);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(8.0 * bytes as f64 / start.elapsed().as_secs_f64()),
            read => bytes += read,
        }
    }
}
