//! A name server for one test: it answers on port 53 of a namespace with what the test makes of
//! each question, on UDP and TCP.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use netns_trace::netns::NetNs;

/// A question, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The message.
    pub bytes: Vec<u8>,
    /// The name in it, with dots.
    pub name: String,
    /// Which kind of record: 1 is A, 28 is AAAA.
    pub kind: u16,
    /// Whether it came by TCP.
    pub tcp: bool,
}

impl Asked {
    fn read(bytes: &[u8], tcp: bool) -> Self {
        let (mut labels, mut at) = (Vec::new(), 12);
        while bytes[at] != 0 {
            let end = at + 1 + usize::from(bytes[at]);
            labels.push(String::from_utf8_lossy(&bytes[at + 1..end]).into_owned());
            at = end;
        }
        Self {
            bytes: bytes.to_vec(),
            name: labels.join("."),
            kind: u16::from_be_bytes([bytes[at + 1], bytes[at + 2]]),
            tcp,
        }
    }

    /// An answer with this code and these records, each written as its name, kind and data.
    #[must_use]
    pub fn answer(&self, code: u8, records: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[2] |= 0x84;
        bytes[3] = 0x80 | code;
        bytes[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (name, kind, data) in records {
            bytes.extend(*name);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 0, 60]);
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(*data);
        }
        bytes
    }
}

/// A pointer to the name that was asked for.
pub const SAME_NAME: &[u8] = &[0xc0, 12];

/// What a test makes of a question: the answers that are sent, of which there may be none.
pub type Answers = fn(&Asked) -> Vec<Vec<u8>>;

/// A running server.
pub struct Server {
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts one on an address of the namespace.
    ///
    /// # Panics
    ///
    /// If the port is taken.
    #[must_use]
    pub fn start(ns: &NetNs, address: &str, answers: Answers) -> Self {
        let open = || {
            let udp = UdpSocket::bind((address, 53)).expect("port 53");
            (udp, TcpListener::bind((address, 53)).expect("port 53"))
        };
        let (udp, tcp) = ns.run(open).expect("entered");
        udp.set_read_timeout(Some(Duration::from_millis(20)))
            .expect("set");
        tcp.set_nonblocking(true).expect("set");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (by_udp, by_tcp) = ((asked.clone(), stop.clone()), (asked.clone(), stop.clone()));
        let threads = vec![
            std::thread::spawn(move || {
                let mut buffer = [0; 512];
                while !by_udp.1.load(Ordering::Relaxed) {
                    if let Ok((length, from)) = udp.recv_from(&mut buffer) {
                        let question = Asked::read(&buffer[..length], false);
                        by_udp.0.lock().expect("the list").push(question.clone());
                        for answer in answers(&question) {
                            udp.send_to(&answer, from).expect("sent");
                        }
                    }
                }
            }),
            std::thread::spawn(move || {
                while !by_tcp.1.load(Ordering::Relaxed) {
                    match tcp.accept() {
                        Ok((stream, _)) => serve(stream, &by_tcp.0, answers),
                        Err(_) => std::thread::sleep(Duration::from_millis(5)),
                    }
                }
            }),
        ];
        Self {
            asked,
            stop,
            threads,
        }
    }

    /// Everything that it was asked, in order: name, kind, and whether by TCP.
    ///
    /// # Panics
    ///
    /// If its threads have.
    #[must_use]
    pub fn asked(&self) -> Vec<(String, u16, bool)> {
        let asked = self.asked.lock().expect("the list");
        asked
            .iter()
            .map(|one| (one.name.clone(), one.kind, one.tcp))
            .collect()
    }
}

fn serve(mut stream: TcpStream, asked: &Mutex<Vec<Asked>>, answers: Answers) {
    let mut length = [0; 2];
    stream.set_nonblocking(false).expect("set");
    stream.read_exact(&mut length).expect("a length");
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).expect("a question");
    let question = Asked::read(&bytes, true);
    asked.lock().expect("the list").push(question.clone());
    for answer in answers(&question) {
        let length = (answer.len() as u16).to_be_bytes();
        stream
            .write_all(&[&length, &answer[..]].concat())
            .expect("sent");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // What it panicked with is on stderr already.
            drop(thread.join());
        }
    }
}
