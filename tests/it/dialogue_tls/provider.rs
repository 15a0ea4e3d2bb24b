//! The provider of a dialogue until it has signed the bridge in: from there on the dialogue speaks.

use passerelle::relay::LaneUse;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, server};

pub(super) type Provider = server::TlsStream<TcpStream>;

/// What becomes of the next connection to the provider.
pub(super) enum Welcome {
    /// Signs in, and offers this.
    In(Vec<String>),
    /// Refuses the password.
    Refused,
    /// Closes at once.
    Gone,
    /// Signs in, and is none of the dialogue's: it answers for itself.
    Aside,
}

/// Welcomes connections to the provider, and hands on those that signed in.
pub(super) async fn receive(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    lane_use: LaneUse,
    welcomes: Arc<Mutex<VecDeque<Welcome>>>,
    lanes: mpsc::UnboundedSender<Provider>,
) {
    while let Ok((socket, _)) = listener.accept().await {
        let welcome = welcomes.lock().expect("no panic in here").pop_front();
        let (Some(welcome), Ok(())) = (welcome, socket.set_nodelay(true)) else { continue };
        if matches!(welcome, Welcome::Gone) {
            continue;
        }
        let Ok(mut stream) = acceptor.accept(socket).await else { continue };
        let done = match lane_use {
            LaneUse::Imap => imap_sign_in(&mut stream, &welcome).await,
            LaneUse::Submission => smtp_sign_in(&mut stream, &welcome).await,
        };
        match (done, welcome) {
            (Some(()), Welcome::In(_)) => drop(lanes.send(stream)),
            (Some(()), Welcome::Aside) => drop(tokio::spawn(folders_aside(stream))),
            _ => {}
        }
    }
}

async fn imap_sign_in(stream: &mut Provider, welcome: &Welcome) -> Option<()> {
    tell(stream, "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready").await?;
    hear(stream).await.filter(|line| line.starts_with("PSRL AUTHENTICATE PLAIN "))?;
    match welcome {
        Welcome::In(offered) => tell(stream, &format!("PSRL OK [CAPABILITY IMAP4rev1 {}] in", offered.join(" "))).await,
        Welcome::Refused => tell(stream, "PSRL NO [AUTHENTICATIONFAILED] no").await,
        Welcome::Aside | Welcome::Gone => tell(stream, "PSRL OK [CAPABILITY IMAP4rev1] in").await,
    }
}

async fn smtp_sign_in(stream: &mut Provider, welcome: &Welcome) -> Option<()> {
    tell(stream, "220 mx").await?;
    hear(stream).await.filter(|line| line.starts_with("EHLO "))?;
    let none = Vec::new();
    let offered = if let Welcome::In(offered) = welcome { offered } else { &none };
    let offered: String = offered.iter().map(|word| format!("\r\n250-{}", word.replace('=', " "))).collect();
    tell(stream, &format!("250-mx{offered}\r\n250 AUTH PLAIN")).await?;
    hear(stream).await.filter(|line| line.starts_with("AUTH PLAIN "))?;
    tell(stream, if matches!(welcome, Welcome::Refused) { "535 5.7.8 no" } else { "235 2.7.0 in" }).await
}

/// Answers the reading of a folder table.
async fn folders_aside(mut stream: Provider) -> Option<()> {
    loop {
        let line = hear(&mut stream).await?;
        let (tag, command) = line.split_once(' ')?;
        if command.starts_with("LIST") {
            tell(&mut stream, "* LIST () \"/\" INBOX").await?;
        }
        tell(&mut stream, &format!("{tag} OK done")).await?;
    }
}

async fn tell(stream: &mut Provider, line: &str) -> Option<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

/// One line and no octet more: what follows is the dialogue's.
async fn hear(stream: &mut Provider) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(line).ok()
}
