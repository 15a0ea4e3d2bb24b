//! A toy token endpoint for what no authorization server that can be installed says: each question is answered as the
//! test likes.

use super::{leash::PATIENCE, secrets};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// The fields of a question.
pub(crate) type Form = BTreeMap<String, String>;
type Answers = dyn Fn(&str, &Form) -> (u16, serde_json::Value) + Send + Sync;

pub(crate) struct Endpoint {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Form>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Answers each question, by its path and fields, with a status and JSON.
    pub(crate) fn start(answers: impl Fn(&str, &Form) -> (u16, serde_json::Value) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (asked, ends) = (Arc::<Mutex<Vec<Form>>>::default(), Arc::<AtomicBool>::default());
        let (its, over) = (asked.clone(), ends.clone());
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                // Who goes away before the end is none of its business.
                let _ = answer(stream, &its, &answers);
            }
        });
        Self { port, asked, ends, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.port)
    }

    /// All questions so far.
    pub(crate) fn asked(&self) -> Vec<Form> {
        self.asked.lock().expect("no test panicked in here").clone()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(stream: TcpStream, asked: &Mutex<Vec<Form>>, answers: &Answers) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let length = head.lines().filter_map(|line| line.split_once(':'));
    let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.filter_map(|(_, value)| value.trim().parse().ok()).next().unwrap_or_default();
    let mut body = vec![0; length.min(64 * 1024)];
    reader.read_exact(&mut body)?;
    let form = form(&String::from_utf8_lossy(&body));
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (status, json) = answers(path, &form);
    asked.lock().expect("no test panicked in here").push(form);
    for kind in ["access_token", "refresh_token", "device_code"] {
        json[kind].as_str().into_iter().for_each(secrets::give_out);
    }
    let body = json.to_string();
    let head = format!("HTTP/1.1 {status} Any\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    reader.get_mut().write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())
}

fn form(body: &str) -> Form {
    body.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), plain(value)))
        .collect()
}

/// Of `application/x-www-form-urlencoded`.
fn plain(value: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        let hex = more.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(octet)) => {
                octets.push(octet);
                rest = &more[2..];
            }
            (b'+', _) => {
                octets.push(b' ');
                rest = more;
            }
            _ => {
                octets.push(first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}
