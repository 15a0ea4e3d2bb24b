//! Mail servers: whether one greets, and shows a certificate that is believed. It is told nothing but EHLO, CAPABILITY and
//! STARTTLS.

use super::{Silence, names::Names};
use crate::{
    failure::{Failure, Unreachable},
    model::{Certificates, Endpoint},
    relay::{
        LaneUse,
        opening::{NOBODY_AT_THE_DOOR, SignIn},
    },
    upstream::{
        Target,
        dial::connect,
        open::{Order, Step, open_over},
    },
};
use std::{net::SocketAddr, time::Duration};

pub(super) async fn of(
    names: &Names,
    endpoint: &Endpoint,
    purpose: LaneUse,
    (certificates, own): (&Certificates, &[SocketAddr]),
    handshake: Duration,
) -> Result<(), Silence> {
    let addresses = names.addresses(endpoint.host.as_str()).await?;
    let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, endpoint.port)).collect();
    let (mut greeted, mut secured) = (false, false);
    let mut steps = |step| match step {
        Step::Greeted => greeted = true,
        Step::TlsEstablished { .. } => secured = true,
        _ => {}
    };
    let stream = connect(addresses, own, &mut steps).await.map_err(silence)?;
    let target = Target { endpoint: endpoint.clone(), certificates: certificates.clone() };
    let order = Order { purpose, sign_in: SignIn::Nobody, reads_folders: false, own };
    let opened = open_over(stream, &target, order, handshake, &mut steps).await;
    match opened {
        _ if greeted && secured => Ok(()),
        Err(refusal) if secured && refusal.failure == NOBODY_AT_THE_DOOR => Ok(()),
        // No credential was at hand, so that it can have let in nobody.
        Ok(_) => Err(Silence::Lost),
        Err(refusal) => Err(silence(refusal.failure)),
    }
}

fn silence(failure: Failure) -> Silence {
    match failure {
        Failure::ProviderUnreachable(Unreachable::Refused) => Silence::Refused,
        Failure::ProviderUnreachable(Unreachable::TimedOut) => Silence::TimedOut,
        Failure::ProviderUnreachable(Unreachable::Lost) => Silence::Lost,
        Failure::ProviderUnreachable(
            Unreachable::CertificateName | Unreachable::CertificateTime | Unreachable::CertificateUnknown { .. },
        ) => Silence::Certificate,
        failure => Silence::Mail(failure),
    }
}
