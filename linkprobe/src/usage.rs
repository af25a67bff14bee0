//! Bytes that went over a line, headers included: what the plan counts.

use std::iter::Sum;
use std::net::IpAddr;
use std::ops::{Add, AddAssign};

/// Bytes sent and received, with the headers of IP, UDP and TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes that left.
    pub sent: u64,
    /// Bytes that came.
    pub received: u64,
}

/// Header of TCP with time stamps (RFC 9293 3.1, RFC 7323 3.2), which Linux uses by default.
const TCP_HEADER: u64 = 32;

impl Usage {
    /// Both directions.
    #[must_use]
    pub fn total(self) -> u64 {
        self.sent.saturating_add(self.received)
    }

    /// A UDP datagram with so much payload went to `peer`.
    pub fn sent_datagram(&mut self, peer: IpAddr, payload: usize) {
        self.sent += datagram(peer, payload);
    }

    /// A UDP datagram with so much payload came from `peer`.
    pub fn received_datagram(&mut self, peer: IpAddr, payload: usize) {
        self.received += datagram(peer, payload);
    }

    /// A TCP connection with `peer`: its payload, and segments in and out as the kernel counts them.
    #[must_use]
    pub fn of_tcp(peer: IpAddr, payload: Self, segments_in: u32, segments_out: u32) -> Self {
        let header = ip_header(peer) + TCP_HEADER;
        Self {
            sent: payload.sent + header * u64::from(segments_out),
            received: payload.received + header * u64::from(segments_in),
        }
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sent: self.sent.saturating_add(other.sent),
            received: self.received.saturating_add(other.received),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// RFC 791 3.1, RFC 8200 3; RFC 768.
fn datagram(peer: IpAddr, payload: usize) -> u64 {
    ip_header(peer) + 8 + payload as u64
}

/// A mapped address goes over IPv4.
fn ip_header(peer: IpAddr) -> u64 {
    if peer.to_canonical().is_ipv4() { 20 } else { 40 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_count() {
        let mut usage = Usage::default();
        usage.sent_datagram("192.0.2.1".parse().unwrap(), 40);
        usage.received_datagram("2001:db8::1".parse().unwrap(), 100);
        usage.received_datagram("::ffff:192.0.2.1".parse().unwrap(), 0);
        assert_eq!(usage, Usage { sent: 68, received: 148 + 28 });
        let payload = Usage { sent: 10, received: 1000 };
        let tcp = Usage::of_tcp("192.0.2.1".parse().unwrap(), payload, 3, 4);
        assert_eq!(tcp, Usage { sent: 10 + 4 * 52, received: 1000 + 3 * 52 });
        let all: Usage = [usage, tcp].into_iter().sum();
        assert_eq!(all.total(), usage.total() + tcp.total());
    }
}
