//! What runs inside the jump host, as a process of its own, so that no look at a port pays for the
//! start of a program:
//!
//! - `bench banner PORT..`: waits for a line on standard input, then tries the ports until an SSH
//!   banner can be read at one of them, and prints which and when.
//! - `bench hold PORT ADDRESS..`: takes the port as soon as it is free, and keeps it.

use std::error::Error;
use std::io::{BufRead, Read, stdin};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bastion_tests::host::{DEADLINE, Host};
use bastion_tests::process::Daemon;
use bastion_tests::wait::{pause, wait_until};

use lexopt::ValueExt;

use super::super::case::now_us;

/// Time between two tries of a port.
const STEP: Duration = Duration::from_millis(50);

/// How long a port may take to answer: one that a dead session holds never does.
const MOST: Duration = Duration::from_secs(1);

/// `bench banner PORT..`
pub fn banner(args: lexopt::Parser) -> Result<(), Box<dyn Error>> {
    let words = words(args)?;
    let ports = words.iter().map(|port| port.parse()).collect::<Result<Vec<u16>, _>>()?;
    println!("ready");
    if stdin().lock().read_line(&mut String::new())? == 0 {
        return Ok(());
    }
    std::thread::scope(|scope| {
        for port in ports {
            scope.spawn(move || {
                while !answers(port) {
                    pause(STEP);
                }
                // Whichever comes first: the others may hang at a port that never answers.
                println!("banner {port} {}", now_us());
                std::process::exit(0);
            });
        }
    });
    Ok(())
}

fn answers(port: u16) -> bool {
    let heard = || -> std::io::Result<[u8; 4]> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, MOST)?;
        stream.set_read_timeout(Some(MOST))?;
        let mut heard = [0; 4];
        stream.read_exact(&mut heard)?;
        Ok(heard)
    };
    heard().is_ok_and(|heard| &heard == b"SSH-")
}

/// `bench hold PORT ADDRESS..`
pub fn hold(args: lexopt::Parser) -> Result<(), Box<dyn Error>> {
    let words = words(args)?;
    let (port, addresses) = words.split_first().ok_or("hold PORT ADDRESS..")?;
    let port: u16 = port.parse()?;
    let mut held = Vec::new();
    for address in addresses {
        let address = SocketAddr::from((address.parse::<IpAddr>()?, port));
        let taken = wait_until(DEADLINE, || {
            TcpListener::bind(address).is_ok_and(|listener| {
                held.push(listener);
                true
            })
        });
        if !taken {
            return Err(format!("{address} is never free").into());
        }
    }
    println!("held");
    // Until the other end of the pipe is gone.
    let _ = stdin().lock().read_line(&mut String::new());
    Ok(())
}

fn words(mut args: lexopt::Parser) -> Result<Vec<String>, Box<dyn Error>> {
    let mut words = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Value(word) => words.push(word.string()?),
            _ => return Err(arg.unexpected().into()),
        }
    }
    Ok(words)
}

/// `bench banner`, at work in the jump host.
pub struct Prober(Daemon);

impl Prober {
    /// Starts one that does nothing yet: a port that a dead session holds is not to be touched.
    pub fn new(jump: &Host, ports: &[u16]) -> Self {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let mut words = vec!["/rigs/bench", "banner"];
        words.extend(ports.iter().map(String::as_str));
        let daemon = jump.spawn(&words);
        assert!(wait_until(DEADLINE, || daemon.output().contains("ready")), "{}", daemon.output());
        Self(daemon)
    }

    /// From now on it tries.
    pub fn go(&mut self) {
        self.0.say("go");
    }

    /// The port that has answered, and when, if one has.
    pub fn found(&self) -> Option<(u16, u64)> {
        let output = self.0.output();
        let found = output.lines().find_map(|line| line.strip_prefix("banner "))?;
        let (port, at_us) = found.split_once(' ')?;
        Some((port.parse().ok()?, at_us.parse().ok()?))
    }
}

/// Somebody else takes `port` of these addresses, as soon as the tunnel's session is gone.
pub fn take(jump: &Host, port: u16, addresses: &[&str], end_session: impl Fn()) -> Daemon {
    let port = port.to_string();
    let mut words = vec!["/rigs/bench", "hold", &port];
    words.extend(addresses);
    let holder = jump.spawn(&words);
    // A session that is quicker to come back is ended again.
    let taken = wait_until(DEADLINE, || {
        end_session();
        wait_until(Duration::from_millis(300), || holder.output().contains("held"))
    });
    assert!(taken, "{}", holder.output());
    holder
}
