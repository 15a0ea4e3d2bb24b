//! From a host name to a TCP connection.

use super::open::Step;
use crate::{
    failure::{Failure, Unreachable},
    model::Endpoint,
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};

/// How long one address is tried before the next: longer than two lost SYNs take.
pub(crate) const PER_ADDRESS: Duration = Duration::from_secs(8);
/// Addresses of one name that are tried. Large providers have a dozen; the first four answer or none does.
pub(crate) const ADDRESSES_MAX: usize = 4;

/// Connects to the first address of the endpoint that answers. `own` are the bridge's listeners: a provider that is the
/// bridge itself would be dialled for ever.
pub(super) async fn dial(
    endpoint: &Endpoint,
    own: &[SocketAddr],
    steps: &mut (dyn FnMut(Step) + Send),
) -> Result<TcpStream, Failure> {
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
    let addresses: Vec<SocketAddr> = found.map(|found| found.take(ADDRESSES_MAX).collect()).unwrap_or_default();
    if addresses.is_empty() {
        return Err(Failure::ProviderUnreachable(Unreachable::NameUnknown));
    }
    connect(addresses, own, steps).await
}

/// The same from where the name has led.
pub(super) async fn connect(
    addresses: Vec<SocketAddr>,
    own: &[SocketAddr],
    steps: &mut (dyn FnMut(Step) + Send),
) -> Result<TcpStream, Failure> {
    if let Some(listener) = addresses.iter().find_map(|address| own_at(*address, own)) {
        return Err(Failure::ProviderUnreachable(Unreachable::Ourselves { listener }));
    }
    steps(Step::Resolved(addresses.iter().map(SocketAddr::ip).collect()));
    let mut last = Unreachable::TimedOut;
    for address in addresses {
        match timeout(PER_ADDRESS, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Commands and answers are small and wait for each other: Nagle's rule costs 40 ms each.
                stream.set_nodelay(true).map_err(|_| Failure::ProviderUnreachable(Unreachable::Lost))?;
                if let Some(listener) = reached_ourselves(&stream, own) {
                    return Err(Failure::ProviderUnreachable(Unreachable::Ourselves { listener }));
                }
                steps(Step::Connected(address));
                return Ok(stream);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => last = Unreachable::Refused,
            Ok(Err(_)) => last = Unreachable::Lost,
            Err(_) => last = Unreachable::TimedOut,
        }
    }
    Err(Failure::ProviderUnreachable(last))
}

/// Which of the listeners is at this address, however it is written. One on all addresses is at every loopback address;
/// and whoever dials "all addresses" reaches loopback.
fn own_at(address: SocketAddr, own: &[SocketAddr]) -> Option<SocketAddr> {
    let ip = address.ip().to_canonical();
    let here = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    own.iter().copied().find(|listener| {
        let theirs = listener.ip().to_canonical();
        let same = theirs == ip || (theirs.is_unspecified() && here(ip)) || (ip.is_unspecified() && here(theirs));
        listener.port() == address.port() && same
    })
}

/// The listener on all addresses that took the connection: then both its ends are at one address of this machine, which
/// was not known before.
fn reached_ourselves(stream: &TcpStream, own: &[SocketAddr]) -> Option<SocketAddr> {
    let (peer, local) = (stream.peer_addr().ok()?, stream.local_addr().ok()?);
    let on_all = |listener: &SocketAddr| listener.ip().is_unspecified() && listener.port() == peer.port();
    own.iter().copied().find(|listener| peer.ip() == local.ip() && on_all(listener))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r35_a_listener_is_known_however_its_address_is_written() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let is =
            |dialled: &str, listener: &str| own_at(address(dialled), &[address(listener)]) == Some(address(listener));
        for (dialled, listener) in [
            ("127.0.0.1:143", "127.0.0.1:143"),
            ("[::ffff:127.0.0.1]:143", "127.0.0.1:143"),
            ("127.0.0.1:143", "[::ffff:127.0.0.1]:143"),
            ("127.0.0.9:143", "0.0.0.0:143"),
            ("[::1]:143", "[::]:143"),
            ("0.0.0.0:143", "127.0.0.1:143"),
            ("[::]:143", "0.0.0.0:143"),
        ] {
            assert!(is(dialled, listener), "{dialled} {listener}");
        }
        for (dialled, listener) in [
            ("127.0.0.1:144", "127.0.0.1:143"),
            ("127.0.0.2:143", "127.0.0.1:143"),
            ("192.0.2.1:143", "127.0.0.1:143"),
            ("192.0.2.1:143", "0.0.0.0:143"),
        ] {
            assert!(!is(dialled, listener), "{dialled} {listener}");
        }
    }

    #[tokio::test]
    async fn r35_a_listener_on_all_addresses_is_known_by_the_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let stream = TcpStream::connect(address).await.expect("connected");
        let on_all = SocketAddr::new("0.0.0.0".parse().expect("an address"), address.port());
        assert_eq!(reached_ourselves(&stream, &[on_all]), Some(on_all));
        assert_eq!(reached_ourselves(&stream, &[SocketAddr::new(on_all.ip(), 1)]), None);
        assert_eq!(reached_ourselves(&stream, &[]), None);
    }
}
