//! Failure: why a command or a session ended, who is at fault, and what each protocol says of it.
//!
//! This file alone turns a failure into replies, so that the same trouble always gets the same words. Our own trouble and
//! the provider's refusal *of us* are transient towards the CRM: mail is never bounced, and an account never disabled in
//! the CRM, for what is not the CRM's fault. A failure holds no mail content, no secret and no RemoteName.
//!
//! A command that the provider refuses is no Failure: its reply is passed on by the relay.
//!
//! Codes: RFC 5530 (IMAP), RFC 3463 and 4954 (SMTP), RFC 2449 and 3206 (POP3).

use crate::model::{Pin, Pins, SignInLink};
use std::{borrow::Cow, net::SocketAddr};

/// Why a command or a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A cap of ours is reached. Transient.
    #[error("too busy: {0}")]
    Busy(Cap),
    /// The client broke its protocol. The command or the session ends; nothing went to the provider.
    #[error("the client misbehaved: {0}")]
    ClientMisbehaved(Misbehaviour),
    /// The provider wants a person to consent again; by this link, where there is one. Transient towards the CRM, until
    /// someone acts.
    #[error("the provider wants its owner to sign in again")]
    ConsentNeeded(Option<SignInLink>),
    /// A rule of the house says no. Permanent.
    #[error("not allowed: {0}")]
    Denied(Rule),
    /// A fault in the bridge; the log says where. Transient.
    #[error("internal fault: {0}")]
    Internal(&'static str),
    /// The CRM's login or password is wrong. The one failure that a CRM may take for a wrong password.
    #[error("login or password is wrong")]
    LoginRefused,
    /// The disk of the bridge is full. Transient.
    #[error("the disk of the bridge is full")]
    OurDiskFull,
    /// The provider broke its protocol. Transient.
    #[error("the provider misbehaved: {0}")]
    ProviderMisbehaved(Misbehaviour),
    /// No usable connection to the provider. Transient.
    #[error("the provider cannot be reached: {0}")]
    ProviderUnreachable(Unreachable),
    /// The provider refuses the bridge's sign-in. Transient towards the CRM: its own password is right.
    #[error("the provider refused the bridge's sign-in")]
    SignInRefused,
}

/// The cap that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cap {
    #[error("connections to the bridge")]
    Connections,
    #[error("connections to the provider for this account")]
    Lanes,
    #[error("refused logins on one connection")]
    Logins,
    #[error("messages of this account in the queue")]
    Queue,
    #[error("messages a minute to the provider for this account")]
    Rate,
    #[error("sessions signed in to this account")]
    Sessions,
    #[error("access tokens of clients, shown to the provider for the first time")]
    Tokens,
}

/// How a peer broke its protocol: what, never the octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    #[error("a bare CR or LF")]
    BareLineEnd,
    #[error("HTTP on a mail port")]
    Http,
    #[error("a line is too long")]
    LineTooLong,
    #[error("a literal is too large")]
    LiteralTooLarge,
    #[error("a literal announced without a usable size")]
    LiteralSize,
    #[error("a NUL in a message")]
    Nul,
    #[error("octets in clear behind STARTTLS")]
    StarttlsInjection,
    #[error("a command or answer of an unknown form")]
    Syntax,
    #[error("too many bad commands")]
    TooManyBadCommands,
    #[error("too many lines in one answer")]
    TooManyLines,
    #[error("too many names of mailboxes")]
    TooManyMailboxes,
    #[error("too slow")]
    TooSlow,
    #[error("an answer that nobody asked for")]
    Unasked,
    #[error("the UIDVALIDITY of mailboxes changes again and again")]
    Validity,
    #[error("a command out of order")]
    WrongState,
}

/// The rule that says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    #[error("the message has more than one From")]
    FromSeveral,
    #[error("the From of the message cannot be read")]
    FromUnreadable,
    #[error("receiving is switched off for this account")]
    Receiving,
    #[error("the rights on this mailbox")]
    Rights,
    #[error("the sender address is not one of this account")]
    Sender,
    #[error("sending is switched off for this account")]
    Sending,
}

/// Why there is no usable connection to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// The key is not the pinned one.
    #[error("its key has changed; pinned: {pinned}; shown: {shown}")]
    CertificateKey { pinned: Pins, shown: Pin },
    /// The certificate is for another name.
    #[error("its certificate is for another name")]
    CertificateName,
    /// The certificate is expired or not valid yet.
    #[error("its certificate is out of date")]
    CertificateTime,
    /// The certificate's issuer is not trusted. `key` is what could be pinned, where one was read.
    #[error("its certificate comes from an unknown authority")]
    CertificateUnknown { key: Option<Pin> },
    /// The connection ended or broke.
    #[error("the connection was lost")]
    Lost,
    /// The host name has no address.
    #[error("its host name is not known")]
    NameUnknown,
    /// TLS is wanted and STARTTLS is not offered, or the session is signed in before it (PREAUTH).
    #[error("it does not offer STARTTLS")]
    NoStarttls,
    /// The endpoint is one of the bridge's own listeners.
    #[error("the endpoint is the bridge itself, which listens at: {listener}")]
    Ourselves { listener: SocketAddr },
    /// Nobody listens there.
    #[error("the connection was refused")]
    Refused,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The TLS handshake failed for another reason than the certificate.
    #[error("the TLS handshake failed")]
    Tls,
    /// The provider said that it is not available now (`* BYE`, 421, 4xx at the greeting).
    #[error("it is not available now")]
    Unavailable,
}

/// What IMAP says: `NO [CODE] text` under the command's tag, or `* BYE [CODE] text` when the session ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImapReply {
    /// `NO` or `BAD`.
    pub condition: &'static str,
    /// A response code of RFC 5530 without brackets.
    pub code: Option<&'static str>,
    pub text: Cow<'static, str>,
}

/// Where in an SMTP session a failure is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpMoment {
    /// In answer to AUTH (RFC 4954 section 6).
    Auth,
    /// In answer to another command or to the end of data.
    Command,
    /// In answer to what waited for a lane that is gone: 4.4.2, a connection that was there and dropped (RFC 3463 3.5).
    Midway,
    /// Unasked, before the connection closes.
    Closing,
}

impl SmtpMoment {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auth, Self::Command, Self::Midway, Self::Closing];
}

/// What SMTP says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpReply {
    pub code: u16,
    /// RFC 3463; its class is that of the code.
    pub enhanced: &'static str,
    pub text: Cow<'static, str>,
}

/// What became of a transaction whose lane is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostTransaction {
    /// The provider has not been told that the message is whole.
    NotSent,
    /// It has, and its answer was lost: whether it goes out is not known (RFC 1047).
    Uncertain,
}

impl LostTransaction {
    /// Transient: a client tries again, and knows what it risks.
    #[must_use]
    pub fn smtp(self) -> SmtpReply {
        let text = match self {
            Self::NotSent => "The mail provider was lost, send the message again",
            Self::Uncertain => {
                "The mail provider was lost before it answered, the message may have been sent, look before you try again"
            }
        };
        SmtpReply { code: 451, enhanced: "4.4.2", text: Cow::Borrowed(text) }
    }
}

/// For a stray CR or LF. RFC 3463 has no code of its own for it. This one is Exchange Online's (its non-delivery reports
/// say `550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal`), so that whoever looks it up finds what it means and how to mend the
/// sender; software that does not know it reads class and subject: permanent, the content (RFC 3463 sections 2 and 3.7).
const BARE_LINE_END: (u16, &str) = (550, "5.6.11");

impl Failure {
    /// The IMAP column of the table.
    #[must_use]
    pub fn imap(&self) -> ImapReply {
        let (condition, code) = match self {
            Self::Busy(_) => ("NO", Some("LIMIT")),
            Self::ClientMisbehaved(_) => ("BAD", None),
            Self::ConsentNeeded(_) | Self::SignInRefused => ("NO", Some("CONTACTADMIN")),
            Self::Denied(_) => ("NO", Some("NOPERM")),
            Self::Internal(_) => ("NO", Some("SERVERBUG")),
            Self::LoginRefused => ("NO", Some("AUTHENTICATIONFAILED")),
            Self::OurDiskFull | Self::ProviderMisbehaved(_) | Self::ProviderUnreachable(_) => {
                ("NO", Some("UNAVAILABLE"))
            }
        };
        ImapReply { condition, code, text: self.words() }
    }

    /// The SMTP column of the table.
    #[must_use]
    pub fn smtp(&self, moment: SmtpMoment) -> SmtpReply {
        use SmtpMoment::{Auth, Closing, Command, Midway};
        let (code, enhanced) = match (self, moment) {
            // Who has signed in need not connect again.
            (Self::Busy(Cap::Lanes | Cap::Rate), Command) => (451, "4.3.2"),
            (Self::Busy(Cap::Queue), _) => (452, "4.3.1"),
            (Self::Busy(_), _) => (421, "4.3.2"),
            (Self::ClientMisbehaved(Misbehaviour::WrongState), _) => (503, "5.5.1"),
            (Self::ClientMisbehaved(Misbehaviour::BareLineEnd), _) => BARE_LINE_END,
            (Self::ClientMisbehaved(Misbehaviour::Nul), _) => (550, "5.6.0"),
            (Self::ClientMisbehaved(_), Auth | Command | Midway) => (500, "5.5.2"),
            (Self::ClientMisbehaved(_), Closing) => (421, "4.7.0"),
            (Self::Denied(_), _) => (550, "5.7.1"),
            (Self::LoginRefused, _) => (535, "5.7.8"),
            (Self::Internal(_), Closing) => (421, "4.3.0"),
            (Self::Internal(_), Command | Midway) => (451, "4.3.0"),
            (Self::OurDiskFull, _) => (452, "4.3.1"),
            (Self::ProviderUnreachable(_) | Self::ProviderMisbehaved(_), Command) => (451, "4.4.1"),
            (Self::ProviderUnreachable(_) | Self::ProviderMisbehaved(_), Midway) => (451, "4.4.2"),
            (Self::ProviderUnreachable(_) | Self::ProviderMisbehaved(_), Closing) => (421, "4.4.2"),
            (
                Self::ConsentNeeded(_)
                | Self::SignInRefused
                | Self::Internal(_)
                | Self::ProviderUnreachable(_)
                | Self::ProviderMisbehaved(_),
                _,
            ) => (454, "4.7.0"),
        };
        SmtpReply { code, enhanced, text: self.words() }
    }

    /// One sentence for whoever reads the CRM's error: why, and what to do.
    fn words(&self) -> Cow<'static, str> {
        if let Self::ConsentNeeded(Some(link)) = self {
            let why = "The provider wants the owner of this mailbox to sign in again, open this link in a browser:";
            return format!("{why} {}", link.as_str()).into();
        }
        self.fixed_words().into()
    }

    fn fixed_words(&self) -> &'static str {
        match self {
            Self::Busy(Cap::Logins) => {
                "Too many refused logins on this connection, mend login or password, then connect again"
            }
            Self::Busy(Cap::Queue) => {
                "Too many messages of this account wait in the queue of the mail bridge, this one was not taken, try again when some are out"
            }
            Self::Busy(Cap::Rate) => {
                "The mail provider takes no more messages of this account in this minute, nothing was sent, try again in a minute"
            }
            Self::Busy(Cap::Sessions) => {
                "Too many connections are signed in to this account, close some or try again in a moment"
            }
            Self::Busy(Cap::Tokens) => {
                "Too many access tokens were tried for this account that the provider had not seen yet, try again in a minute"
            }
            Self::Busy(_) => "The mail bridge is busy, try again in a moment",
            Self::ClientMisbehaved(Misbehaviour::BareLineEnd) => {
                "A CR or LF stands alone and nothing was done, end each line with CR LF"
            }
            Self::ClientMisbehaved(Misbehaviour::Http) => "This port speaks mail, not HTTP, use it in a mail program",
            Self::ClientMisbehaved(Misbehaviour::LineTooLong) => {
                "The line is too long and nothing of it was done, say less in one command"
            }
            Self::ClientMisbehaved(Misbehaviour::LiteralTooLarge) => {
                "The literal is too large and nothing was done, send less at once"
            }
            Self::ClientMisbehaved(Misbehaviour::Nul) => {
                "A message cannot hold octets of value 0 and nothing was done, encode its parts in base64"
            }
            Self::ClientMisbehaved(Misbehaviour::TooManyBadCommands) => {
                "Too many bad commands, connect again with a program that speaks this protocol"
            }
            Self::ClientMisbehaved(Misbehaviour::TooSlow) => "No command in time, connect again when there is one",
            Self::ClientMisbehaved(Misbehaviour::WrongState) => {
                "The command is not possible now, sign in, select a folder or await earlier answers first"
            }
            Self::ClientMisbehaved(_) => {
                "The command is not understood and nothing was done, correct it and send it again"
            }
            Self::ConsentNeeded(_) => {
                "The provider wants the owner of this mailbox to sign in again, ask the administrator of the mail bridge for the link"
            }
            Self::Denied(Rule::FromSeveral) => "The message has more than one From and was not sent, send it with one",
            Self::Denied(Rule::FromUnreadable) => {
                "The From of the message cannot be read and nothing was sent, send it as NAME <ADDRESS>"
            }
            Self::Denied(Rule::Receiving) => {
                "Receiving is switched off for this account, ask the administrator of the mail bridge"
            }
            Self::Denied(Rule::Rights) => {
                "The rights on this folder do not allow it, ask the administrator of the mail bridge"
            }
            Self::Denied(Rule::Sender) => {
                "This account may not send from this address, use its own or ask the administrator of the mail bridge to add an alias"
            }
            Self::Denied(Rule::Sending) => {
                "Sending is switched off for this account, ask the administrator of the mail bridge"
            }
            Self::Internal(_) => "The mail bridge has a fault, its log says more, try again later",
            Self::LoginRefused => "Login or password of the mail bridge is wrong, copy both again from what it showed",
            Self::OurDiskFull => "The disk of the mail bridge is full, tell its administrator",
            Self::ProviderMisbehaved(_) => "The mail provider answered in a way that cannot be used, try again later",
            Self::ProviderUnreachable(_) => "The mail provider cannot be reached now, try again later",
            Self::SignInRefused => {
                "The mail provider refuses the stored sign-in, ask the administrator of the mail bridge to renew it"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_wrong_login_looks_like_a_wrong_password() {
        let ours = [
            Failure::Busy(Cap::Lanes),
            Failure::ConsentNeeded(None),
            Failure::Internal("x"),
            Failure::OurDiskFull,
            Failure::ProviderMisbehaved(Misbehaviour::Syntax),
            Failure::ProviderUnreachable(Unreachable::Refused),
            Failure::SignInRefused,
        ];
        for failure in ours {
            for moment in SmtpMoment::ALL {
                assert_eq!(failure.smtp(moment).code / 100, 4, "{failure} at {moment:?}");
            }
            assert_ne!(failure.imap().code, Some("AUTHENTICATIONFAILED"), "{failure}");
        }
        assert_eq!(Failure::LoginRefused.smtp(SmtpMoment::Auth).code, 535);
        assert_eq!(Failure::LoginRefused.imap().code, Some("AUTHENTICATIONFAILED"));
    }

    #[test]
    fn words_fit_every_protocol() {
        let failures =
            [Failure::LoginRefused, Failure::SignInRefused, Failure::ConsentNeeded(None), Failure::OurDiskFull];
        for failure in failures {
            let text = failure.imap().text;
            assert!(text.is_ascii() && !text.contains("  ") && text.len() < 200, "{text}");
        }
    }
}
