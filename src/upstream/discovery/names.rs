//! Names: what a name server says of a domain.
//!
//! Names are whole: no search list of this machine makes others of them.

use super::{Asking, Silence};
use crate::{
    discovery::{Record, is_public},
    upstream::dial::ADDRESSES_MAX,
};
use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::{RData, RecordType},
};
use std::net::{IpAddr, SocketAddr};

/// Records of one name that are read. Large firms have half a dozen.
pub(crate) const RECORDS_MAX: usize = 16;

#[derive(Clone)]
pub(super) struct Names {
    /// None: this machine has none.
    resolver: Option<TokioResolver>,
    private_addresses: bool,
}

impl Names {
    pub(super) fn new(asking: &Asking) -> Self {
        let builder = match asking.resolver {
            Some(at) => {
                let mut server = NameServerConfig::udp_and_tcp(at.ip());
                server.connections.iter_mut().for_each(|connection| connection.port = at.port());
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
            }
            None => TokioResolver::builder_tokio(),
        };
        let resolver = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            // One that is lost is asked again before the time of the question is over.
            (options.timeout, options.attempts) = (asking.question / 3, 2);
            builder.build()
        });
        Self { resolver: resolver.ok(), private_addresses: asking.private_addresses }
    }

    pub(super) async fn mx(&self, domain: &str) -> Result<Vec<String>, Silence> {
        let answers = self.lookup(domain, RecordType::MX).await?;
        let mut hosts: Vec<_> = answers
            .into_iter()
            .filter_map(|(_, data)| match data {
                RData::MX(mx) => Some((mx.preference, mx.exchange.to_ascii())),
                _ => None,
            })
            .collect();
        hosts.sort();
        some(hosts.into_iter().map(|(_, host)| host).collect())
    }

    pub(super) async fn srv(&self, name: &str) -> Result<Vec<Record>, Silence> {
        let answers = self.lookup(name, RecordType::SRV).await?;
        let records = answers.into_iter().filter_map(|(_, data)| match data {
            RData::SRV(srv) => Some(Record {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_ascii(),
            }),
            _ => None,
        });
        some(records.collect())
    }

    /// The first other name: where its owner has it lead, not where that leads in turn.
    pub(super) async fn alias(&self, host: &str) -> Result<String, Silence> {
        let answers = self.lookup(host, RecordType::CNAME).await?;
        let name = answers.into_iter().find_map(|(_, data)| match data {
            RData::CNAME(alias) => Some(alias.0.to_ascii()),
            _ => None,
        });
        name.ok_or(Silence::None)
    }

    /// The addresses of a host that may be dialled.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Silence> {
        let resolver = self.resolver.as_ref().ok_or(Silence::NoNameServer)?;
        let found = resolver.lookup_ip(whole(host)).await;
        let found: Vec<IpAddr> = match found {
            Ok(found) => found.iter().collect(),
            Err(error) if error.is_no_records_found() => Vec::new(),
            Err(_) => return Err(Silence::NoNameServer),
        };
        if found.is_empty() {
            return Err(Silence::Unknown);
        }
        let allowed = found.into_iter().filter(|ip| self.private_addresses || is_public(*ip));
        let allowed: Vec<_> = allowed.take(ADDRESSES_MAX).collect();
        if allowed.is_empty() { Err(Silence::Private) } else { Ok(allowed) }
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Vec<(String, RData)>, Silence> {
        let resolver = self.resolver.as_ref().ok_or(Silence::NoNameServer)?;
        match resolver.lookup(whole(name), kind).await {
            Ok(found) => {
                let records = found.answers().iter().take(RECORDS_MAX);
                Ok(records.map(|record| (record.name.to_ascii(), record.data.clone())).collect())
            }
            Err(error) if error.is_no_records_found() => Err(Silence::None),
            Err(_) => Err(Silence::NoNameServer),
        }
    }
}

fn whole(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

fn some<T>(found: Vec<T>) -> Result<Vec<T>, Silence> {
    if found.is_empty() { Err(Silence::None) } else { Ok(found) }
}

impl reqwest::dns::Resolve for Names {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let names = self.clone();
        Box::pin(async move {
            let addresses = names.addresses(name.as_str()).await?;
            // The port is the URL's.
            let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as reqwest::dns::Addrs)
        })
    }
}
