//! SMTP openings against providers that answer each write with the next answer of a list.

use super::*;

const HELLO: &str = "250-mx\r\n250-SIZE 1000\r\n250 AUTH PLAIN LOGIN\r\n";
const STARTTLS_HELLO: &str = "250-mx\r\n250 STARTTLS\r\n";
const AUTH: &str = "AUTH PLAIN AGFsaWNlAHNlY3JldA==";

fn opening(security: Security) -> SmtpOpening {
    let sign_in = SignIn::Password { user: "alice".into(), password: Secret::new("secret".to_owned()) };
    SmtpOpening::new(security, "bridge.test", sign_in)
}

/// What the opening says to these words of the provider, a line each, and the failure that ends it.
fn run(opening: &mut SmtpOpening, says: &[&str]) -> (Vec<String>, Option<Failure>) {
    let (mut out, mut failure) = (Vec::new(), None);
    for says in says {
        let result = match *says {
            "(handshake)" => opening.tls_established(&mut out),
            // Octet by octet, which is the hardest cut.
            says if !says.contains("injected") => {
                says.as_bytes().chunks(1).try_for_each(|mut octet| opening.input(&mut octet, &mut out))
            }
            says => opening.input(&mut says.as_bytes(), &mut out),
        };
        if let Err(error) = result {
            failure = Some(error);
            break;
        }
    }
    let step = |step| match step {
        OpeningStep::Write(octets) => String::from_utf8_lossy(octets.expose()).trim_end().to_owned(),
        OpeningStep::StartTls => "(handshake)".to_owned(),
        OpeningStep::Progress(milestone) => format!("{milestone:?}"),
        OpeningStep::Opened(Opened::Smtp { extensions }) => format!("Opened size={:?}", extensions.size),
        OpeningStep::Opened(Opened::Imap { .. }) => "Opened as IMAP".to_owned(),
    };
    (out.into_iter().map(step).collect(), failure)
}

#[test]
fn plain_takes_one_round_trip() {
    let (steps, failure) = run(&mut opening(Security::Tls), &["220 mx\r\n", HELLO, "235 2.7.0 Ok\r\n"]);
    assert_eq!(steps, ["Greeted", "EHLO bridge.test", AUTH, "SignedIn", "Opened size=Some(1000)"]);
    assert_eq!(failure, None);
}

#[test]
fn login_is_used_where_nothing_else_is_offered() {
    let hello = "250-mx\r\n250 AUTH=LOGIN\r\n";
    let prompts = ["334 VXNlcm5hbWU6\r\n", "334 \r\n", "235 Ok\r\n"];
    let says = ["220 mx\r\n", hello].into_iter().chain(prompts).collect::<Vec<_>>();
    let (steps, failure) = run(&mut opening(Security::Tls), &says);
    assert_eq!(steps[2..5], ["AUTH LOGIN", "YWxpY2U=", "c2VjcmV0"]);
    assert_eq!((steps.last().map(String::as_str), failure), (Some("Opened size=None"), None));
}

#[test]
fn starttls_comes_before_any_credential_and_forgets_what_was_said() {
    let says = ["220 mx\r\n", STARTTLS_HELLO, "220 go\r\n", "(handshake)", HELLO, "235 Ok\r\n"];
    let (steps, failure) = run(&mut opening(Security::Starttls), &says);
    let awaited = ["Greeted", "EHLO bridge.test", "STARTTLS", "(handshake)", "TlsUpgraded", "EHLO bridge.test", AUTH];
    assert_eq!((&steps[..7], failure), (&awaited.map(str::to_owned)[..], None));
}

#[test]
fn without_starttls_no_credential_leaves() {
    let none = Some(Failure::ProviderUnreachable(Unreachable::NoStarttls));
    for says in [&["220 mx\r\n", HELLO][..], &["220 mx\r\n", STARTTLS_HELLO, "454 4.7.0 not now\r\n"]] {
        let (steps, failure) = run(&mut opening(Security::Starttls), says);
        assert_eq!(failure, none);
        assert!(!steps.iter().any(|step| step.starts_with("AUTH")), "{steps:?}");
    }
}

#[test]
fn octets_in_clear_behind_the_starttls_answer_end_it() {
    let injection = Some(Failure::ProviderMisbehaved(Misbehaviour::StarttlsInjection));
    for last in ["220 go\r\n250 injected\r\n", "220 go\r\n2injected"] {
        assert_eq!(run(&mut opening(Security::Starttls), &["220 mx\r\n", STARTTLS_HELLO, last]).1, injection);
    }
    // In a segment of their own too.
    let says = ["220 mx\r\n", STARTTLS_HELLO, "220 go\r\n", "250 injected\r\n"];
    assert_eq!(run(&mut opening(Security::Starttls), &says).1, injection);
}

#[test]
fn refusals_are_told_apart_and_their_words_kept() {
    let unavailable = || Failure::ProviderUnreachable(Unreachable::Unavailable);
    let cases: [(&[&str], Failure); 6] = [
        (&["554 5.7.1 no\x1b\r\n"], unavailable()),
        (&["421 later\r\n"], unavailable()),
        (&["220 mx\r\n", "421 later\r\n"], unavailable()),
        (&["220 mx\r\n", HELLO, "454 4.7.0 later\r\n"], unavailable()),
        (&["220 mx\r\n", HELLO, "535 5.7.8 wrong\r\n"], Failure::SignInRefused),
        (&["220 mx\r\n", HELLO, "250 what\r\n"], Failure::ProviderMisbehaved(Misbehaviour::Syntax)),
    ];
    for (says, failure) in cases {
        let mut opening = opening(Security::Tls);
        assert_eq!(run(&mut opening, says).1, Some(failure), "{says:?}");
        assert!(opening.provider_words().is_some_and(|words| !words.contains(char::is_control)));
    }
}

#[test]
fn a_password_that_is_echoed_is_not_kept() {
    let mut opening = opening(Security::Tls);
    let echo = format!("535-5.7.8 {AUTH}\r\n535 5.7.8 c2VjcmV0\r\n");
    assert_eq!(run(&mut opening, &["220 mx\r\n", HELLO, &echo]).1, Some(Failure::SignInRefused));
    assert_eq!(opening.provider_words(), Some("535 5.7.8 AUTH PLAIN [hidden] [hidden]"));
}

#[test]
fn a_host_without_passwords_is_named() {
    let mut opening = opening(Security::Tls);
    let hello = "250-mx\r\n250 AUTH XOAUTH2\r\n";
    assert_eq!(run(&mut opening, &["220 mx\r\n", hello]).1, Some(Failure::SignInRefused));
    assert!(opening.provider_words().is_some());
}

/// `user=alice`, `auth=Bearer ya29.a0` in base64.
const XOAUTH2: &str = "AUTH XOAUTH2 dXNlcj1hbGljZQFhdXRoPUJlYXJlciB5YTI5LmEwAQE=";
const OAUTHBEARER: &str = "AUTH OAUTHBEARER bixhPWFsaWNlLAFhdXRoPUJlYXJlciB5YTI5LmEwAQE=";
const GOOGLE_HELLO: &str =
    "250-smtp.gmail.com\r\n250 AUTH LOGIN PLAIN XOAUTH2 PLAIN-CLIENTTOKEN OAUTHBEARER XOAUTH\r\n";
const CHALLENGE: &str = "334 eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIiwic2NvcGUiOiJtYWlsIn0=\r\n";

/// What was said from AUTH on, how it ended, the words, and whether a fresh token may do.
fn with_token(hello: &str, says: &[&str]) -> (Vec<String>, Option<Failure>, String, bool) {
    let sign_in = SignIn::Bearer { user: "alice".into(), token: Secret::new("ya29.a0".to_owned()) };
    let mut opening = SmtpOpening::new(Security::Tls, "bridge.test", sign_in);
    let (steps, failure) = run(&mut opening, &[&["220 mx\r\n", hello], says].concat());
    let words = opening.provider_words().unwrap_or_default().to_owned();
    (steps.into_iter().skip(2).collect(), failure, words, opening.token_refused())
}

#[test]
fn a_token_takes_one_round_trip() {
    let (steps, failure, _, _) = with_token(GOOGLE_HELLO, &["235 2.7.0 Accepted\r\n"]);
    assert_eq!(
        (steps, failure),
        (vec![XOAUTH2.to_owned(), "SignedIn".to_owned(), "Opened size=None".to_owned()], None)
    );
    let (steps, failure, _, _) = with_token("250-mx\r\n250 AUTH PLAIN OAUTHBEARER\r\n", &["235 Ok\r\n"]);
    assert_eq!((&*steps[0], failure), (OAUTHBEARER, None));
}

#[test]
fn the_challenge_is_answered_as_the_mechanism_wants() {
    let google = "535-5.7.8 Username and Password not accepted. For more information, go to\r\n\
                  535 5.7.8 https://support.google.com/mail/?p=BadCredentials x1 - gsmtp\r\n";
    let (steps, failure, words, token_refused) = with_token(GOOGLE_HELLO, &[CHALLENGE, google]);
    assert_eq!((&steps[..], failure), (&[XOAUTH2.to_owned(), String::new()][..], Some(Failure::SignInRefused)));
    assert!(token_refused && words.ends_with("(status 401, scope wanted mail)"), "{words}");

    let exim = "535 Incorrect authentication data\r\n";
    let (steps, failure, _, token_refused) = with_token("250-mx\r\n250 AUTH OAUTHBEARER\r\n", &[CHALLENGE, exim]);
    assert_eq!((&*steps[1], failure, token_refused), ("AQ==", Some(Failure::SignInRefused), true));

    // Microsoft has no challenge.
    let microsoft = "535 5.7.3 Authentication unsuccessful [SN2PR00CA0018.namprd00.prod.outlook.com]\r\n";
    let (steps, failure, _, token_refused) = with_token("250-mx\r\n250 AUTH LOGIN XOAUTH2\r\n", &[microsoft]);
    assert_eq!((steps.len(), failure, token_refused), (1, Some(Failure::SignInRefused), true));
}

#[test]
fn what_a_fresh_token_does_not_mend_is_no_refused_token() {
    let disabled = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit \
                    https://aka.ms/smtp_auth_disabled for more information. [x]\r\n";
    let unavailable = || Failure::ProviderUnreachable(Unreachable::Unavailable);
    let cases: [(&[&str], Failure); 6] = [
        (&[disabled], Failure::SignInRefused),
        (&["550 5.7.30 Basic authentication is not supported for Client Submission.\r\n"], Failure::SignInRefused),
        (&["432 4.3.2 Concurrent connections limit exceeded.\r\n"], unavailable()),
        (&["454 4.7.0 Temporary authentication failure. [mx:1]\r\n"], unavailable()),
        (&[CHALLENGE, "454 4.7.0 Too many login attempts, please try again later. x - gsmtp\r\n"], unavailable()),
        (&[CHALLENGE, CHALLENGE], Failure::ProviderMisbehaved(Misbehaviour::Syntax)),
    ];
    for (says, awaited) in cases {
        let (_, failure, _, token_refused) = with_token(GOOGLE_HELLO, says);
        assert_eq!((failure, token_refused), (Some(awaited), false), "{says:?}");
    }
}

#[test]
fn a_host_without_bearer_mechanisms_gets_no_token() {
    let (steps, failure, words, token_refused) = with_token(HELLO, &[]);
    assert_eq!((steps.len(), failure, token_refused), (0, Some(Failure::SignInRefused), false));
    assert!(words.contains("XOAUTH2"), "{words}");
}

#[test]
fn a_service_that_knows_this_machine_is_opened_without_auth_but_never_without_tls() {
    let nobody = |security| SmtpOpening::new(security, "bridge.test", SignIn::Nobody);
    let (steps, failure) = run(&mut nobody(Security::None), &["220 mx\r\n", HELLO]);
    assert_eq!(
        (steps, failure),
        (["Greeted", "EHLO bridge.test", "Opened size=Some(1000)"].map(str::to_owned).to_vec(), None)
    );
    let says = ["220 mx\r\n", STARTTLS_HELLO, "220 go\r\n", "(handshake)", "250-mx\r\n250 SIZE 5\r\n"];
    let (steps, failure) = run(&mut nobody(Security::Starttls), &says);
    assert_eq!((steps.last().map(String::as_str), failure), (Some("Opened size=Some(5)"), None));
    let (_, failure) = run(&mut nobody(Security::Starttls), &["220 mx\r\n", HELLO]);
    assert_eq!(failure, Some(Failure::ProviderUnreachable(Unreachable::NoStarttls)));
}
