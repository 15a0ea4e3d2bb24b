//! SASL: what is written is read back the same, and any lines end an exchange within three.

use crate::{
    model::Login,
    wire::sasl::{Mechanism, SaslExchange, SaslStep, write_login, write_plain},
};

/// # Panics
/// When the property does not hold.
pub fn sasl(octets: &[u8]) {
    for mechanism in [Mechanism::Login, Mechanism::Plain] {
        let mut lines = octets.split(|octet| *octet == b'\n');
        let mut step = SaslExchange::start(mechanism, lines.next());
        for _ in 0..3 {
            if let SaslStep::Challenge(exchange, _) = step {
                step = exchange.answer(lines.next().unwrap_or_default());
            }
        }
        assert!(!matches!(step, SaslStep::Challenge(..)), "the exchange goes on");
    }
    write_and_read(octets);
}

fn write_and_read(octets: &[u8]) {
    let (user, password) = octets.split_at(octets.len() / 2);
    let login = std::str::from_utf8(user).ok().and_then(|user| Login::parse(user).ok());
    let Ok(written) = write_plain(user, password) else {
        assert!(write_login(user).is_err() || write_login(password).is_err());
        return;
    };
    let plain = SaslExchange::start(Mechanism::Plain, Some(written.expose().as_bytes()));
    let (Ok(first), Ok(second)) = (write_login(user), write_login(password)) else {
        panic!("LOGIN refuses what PLAIN writes")
    };
    let steps = match SaslExchange::start(Mechanism::Login, Some(first.expose().as_bytes())) {
        SaslStep::Challenge(exchange, _) => [plain, exchange.answer(second.expose().as_bytes())],
        _ => panic!("LOGIN ends with the user name"),
    };
    for step in steps {
        match (step, &login) {
            (SaslStep::Finished { login: read, password: told }, Some(login)) => {
                assert!(read.as_str() == login.as_str() && told.expose() == password, "read is not what was written");
            }
            (SaslStep::Refused, None) => {}
            _ => panic!("a login and its refusal are mixed up"),
        }
    }
}
