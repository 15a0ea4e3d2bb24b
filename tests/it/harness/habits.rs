//! How providers answer, as data for the filter: capability lines, greetings, and the words of refusals that matter for
//! names and sign-in. Sources: providers.md sections 3 to 5.

use super::layout::Layout;

/// What a provider says where Dovecot would say something else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(super) greeting: &'static str,
    /// The capability lines before and after login.
    pub(super) before: &'static str,
    pub(super) after: &'static str,
    /// Untagged, just before the tagged OK of a sign-in.
    pub(super) tells_capabilities: bool,
    /// The tagged OK of a sign-in; `{verb}` and `{address}` are filled in.
    pub(super) welcome: &'static str,
    /// The tagged NO.
    pub(super) unwelcome: &'static str,
    /// The challenge after a token that is refused; none: the NO comes at once.
    pub(super) challenge: Option<&'static str>,
    /// Behind `BAD ` for what the capability line lacks.
    pub(super) bad: &'static str,
    /// The last words of a session that has lasted too long.
    pub(super) expired: &'static str,
    /// A mailbox that holds others and no message, and the NO of whoever opens it.
    pub(super) container: Option<(&'static str, &'static str)>,
    /// The NO for names with blanks at an end or two together.
    pub(super) untidy: Option<&'static str>,
    /// No keywords: not told, not searched for; no search but in US-ASCII; no codes of later RFCs.
    pub(super) exchange: bool,
    /// How LIST spells INBOX.
    pub(super) inbox: &'static str,
}

/// The answer to one sign-in too many at Gmail.
pub(crate) const GMAIL_TOO_MANY: &str = "NO [ALERT] Too many simultaneous connections. (Failure)";
/// A password where an application's own is due.
pub(crate) const GMAIL_APP_PASSWORD: &str =
    "NO [ALERT] Application-specific password required: https://support.google.com/accounts/answer/185833 (Failure)";
/// Microsoft's answers to submission, for [`super::Exim::refuse`].
pub(crate) const MICROSOFT_SMTP_OFF: &str = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information.";
pub(crate) const MICROSOFT_SMTP_BASIC_OFF: &str =
    "550 5.7.30 Basic authentication is not supported for Client Submission.";
pub(crate) const MICROSOFT_SMTP_BUSY: &str = "432 4.3.2 Concurrent connections limit exceeded.";
/// Gmail's.
pub(crate) const GMAIL_SMTP_TOO_MANY_LOGINS: &str = "454 4.7.0 Too many login attempts, please try again later. For more information, go to https://support.google.com/mail/answer/7126229 - gsmtp";
pub(crate) const GMAIL_SMTP_LIMIT: &str = "550 5.4.5 Daily user sending limit exceeded.";

pub(crate) const GMAIL: Habits = Habits {
    greeting: "OK Gimap ready for requests from 127.0.0.1 k5mb123456789",
    before: "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 XYZZY SASL-IR AUTH=XOAUTH2 AUTH=PLAIN AUTH=PLAIN-CLIENTTOKEN AUTH=OAUTHBEARER",
    after: "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 UIDPLUS COMPRESS=DEFLATE ENABLE MOVE CONDSTORE ESEARCH UTF8=ACCEPT LIST-EXTENDED LIST-STATUS LITERAL- SPECIAL-USE APPENDLIMIT=35651584",
    tells_capabilities: true,
    welcome: "OK {address} authenticated (Success)",
    unwelcome: "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)",
    challenge: Some(r#"{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}"#),
    bad: "Unknown command k5mb123456789",
    expired: "BYE Session expired, please login again",
    container: Some(("[Gmail]", "NO [NONEXISTENT] Unknown Mailbox: [Gmail] (now in authenticated state) (Failure)")),
    untidy: Some("NO [CANNOT] Folder contains excess whitespace (Failure)"),
    exchange: false,
    inbox: "INBOX",
};

pub(crate) const MICROSOFT: Habits = Habits {
    greeting: "OK The Microsoft Exchange IMAP4 service is ready. [UABBADIAUAAyADYANABDAEEAMAAwADcANAA=]",
    before: "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+",
    after: "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+",
    tells_capabilities: false,
    welcome: "OK {verb} completed.",
    unwelcome: "NO {verb} failed.",
    challenge: None,
    bad: "Command Argument Error. 11",
    expired: "BYE Connection closed. 14",
    container: None,
    untidy: None,
    exchange: true,
    inbox: "Inbox",
};

pub(crate) const OVH: Habits = Habits {
    greeting: "OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR LOGIN-REFERRALS ID ENABLE IDLE AUTH=PLAIN AUTH=LOGIN] Dovecot on host 64 ready",
    before: "IMAP4rev1 LITERAL+ SASL-IR LOGIN-REFERRALS ID ENABLE IDLE AUTH=PLAIN AUTH=LOGIN",
    after: "IMAP4rev1 LITERAL+ SASL-IR LOGIN-REFERRALS ID ENABLE IDLE SORT SORT=DISPLAY THREAD=REFERENCES THREAD=REFS THREAD=ORDEREDSUBJECT MULTIAPPEND URL-PARTIAL CATENATE UNSELECT CHILDREN NAMESPACE UIDPLUS LIST-EXTENDED I18NLEVEL=1 CONDSTORE QRESYNC ESEARCH ESORT SEARCHRES WITHIN CONTEXT=SEARCH LIST-STATUS BINARY MOVE QUOTA",
    tells_capabilities: true,
    welcome: "OK Logged in",
    unwelcome: "NO [AUTHENTICATIONFAILED] Authentication failed.",
    challenge: None,
    bad: "Error in IMAP command received by server.",
    expired: "BYE Disconnected for inactivity.",
    container: None,
    untidy: None,
    exchange: false,
    inbox: "INBOX",
};

impl Habits {
    /// Whose layout, whose habits.
    pub(super) fn of(layout: Layout) -> Self {
        match layout {
            Layout::Gmail | Layout::GmailShown => GMAIL,
            Layout::Microsoft => MICROSOFT,
            Layout::MicrosoftShown => Self { inbox: "INBOX", ..MICROSOFT },
            Layout::Ovh | Layout::OvhDense | Layout::Slash => OVH,
        }
    }
}
