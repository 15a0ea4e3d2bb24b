//! A name server for one test: what its zone says, and of all else that there is nothing. It counts who asked for what.
//!
//! RFC 1035 section 4, over UDP alone: answers here are short.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// One record, as a zone file has it behind the name.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    A(Ipv4Addr),
    Cname(&'static str),
    Mx(u16, &'static str),
    /// Priority, weight, port, target.
    Srv(u16, u16, u16, &'static str),
}

/// By name in lower case, without its last dot.
pub(crate) type Zone = BTreeMap<String, Vec<Record>>;

pub(crate) struct Dns {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How long a look whether the test is over waits for a question.
const LOOK: Duration = Duration::from_millis(100);

impl Dns {
    /// Answers by this zone; without one never.
    pub(crate) fn start(zone: Option<Zone>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(LOOK)).expect("a timeout");
        let port = socket.local_addr().expect("bound").port();
        let (asked, ends) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (its, over) = (asked.clone(), ends.clone());
        let thread = thread::spawn(move || {
            let mut octets = [0; 1500];
            while !over.load(Ordering::SeqCst) {
                let Ok((length, from)) = socket.recv_from(&mut octets) else { continue };
                let Some((name, kind, end)) = question(&octets[..length]) else { continue };
                its.lock().expect("no test panicked in here").push(format!("{name} {kind}"));
                if let Some(zone) = &zone {
                    let _ = socket.send_to(&answer(&octets[..end], &name, kind, zone), from);
                }
            }
        });
        Self { port, asked, ends, thread: Some(thread) }
    }

    /// All questions so far, as a name and the number of a kind of record.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test panicked in here").clone()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The name and kind that are asked for, and where the question ends.
fn question(octets: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*octets.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(octets.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]);
    Some((labels.join("."), kind, at + 4))
}

fn answer(question: &[u8], name: &str, kind: u16, zone: &Zone) -> Vec<u8> {
    let records = zone.get(name);
    // Another name answers for every kind.
    let fits = |record: &&Record| matches!(record, Record::Cname(_)) || number(record) == kind;
    let mut found: Vec<(Vec<u8>, Record)> = Vec::new();
    for record in records.into_iter().flatten().filter(fits) {
        found.push((vec![0xc0, 12], record.clone()));
        if let (Record::Cname(target), true) = (record, kind != 5) {
            let theirs = zone.get(*target).into_iter().flatten().filter(|record| number(record) == kind);
            found.extend(theirs.map(|record| (written(target), record.clone())));
        }
    }
    let code = if records.is_some() { 0 } else { 3 };
    let mut octets = question.to_vec();
    octets[2..4].copy_from_slice(&[0x84 | (question[2] & 1), 0x80 | code]);
    octets[4..12].copy_from_slice(&[0, 1, 0, u8::try_from(found.len()).expect("few"), 0, 0, 0, 0]);
    for (owner, record) in found {
        let data = data(&record);
        octets.extend(owner);
        octets.extend([number(&record).to_be_bytes(), [0, 1]].concat());
        octets.extend(60_u32.to_be_bytes());
        octets.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
        octets.extend(data);
    }
    octets
}

fn number(record: &Record) -> u16 {
    match record {
        Record::A(_) => 1,
        Record::Cname(_) => 5,
        Record::Mx(..) => 15,
        Record::Srv(..) => 33,
    }
}

fn data(record: &Record) -> Vec<u8> {
    match record {
        Record::A(ip) => ip.octets().to_vec(),
        Record::Cname(target) => written(target),
        Record::Mx(preference, host) => [preference.to_be_bytes().to_vec(), written(host)].concat(),
        Record::Srv(priority, weight, port, target) => {
            let numbers = [priority, weight, port].map(|number| number.to_be_bytes());
            [numbers.concat(), written(target)].concat()
        }
    }
}

/// A name on the wire; `.` is the root.
fn written(name: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).expect("a label"));
        octets.extend(label.as_bytes());
    }
    octets.push(0);
    octets
}
