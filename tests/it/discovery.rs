//! Finding the provider of an address: each way by itself, their order, and whom a person must confirm, against a name
//! server, a web server and mail servers of the test.

use crate::{
    discovery_house::{ADDRESS, File, House, a_house, a_house_with, pox},
    harness::{Page, Program, Provider, Record, words},
};
use serde_json::Value;

/// What was found, in one line.
fn line(outcome: &Value) -> String {
    let found = &outcome["found"];
    let of = |service: &str| {
        let it = &found[service];
        let text = |key: &str| it[key].as_str().unwrap_or_default();
        format!("{} {}:{} {}", text("by"), text("host"), it["port"], text("security"))
    };
    format!("{}, {}, {}", found["provider"].as_str().unwrap_or_default(), of("imap"), of("smtp"))
}

#[test]
fn the_table_knows_first_and_nobody_is_asked() {
    let Some(house) = a_house(|_| {}) else { return };
    let outcome = house.found("bob@gmail.com");
    assert_eq!(line(&outcome), "google, table imap.gmail.com:993 tls, table smtp.gmail.com:465 tls");
    assert_eq!(outcome["tried"].as_array().map(Vec::len), Some(1));
    assert_eq!((house.dns.asked(), house.web.visits()), (vec![], 0));
}

#[test]
fn what_takes_in_the_mail_tells_the_provider() {
    for (mx, awaited) in [
        ("aspmx.l.google.com", "google, mx imap.gmail.com:993 tls, mx smtp.gmail.com:465 tls"),
        (
            "firm-test.mail.protection.outlook.com",
            "microsoft365, mx outlook.office365.com:993 tls, mx smtp.office365.com:587 starttls",
        ),
        ("mx1.mail.ovh.net", "ovh, mx ssl0.ovh.net:993 tls, mx ssl0.ovh.net:465 tls"),
    ] {
        let spare = "spare.firm.test";
        let Some(house) = a_house(|house| house.say("firm.test", vec![Record::Mx(20, spare), Record::Mx(5, mx)]))
        else {
            return;
        };
        let outcome = house.found(ADDRESS);
        assert_eq!(line(&outcome), awaited);
        assert_eq!(outcome["found"]["outside"], serde_json::json!([]), "the table vouches for its hosts");
        assert_eq!(house.web.visits(), 0);
        let others = if mx.contains("ovh") { serde_json::json!(["ovh-pro"]) } else { serde_json::json!([]) };
        assert_eq!(outcome["found"]["others"], others);
    }
}

#[test]
fn each_address_of_mozillas_file_is_looked_at_and_only_the_domain_is_told_the_address() {
    let own = "/mail/config-v1.1.xml?emailaddress=alice%2Bx%40firm.test";
    let known = "/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=alice%2Bx%40firm.test";
    for (host, path) in [
        ("autoconfig.firm.test", own),
        ("firm.test", known),
        ("table.hoster.test", "/v1.1/firm.test"),
        ("autoconfig.hoster.test", "/mail/config-v1.1.xml"),
        ("table.hoster.test", "/v1.1/hoster.test"),
    ] {
        let Some(house) = a_house(|house| {
            house.say("firm.test", vec![Record::Mx(5, "mx.hoster.test")]);
            let file = File::default();
            house.page(move |method, at, asked| {
                ((method, at, asked) == ("GET", host, path)).then(|| Page::Body(file.xml()))
            });
        }) else {
            return;
        };
        let outcome = house.found("alice+x@firm.test");
        assert_eq!(
            line(&outcome),
            "generic, autoconfig imap.firm.test:993 tls, autoconfig smtp.firm.test:465 tls",
            "{host}{path}"
        );
        let last = house.web.requests().pop();
        assert_eq!(last, Some(format!("GET {path} HTTP/1.1")));
        // Whoever is not of the domain hears of no address.
        for tried in outcome["tried"].as_array().expect("steps") {
            let asked = tried["asked"].as_str().expect("text");
            assert!(!asked.contains("alice") || asked.contains("firm.test:"), "{asked}");
        }
    }
}

#[test]
fn records_name_servers_by_priority_and_a_dot_is_none() {
    let Some(house) = a_house(|house| {
        let spare = Record::Srv(10, 100, 993, "spare.firm.test");
        house.say("_imaps._tcp.firm.test", vec![spare, Record::Srv(0, 1, 1993, "imap.firm.test")]);
        house.say("_submissions._tcp.firm.test", vec![Record::Srv(0, 0, 0, ".")]);
        house.say("_submission._tcp.firm.test", vec![Record::Srv(0, 0, 587, "smtp.firm.test")]);
    }) else {
        return;
    };
    let outcome = house.found(ADDRESS);
    assert_eq!(line(&outcome), "generic, srv imap.firm.test:1993 tls, srv smtp.firm.test:587 starttls");
    // A host of the table brings what the table knows, the other service too.
    let Some(house) = a_house(|house| {
        house.say("_imaps._tcp.firm.test", vec![Record::Srv(0, 1, 993, "imap.fastmail.com")]);
    }) else {
        return;
    };
    let outcome = house.found(ADDRESS);
    assert!(line(&outcome).starts_with("fastmail, srv imap.fastmail.com:993 tls, srv "), "{}", line(&outcome));
}

#[test]
fn autodiscover_is_asked_with_the_address_and_without_a_password() {
    let path = "/autodiscover/autodiscover.xml";
    for host in ["firm.test", "autodiscover.firm.test", "outlook.firm.test"] {
        let Some(house) = a_house(|house| {
            if host == "outlook.firm.test" {
                let port = house.web_port();
                house.say("_autodiscover._tcp.firm.test", vec![Record::Srv(0, 0, port, "outlook.firm.test")]);
            }
            house.page(move |method, at, asked| {
                ((method, at, asked) == ("POST", host, path)).then(|| Page::Body(pox("imap.firm.test", "on")))
            });
        }) else {
            return;
        };
        let outcome = house.found(ADDRESS);
        assert_eq!(
            line(&outcome),
            "generic, autodiscover imap.firm.test:993 tls, autodiscover imap.firm.test:587 starttls"
        );
        assert_eq!(outcome["found"]["user"], "firm\\alice");
        let heard = house.web.heard();
        assert!(heard.contains("<EMailAddress>alice@firm.test</EMailAddress>"), "{heard}");
        assert!(!heard.to_ascii_lowercase().contains("authorization"), "{heard}");
    }
    // A name that leads to a provider of the table is enough, and nobody is told the address.
    let Some(house) = a_house(|house| {
        house.say("autodiscover.firm.test", vec![Record::Cname("autodiscover.outlook.com")]);
    }) else {
        return;
    };
    let outcome = house.found(ADDRESS);
    assert!(
        line(&outcome).starts_with("microsoft365, autodiscover outlook.office365.com:993 tls"),
        "{}",
        line(&outcome)
    );
    assert!(house.web.requests().iter().all(|request| request.starts_with("GET ")));
}

#[test]
fn usual_names_are_tried_at_last_and_nothing_is_signed_in_to() {
    let Some(mut house) = a_house(|_| {}) else { return };
    let good = house.lab.certificates.good.clone();
    let (imap, smtp) = (Provider::imap(Some(&good), |_, _, _| Some(false)), Provider::smtp(Some(&good)));
    house.probe(imap.port, smtp.port, "");
    let outcome = house.found(ADDRESS);
    let awaited = format!("generic, probe imap.firm.test:{} tls, probe smtp.firm.test:{} tls", imap.port, smtp.port);
    assert_eq!(line(&outcome), awaited);
    let heard = imap.heard() + &smtp.heard();
    assert!(!heard.contains("AUTH") && !heard.contains("LOGIN"), "{heard}");
    // In this order: what comes before was asked, and told nothing.
    let by: Vec<_> = outcome["tried"].as_array().expect("steps").iter().map(|tried| tried["by"].as_str()).collect();
    let mut order = by.clone();
    order.dedup();
    assert_eq!(
        order.into_iter().flatten().collect::<Vec<_>>(),
        ["table", "mx", "autoconfig", "srv", "autodiscover", "probe"]
    );
    // By an upgrade, too.
    let upgraded = Provider::start(None, move |visit| {
        visit.say("* OK [CAPABILITY IMAP4rev1 STARTTLS] ready")?;
        let line = visit.line()?;
        visit.say(&format!("{} OK go", line.split(' ').next()?))?;
        visit.secure(&good)?;
        visit.imap(&|_, _, _| Some(false))
    });
    house.probe(upgraded.port, smtp.port, " starttls");
    let outcome = house.found(ADDRESS);
    assert!(line(&outcome).starts_with(&format!("generic, probe imap.firm.test:{} starttls", upgraded.port)));
    assert!(!upgraded.heard().contains("AUTH"), "{}", upgraded.heard());
}

#[test]
fn a_host_for_each_customer_is_the_one_that_takes_in_the_mail_if_it_greets() {
    let Some(house) = a_house(|house| house.say("firm.test", vec![Record::Mx(5, "ex5.mail.ovh.net")])) else { return };
    let outcome = house.outcome(ADDRESS);
    // The ports of that offer are not ours to listen on; that both were tried there is what can be seen.
    let tried: Vec<_> =
        outcome["tried"].as_array().expect("steps").iter().filter(|tried| tried["by"] == "mx").collect();
    let asked: Vec<_> = tried.iter().filter_map(|tried| tried["asked"].as_str()).collect();
    assert_eq!(asked, ["firm.test", "IMAP ex5.mail.ovh.net:993 (tls)", "SMTP ex5.mail.ovh.net:587 (starttls)"]);
    assert_eq!(outcome["found"], Value::Null);
    // With a port of the test's in the provider's file it is found.
    let certificate = house.lab.certificates.good.clone();
    let (imap, smtp) = (Provider::imap(Some(&certificate), |_, _, _| Some(false)), Provider::smtp(Some(&certificate)));
    let file = include_str!("../../config/providers/ovh-exchange.toml");
    let file = file.replace("port = 993", &format!("port = {}", imap.port));
    let file =
        file.replace("port = 587\nsecurity = \"starttls\"", &format!("port = {}\nsecurity = \"tls\"", smtp.port));
    house.provider("ovh-exchange", &file);
    let outcome = house.found(ADDRESS);
    let (imap, smtp) = (imap.port, smtp.port);
    assert_eq!(line(&outcome), format!("ovh-exchange, mx ex5.mail.ovh.net:{imap} tls, mx ex5.mail.ovh.net:{smtp} tls"));
    assert_eq!(outcome["found"]["outside"], serde_json::json!([]), "the provider's entry has the host");
}

#[test]
fn the_first_way_that_tells_both_ends_it_and_the_next_fills_in_what_is_missing() {
    let path = "/autodiscover/autodiscover.xml";
    let Some(house) = a_house(|house| {
        house.say("_submissions._tcp.firm.test", vec![Record::Srv(0, 0, 465, "smtp.firm.test")]);
        let file = File { smtp: None, ..File::default() };
        house.page(move |_, host, asked| match (host, asked) {
            ("table.hoster.test", _) => Some(Page::Body(file.xml())),
            (_, asked) if asked == path => Some(Page::Body(pox("late.firm.test", "on"))),
            _ => None,
        });
    }) else {
        return;
    };
    let outcome = house.found(ADDRESS);
    assert_eq!(line(&outcome), "generic, autoconfig imap.firm.test:993 tls, srv smtp.firm.test:465 tls");
    assert!(house.web.requests().iter().all(|request| !request.contains(path)), "{:?}", house.web.requests());
}

#[test]
fn a_host_for_sending_alone_tells_nothing_of_the_mailbox() {
    let Some(house) = a_house(|house| {
        let file = File { smtp: Some(("smtp.gmail.com", "SSL")), ..File::default() };
        house.page(move |_, host, _| (host == "autoconfig.firm.test").then(|| Page::Body(file.xml())));
    }) else {
        return;
    };
    let outcome = house.found(ADDRESS);
    assert_eq!(line(&outcome), "generic, autoconfig imap.firm.test:993 tls, autoconfig smtp.gmail.com:465 tls");
    assert_eq!(outcome["found"]["outside"], serde_json::json!([]));
}

#[test]
fn a_mailbox_that_takes_tokens_alone_is_asked_no_password_for() {
    let Some(house) = a_house(|house| {
        let xml = File::default().xml().replace("password-cleartext", "OAuth2");
        house.page(move |_, host, _| (host == "autoconfig.firm.test").then(|| Page::Body(xml.clone())));
    }) else {
        return;
    };
    let output = house.run(&["account", "add", ADDRESS, "--password-stdin", "--json"], "hunter2-of-alice\n");
    let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!(error["error"], "no password opens a mailbox of this provider: Any other mail host");
}

#[test]
fn each_step_is_explained() {
    let Some(house) = a_house(|house| {
        house.say("firm.test", vec![Record::Mx(5, "mx.filter.test")]);
        house.say("_imaps._tcp.firm.test", vec![Record::Srv(0, 1, 993, "imap.hoster.test")]);
        house.say("_submissions._tcp.firm.test", vec![Record::Srv(0, 1, 465, "smtp.hoster.test")]);
        house.page(|_, host, _| (host == "firm.test").then(|| Page::Body("<html/>".to_owned())));
    }) else {
        return;
    };
    let output = house.run(&["provider", "find", ADDRESS, "--explain"], "");
    let text = String::from_utf8_lossy(&output.stdout).replace(&format!(":{}", house.web.port()), "");
    let awaited = "\
- table         firm.test: no provider has this domain
- mx            firm.test: mx.filter.test: no provider that is known
- autoconfig    https://autoconfig.firm.test/mail/config-v1.1.xml?emailaddress=alice%40firm.test: status 404
- autoconfig    https://firm.test/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=alice%40firm.test: it is something else than was asked for
- autoconfig    https://table.hoster.test/v1.1/firm.test: status 404
- autoconfig    https://autoconfig.filter.test/mail/config-v1.1.xml: the name is not known
- autoconfig    https://filter.test/.well-known/autoconfig/mail/config-v1.1.xml: the name is not known
- autoconfig    https://table.hoster.test/v1.1/filter.test: status 404
- srv           _imap._tcp.firm.test: there is none
- srv           _submission._tcp.firm.test: there is none
+ srv           records of firm.test: IMAP imap.hoster.test:993 (tls), SMTP smtp.hoster.test:465 (tls)
alice@firm.test: Any other mail host
  IMAP          imap.hoster.test:993 (tls), found by srv
  SMTP          smtp.hoster.test:465 (tls), found by srv
  user name     alice@firm.test
  provider      generic
warning: outside the domain, and of no provider that is known; confirm only what your provider says: imap.hoster.test, smtp.hoster.test
Add it: passerelle account add alice@firm.test
";
    assert_eq!(text, awaited, "{}", words(&output));
}

#[test]
fn an_account_is_added_where_its_mail_was_found() {
    let Some(mut house) = a_house(|_| {}) else { return };
    let good = house.lab.certificates.good.clone();
    let (imap, smtp) = (Provider::imap(Some(&good), |_, _, _| Some(false)), Provider::smtp(Some(&good)));
    // The one name that every machine knows: so the sign-in goes to where it was found.
    house.own_hosts(&imap, &smtp);
    let output = house.run(&["account", "add", "alice@localhost", "--password-stdin"], "hunter2-of-alice\n");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", words(&output));
    assert!(text.contains(&format!("  IMAP          localhost:{} (tls), found by probe\n", imap.port)), "{text}");
    assert!(text.contains("alice@localhost is added."), "{text}");
    assert!(imap.heard().contains("AUTHENTICATE PLAIN "), "{}", imap.heard());
    let output = house.run(&["account", "show", "alice@localhost", "--json"], "");
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&shown["provider"], &shown["smtp"]["port"]), (&Value::from("generic"), &Value::from(smtp.port)));
}

#[test]
fn hosts_outside_the_domain_are_confirmed_before_a_password_is_read() {
    let Some(house) = a_house(|house| {
        let file = File { imap: Some(("imap.hoster.test", "SSL")), ..File::default() };
        house.page(move |_, host, _| (host == "autoconfig.firm.test").then(|| Page::Body(file.xml())));
    }) else {
        return;
    };
    let add = |more: &[&str]| {
        let all = [&["account", "add", ADDRESS, "--password-stdin", "--unchecked", "--json"], more].concat();
        house.run(&all, "hunter2-of-alice\n")
    };
    for more in [&[][..], &["--accept-host", "smtp.hoster.test"], &["--accept-host", "hoster.test"]] {
        let output = add(more);
        assert_eq!(output.status.code(), Some(2), "{}", words(&output));
        let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
        assert_eq!(
            error["error"],
            "the mail is hosted outside the domain, which nobody has confirmed: imap.hoster.test"
        );
        assert!(
            error["hint"].as_str().is_some_and(|hint| hint.contains("`--accept-host imap.hoster.test`")),
            "{error}"
        );
    }
    assert!(add(&["--accept-host", "imap.hoster.test"]).status.success());
    let output = house.run(&["account", "show", ADDRESS, "--json"], "");
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(shown["imap"]["host"], "imap.hoster.test");
    assert!(!house.web.heard().contains("hunter2"), "a web server heard the password");
    // What a person says wins, and where both hosts are said nobody is asked.
    let before = house.web.visits();
    let more = ["--imap", "imap.mine.test", "--smtp", "smtp.mine.test"];
    let all = [&["account", "add", "bob@firm.test", "--password-stdin", "--unchecked"], &more[..]].concat();
    assert!(house.run(&all, "hunter2-of-bob\n").status.success());
    assert_eq!(house.web.visits(), before);
}

#[test]
fn at_a_terminal_a_person_is_asked_before_the_password() {
    let prepare = |house: &mut House| {
        house.say("_imaps._tcp.firm.test", vec![Record::Srv(0, 1, 993, "imap.hoster.test")]);
        house.say("_submissions._tcp.firm.test", vec![Record::Srv(0, 1, 465, "smtp.firm.test")]);
    };
    let Some(house) = a_house_with(&[Program::Script], prepare) else { return };
    let add = "account add alice@firm.test --password-stdin --unchecked";
    let question = "Outside firm.test: imap.hoster.test. Is your mail hosted there? [y/N]";
    for answer in ["n", "", "maybe"] {
        let output = house.at_terminal(add, &format!("{answer}\nhunter2-of-alice\n"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(2), "{answer}: {}", words(&output));
        assert!(text.contains(question) && text.contains("which nobody has confirmed: imap.hoster.test"), "{text}");
    }
    let output = house.at_terminal(add, "y\nhunter2-of-alice\n");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains(question), "{}", words(&output));
    assert!(text.contains("alice@firm.test is added without a sign-in."), "{text}");
}

#[test]
fn a_sign_in_in_the_browser_finds_its_provider_too() {
    let Some(house) = a_house(|house| house.say("firm.test", vec![Record::Mx(5, "aspmx.l.google.com")])) else {
        return;
    };
    let output = house.run(&["account", "sign-in", ADDRESS, "--paste", "--json", "--client-id", "bridge"], "");
    assert!(output.status.success(), "{}", words(&output));
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(json["open"].as_str().is_some_and(|open| open.starts_with("https://accounts.google.com/")), "{json}");
}

#[test]
fn a_provider_without_passwords_is_said_to_be_one_before_any_is_asked_for() {
    let Some(house) = a_house(|house: &mut House| {
        house.say("firm.test", vec![Record::Mx(0, "firm-test.mail.protection.outlook.com")]);
    }) else {
        return;
    };
    let output = house.run(&["account", "add", ADDRESS, "--password-stdin", "--json"], "hunter2-of-alice\n");
    let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert!(error["error"].as_str().is_some_and(|error| error.contains("no password opens a mailbox")), "{error}");
    let output = house.run(&["provider", "find", ADDRESS], "");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.ends_with("Sign in at the provider: passerelle account sign-in alice@firm.test\n"), "{text}");
}
