use super::*;
use proptest::prelude::*;

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

#[test]
fn r27_the_question_has_a_state_and_the_hash_of_a_verifier() {
    let page = TokenEndpoint::parse("https://accounts.google.com/o/oauth2/v2/auth").expect("a page");
    let parameters = BTreeMap::from([
        ("access_type".to_owned(), "offline".to_owned()),
        ("code_challenge_method".to_owned(), "plain".to_owned()),
    ]);
    let asked = Asked {
        page: &page,
        parameters: &parameters,
        client: "id",
        scope: "openid https://mail.google.com/",
        redirect: "http://localhost:1180/oauth/callback/google",
        login_hint: "a+b@example.test",
        state: &secret("st"),
        // RFC 7636, appendix B.
        verifier: &secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
    };
    assert_eq!(
        address(&asked),
        "https://accounts.google.com/o/oauth2/v2/auth?response_type=code&client_id=id&\
         redirect_uri=http%3A%2F%2Flocalhost%3A1180%2Foauth%2Fcallback%2Fgoogle&\
         scope=openid+https%3A%2F%2Fmail.google.com%2F&state=st&\
         code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&\
         login_hint=a%2Bb%40example.test&access_type=offline"
    );
}

#[test]
fn what_does_not_come_from_a_page_of_consent_is_not_read() {
    let long = format!("state=s&code={}", "c".repeat(RETURNED_MAX));
    for query in [
        "",
        "code=c",
        "state=s",
        "state=&code=c",
        "state=s&code=",
        "state=s&state=t&code=c",
        "state=s&code=a%0D%0Ab",
        &long,
    ] {
        assert!(returned(query).is_err(), "{query}");
    }
    for text in ["", "hello", "file:///etc/passwd?code=c&state=s%", "http://localhost/x", "code=c&state=s"] {
        assert!(pasted(text).is_err() || text.starts_with("file"), "{text}");
    }
}

#[test]
fn a_refusal_is_said_in_words_of_ours() {
    let words = |query: &str| returned(query).expect("read").answer.map(|_| ()).expect_err("denied").to_string();
    assert_eq!(words("state=s&error=access_denied"), "the permission was not given (access_denied)");
    assert_eq!(
        words("state=s&error=access_denied&error_description=AADSTS65004%3A+User+declined+%3Cb%3E"),
        "the person declined (access_denied, AADSTS65004)"
    );
    assert_eq!(
        words("state=s&code=c&error=%3Cscript%3E&error_description=%3Cscript%3E"),
        "the provider refused, and it is not known why (unknown)"
    );
}

#[test]
fn who_signed_in_is_read_from_what_is_no_proof() {
    let token = |claims: &str| format!(r#"{{"id_token":"e30.{}.x"}}"#, URL_SAFE_NO_PAD.encode(claims));
    let of = |claims: &str| identities(token(claims).as_bytes());
    assert_eq!(of(r#"{"email":"Alice@A.test","preferred_username":"al@a.test"}"#), ["alice@a.test", "al@a.test"]);
    assert!(of(r#"{"preferred_username":"al"}"#).is_empty());
    for answer in ["", "{}", r#"{"id_token":7}"#, r#"{"id_token":"a.b"}"#, r#"{"id_token":"a.!.c"}"#] {
        assert!(identities(answer.as_bytes()).is_empty(), "{answer}");
    }
}

#[test]
fn a_description_is_of_its_issuer_and_leads_where_nobody_listens() {
    let issuer = TokenEndpoint::parse("https://id.test/tenant").expect("an issuer");
    assert_eq!(
        descriptions(&issuer),
        [
            "https://id.test/tenant/.well-known/openid-configuration",
            "https://id.test/.well-known/oauth-authorization-server/tenant"
        ]
    );
    let body = |issuer: &str, token: &str| {
        format!(
            r#"{{"issuer":"{issuer}","authorization_endpoint":"https://id.test/a","token_endpoint":"{token}",
                "authorization_response_iss_parameter_supported":true}}"#
        )
    };
    let read = |text: String| discovered(&issuer, text.as_bytes());
    let found = read(body("https://id.test/tenant", "https://id.test/t")).expect("discovered");
    assert!(found.says_issuer && found.token.as_str() == "https://id.test/t");
    assert_eq!(read(body("https://evil.test", "https://id.test/t")), Err(NotDiscovered::OtherIssuer));
    assert_eq!(read(body("https://id.test/tenant", "http://id.test/t")), Err(NotDiscovered::Endpoints));
    assert_eq!(read("<html>".to_owned()), Err(NotDiscovered::Nothing));
}

proptest! {
    #[test]
    fn a_pasted_address_is_read_as_the_browser_had_it(
        code in "[ -~]{1,60}", state in "[A-Za-z0-9_-]{1,22}", scheme in "(https?://)?", blanks in "[ \r\n\t]{0,3}",
    ) {
        let query: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("code", &code).append_pair("session_state", "x").append_pair("state", &state).finish();
        let text = format!("{blanks}{scheme}localhost:1180/oauth/callback/google?{query}{blanks}");
        let (path, read) = pasted(&text).expect("read");
        prop_assert_eq!(path, "/oauth/callback/google");
        prop_assert_eq!(read.state.expose(), &state);
        prop_assert_eq!(read.answer.ok().map(|code| code.expose().clone()), Some(code));
    }

    #[test]
    fn nothing_that_is_pasted_ends_us(text in "\\PC{0,200}", query in "(code|state|error|iss|&|=|%[0-9A-F]{0,2}|x){0,20}") {
        let _ = pasted(&text);
        let _ = pasted(&format!("http://localhost/cb?{query}"));
        let _ = identities(text.as_bytes());
    }
}
