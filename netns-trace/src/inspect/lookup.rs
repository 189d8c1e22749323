//! Looks a name up from inside a namespace, by asking each of its name servers by itself, and says
//! what became of every question. Sends and receives on the calling thread's namespace; nothing
//! of the machine's own resolver is asked.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use nix::net::if_::if_nametoindex;
use serde::Serialize;

use super::{
    dns::{self, Kind, Reply},
    resolver::Resolver,
};

/// How long each question may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long all of it may take.
const IN_ALL: Duration = Duration::from_secs(20);
const PORT: u16 = 53;

/// What became of a name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lookup {
    /// The name. Not safe to print.
    pub name: String,
    /// What /etc/hosts has for it, which programs look at first.
    pub hosts: Vec<IpAddr>,
    /// Every question in the order in which it was asked.
    pub questions: Vec<Question>,
}

/// One question to one server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Question {
    /// Whom it was put to. Not safe to print.
    pub server: String,
    /// The whole name. Not safe to print.
    pub name: String,
    /// Which addresses were asked for.
    pub kind: Kind,
    /// Whether the answer came by TCP, since it was too long for UDP.
    pub tcp: bool,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long that took.
    pub took_ns: u64,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// There are such addresses.
    Answer {
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// The names that the name is an alias for. Not safe to print.
        aliases: Vec<String>,
    },
    /// The name exists and has no such addresses.
    NoData,
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    ServerFailure,
    /// REFUSED.
    Refused,
    /// Another error of the server's.
    Code {
        /// Its number; RFC 1035, 4.1.1 and RFC 2136.
        code: u8,
    },
    /// Nothing came in time.
    Silent,
    /// No packet gets there, or none listens there: what the system said.
    Unreachable {
        /// In its words.
        why: String,
    },
    /// What came was no answer.
    Rubbish {
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Outcome {
    /// Whether the next name of the search list is worth asking for.
    const fn is_no(&self) -> bool {
        matches!(self, Self::NoData | Self::NoSuchName)
    }
}

impl From<io::Error> for Outcome {
    fn from(why: io::Error) -> Self {
        match why.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            io::ErrorKind::UnexpectedEof => Self::Rubbish {
                why: "it is cut short",
            },
            io::ErrorKind::ConnectionRefused => Self::Unreachable {
                why: "nothing listens there (ICMP port unreachable, or a TCP reset)".to_owned(),
            },
            _ => Self::Unreachable {
                why: why.to_string(),
            },
        }
    }
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Self {
        match reply.code {
            0 if reply.addresses.is_empty() => Self::NoData,
            0 => Self::Answer {
                addresses: reply.addresses,
                aliases: reply.aliases,
            },
            2 => Self::ServerFailure,
            3 => Self::NoSuchName,
            5 => Self::Refused,
            code => Self::Code { code },
        }
    }
}

/// Asks every server for a name; returns also sentences about what was not asked.
pub(super) fn look_up_here(name: &str, resolver: &Resolver) -> (Lookup, Vec<String>) {
    let end = Instant::now() + IN_ALL;
    let mut lookup = Lookup {
        name: name.to_owned(),
        hosts: resolver.in_hosts(name),
        questions: Vec::new(),
    };
    let mut missing = Vec::new();
    let printable = name.escape_debug();
    if !resolver
        .candidates(name)
        .iter()
        .any(|name| dns::question(0, name, Kind::A).is_some())
    {
        missing.push(format!(
            "\"{printable}\" cannot be looked up: it is no name of a host"
        ));
        return (lookup, missing);
    }
    for server in &resolver.nameservers {
        let Some(address) = address(server) else {
            let server = server.escape_debug();
            missing.push(format!(
                "name server \"{server}\" is not asked: it is no address"
            ));
            continue;
        };
        for candidate in resolver.candidates(name) {
            if Instant::now() >= end {
                missing.push(format!("{server} is not asked: it took too long already"));
                break;
            }
            let questions = ask_both(server, address, &candidate);
            let goes_on = questions.iter().all(|question| question.outcome.is_no());
            lookup.questions.extend(questions);
            if !goes_on {
                break;
            }
        }
    }
    (lookup, missing)
}

/// `10.0.0.1`, `fe80::1%eth0`.
fn address(server: &str) -> Option<SocketAddr> {
    let Some((address, scope)) = server.split_once('%') else {
        return Some((server.parse::<IpAddr>().ok()?, PORT).into());
    };
    let index = scope.parse().ok().or_else(|| if_nametoindex(scope).ok())?;
    let address: Ipv6Addr = address.parse().ok()?;
    Some(SocketAddrV6::new(address, PORT, 0, index).into())
}

/// Asks for both kinds of address at once; a name that cannot be asked for is passed over.
fn ask_both(server: &str, to: SocketAddr, name: &str) -> Vec<Question> {
    let mut asked: Vec<(Kind, Vec<u8>, Option<Question>)> = Vec::new();
    for kind in [Kind::A, Kind::Aaaa] {
        let Some(bytes) = random().and_then(|id| dns::question(id, name, kind)) else {
            return Vec::new();
        };
        asked.push((kind, bytes, None));
    }
    let start = Instant::now();
    let done = |kind, tcp, outcome| Question {
        server: server.to_owned(),
        name: name.to_owned(),
        kind,
        tcp,
        outcome,
        took_ns: start.elapsed().as_nanos() as u64,
    };
    let failed = exchange(to, &mut asked, start + PATIENCE, &done).err();
    let failed = failed.unwrap_or(Outcome::Silent);
    asked
        .into_iter()
        .map(|(kind, _, question)| question.unwrap_or_else(|| done(kind, false, failed.clone())))
        .collect()
}

/// Sends the questions and fills in what comes back, until all are answered or time is up.
fn exchange(
    to: SocketAddr,
    asked: &mut [(Kind, Vec<u8>, Option<Question>)],
    end: Instant,
    done: &dyn Fn(Kind, bool, Outcome) -> Question,
) -> Result<(), Outcome> {
    let any: SocketAddr = if to.is_ipv4() {
        ([0_u8; 4], 0).into()
    } else {
        ([0_u8; 16], 0).into()
    };
    // Connected: the kernel takes answers from that server alone, and tells when ICMP refuses.
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    for (_, question, _) in &*asked {
        socket.send(question)?;
    }
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut rubbish = None;
    while asked.iter().any(|(_, _, answer)| answer.is_none()) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(rubbish.unwrap_or(Outcome::Silent));
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            // What is not understood may be somebody else's; the answer could still have come.
            Err(why) => return Err(rubbish.unwrap_or_else(|| why.into())),
        };
        let bytes = &buffer[..length];
        let of_question = |question: &[u8]| bytes.get(..2) == question.get(..2);
        let Some((kind, question, answer)) = asked
            .iter_mut()
            .find(|(_, question, _)| of_question(question))
        else {
            rubbish = Some(Outcome::Rubbish {
                why: "it is for another question",
            });
            continue;
        };
        match dns::answer(bytes, question) {
            Ok(reply) if reply.truncated => {
                let outcome = by_tcp(to, question).unwrap_or_else(|outcome| outcome);
                *answer = Some(done(*kind, true, outcome));
            }
            Ok(reply) => *answer = Some(done(*kind, false, reply.into())),
            Err(why) => rubbish = Some(Outcome::Rubbish { why }),
        }
    }
    Ok(())
}

/// Asks again by TCP, where each message has its length before it; RFC 1035, 4.2.2.
fn by_tcp(to: SocketAddr, question: &[u8]) -> Result<Outcome, Outcome> {
    let end = Instant::now() + PATIENCE;
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = (question.len() as u16).to_be_bytes();
    stream.write_all(&[&length, question].concat())?;
    let mut length = [0; 2];
    read_until(&mut stream, &mut length, end)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    read_until(&mut stream, &mut answer, end)?;
    match dns::answer(&answer, question) {
        Ok(reply) => Ok(reply.into()),
        Err(why) => Err(Outcome::Rubbish { why }),
    }
}

/// Fills `bytes`, however slowly they drip, within the time.
fn read_until(stream: &mut TcpStream, bytes: &mut [u8], end: Instant) -> io::Result<()> {
    let mut at = 0;
    while at < bytes.len() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut bytes[at..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => at += length,
        }
    }
    Ok(())
}

/// A number that a stranger cannot guess.
fn random() -> Option<u16> {
    let mut bytes = [0_u8; 2];
    // SAFETY: the pointer is to `bytes`, of which the kernel fills as many as are there.
    let length = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    (length == 2).then(|| u16::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_addresses() {
        assert_eq!(
            address("10.0.0.1").expect("an address").to_string(),
            "10.0.0.1:53"
        );
        assert_eq!(
            address("::1%lo").expect("an address").to_string(),
            "[::1%1]:53"
        );
        for server in ["", "web", "10.0.0.1:53", "::1%nosuchdevice", "1%lo"] {
            assert_eq!(address(server), None, "{server}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_not_asked_for() {
        let resolver = Resolver {
            nameservers: vec!["rubbish".into()],
            ..Resolver::default()
        };
        let (lookup, missing) = look_up_here("a..\x1b", &resolver);
        assert!(lookup.questions.is_empty());
        assert_eq!(missing.len(), 1);
        assert!(!missing[0].contains('\x1b'), "{missing:?}");
        let (_, missing) = look_up_here("web", &resolver);
        assert!(missing[0].contains("no address"), "{missing:?}");
    }
}
