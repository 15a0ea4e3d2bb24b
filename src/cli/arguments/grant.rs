//! The options of accounts that sign in with access tokens, for whichever command takes a credential.

use clap::Args;
use passerelle::oauth::TokenEndpoint;

/// The heading of these. Said of each: said of all, clap would give it to what comes behind them, too.
const TOKENS: &str = "Sign in with access tokens";

#[derive(Args)]
pub(in crate::cli) struct GrantArguments {
    /// Show a code to sign in with on another device, as the mailbox's owner or its delegate
    #[arg(long, conflicts_with_all = ["refresh_token_stdin", "password_stdin"], help_heading = TOKENS)]
    pub(in crate::cli) device: bool,
    /// Read a refresh token from the first line of standard input, in the place of a password
    #[arg(long, requires = "client_id", conflicts_with = "password_stdin", help_heading = TOKENS)]
    pub(in crate::cli) refresh_token_stdin: bool,
    /// The client (application) that the refresh token was given to
    #[arg(long, value_name = "ID", requires = "refresh_token_stdin", help_heading = TOKENS)]
    pub(in crate::cli) client_id: Option<String>,
    /// Read the client's secret from the second line of standard input
    #[arg(long, requires = "refresh_token_stdin", help_heading = TOKENS)]
    pub(in crate::cli) client_secret_stdin: bool,
    /// Where access tokens are asked for [default: what the provider's entry says]
    #[arg(long, value_name = "URL", requires = "refresh_token_stdin", value_parser = token_endpoint,
        help_heading = TOKENS)]
    pub(in crate::cli) token_endpoint: Option<TokenEndpoint>,
    /// The directory tenant, for a provider that has tenants [default: what the provider's entry says]
    #[arg(long, value_name = "NAME", requires = "refresh_token_stdin", conflicts_with = "token_endpoint",
        value_parser = tenant, help_heading = TOKENS)]
    pub(in crate::cli) tenant: Option<String>,
}

impl GrantArguments {
    /// Whether a sign-in by access tokens is asked for.
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.device || self.refresh_token_stdin
    }
}

pub(super) fn token_endpoint(text: &str) -> Result<TokenEndpoint, String> {
    TokenEndpoint::parse(text).map_err(|invalid| invalid.to_string())
}

/// A domain or a UUID: nothing that could lead to another path.
pub(super) fn tenant(text: &str) -> Result<String, &'static str> {
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b".-".contains(&octet);
    match text {
        "" | "." | ".." => Err("not a tenant"),
        _ if text.bytes().all(allowed) => Ok(text.to_owned()),
        _ => Err("not a tenant"),
    }
}
