//! IMAP openings against providers that answer each write with the next answer of a list.

use super::*;

/// Runs an opening against a provider that answers each write with the next of `answers`; what was written, `T` for a
/// handshake, `.` when it opened.
fn run(security: Security, password: &str, answers: &[&str]) -> (String, Result<(), Failure>, Option<String>) {
    let sign_in = SignIn::Password { user: "alice".into(), password: Secret::new(password.to_owned()) };
    let (said, result, opening) = play(security, sign_in, answers);
    (said, result, opening.provider_words().map(str::to_owned))
}

fn play(security: Security, sign_in: SignIn, answers: &[&str]) -> (String, Result<(), Failure>, ImapOpening) {
    let mut opening = ImapOpening::new(security, sign_in, true);
    let mut said = String::new();
    let mut result = Ok(());
    for answer in answers {
        let mut steps = Vec::new();
        // One octet at a time: cuts must not matter.
        for octet in answer.as_bytes() {
            result = result.and_then(|()| opening.input(&mut &[*octet][..], &mut steps));
        }
        while let Some(step) = (!steps.is_empty()).then(|| steps.remove(0)) {
            match step {
                OpeningStep::Write(octets) => said += &String::from_utf8_lossy(octets.expose()),
                OpeningStep::StartTls => {
                    said += "T";
                    result = result.and_then(|()| opening.tls_established(&mut steps));
                }
                OpeningStep::Progress(_) => {}
                OpeningStep::Opened(_) => said += ".",
            }
        }
    }
    (said.replace("\r\n", "|"), result, opening)
}

const LISTED: &str = "* LIST () \"/\" INBOX\r\nPSRLl OK\r\nPSRLs OK\r\n";

#[test]
fn a_modern_provider_takes_three_round_trips() {
    let (said, result, _) = run(
        Security::Tls,
        "secret",
        &[
            "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=PLAIN] Hello\r\n",
            "* CAPABILITY IMAP4rev1 LIST-EXTENDED\r\nPSRL OK alice authenticated (Success)\r\n",
            "* LIST () \"/\" {5}\r\nINBOX\r\nPSRLl OK\r\nPSRLs OK\r\n",
        ],
    );
    assert_eq!(said, "PSRL AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==|PSRLl LIST \"\" \"*\"|PSRLs LSUB \"\" \"*\"|.");
    assert_eq!(result, Ok(()));
}

#[test]
fn a_command_that_is_not_understood_is_not_waited_for() {
    // As the bridge itself answers a sign-in of its kind.
    let offer = "* OK [CAPABILITY IMAP4rev1 SASL-IR] Passerelle ready\r\n";
    let (_, result, words) = run(Security::None, "secret", &[offer, "* BAD The command is not understood\r\n"]);
    assert_eq!(result, Err(Failure::ProviderMisbehaved(Misbehaviour::Syntax)));
    assert_eq!(words.as_deref(), Some("The command is not understood"));
}

#[test]
fn an_old_provider_is_asked_for_everything() {
    let (said, result, _) = run(
        Security::None,
        "p\"w",
        &[
            "* OK ready. [UwBJADIA]\r\n",
            "* CAPABILITY IMAP4rev1\r\nPSRL OK\r\n",
            "* OK [ALERT] Filesystem notification error\r\nPSRL OK LOGIN Ok.\r\n",
            "* CAPABILITY IMAP4rev1\r\nPSRL OK\r\n",
            LISTED,
        ],
    );
    assert_eq!(
        said,
        "PSRL CAPABILITY|PSRL LOGIN \"alice\" \"p\\\"w\"|PSRL CAPABILITY|PSRLl LIST \"\" \"*\"|PSRLs LSUB \"\" \"*\"|."
    );
    assert_eq!(result, Ok(()));
}

#[test]
fn passwords_beyond_ascii_go_as_literals() {
    let (said, _, _) = run(Security::None, "é", &["* OK [CAPABILITY IMAP4rev1] x\r\n", "+ \r\n"]);
    assert_eq!(said, "PSRL LOGIN \"alice\" {2}|é|");
}

#[test]
fn nothing_but_capability_and_starttls_goes_out_before_tls() {
    let offer = "* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN SASL-IR] x\r\n";
    let (said, result, _) =
        run(Security::Starttls, "secret", &[offer, "PSRL OK\r\n", "* CAPABILITY AUTH=PLAIN\r\nPSRL OK\r\n"]);
    assert_eq!(said, "PSRL STARTTLS|TPSRL CAPABILITY|PSRL AUTHENTICATE PLAIN|");
    assert_eq!(result, Ok(()));
    let no_starttls = Err(Failure::ProviderUnreachable(Unreachable::NoStarttls));
    for answers in [
        &["* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] x\r\n"][..],
        &["* PREAUTH [CAPABILITY STARTTLS AUTH=PLAIN] x\r\n"],
        &[offer, "PSRL NO not now\r\n"],
        &[offer, "PSRL BAD what\r\n"],
    ] {
        let (said, result, _) = run(Security::Starttls, "secret", answers);
        assert!(!said.contains("AUTH") && !said.contains("LOGIN"), "{said}");
        assert_eq!(result, no_starttls);
    }
}

#[test]
fn octets_behind_starttls_in_clear_end_the_opening() {
    let offer = "* OK [CAPABILITY IMAP4rev1 STARTTLS] x\r\n";
    let (said, result, _) =
        run(Security::Starttls, "secret", &[offer, "PSRL OK\r\n* CAPABILITY AUTH=PLAIN SASL-IR\r\n"]);
    assert_eq!(result, Err(Failure::ProviderMisbehaved(Misbehaviour::StarttlsInjection)));
    assert!(!said.contains("AUTH"), "{said}");
}

#[test]
fn refusals_keep_the_providers_words() {
    let greeting = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] x\r\n";
    let (_, result, words) =
        run(Security::Tls, "x", &[greeting, "PSRL NO [AUTHENTICATIONFAILED] Bad\u{7} password\r\n"]);
    assert_eq!((result, words.as_deref()), (Err(Failure::SignInRefused), Some("Bad? password")));
    let (_, result, _) = run(Security::Tls, "x", &[greeting, "PSRL NO [LIMIT] Too many\r\n"]);
    assert_eq!(result, Err(Failure::ProviderUnreachable(Unreachable::Unavailable)));
    let echo = "PSRL BAD no such: AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==, LOGIN alice secret\r\n";
    let (_, _, words) = run(Security::Tls, "secret", &[greeting, echo]);
    assert_eq!(words.as_deref(), Some("no such: AUTHENTICATE PLAIN [hidden] LOGIN alice [hidden]"));
    let (_, result, words) = run(Security::Tls, "x", &["* BYE down for lunch\r\n"]);
    let down = Err(Failure::ProviderUnreachable(Unreachable::Unavailable));
    assert_eq!((result, words.as_deref()), (down, Some("down for lunch")));
}

#[test]
fn a_tagged_ok_that_was_never_asked_for_is_no_sign_in() {
    for answers in [
        &["PSRL OK\r\n"][..],
        &["* OK [CAPABILITY AUTH=PLAIN] x\r\n", "PSRL OK signed in\r\n"],
        &["* OK x\r\n", "other OK\r\n"],
    ] {
        let (said, result, _) = run(Security::Tls, "x", answers);
        assert!(result.is_err() && !said.ends_with('.'), "{said}");
    }
}

const TOKEN: &str = "ya29.a0";
const GMAIL: &str = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2 AUTH=PLAIN AUTH=OAUTHBEARER] Gimap ready\r\n";
const EXCHANGE: &str = "* OK The Microsoft Exchange IMAP4 service is ready. [UwBJADIA]\r\n";
/// `user=alice`, `auth=Bearer ya29.a0` in base64.
const XOAUTH2: &str = "dXNlcj1hbGljZQFhdXRoPUJlYXJlciB5YTI5LmEwAQE=";
const OAUTHBEARER: &str = "bixhPWFsaWNlLAFhdXRoPUJlYXJlciB5YTI5LmEwAQE=";

/// What was said, how it ended, the words, and whether a fresh token may do.
fn with_token(answers: &[&str]) -> (String, Result<(), Failure>, String, bool) {
    let sign_in = SignIn::Bearer { user: "alice".into(), token: Secret::new(TOKEN.to_owned()) };
    let (said, result, opening) = play(Security::Tls, sign_in, answers);
    (said, result, opening.provider_words().unwrap_or_default().to_owned(), opening.token_refused())
}

#[test]
fn a_token_takes_one_round_trip_with_sasl_ir() {
    let ok = "PSRL OK [CAPABILITY IMAP4rev1] alice authenticated (Success)\r\n";
    let (said, result, _, _) = with_token(&[GMAIL, ok, LISTED]);
    assert_eq!(said, format!("PSRL AUTHENTICATE XOAUTH2 {XOAUTH2}|PSRLl LIST \"\" \"*\"|PSRLs LSUB \"\" \"*\"|."));
    assert_eq!(result, Ok(()));
}

#[test]
fn without_sasl_ir_the_token_waits_for_its_plus() {
    let offer = "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 UIDPLUS\r\nPSRL OK CAPABILITY completed.\r\n";
    let (said, result, _, _) = with_token(&[EXCHANGE, offer]);
    assert_eq!((&*said, &result), ("PSRL CAPABILITY|PSRL AUTHENTICATE XOAUTH2|", &Ok(())));
    let (said, result, _, _) = with_token(&[EXCHANGE, offer, "+ \r\n", "PSRL OK AUTHENTICATE completed.\r\n"]);
    assert_eq!(said, format!("PSRL CAPABILITY|PSRL AUTHENTICATE XOAUTH2|{XOAUTH2}|PSRL CAPABILITY|"));
    assert_eq!(result, Ok(()));
}

#[test]
fn oauthbearer_answers_its_challenge_with_one_octet() {
    let greeting = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=OAUTHBEARER] Dovecot ready.\r\n";
    let challenge = "+ eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=\r\n";
    let no = "PSRL NO [AUTHENTICATIONFAILED] Authentication failed.\r\n";
    let (said, result, words, token_refused) = with_token(&[greeting, challenge, no]);
    assert_eq!(said, format!("PSRL AUTHENTICATE OAUTHBEARER {OAUTHBEARER}|AQ==|"));
    assert_eq!(result, Err(Failure::SignInRefused));
    assert_eq!((&*words, token_refused), ("Authentication failed. (status invalid_token)", true));
}

#[test]
fn xoauth2_answers_its_challenge_with_an_empty_line() {
    let google =
        "+ eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiQmVhcmVyIiwic2NvcGUiOiJodHRwczovL21haWwuZ29vZ2xlLmNvbS8ifQ==\r\n";
    let no = "PSRL NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)\r\n";
    let (said, result, words, token_refused) = with_token(&[GMAIL, google, no]);
    assert_eq!(said, format!("PSRL AUTHENTICATE XOAUTH2 {XOAUTH2}||"));
    assert_eq!((result, token_refused), (Err(Failure::SignInRefused), true));
    assert_eq!(words, "Invalid credentials (Failure) (status 400, scope wanted https://mail.google.com/)");

    let dovecot = "+ eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIiwic2NvcGUiOiJtYWlsIn0=\r\n";
    let (said, _, words, token_refused) =
        with_token(&[GMAIL, dovecot, "PSRL NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"]);
    assert!(said.ends_with("||") && token_refused, "{said}");
    assert_eq!(words, "Authentication failed. (status 401, scope wanted mail)");
}

#[test]
fn microsoft_refuses_without_a_challenge() {
    let greeting = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2 LOGINDISABLED] x\r\n";
    let (said, result, _, token_refused) = with_token(&[greeting, "PSRL NO AUTHENTICATE failed.\r\n"]);
    assert_eq!(said, format!("PSRL AUTHENTICATE XOAUTH2 {XOAUTH2}|"));
    assert_eq!((result, token_refused), (Err(Failure::SignInRefused), true));
}

#[test]
fn what_a_fresh_token_does_not_mend_is_no_refused_token() {
    let unavailable = || Err(Failure::ProviderUnreachable(Unreachable::Unavailable));
    let not_connected = "BAD User is authenticated but not connected.\r\n";
    let after = |tag: &str| format!("{tag} {not_connected}");
    let cases = [
        (vec!["PSRL NO [ALERT] Too many simultaneous connections. (Failure)\r\n".to_owned()], unavailable()),
        (vec!["PSRL NO [UNAVAILABLE] Temporary authentication failure. [mx:1]\r\n".to_owned()], unavailable()),
        (
            vec!["PSRL NO Request is throttled. Suggested Backoff Time: 299961 milliseconds\r\n".to_owned()],
            unavailable(),
        ),
        (vec!["PSRL NO Server Unavailable. 15\r\n".to_owned()], unavailable()),
        (vec![after("PSRL")], unavailable()),
        (vec!["PSRL OK AUTHENTICATE completed.\r\n".to_owned(), after("PSRL")], unavailable()),
        (vec!["PSRL OK [CAPABILITY IMAP4rev1] completed.\r\n".to_owned(), after("PSRLl")], unavailable()),
        (
            vec!["PSRL NO [ALERT] Please log in via your web browser (Failure)\r\n".to_owned()],
            Err(Failure::SignInRefused),
        ),
        (vec!["PSRL BAD Invalid SASL argument. x1\r\n".to_owned()], Err(Failure::SignInRefused)),
    ];
    for (answers, awaited) in cases {
        let answers: Vec<_> = std::iter::once(GMAIL).chain(answers.iter().map(String::as_str)).collect();
        let (_, result, words, token_refused) = with_token(&answers);
        assert_eq!(result, awaited, "{answers:?}");
        assert!(!token_refused && !words.is_empty(), "{answers:?}");
    }
}

#[test]
fn a_host_without_bearer_mechanisms_gets_no_token() {
    let (said, result, words, token_refused) = with_token(&["* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] x\r\n"]);
    assert_eq!((&*said, result, token_refused), ("", Err(Failure::SignInRefused), false));
    assert!(words.contains("XOAUTH2"), "{words}");
}

#[test]
fn a_token_that_cannot_be_sent_is_not() {
    let sign_in = SignIn::Bearer { user: "alice".into(), token: Secret::new("a b".to_owned()) };
    let (said, result, _) = play(Security::Tls, sign_in, &[GMAIL]);
    assert_eq!((&*said, result), ("", Err(Failure::SignInRefused)));
}

#[test]
fn challenges_do_not_go_on_for_ever_and_no_ok_follows_one() {
    let challenge = "+ eyJzdGF0dXMiOiI0MDEifQ==\r\n";
    let unasked = Err(Failure::ProviderMisbehaved(Misbehaviour::Unasked));
    assert_eq!(with_token(&[GMAIL, challenge, challenge]).1, unasked);
    assert_eq!(with_token(&[GMAIL, challenge, "PSRL OK come in\r\n"]).1, unasked);
    // Nor before the token was sent.
    let offer = "* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2] x\r\n";
    assert_eq!(with_token(&[offer, "PSRL OK come in\r\n"]).1, unasked);
}

#[test]
fn a_token_that_is_echoed_is_not_kept() {
    let echo = format!("PSRL BAD no such: AUTHENTICATE XOAUTH2 {XOAUTH2} nor {TOKEN}\r\n");
    assert_eq!(with_token(&[GMAIL, &echo]).2, "no such: AUTHENTICATE XOAUTH2 [hidden] nor [hidden]");
}
