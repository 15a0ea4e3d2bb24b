//! What is asked of a token endpoint, and what is made of its answers: real ones, and any JSON.

use super::*;
use crate::oauth::TokenEndpoint;
use proptest::prelude::*;

fn client(secret: Option<&str>, scope: &str) -> Client {
    Client {
        token_endpoint: TokenEndpoint::parse("https://oauth2.example.org/token").expect("an endpoint"),
        id: "client 1".to_owned(),
        proof: secret.map_or(Proof::Nothing, |secret| Proof::Secret(Secret::new(secret.to_owned()))),
        scope: scope.to_owned(),
    }
}

fn trouble(status: u16, body: &str) -> Trouble {
    match read(status, body.as_bytes()) {
        Err(trouble) => trouble,
        Ok(_) => panic!("tokens of {body}"),
    }
}

#[test]
fn the_message_is_that_of_the_rfc() {
    let refresh = Secret::new("1//refresh+token".to_owned());
    let request = message(&client(Some("s&cret"), "a b"), &Question::Refresh(&refresh), None).expect("a request");
    assert_eq!(
        (request.method().as_str(), request.uri().to_string().as_str()),
        ("POST", "https://oauth2.example.org/token")
    );
    assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
    assert!(!request.headers().contains_key("authorization"));
    let mut fields: Vec<_> = std::str::from_utf8(request.body()).expect("text").split('&').collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "client_id=client+1",
            "client_secret=s%26cret",
            "grant_type=refresh_token",
            "refresh_token=1%2F%2Frefresh%2Btoken",
            "scope=a+b"
        ]
    );
    let request = message(&client(None, ""), &Question::Refresh(&refresh), None).expect("a request");
    let body = std::str::from_utf8(request.body()).expect("text");
    assert!(!body.contains("secret") && !body.contains("scope"), "{body}");
}

#[test]
fn answers_of_the_providers_are_read() {
    let read = |body: &str| {
        let tokens = read(200, body.as_bytes()).unwrap_or_else(|trouble| panic!("{trouble}: {body}"));
        (tokens.access.expose().clone(), tokens.refresh.map(|token| token.expose().clone()), tokens.lifetime.as_secs())
    };
    // Google: no other refresh token. Microsoft: one at each use. Older endpoints: the life as a string.
    let google =
        r#"{"access_token":"ya29.a0","expires_in":3599,"scope":"https://mail.google.com/","token_type":"Bearer"}"#;
    assert_eq!(read(google), ("ya29.a0".to_owned(), None, 3599));
    let microsoft = r#"{"token_type":"Bearer","scope":"x","expires_in":4000,"ext_expires_in":4000,"access_token":"eyJ0","refresh_token":"0.AX"}"#;
    assert_eq!(read(microsoft), ("eyJ0".to_owned(), Some("0.AX".to_owned()), 4000));
    for (said, seconds) in [
        (r#""3599""#, 3599),
        ("5", 60),
        ("0", 60),
        ("-1", 60),
        ("1e300", 86_400),
        ("999999999999999999999", 86_400),
        ("\"x\"", 3600),
        ("null", 3600),
        ("[]", 3600),
        ("\"NaN\"", 3600),
    ] {
        let body = format!(r#"{{"access_token":"t","token_type":"bearer","expires_in":{said}}}"#);
        assert_eq!(read(&body).2, seconds, "{said}");
    }
    assert_eq!(read(r#"{"access_token":"t","refresh_token":null}"#).1, None);
}

#[test]
fn what_cannot_be_used_is_no_token() {
    let nonsense = |status, what| Trouble::Nonsense { status, what };
    for (status, body, what) in [
        (200, "", Nonsense::NoJson),
        (200, "<html>", Nonsense::NoJson),
        (200, "[]", Nonsense::NoJson),
        (200, &"[".repeat(BODY_MAX), Nonsense::NoJson),
        (404, "not here", Nonsense::NoJson),
        (200, "{}", Nonsense::NoToken),
        (200, r#"{"access_token":"a b","token_type":"Bearer"}"#, Nonsense::NoToken),
        (200, r#"{"access_token":"","token_type":"Bearer"}"#, Nonsense::NoToken),
        (200, r#"{"access_token":"t","token_type":"mac"}"#, Nonsense::NoToken),
        (200, r#"{"access_token":"t","refresh_token":"a b"}"#, Nonsense::NoToken),
        (200, r#"{"access_token":"t","refresh_token":7}"#, Nonsense::NoToken),
        (200, &format!(r#"{{"access_token":"t"}}{}"#, " ".repeat(BODY_MAX)), Nonsense::TooLong),
        (302, "{}", Nonsense::Redirect),
        (307, "<html>", Nonsense::Redirect),
        (400, r#"{"access_token":"t"}"#, Nonsense::UnknownError),
    ] {
        assert_eq!(trouble(status, body), nonsense(status, what), "{status} {}", &body[..body.len().min(60)]);
    }
}

#[test]
fn refusals_are_told_apart() {
    let reason = |code, number| Reason { code, number, text: None };
    let of_google = |code, text| Reason { code, number: None, text: Some(text) };
    for (status, body, awaited) in [
        (
            400,
            r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#,
            Trouble::Consent(of_google("invalid_grant", "Token has been expired or revoked")),
        ),
        // Google's finer name alone; in other letters; and a text that is another provider's.
        (
            400,
            r#"{"error":"invalid_grant","error_subtype":"invalid_rapt"}"#,
            Trouble::Consent(of_google("invalid_grant", "invalid_rapt")),
        ),
        (
            400,
            r#"{"error":"invalid_grant","error_description":"The account has been deleted: ya29.secret"}"#,
            Trouble::Consent(of_google("invalid_grant", "Account has been deleted")),
        ),
        (
            400,
            r#"{"error":"invalid_grant","error_description":"no such ya29.secret"}"#,
            Trouble::Consent(reason("invalid_grant", None)),
        ),
        (
            400,
            r#"{"error":"invalid_grant","error_codes":[50173],"error_description":"AADSTS50173: Bad Request"}"#,
            Trouble::Consent(reason("invalid_grant", Some(50_173))),
        ),
        (
            400,
            r#"{"error":"invalid_grant","error_codes":[50173]}"#,
            Trouble::Consent(reason("invalid_grant", Some(50_173))),
        ),
        // Where the number stands in the words alone; never a longer one.
        (
            400,
            r#"{"error":"invalid_grant","error_description":"AADSTS700082: The refresh token has expired."}"#,
            Trouble::Consent(reason("invalid_grant", Some(700_082))),
        ),
        (
            400,
            r#"{"error":"invalid_grant","error_description":"AADSTS7000222: The provided client secret keys are expired."}"#,
            Trouble::Client(reason("invalid_grant", Some(7_000_222))),
        ),
        (
            400,
            r#"{"error":"invalid_grant","error_description":"AADSTS12345678901234567890"}"#,
            Trouble::Consent(reason("invalid_grant", None)),
        ),
        (
            400,
            r#"{"error":"interaction_required","error_codes":[50076]}"#,
            Trouble::Consent(reason("interaction_required", Some(50_076))),
        ),
        (
            401,
            r#"{"error":"invalid_client","error_codes":[7000222]}"#,
            Trouble::Client(reason("invalid_client", Some(7_000_222))),
        ),
        (
            400,
            r#"{"error":"unauthorized_client","error_codes":[700016]}"#,
            Trouble::Client(reason("unauthorized_client", Some(700_016))),
        ),
        (
            400,
            r#"{"error":"invalid_grant","error_codes":[7000215]}"#,
            Trouble::Client(reason("invalid_grant", Some(7_000_215))),
        ),
        (401, r#"{"error":"invalid_client"}"#, Trouble::Client(reason("invalid_client", None))),
        (200, r#"{"error":"invalid_grant","access_token":"t"}"#, Trouble::Consent(reason("invalid_grant", None))),
        (400, r#"{"error":"temporarily_unavailable"}"#, Trouble::Unavailable { status: 400 }),
        (503, r#"{"error":"invalid_grant"}"#, Trouble::Unavailable { status: 503 }),
        (500, "<html>", Trouble::Unavailable { status: 500 }),
        (429, "", Trouble::Unavailable { status: 429 }),
        (400, r#"{"error":"ya29.a0"}"#, Trouble::Nonsense { status: 400, what: Nonsense::UnknownError }),
    ] {
        assert_eq!(trouble(status, body), awaited, "{status} {body}");
    }
}

proptest! {
    #[test]
    fn no_trouble_tells_a_token(token in "[A-Za-z0-9]{20,40}", field in "[a-z_]{1,12}", status in 200_u16..600) {
        for body in [
            format!(r#"{{"error":"{token}","{field}":"{token}","error_description":"{token}"}}"#),
            format!(r#"{{"error":"invalid_grant","error_description":"{token}","error_codes":["{token}"]}}"#),
            format!(r#"{{"access_token":"{token}","token_type":"{token}"}}"#),
            token.clone(),
        ] {
            if let Err(trouble) = read(status, body.as_bytes()) {
                let told = format!("{trouble} {trouble:?}");
                prop_assert!(!told.contains(&token));
            }
        }
    }
}

#[test]
fn every_question_has_its_own_fields_and_no_more() {
    let secret = |text: &str| Secret::new(text.to_owned());
    let (code, verifier, signed) =
        (secret("c&de"), secret("verifier-of-43-octets-or-more-it-is-said-here"), secret("a.b.c"));
    let fields = |client: &Client, question: &Question<'_>, assertion| {
        let request = message(client, question, assertion).expect("a request");
        assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
        let mut fields: Vec<_> =
            std::str::from_utf8(request.body()).expect("text").split('&').map(str::to_owned).collect();
        fields.sort_unstable();
        fields.join(" ")
    };
    let desktop = client(Some("s"), "a b");
    let asked = Question::Code { code: &code, verifier: &verifier, redirect: "http://127.0.0.1:1/cb" };
    assert_eq!(
        fields(&desktop, &asked, None),
        "client_id=client+1 client_secret=s code=c%26de code_verifier=verifier-of-43-octets-or-more-it-is-said-here \
         grant_type=authorization_code redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcb"
    );
    assert_eq!(
        fields(&desktop, &Question::Own, None),
        "client_id=client+1 client_secret=s grant_type=client_credentials scope=a+b"
    );
    let key = SigningKey { pkcs8: secret("k"), name: "n".to_owned() };
    let daemon = Client { proof: Proof::Key(key), ..client(None, "a") };
    assert_eq!(
        fields(&daemon, &Question::Own, Some(&signed)),
        "client_assertion=a.b.c client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer \
         client_id=client+1 grant_type=client_credentials scope=a"
    );
    // Google refuses a second name beside the one in the assertion.
    assert_eq!(
        fields(&daemon, &Question::Behalf(&signed), None),
        "assertion=a.b.c grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"
    );
    assert_eq!(
        fields(&client(None, "a"), &Question::Device(&code), None),
        "client_id=client+1 device_code=c%26de grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code"
    );
}
