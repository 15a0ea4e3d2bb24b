//! The values of the configuration that are more than text: listeners, periods, sizes, networks, names.
//!
//! Each says what it expects when it meets something else; none knows the key under which it stands.

use crate::{
    discovery::{HostTemplate, WebTemplate},
    model::Host,
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Visitor},
};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

/// The addresses on which one kind of client is awaited. None when it is `"off"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners(pub Vec<SocketAddr>);

impl<'de> Deserialize<'de> for Listeners {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListenersVisitor)
    }
}

struct ListenersVisitor;

impl<'de> Visitor<'de> for ListenersVisitor {
    type Value = Listeners;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an IP address with port such as \"127.0.0.1:1143\", a list of them, or \"off\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Listeners, E> {
        if text == "off" {
            return Ok(Listeners(Vec::new()));
        }
        let address = text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
        Ok(Listeners(vec![address]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Listeners, A::Error> {
        let mut addresses = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            let parsed = text.parse();
            addresses.push(parsed.map_err(|_| de::Error::invalid_value(de::Unexpected::Str(&text), &self))?);
        }
        Ok(Listeners(addresses))
    }
}

impl Serialize for Listeners {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [] => serializer.serialize_str("off"),
            [one] => serializer.collect_str(one),
            many => serializer.collect_seq(many.iter().map(SocketAddr::to_string)),
        }
    }
}

/// A period of one second to one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub Duration);

impl Period {
    pub(super) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    pub(super) const fn minutes(minutes: u64) -> Self {
        Self::seconds(minutes * 60)
    }
}

impl FromStr for Period {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, unit) = split_unit(text)?;
        let seconds = match unit {
            "s" => Some(number),
            "m" => number.checked_mul(60),
            "h" => number.checked_mul(3600),
            _ => None,
        };
        seconds.filter(|seconds| (1..=86_400).contains(seconds)).map(Self::seconds).ok_or(())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds if seconds % 3600 == 0 => write!(f, "{}h", seconds / 3600),
            seconds if seconds % 60 == 0 => write!(f, "{}m", seconds / 60),
            seconds => write!(f, "{seconds}s"),
        }
    }
}

/// A number of octets, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// Largest first, so that a size is shown in the largest unit that divides it.
const UNITS: [(&str, u64); 6] =
    [("GiB", 1 << 30), ("GB", 1_000_000_000), ("MiB", 1 << 20), ("MB", 1_000_000), ("KiB", 1 << 10), ("kB", 1_000)];

impl FromStr for Size {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, unit) = split_unit(text)?;
        let (_, octets) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(())?;
        number.checked_mul(octets).filter(|octets| *octets > 0).map(Self).ok_or(())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.into_iter().find(|(_, octets)| self.0.is_multiple_of(*octets));
        let (name, octets) = unit.unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / octets)
    }
}

/// The number in front, and the unit behind it, with or without blanks between.
fn split_unit(text: &str) -> Result<(u64, &str), ()> {
    let at = text.find(|character: char| !character.is_ascii_digit()).ok_or(())?;
    let (number, unit) = text.split_at(at);
    Ok((number.parse().map_err(|_| ())?, unit.trim_start()))
}

/// The addresses that share their first bits, as CIDR writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// At most the bits of `address`.
    bits: u8,
}

impl Network {
    /// Whether the address is one of this network. An IPv4 address that comes mapped into IPv6 is itself.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                (ours.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                (ours.to_bits() ^ other.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = text.split_once('/').ok_or(())?;
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let bits: u8 = bits.parse().map_err(|_| ())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if bits <= most { Ok(Self { address, bits }) } else { Err(()) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// What a key expects when its text is not a value of its type.
trait Expected {
    const EXPECTED: &'static str;
}

impl Expected for Period {
    const EXPECTED: &'static str = "a period from \"1s\" to \"24h\" such as \"30s\", \"10m\" or \"2h\"";
}

impl Expected for Size {
    const EXPECTED: &'static str = "a size with its unit such as \"64KiB\", \"25MB\" or \"150MiB\"";
}

impl Expected for Network {
    const EXPECTED: &'static str = "a network such as \"172.16.0.0/12\" or \"fd00::/8\"";
}

impl Expected for WebTemplate {
    const EXPECTED: &'static str = "a web address that begins with https:// and holds {domain}; {address} behind a question \
                                    mark, and only for hosts of the domain itself";
}

impl Expected for HostTemplate {
    const EXPECTED: &'static str = "a host such as \"imap.{domain}:993\" or \"imap.{domain}:143 starttls\"";
}

fn from_text<'de, D: Deserializer<'de>, T: FromStr + Expected>(deserializer: D) -> Result<T, D::Error> {
    struct FromText<T>(std::marker::PhantomData<T>);

    impl<T: FromStr + Expected> Visitor<'_> for FromText<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(T::EXPECTED)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_str(FromText(std::marker::PhantomData))
}

/// Read from and shown as text.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                from_text(deserializer)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
as_text!(Period, Size, Network, WebTemplate, HostTemplate);

/// A host name or IP address.
pub(super) fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Host, D::Error> {
    let text = String::deserialize(deserializer)?;
    let expected = "a host name or IP address such as \"mail.example.org\"";
    Host::parse(&text).map_err(|_| de::Error::invalid_value(de::Unexpected::Str(&text), &expected))
}

/// A list of host names and IP addresses.
pub(super) fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Host>, D::Error> {
    #[derive(Deserialize)]
    struct One(#[serde(deserialize_with = "host")] Host);
    Ok(Vec::<One>::deserialize(deserializer)?.into_iter().map(|One(host)| host).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_and_sizes_are_read_and_shown() {
        for text in ["1s", "90s", "10m", "2h"] {
            assert_eq!(text.parse::<Period>().map(|period| period.to_string()).as_deref(), Ok(text));
        }
        for text in ["0s", "25h", "10", "m", "1d", "-1s", "99999999999999999999s", "1.5m", ""] {
            assert_eq!(text.parse::<Period>(), Err(()), "{text}");
        }
        assert_eq!("150MiB".parse(), Ok(Size(150 << 20)));
        assert_eq!(Size(150 << 20).to_string(), "150MiB");
        assert_eq!(Size(25_000_000).to_string(), "25MB");
        assert_eq!("18446744073709551615GiB".parse::<Size>(), Err(()));
    }

    #[test]
    fn networks_hold_their_addresses() {
        let holds = |network: &str, address: &str| {
            let network: Network = network.parse().expect("a network");
            network.contains(address.parse().expect("an address"))
        };
        assert!(holds("172.16.0.0/12", "172.31.255.255"));
        assert!(holds("172.16.0.0/12", "::ffff:172.17.0.2"));
        assert!(!holds("172.16.0.0/12", "172.32.0.0"));
        assert!(holds("0.0.0.0/0", "203.0.113.1"));
        assert!(!holds("0.0.0.0/0", "fd00::1"));
        assert!(holds("fd00::/8", "fdff::1"));
        assert!(holds("127.0.0.1/32", "127.0.0.1"));
        for text in ["10.0.0.0", "10.0.0.0/33", "fd00::/129", "x/8", "10.0.0.0/-1"] {
            assert_eq!(text.parse::<Network>(), Err(()), "{text}");
        }
    }
}
