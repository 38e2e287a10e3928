//! A TUN device: the packets that its namespace routes to it are read here, and what is written
//! here arrives there.
#![allow(unsafe_code)] // One ioctl, for which there is no safe interface.

use std::{
    fs::{File, OpenOptions},
    io::{self, PipeReader, PipeWriter, Read, Write},
    thread::JoinHandle,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    ioctl::{self, Updater, opcode},
};

use crate::namespace::{Namespace, explained};

const DEVICE: &str = "/dev/net/tun";
/// The device's name within its namespace.
const NAME: &str = "link0";
/// The largest packet.
pub const MTU: usize = 1500;

const IFF_TUN: i16 = 0x0001;
/// Packets come without a header of the driver's own.
const IFF_NO_PI: i16 = 0x1000;

/// `_IOW('T', 202, int)`, though what it takes is a `struct ifreq`.
const TUNSETIFF: ioctl::Opcode = opcode::write::<i32>(b'T', 202);

/// `struct ifreq` of the kernel where its union holds the flags: 40 bytes on 64-bit machines, fewer on others.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: i16,
    rest_of_the_union: [u8; 22],
}

/// It is gone when this and its [`Reader`] are.
pub struct Device(File);

impl Device {
    /// Makes a device in `namespace` and gives it an address such as `198.18.0.1/30`.
    pub fn open(namespace: &Namespace, address: &str) -> io::Result<Self> {
        let device = Self(namespace.run(create)??);
        namespace.ip(&["link", "set", NAME, "mtu", &MTU.to_string()])?;
        // No IPv6, so that no packets pass but those of whoever uses the link.
        namespace.ip(&["link", "set", NAME, "addrgenmode", "none"])?;
        namespace.ip(&["address", "add", address, "dev", NAME])?;
        namespace.ip(&["link", "set", NAME, "up"])?;
        Ok(device)
    }

    /// Hands a packet to the namespace.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        (&self.0).write_all(packet)
    }

    /// Starts to read packets on a thread of its own.
    pub fn read(&self, receive: impl Fn(&[u8]) + Send + 'static) -> io::Result<Reader> {
        let (stopped, stop) = io::pipe()?;
        let device = self.0.try_clone()?;
        let work = move || {
            if let Err(error) = read_until(&stopped, &device, receive) {
                tracing::error!(%error, "link: a device gives no packets: nothing passes any more");
            }
        };
        let builder = std::thread::Builder::new().name("link-device".to_owned());
        Ok(Reader {
            stop: Some(stop),
            thread: Some(builder.spawn(work)?),
        })
    }
}

/// Reads packets until it is dropped.
pub struct Reader {
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("link: the thread that reads a device has panicked");
        }
    }
}

fn read_until(stop: &PipeReader, device: &File, receive: impl Fn(&[u8])) -> io::Result<()> {
    let mut device = device;
    let mut buffer = [0; MTU];
    loop {
        let mut sources = [
            PollFd::new(device, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut sources, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let [from_device, from_stop] = sources.map(|source| source.revents());
        if !from_stop.is_empty() {
            return Ok(());
        }
        if !from_device.is_empty() {
            let length = device.read(&mut buffer)?;
            receive(&buffer[..length]);
        }
    }
}

/// Makes the device in the namespace of the thread.
fn create() -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(|error| explained(&format!("cannot open {DEVICE}"), &error))?;
    let mut name = [0; 16];
    name[..NAME.len()].copy_from_slice(NAME.as_bytes());
    let mut request = InterfaceRequest {
        name,
        flags: IFF_TUN | IFF_NO_PI,
        rest_of_the_union: [0; 22],
    };
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq` through the pointer, and keeps none of
    // it. `request` has that layout, is at least as large, holds no pointers, and outlives the call.
    let done = unsafe {
        let update = Updater::<TUNSETIFF, InterfaceRequest>::new(&mut request);
        ioctl::ioctl(&file, update)
    };
    done.map_err(|error| explained("cannot make a TUN device", &error.into()))?;
    Ok(file)
}
