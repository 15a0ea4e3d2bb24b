//! SASL: what is written is read back the same, any lines end an exchange within three, and challenges are bounded.

use crate::{
    model::{Login, Secret},
    wire::sasl::{
        Mechanism, SaslExchange, SaslStep,
        bearer::{Bearer, BearerMechanism, Challenge, is_token},
        write_login, write_plain,
    },
};

/// # Panics
/// When the property does not hold.
pub fn sasl(octets: &[u8]) {
    for mechanism in [Mechanism::CramMd5, Mechanism::Login, Mechanism::Plain] {
        let mut lines = octets.split(|octet| *octet == b'\n');
        let mut step = SaslExchange::start(mechanism, lines.next(), "<1.1@bridge.test>");
        for _ in 0..3 {
            if let SaslStep::Challenge(exchange, _) = step {
                step = exchange.answer(lines.next().unwrap_or_default());
            }
        }
        assert!(!matches!(step, SaslStep::Challenge(..)), "the exchange goes on");
    }
    write_and_read(octets);
    bearer(octets);
}

/// Whatever is read of a bearer's response is written and read the same; whatever is written holds one line.
fn bearer(octets: &[u8]) {
    if let Some(challenge) = Challenge::read(octets) {
        assert!(
            challenge.status.len() + challenge.scope.len() <= 512 && challenge.status.is_ascii(),
            "unbounded words"
        );
    }
    let (user, token) = octets.split_at(octets.len() / 2);
    let (user, token) = (String::from_utf8_lossy(user), String::from_utf8_lossy(token));
    for mechanism in [BearerMechanism::Xoauth2, BearerMechanism::OauthBearer] {
        let made = Bearer { user: user.clone().into_owned(), token: Secret::new(token.clone().into_owned()) };
        for bearer in [mechanism.read(octets), Some(made)].into_iter().flatten() {
            let Ok(written) = mechanism.write(&bearer) else {
                assert!(
                    bearer.user.contains(char::is_control)
                        || bearer.user.is_empty()
                        || bearer.user.len() > 512
                        || !is_token(bearer.token.expose())
                );
                continue;
            };
            let read = mechanism.read(written.expose().as_bytes()).expect("what was written");
            assert!(
                read.user == bearer.user && read.token.expose() == bearer.token.expose(),
                "read is not what was written"
            );
        }
    }
}

fn write_and_read(octets: &[u8]) {
    let (user, password) = octets.split_at(octets.len() / 2);
    let login = std::str::from_utf8(user).ok().and_then(|user| Login::parse(user).ok());
    let Ok(written) = write_plain(user, password) else {
        assert!(write_login(user).is_err() || write_login(password).is_err());
        return;
    };
    let plain = SaslExchange::start(Mechanism::Plain, Some(written.expose().as_bytes()), "");
    let (Ok(first), Ok(second)) = (write_login(user), write_login(password)) else {
        panic!("LOGIN refuses what PLAIN writes")
    };
    let steps = match SaslExchange::start(Mechanism::Login, Some(first.expose().as_bytes()), "") {
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
