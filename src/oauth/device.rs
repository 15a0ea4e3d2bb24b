//! Polls for the tokens of a code that a person types on another device: one poll an interval, until it is over.
//!
//! Nothing is kept here and nobody is told: whoever drops [`wait`] stops it.

use super::{
    TokenEndpoint, assertion,
    exchange::Exchange,
    flow::{
        self, Client, Question, Tokens, Trouble,
        device::{self, Code, Ended, Polled},
    },
};

/// Asks for a code.
///
/// # Errors
/// What became of it.
pub async fn start(exchange: &Exchange, client: &Client, endpoint: &TokenEndpoint) -> Result<Code, Trouble> {
    let message = |now| device::message(client, endpoint, assertion::of_client(client, now)?.as_ref());
    exchange.by_its_clock(client, endpoint, message, device::code).await
}

/// Polls until the person has answered, or the code is over.
///
/// # Errors
/// Why there are no tokens.
pub async fn wait(exchange: &Exchange, client: &Client, code: Code) -> Result<Tokens, Ended> {
    let Code { device, mut pace, .. } = code;
    while let Some(wait) = pace.wait() {
        tokio::time::sleep(wait).await;
        // The clock is known since the code was asked for.
        let own = assertion::of_client(client, exchange.now_at(&client.token_endpoint))?;
        let question = flow::message(client, &Question::Device(&device), own.as_ref())?;
        let polled = match exchange.carry(question).await {
            Ok((status, body)) => device::polled(status, &body),
            // The network comes back, or the code ends.
            Err(Trouble::Unreachable(_)) => Polled::Slower,
            Err(trouble) => Polled::Ended(trouble.into()),
        };
        match polled {
            Polled::Tokens(tokens) => return Ok(tokens),
            Polled::Pending => {}
            Polled::Slower => pace.slow_down(),
            Polled::Ended(ended) => return Err(ended),
        }
    }
    Err(Ended::Expired)
}
