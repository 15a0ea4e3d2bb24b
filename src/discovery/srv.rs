//! SRV records of mail (RFC 6186, RFC 8314): which servers a domain names, in its order.
//!
//! RFC 2782 draws among equals by weight, to share the load of many clients; here one is chosen for years, so the heaviest
//! comes first.

use super::{Kind, LeftOut, Server, Servers, SignInName, host};
use crate::model::{Address, Endpoint, Host, Security};

/// What is asked for, before the domain; the answers come back in this order.
pub const NAMES: [&str; 4] = ["_imaps._tcp", "_imap._tcp", "_submissions._tcp", "_submission._tcp"];

/// What each of them means.
const MEANINGS: [(Kind, Security); 4] = [
    (Kind::Imap, Security::Tls),
    (Kind::Imap, Security::Starttls),
    (Kind::Smtp, Security::Tls),
    (Kind::Smtp, Security::Starttls),
];

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

/// The servers that these records name, by [`NAMES`].
#[must_use]
pub fn servers(records: &[Vec<Record>; 4], address: &Address) -> Servers {
    let mut servers = Servers::default();
    for ((kind, security), records) in MEANINGS.into_iter().zip(records) {
        for record in in_order(records) {
            let server = located(record, address.domain()).map(|(host, port)| Server {
                endpoint: Endpoint { host, port, security },
                name: SignInName::usual(address),
                password: true,
            });
            servers.keep(kind, server.ok_or(LeftOut::Unusable));
        }
    }
    servers
}

/// Where a record points to; None: it is no host name.
#[must_use]
pub fn located(record: &Record, domain: &str) -> Option<(Host, u16)> {
    host(&record.target, domain).filter(|_| record.port > 0).map(|host| (host, record.port))
}

/// Those of a service that there is: a target of `.` says that there is none.
fn in_order(records: &[Record]) -> Vec<&Record> {
    let mut records: Vec<_> = records.iter().filter(|record| !matches!(record.target.as_str(), "." | "")).collect();
    records.sort_by_key(|record| (record.priority, u16::MAX - record.weight));
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(priority: u16, weight: u16, port: u16, target: &str) -> Record {
        Record { priority, weight, port, target: target.into() }
    }

    #[test]
    fn priority_then_weight_then_nothing_for_a_dot() {
        let address = Address::parse("a@firm.test").expect("an address");
        let records = [
            vec![
                record(10, 100, 993, "spare.firm.test."),
                record(0, 1, 993, "light.firm.test."),
                record(0, 9, 1993, "heavy.firm.test."),
            ],
            vec![record(0, 0, 0, ".")],
            vec![record(0, 0, 465, "10.0.0.1"), record(0, 0, 0, "smtp.firm.test")],
            vec![record(0, 0, 587, "smtp.firm.test")],
        ];
        let servers = servers(&records, &address);
        let shown = |servers: &[Server]| servers.iter().map(|s| s.endpoint.to_string()).collect::<Vec<_>>();
        assert_eq!(
            shown(&servers.imap),
            ["heavy.firm.test:1993 (tls)", "light.firm.test:993 (tls)", "spare.firm.test:993 (tls)"]
        );
        assert_eq!(shown(&servers.smtp), ["smtp.firm.test:587 (starttls)"]);
        assert_eq!((servers.in_clear, servers.unusable), (0, 2));
    }
}
