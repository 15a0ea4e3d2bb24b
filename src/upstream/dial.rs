//! From a host name to a TCP connection.

use super::open::Step;
use crate::{
    failure::{Failure, Unreachable},
    model::Endpoint,
};
use std::{io, net::SocketAddr, time::Duration};
use tokio::{net::TcpStream, time::timeout};

/// How long one address is tried before the next: longer than two lost SYNs take.
const PER_ADDRESS: Duration = Duration::from_secs(8);
/// Addresses of one name that are tried. Large providers have a dozen; the first four answer or none does.
const ADDRESSES_MAX: usize = 4;

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
    if addresses.iter().any(|address| own.contains(address)) {
        return Err(Failure::ProviderUnreachable(Unreachable::Ourselves));
    }
    steps(Step::Resolved(addresses.iter().map(SocketAddr::ip).collect()));
    let mut last = Unreachable::TimedOut;
    for address in addresses {
        match timeout(PER_ADDRESS, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Commands and answers are small and wait for each other: Nagle's rule costs 40 ms each.
                stream.set_nodelay(true).map_err(|_| Failure::ProviderUnreachable(Unreachable::Lost))?;
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
