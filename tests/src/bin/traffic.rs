//! Other people's traffic: `traffic ADDRESS:PORT BITS_A_SECOND` sends UDP at that rate, counted in
//! Ethernet frames, until it is ended.
#![forbid(unsafe_code)]

use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bastion_tests::wait::pause;

/// Bytes of payload, and of the frame around them.
const PAYLOAD: usize = 1200;
const FRAME: f64 = 1200.0 + 8.0 + 20.0 + 14.0;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("traffic: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [to, rate] = words.as_slice() else {
        return Err("usage: traffic ADDRESS:PORT RATE".into());
    };
    let rate: f64 = rate.parse()?;
    let every = Duration::from_secs_f64(FRAME * 8.0 / rate);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to.as_str())?;
    println!("ready");
    let mut next = Instant::now();
    loop {
        // A full queue or an unreachable port is the other end's business.
        let _ = socket.send(&[0; PAYLOAD]);
        next += every;
        // After a pause of the machine it goes on from now: a burst would be no such traffic.
        next = next.max(Instant::now().checked_sub(every * 4).unwrap_or(next));
        pause(next.saturating_duration_since(Instant::now()));
    }
}
