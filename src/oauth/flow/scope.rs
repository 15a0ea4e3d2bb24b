//! Whether what was granted is what was asked for: on Google's page of consent a person can untick the mail.
//!
//! Pure. An access token without its scope is let in nowhere, and the provider's refusal says nothing of why.

/// What was asked for and is not in what was granted. `granted` as the token endpoint says it; where it says nothing, all
/// was granted (RFC 6749 section 5.1).
#[must_use]
pub fn missing<'a>(asked: &'a str, granted: Option<&str>) -> Vec<&'a str> {
    let Some(granted) = granted else { return Vec::new() };
    let has = |wanted: &str| granted.split_whitespace().any(|scope| is_same(scope, wanted));
    asked.split_whitespace().filter(|wanted| !is_unsaid(wanted) && !has(wanted)).collect()
}

/// Scopes that are no right to anything of the mailbox, and that Microsoft never repeats: a refresh token or the tokens of
/// OpenID Connect come instead.
const UNSAID: [&str; 6] = ["address", "email", "offline_access", "openid", "phone", "profile"];
/// Microsoft's word for all that an administrator has consented to; what that is, is not said.
const ALL: &str = "/.default";
/// Two names of one thing, Exchange Online: asked for by one, granted by the other. Microsoft Graph has rights of the same
/// last name, which open no mailbox over IMAP: so it takes more than that name.
const EXCHANGE: [&str; 2] = ["https://outlook.office.com/", "https://outlook.office365.com/"];

fn is_unsaid(scope: &str) -> bool {
    UNSAID.contains(&scope) || scope.ends_with(ALL)
}

/// Google says `https://mail.google.com/`; some leave the stroke at the end out.
fn is_same(one: &str, other: &str) -> bool {
    let of_exchange = |scope: &str| {
        let right = EXCHANGE.iter().find_map(|prefix| {
            scope.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix)).map(|_| prefix.len())
        })?;
        scope.get(right..).map(|right| right.trim_start_matches('/').to_ascii_lowercase())
    };
    let trimmed = |scope: &str| scope.trim_end_matches('/').to_owned();
    match (of_exchange(one), of_exchange(other)) {
        (Some(one), Some(other)) => one == other,
        _ => trimmed(one).eq_ignore_ascii_case(&trimmed(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOGLE: &str = "https://mail.google.com/";
    const MICROSOFT: &str =
        "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/SMTP.Send offline_access";

    #[test]
    fn what_a_person_unticked_is_told() {
        let graph = "https://graph.microsoft.com/IMAP.AccessAsUser.All https://outlook.office.com/SMTP.Send";
        for (asked, granted, missed) in [
            (GOOGLE, "openid https://www.googleapis.com/auth/userinfo.email", vec![GOOGLE]),
            (GOOGLE, "https://www.googleapis.com/auth/gmail.modify", vec![GOOGLE]),
            (GOOGLE, "", vec![GOOGLE]),
            (
                MICROSOFT,
                "https://outlook.office.com/IMAP.AccessAsUser.All",
                vec!["https://outlook.office.com/SMTP.Send"],
            ),
            (MICROSOFT, graph, vec!["https://outlook.office.com/IMAP.AccessAsUser.All"]),
            (MICROSOFT, "IMAP.AccessAsUser.All SMTP.Send", MICROSOFT.split(' ').take(2).collect()),
            ("mail", "mailbox", vec!["mail"]),
        ] {
            assert_eq!(missing(asked, Some(granted)), missed, "{granted}");
        }
    }

    #[test]
    fn what_was_granted_is_found_however_it_is_spelt() {
        for (asked, granted) in [
            (GOOGLE, Some("https://mail.google.com/ openid")),
            (GOOGLE, Some("https://mail.google.com")),
            (GOOGLE, None),
            (
                MICROSOFT,
                Some("https://outlook.office365.com/SMTP.Send  https://outlook.office.com/imap.accessasuser.all"),
            ),
            ("https://outlook.office365.com/.default", Some("")),
            ("openid offline_access mail", Some("mail")),
            ("", Some("")),
            ("", Some("anything")),
        ] {
            assert_eq!(missing(asked, granted), Vec::<&str>::new(), "{granted:?}");
        }
    }
}
