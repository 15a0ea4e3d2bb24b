//! One end of a connection of a dialogue: says lines, and hears the awaited ones.

use crate::{
    dialogue::words::{like, octets},
    harness::PATIENCE,
};
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

/// One end of a connection, and what came and was not looked at.
pub(super) struct Voice<S> {
    pub(super) stream: Option<S>,
    pub(super) heard: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Voice<S> {
    pub(super) async fn say(&mut self, octets: &[u8]) -> Result<(), String> {
        let stream = self.stream.as_mut().ok_or("there is no connection")?;
        // Who is not listened to any more says it all the same.
        let _ = stream.write_all(octets).await;
        let _ = stream.flush().await;
        Ok(())
    }

    /// Takes in what comes next. False: nothing does.
    async fn more(&mut self) -> bool {
        let Some(stream) = self.stream.as_mut() else { return false };
        let read = timeout(PATIENCE / 4, stream.read_buf(&mut self.heard)).await;
        matches!(read, Ok(Ok(1..)))
    }

    /// Takes in what is there.
    pub(super) async fn listen(&mut self) {
        if let Some(stream) = self.stream.as_mut() {
            while let Ok(Ok(1..)) = timeout(Duration::from_millis(1), stream.read_buf(&mut self.heard)).await {}
        }
    }

    /// Waits for the end of the connection.
    pub(super) async fn ends(&mut self) -> Result<(), String> {
        while self.more().await {}
        let Some(mut stream) = self.stream.take() else { return Ok(()) };
        let end = timeout(PATIENCE / 4, stream.read_u8()).await;
        self.stream = None;
        if matches!(end, Ok(Err(_))) { Ok(()) } else { Err("the connection is not closed".to_owned()) }
    }

    pub(super) async fn hears(&mut self, how: &str, words: &str) -> Result<(), String> {
        let length = match how {
            "<=" => {
                let awaited = octets(words)?;
                while self.heard.len() < awaited.len() && self.more().await {}
                self.heard.starts_with(&awaited).then_some(awaited.len())
            }
            "<~" => loop {
                if let Some(at) = self.heard.windows(2).position(|two| two == b"\r\n") {
                    break like(words.as_bytes(), &self.heard[..at]).then_some(at + 2);
                }
                if !self.more().await {
                    break None;
                }
            },
            "<!" => {
                let line = [b"\r\n", octets(words)?.as_slice()].concat();
                let said = [b"\r\n", self.heard.as_slice()].concat();
                (!said.windows(line.len()).any(|window| window == line)).then_some(self.heard.len())
            }
            _ => return Err("neither <=, <~ nor <!".to_owned()),
        };
        let length = length.ok_or_else(|| format!("heard instead: {:?}", String::from_utf8_lossy(&self.heard)))?;
        self.heard.drain(..length);
        Ok(())
    }
}
