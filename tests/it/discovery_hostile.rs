//! Finding a provider among strangers: whatever they answer, it ends in time, stays encrypted, dials no private network, and
//! tells nobody a password.

use crate::{
    discovery_house::{ADDRESS, File, House, a_house, pox},
    harness::{Page, Provider, Record, Web, words},
};
use serde_json::Value;
use std::time::{Duration, Instant};

/// What the questions after Mozilla's file came to, where the web server always answers like this.
fn answers(page: Page) -> Option<(Vec<String>, Duration)> {
    let question = if matches!(page, Page::Drip | Page::Silent) { 1 } else { 4 };
    let house = a_house(|house| {
        house.seconds(question, 20);
        house.key("steps", "[\"autoconfig\", \"autodiscover\"]");
        house.page(move |_, _, _| Some(page.clone()));
    })?;
    let began = Instant::now();
    let outcome = house.outcome(ADDRESS);
    let took = began.elapsed();
    let all = [house.answers(&outcome, "autoconfig"), house.answers(&outcome, "autodiscover")].concat();
    Some((all, took))
}

#[test]
fn whatever_a_web_server_answers_is_bounded() {
    let laughs =
        "<!DOCTYPE l [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'>]><clientConfig><emailProvider>&b;</emailProvider>";
    let deep = "<a>".repeat(9000);
    let many = format!("<clientConfig>{}</clientConfig>", "<b/>".repeat(9000));
    for (page, awaited) in [
        (Page::Body(laughs.to_owned()), "it declares entities or a document type, which is not read"),
        (Page::Body(deep), "it has too many elements, or too deep ones"),
        (Page::Body(many), "it has too many elements, or too deep ones"),
        (Page::Body("\u{1b}[2J not found".to_owned()), "it is no XML"),
        (Page::Body("<html><body/></html>".to_owned()), "it is something else than was asked for"),
        (Page::Body(" ".repeat(70_000)), "it is longer than 64 KiB"),
        (Page::Endless, "it is longer than 64 KiB"),
        (Page::Drip, "no answer in time"),
        (Page::Silent, "no answer in time"),
        (Page::Nonsense, "the connection was lost"),
        (Page::Status(500), "status 500"),
        (Page::Location("https://firm.test/again".to_owned()), "the connection was refused"),
        (Page::Location("http://firm.test/".to_owned()), "it leads on without https, which is not followed"),
        (Page::Location("https://127.0.0.1/x".to_owned()), "it leads to an address that is no host's: 127.0.0.1"),
        (Page::Location("https://[::1]/x".to_owned()), "it leads to an address that is no host's: [::1]"),
        (Page::Location("https://2130706433/x".to_owned()), "it leads to an address that is no host's: 127.0.0.1"),
        (Page::Location("file:///etc/passwd".to_owned()), "it leads on without https, which is not followed"),
        (Page::Location("/again".to_owned()), "it leads on again and again"),
    ] {
        let shown = format!("{page:?}");
        let Some((answers, took)) = answers(page) else { return };
        let answers: Vec<_> = answers.iter().filter(|answer| *answer != "there is none").collect();
        assert!(answers.len() >= 5, "{answers:?}");
        assert!(answers.iter().all(|answer| *answer == awaited), "{}: {answers:?}", &shown[..shown.len().min(80)]);
        assert!(took < Duration::from_secs(22), "{took:?}");
    }
    let Some((answers, _)) = answers(Page::Status(401)) else { return };
    assert!(answers.contains(&"it wants a password, and got none".to_owned()), "{answers:?}");
}

#[test]
fn a_web_server_in_clear_is_never_asked() {
    let Some(mut house) = a_house(|house| house.seconds(2, 15)) else { return };
    let plain = Web::start(None, |_, _, _| Some(Page::Body(File::default().xml())));
    let at = plain.port();
    house.page(move |_, _, _| Some(Page::Location(format!("http://firm.test:{at}/config.xml"))));
    let answers = house.answers(&house.outcome(ADDRESS), "autoconfig");
    assert!(answers.iter().all(|answer| answer.contains("without https")), "{answers:?}");
    assert_eq!(plain.visits(), 0);
    // Where https is awaited, what speaks in clear has told nothing.
    house.key("autoconfig", &format!("[\"https://autoconfig.{{domain}}:{at}/config.xml\"]"));
    house.configure();
    let answers = house.answers(&house.outcome(ADDRESS), "autoconfig");
    let unheard = ["the connection was lost", "no answer in time"];
    assert!(answers.iter().all(|answer| unheard.contains(&answer.as_str())), "{answers:?}");
    assert_eq!(plain.requests(), Vec::<String>::new());
}

#[test]
fn a_web_server_that_nobody_vouches_for_is_not_believed() {
    let Some(mut house) = a_house(|house| house.key("steps", "[\"autoconfig\"]")) else { return };
    let bad = &house.lab.certificates;
    for certificate in [bad.expired.clone(), bad.wrong_name.clone(), bad.unknown_ca.clone()] {
        let web = Web::start(Some(&certificate), |_, _, _| Some(Page::Body(File::default().xml())));
        house.key("autoconfig", &format!("[\"https://autoconfig.{{domain}}:{}/config.xml\"]", web.port()));
        house.configure();
        let answers = house.answers(&house.outcome(ADDRESS), "autoconfig");
        assert!(answers.iter().all(|answer| answer == "its certificate is not believed"), "{answers:?}");
        assert_eq!(web.requests(), Vec::<String>::new());
    }
}

#[test]
fn a_private_network_is_dialled_only_where_that_is_allowed() {
    let Some(mut house) = a_house(|house| house.page(|_, _, _| Some(Page::Body(File::default().xml())))) else {
        return;
    };
    let good = house.lab.certificates.good.clone();
    let (imap, smtp) = (Provider::imap(Some(&good), |_, _, _| Some(false)), Provider::smtp(Some(&good)));
    house.key("private-addresses", "false");
    house.probe(imap.port, smtp.port, "");
    let outcome = house.outcome(ADDRESS);
    let private = "it leads to a private network, which discovery.private-addresses does not allow";
    for by in ["autoconfig", "autodiscover", "probe"] {
        let answers = house.answers(&outcome, by);
        let answers: Vec<_> = answers.iter().filter(|answer| *answer != "there is none").collect();
        assert!(!answers.is_empty() && answers.iter().all(|answer| *answer == private), "{by}: {answers:?}");
    }
    assert_eq!([house.web.visits(), imap.visits(), smtp.visits()], [0; 3]);
}

#[test]
fn servers_in_clear_are_left_out_and_hear_nothing_secret() {
    let Some(mut house) = a_house(|house| {
        let file = File { imap: Some(("imap.firm.test", "plain")), smtp: Some(("smtp.firm.test", "plain")) };
        house.page(move |method, _, _| {
            Some(Page::Body(if method == "POST" { pox("imap.firm.test", "off") } else { file.xml() }))
        });
    }) else {
        return;
    };
    let (imap, smtp) = (Provider::imap(None, |_, _, _| Some(false)), Provider::smtp(None));
    house.key("smtp", &format!("[\"smtp.{{domain}}:{} starttls\", \"smtp.{{domain}}:{0}\"]", smtp.port));
    house.key("imap", &format!("[\"imap.{{domain}}:{} starttls\", \"imap.{{domain}}:{0}\"]", imap.port));
    house.configure();
    let outcome = house.outcome(ADDRESS);
    let told = house.answers(&outcome, "autoconfig");
    assert!(
        told.iter().any(|answer| answer == "no server that could be used, left out because they are not encrypted: 2"),
        "{told:?}"
    );
    let told = house.answers(&outcome, "autodiscover");
    assert!(told.iter().any(|answer| answer.ends_with("left out because they are not encrypted: 1")), "{told:?}");
    let told = house.answers(&outcome, "probe");
    assert!(told.iter().any(|answer| answer.ends_with("it does not offer STARTTLS")), "{told:?}");
    let output = house.run(&["account", "add", ADDRESS, "--password-stdin", "--json"], "hunter2-of-alice\n");
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    let heard = imap.heard() + &smtp.heard() + &house.web.heard();
    for secret in ["hunter2", "AUTH", "LOGIN", "aHVudGVyMi1vZi1hbGljZQ", "PASS"] {
        assert!(!heard.contains(secret), "{secret}: {heard}");
    }
}

#[test]
fn it_ends_in_time_when_nobody_answers() {
    let Some(mut house) = a_house(|house| house.seconds(1, 3)) else { return };
    house.no_name_server();
    let began = Instant::now();
    let output = house.run(&["provider", "find", ADDRESS, "--explain"], "");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("- mx            firm.test: no answer in time\n") || text.contains("no name server answers"),
        "{text}"
    );
    assert!(text.contains("the time for all of this is over (timeouts.discovery)"), "{text}");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.starts_with("error: no provider is known for this domain: firm.test\nhint: "), "{error}");
}

#[test]
fn without_a_way_nobody_is_asked() {
    let Some(house) = a_house(|house: &mut House| {
        house.key("steps", "[]");
        house.say("firm.test", vec![Record::Mx(0, "aspmx.l.google.com")]);
    }) else {
        return;
    };
    let output = house.run(&["account", "add", ADDRESS, "--password-stdin", "--json"], "hunter2-of-alice\n");
    let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!(error["error"], "no provider is known for this domain: firm.test");
    assert_eq!((house.dns.asked(), house.web.visits()), (vec![], 0));
}

#[test]
fn a_stranger_is_not_told_the_address() {
    let Some(house) = a_house(|house| {
        let port = house.web_port();
        house.say("_autodiscover._tcp.firm.test", vec![Record::Srv(0, 0, port, "autodiscover.hoster.test")]);
    }) else {
        return;
    };
    let outcome = house.outcome(ADDRESS);
    let told = house.answers(&outcome, "autodiscover");
    assert!(
        told.iter().any(|answer| answer == "autodiscover.hoster.test is outside the domain, and was not asked"),
        "{told:?}"
    );
    assert!(!house.web.heard().contains("Host: autodiscover.hoster.test"), "{}", house.web.heard());
}

#[test]
fn a_stranger_to_whom_the_domain_leads_on_is_not_told_the_address() {
    // By the web server, and by its answer.
    for by_answer in [false, true] {
        let Some(house) = a_house(|house| {
            house.key("steps", "[\"autodiscover\"]");
            let at = house.web_port();
            house.page(move |method, host, path| {
                let next = match (method, host, path) {
                    ("POST", "firm.test", "/autodiscover/autodiscover.xml") => "autodiscover.firm.test",
                    ("POST", "autodiscover.firm.test", "/next") => "table.hoster.test",
                    ("POST", "table.hoster.test", _) => return Some(Page::Body(pox("imap.firm.test", "on"))),
                    _ => return None,
                };
                let next = format!("https://{next}:{at}/next");
                Some(if by_answer { Page::Body(elsewhere(&next)) } else { Page::Location(next) })
            });
        }) else {
            return;
        };
        let outcome = house.outcome(ADDRESS);
        let told = house.answers(&outcome, "autodiscover");
        assert!(
            told.iter().any(|answer| answer == "table.hoster.test is outside the domain, and was not asked"),
            "{told:?}"
        );
        let heard = house.web.heard();
        // Its own hosts are told it, wherever they lead within.
        assert_eq!(heard.matches("POST /next").count(), 1, "{heard}");
        assert!(!heard.to_ascii_lowercase().contains("host: table.hoster.test"), "{heard}");
    }
}

#[test]
fn a_provider_of_the_table_to_which_the_domain_leads_on_is_not_asked() {
    for by_answer in [false, true] {
        let Some(house) = a_house(|house| {
            house.key("steps", "[\"autodiscover\"]");
            house.page(move |method, host, _| {
                let next = "https://autodiscover.outlook.com/autodiscover/autodiscover.xml";
                let page = if by_answer { Page::Body(elsewhere(next)) } else { Page::Location(next.to_owned()) };
                ((method, host) == ("POST", "firm.test")).then_some(page)
            });
        }) else {
            return;
        };
        let outcome = house.found(ADDRESS);
        assert_eq!(
            (&outcome["found"]["provider"], &outcome["found"]["imap"]["port"]),
            (&"microsoft365".into(), &993.into())
        );
        assert_eq!(house.web.visits(), 1);
    }
}

/// Autodiscover's own way to lead on.
fn elsewhere(url: &str) -> String {
    format!(
        "<Autodiscover xmlns='a'><Response xmlns='b'><Account><AccountType>email</AccountType><Action>redirectUrl</Action>\
         <RedirectUrl>{url}</RedirectUrl></Account></Response></Autodiscover>"
    )
}

#[test]
fn ports_and_names_of_a_strangers_file_count_nothing_at_a_host_of_the_table() {
    let Some(mut house) = a_house(|house| house.key("steps", "[\"autoconfig\"]")) else { return };
    let mut at = |imap: &'static str, smtp: &'static str, more: [(&'static str, &'static str); 4]| {
        let file = File { imap: Some((imap, "STARTTLS")), smtp: Some((smtp, "STARTTLS")) };
        let file = more.iter().fold(file.xml(), |text, (from, to)| text.replace(from, to));
        house.page(move |_, host, _| (host == "autoconfig.firm.test").then(|| Page::Body(file.clone())));
        let found = house.found(ADDRESS)["found"].clone();
        let service =
            |name: &str| format!("{}:{} {}", found[name]["host"], found[name]["port"], found[name]["security"]);
        (
            service("imap").replace('"', ""),
            service("smtp").replace('"', ""),
            found["user"].clone(),
            found["outside"].clone(),
        )
    };
    let odd = [("993", "9993"), ("465", "4465"), ("%EMAILADDRESS%", "mallory"), ("<none/>", "")];
    // A host for each customer, of which the table knows the ports and the user's name.
    let (imap, smtp, user, outside) = at("ex5.mail.ovh.net", "ex5.mail.ovh.net", odd);
    assert_eq!((imap.as_str(), smtp.as_str()), ("ex5.mail.ovh.net:993 tls", "ex5.mail.ovh.net:587 starttls"));
    assert_eq!((user, outside), (ADDRESS.into(), serde_json::json!([])));
    // A host for sending alone.
    let (_, smtp, ..) = at("imap.firm.test", "smtp.gmail.com", odd);
    assert_eq!(smtp, "smtp.gmail.com:465 tls");
    // At hosts of the domain itself, which a person has, they are as they are told.
    let (imap, smtp, user, _) = at("imap.firm.test", "smtp.firm.test", odd);
    assert_eq!((imap.as_str(), smtp.as_str()), ("imap.firm.test:9993 starttls", "smtp.firm.test:4465 starttls"));
    assert_eq!(user, "mallory");
}
