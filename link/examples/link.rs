//! Opens a link and measures it: what was asked for, what runs, what came out.
//!
//! `cargo run -p link --example link -- --mode auto --rate 20M --delay 40ms throughput`

use std::{net::TcpStream, time::Duration};

use clap::{Parser, ValueEnum};
use link::{Conditions, Link, Lte, Mode, Spec, Trace, measure, units};

#[derive(Parser)]
struct Arguments {
    /// auto, tun or proxy.
    #[arg(long, default_value = "auto")]
    mode: Mode,
    /// Bits a second, such as 20M.
    #[arg(long, default_value = "20M", value_parser = units::rate)]
    rate: u64,
    /// One way, such as 40ms.
    #[arg(long, default_value = "40ms", value_parser = units::duration)]
    delay: Duration,
    /// More delay, from 0 to this.
    #[arg(long, default_value = "0ms", value_parser = units::duration)]
    jitter: Duration,
    /// The chance of a packet to be lost, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Follow a generated trace of a mobile link with this seed instead.
    #[arg(long)]
    lte: Option<u64>,
    /// Bytes that wait at most.
    #[arg(long, default_value_t = 256 << 10)]
    queue: usize,
    /// TCP's congestion control between namespaces, such as reno.
    #[arg(long)]
    congestion: Option<String>,
    /// For how long to send.
    #[arg(long, default_value = "5s", value_parser = units::duration)]
    time: Duration,
    /// What to measure.
    what: What,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// 20 round trips of 64 bytes on a connection.
    Ping,
    /// One connection that sends as fast as it may.
    Throughput,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let trace = match arguments.lte {
        Some(seed) => Lte {
            seed,
            ..Lte::default()
        }
        .trace()?,
        None => Trace::constant(Conditions {
            jitter: arguments.jitter,
            loss: arguments.loss,
            ..Conditions::new(arguments.rate, arguments.delay)
        })?,
    };
    let asked = match arguments.lte {
        Some(seed) => format!(
            "a mobile link of seed {seed}, {:?} repeated",
            Lte::default().length
        ),
        None => format!(
            "{:.2} Mbit/s, {:?} one way, up to {:?} jitter, {} loss",
            arguments.rate as f64 / 1e6,
            arguments.delay,
            arguments.jitter,
            arguments.loss
        ),
    };
    let open = |server| {
        let spec = Spec {
            queue_bytes: arguments.queue,
            congestion: arguments.congestion.clone(),
            ..Spec::new(server, trace.clone())
        };
        Link::open(&spec, arguments.mode)
    };
    let link = match arguments.what {
        What::Ping => {
            let link = open(measure::echo_server()?)?;
            let times = link.client(|| measure::ping(link.address(), 20))??;
            println!(
                "round trip of 64 bytes: least {:.1} ms, median {:.1} ms, greatest {:.1} ms",
                ms(times[0]),
                ms(times[times.len() / 2]),
                ms(times[times.len() - 1])
            );
            link
        }
        What::Throughput => {
            let sink = measure::Sink::start()?;
            let link = open(sink.address)?;
            let connect = || TcpStream::connect(link.address());
            let mut connection = link.client(connect)??;
            let rate = sink.throughput(&mut connection, arguments.time)?;
            println!("throughput up: {:.2} Mbit/s of payload", rate / 1e6);
            if arguments.lte.is_some() {
                let capacity = trace.capacity(arguments.time) as f64 * 8.0;
                let mean = capacity / arguments.time.as_secs_f64() / 1e6;
                println!("mean rate of the trace in that time: {mean:.2} Mbit/s");
            }
            link
        }
    };
    println!("asked for: {asked}\nlink: {}", link.kind());
    let (up, down) = link.counters();
    println!("up: {up:?}\ndown: {down:?}");
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
