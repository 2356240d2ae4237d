//! TCP ports for servers, held for as long as the server may be restarted.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Result, anyhow};

use crate::progress::say;

/// Below the range from which Linux and macOS take ports of outgoing connections, so that none of those
/// can sit on a port while its server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port of 127.0.0.1 that no other testbed on this machine uses, also not while the server is down.
///
/// The claim is the UDP port of the same number: bound while this lives, released by the system in any
/// case, and visible to all processes. Nothing that we start uses UDP.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _claim: UdpSocket,
}

impl Port {
    /// Claims a port on which nobody listens.
    pub fn claim() -> Result<Self> {
        // Where to begin only spreads the claims; whether a port is free is tested below.
        let begin = fastrand::u16(PORTS);
        (begin..PORTS.end)
            .chain(PORTS.start..begin)
            .find_map(|number| {
                let claim = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
                TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
                Some(Self { number, _claim: claim })
            })
            .ok_or_else(|| anyhow!("no free port between {} and {}", PORTS.start, PORTS.end))
    }

    /// The number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// 127.0.0.1 with the number.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

/// Starts servers again, with other ports, if a port was taken by somebody else in the moment between our
/// claim and the server's start. Another error, or the same too often, is the caller's.
pub(crate) async fn retry_if_taken<T>(mut start: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    const TRIES_MAX: u32 = 3;
    let mut tries = 1;
    loop {
        match start().await {
            Err(error) if tries < TRIES_MAX && is_taken(&error) => {
                say("a port was taken by another program; starting again with others");
                tries += 1;
            }
            done => return done,
        }
    }
}

/// As Go's servers log it, which is part of the error when one ends at its start.
fn is_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("address already in use")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_port_is_given_once() {
        let claims: Vec<Port> = (0..100).map(|_| Port::claim().unwrap()).collect();
        let mut numbers: Vec<u16> = claims.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), claims.len());
        for claim in &claims {
            TcpListener::bind(claim.address()).expect("the port itself is free for the server");
        }
    }

    #[test]
    fn servers_start_again_only_if_a_port_was_taken() {
        crate::test(async {
            for (problem, tries_want) in
                [("etcd has ended:\nlisten: bind: address already in use", 3), ("no such file", 1)]
            {
                let mut tries = 0;
                let started: Result<()> = retry_if_taken(async || {
                    tries += 1;
                    Err(anyhow!(problem))
                })
                .await;
                assert!(started.is_err());
                assert_eq!(tries, tries_want, "{problem}");
            }
            Ok(())
        });
    }
}
