//! Questions to a name server and its answers, as bytes; RFC 1035. Pure: sockets are in `lookup`.
//! An answer is a stranger's: it is read within its bounds, and what does not fit is refused.

use std::net::IpAddr;

/// A name in pieces and on its way longer than this is none; RFC 1035, 2.3.4.
const LONGEST_NAME: usize = 255;
const LONGEST_LABEL: usize = 63;
/// How many aliases are followed.
const MOST_ALIASES: usize = 16;
const HEADER: usize = 12;
const CNAME: u16 = 5;
const CLASS_IN: u16 = 1;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    #[serde(rename = "AAAA")]
    Aaaa,
}

impl Kind {
    const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// RCODE: 0 is success, 3 says that there is no such name.
    pub(super) code: u8,
    /// Whether the rest did not fit: ask again by TCP.
    pub(super) truncated: bool,
    pub(crate) addresses: Vec<IpAddr>,
    /// The names that the name is an alias for, one after another.
    pub(crate) aliases: Vec<String>,
}

/// The question as a message. `None` where the name cannot be asked for.
pub(crate) fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0]); // recursion desired, one question
    let name = name.strip_suffix('.').unwrap_or(name);
    for label in name.split('.') {
        if label.is_empty() || label.len() > LONGEST_LABEL {
            return None;
        }
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    if bytes.len() - HEADER > LONGEST_NAME {
        return None;
    }
    bytes.extend(kind.number().to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    Some(bytes)
}

/// Reads the answer to a question that [`question`] made. The error says what is wrong with it.
pub(crate) fn answer(bytes: &[u8], question: &[u8]) -> Result<Reply, &'static str> {
    let short = "it is cut short";
    let header = bytes.get(..HEADER).ok_or(short)?;
    if header[..2] != question[..2] {
        return Err("it is for another question");
    }
    if header[2] & 0xf8 != 0x80 {
        return Err("it is no answer");
    }
    let code = header[3] & 0x0f;
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    // A server that refuses may leave the question out.
    if count(4) == 0 && code != 0 {
        return Ok(Reply {
            code,
            truncated: false,
            addresses: Vec::new(),
            aliases: Vec::new(),
        });
    }
    let asked = question.get(HEADER..).ok_or(short)?;
    let repeated = bytes.get(HEADER..question.len()).ok_or(short)?;
    if count(4) != 1 || !repeated.eq_ignore_ascii_case(asked) {
        return Err("it is for another question");
    }
    let kind = u16::from_be_bytes([asked[asked.len() - 4], asked[asked.len() - 3]]);
    let (name, _) = name(question, HEADER).ok_or(short)?;
    let truncated = header[2] & 0x02 != 0;
    let mut records = Vec::new();
    let mut at = question.len();
    for _ in 0..count(6) {
        match record(bytes, at) {
            Some((record, next)) => {
                records.push(record);
                at = next;
            }
            None if truncated => break,
            None => return Err("its records are damaged"),
        }
    }
    let (addresses, aliases) = follow(name, kind, &records);
    Ok(Reply {
        code,
        truncated,
        addresses,
        aliases,
    })
}

struct Record {
    name: String,
    kind: u16,
    address: Option<IpAddr>,
    alias: Option<String>,
}

/// From alias to alias, up to the addresses.
fn follow(name: String, kind: u16, records: &[Record]) -> (Vec<IpAddr>, Vec<String>) {
    let mut aliases = Vec::new();
    let mut current = name;
    loop {
        let here = |record: &&Record| record.name.eq_ignore_ascii_case(&current);
        let of_kind = records
            .iter()
            .filter(here)
            .filter(|record| record.kind == kind);
        let addresses: Vec<IpAddr> = of_kind.filter_map(|record| record.address).collect();
        let alias = records
            .iter()
            .filter(here)
            .find_map(|record| record.alias.clone());
        match alias {
            Some(alias) if addresses.is_empty() && aliases.len() < MOST_ALIASES => {
                aliases.push(alias.clone());
                current = alias;
            }
            _ => return (addresses, aliases),
        }
    }
}

fn record(bytes: &[u8], at: usize) -> Option<(Record, usize)> {
    let (name, at) = name(bytes, at)?;
    let fixed = bytes.get(at..at + 10)?;
    let (kind, class) = (be16(fixed, 0)?, be16(fixed, 2)?);
    let (start, length) = (at + 10, usize::from(be16(fixed, 8)?));
    let data = bytes.get(start..start + length)?;
    let mut record = Record {
        name,
        kind,
        address: None,
        alias: None,
    };
    if class == CLASS_IN {
        match kind {
            1 => record.address = Some(<[u8; 4]>::try_from(data).ok()?.into()),
            28 => record.address = Some(<[u8; 16]>::try_from(data).ok()?.into()),
            CNAME => record.alias = Some(self::name(bytes, start)?.0),
            _ => {}
        }
    }
    Some((record, start + length))
}

/// A name, and where it ends. Each pointer must lead further back than the one before, so that
/// they end; RFC 1035, 4.1.4.
fn name(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = Vec::new();
    let mut end = None;
    let mut limit = at;
    loop {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => {
                let name = String::from_utf8_lossy(&name).into_owned();
                return Some((name, end.unwrap_or(at + 1)));
            }
            1..=LONGEST_LABEL => {
                if !name.is_empty() {
                    name.push(b'.');
                }
                name.extend(bytes.get(at + 1..at + 1 + length)?);
                if name.len() > LONGEST_NAME {
                    return None;
                }
                at += 1 + length;
            }
            0xc0.. => {
                let to = usize::from(be16(bytes, at)? & 0x3fff);
                if to >= limit {
                    return None;
                }
                end = end.or(Some(at + 2));
                (at, limit) = (to, to);
            }
            _ => return None,
        }
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str) -> Vec<u8> {
        question(7, name, Kind::A).expect("a name")
    }

    /// An answer to a question, with these records behind it.
    fn reply(question: &[u8], code: u8, records: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = question.to_vec();
        (bytes[2], bytes[3], bytes[7]) = (0x81, 0x80 | code, records.len() as u8);
        bytes.extend(records.concat());
        bytes
    }

    fn record_of(name: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = name.to_vec();
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 60]);
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn addresses_are_found_behind_aliases() {
        let asked = ask("web.lan");
        let records = [
            record_of(&[0xc0, 12], CNAME, b"\x03app\xc0\x10"),
            record_of(b"\x03APP\xc0\x10", 1, &[10, 0, 0, 2]),
            record_of(b"\x05other\0", 1, &[10, 0, 0, 9]),
        ];
        let read = answer(&reply(&asked, 0, &records), &asked).expect("an answer");
        assert_eq!(read.aliases, ["app.lan"]);
        assert_eq!(read.addresses, [IpAddr::from([10, 0, 0, 2])]);
    }

    #[test]
    fn every_cut_answer_is_refused() {
        let asked = ask("web.lan");
        let whole = reply(&asked, 0, &[record_of(&[0xc0, 12], 1, &[10, 0, 0, 2])]);
        for end in 0..whole.len() {
            assert!(answer(&whole[..end], &asked).is_err(), "{end} bytes");
        }
        // Cut and saying so, it is asked for again.
        let mut cut = whole[..whole.len() - 3].to_vec();
        cut[2] |= 2;
        assert!(answer(&cut, &asked).expect("an answer").truncated);
    }

    #[test]
    fn rubbish_does_no_harm() {
        let asked = ask("web.lan");
        let own = asked.len() as u8;
        let refused = |records: &[Vec<u8>]| answer(&reply(&asked, 0, records), &asked).is_err();
        assert!(
            refused(&[record_of(&[0xc0, own], 1, &[1, 2, 3, 4])]),
            "a pointer to itself"
        );
        assert!(
            refused(&[record_of(&[0xc0, own + 2, 0xc0, own], 1, &[1])]),
            "a circle"
        );
        assert!(
            refused(&[record_of(&[0xff, 0xff], 1, &[1, 2, 3, 4])]),
            "far away"
        );
        assert!(
            refused(&[record_of(&[0x80], 1, &[1, 2, 3, 4])]),
            "an unknown label"
        );
        assert!(
            refused(&[record_of(&[0xc0, 12], 1, &[1, 2, 3])]),
            "a short address"
        );
        let circle = [
            record_of(&[0xc0, 12], CNAME, b"\x01a\0"),
            record_of(b"\x01a\0", CNAME, &[0xc0, 12]),
        ];
        let read = answer(&reply(&asked, 0, &circle), &asked).expect("an answer");
        assert_eq!(
            (read.addresses.len(), read.aliases.len()),
            (0, MOST_ALIASES)
        );
        for (at, value) in [(0, 9), (2, 0x01), (5, 7), (13, b'x')] {
            let mut other = reply(&asked, 0, &[]);
            other[at] = value;
            assert!(answer(&other, &asked).is_err(), "byte {at}");
        }
    }

    #[test]
    fn codes_are_told_also_without_the_question() {
        let asked = ask("web.lan");
        assert_eq!(
            answer(&reply(&asked, 3, &[]), &asked)
                .expect("an answer")
                .code,
            3
        );
        let mut bare = reply(&asked, 5, &[])[..HEADER].to_vec();
        bare[5] = 0;
        assert_eq!(answer(&bare, &asked).expect("an answer").code, 5);
    }

    #[test]
    fn names_that_cannot_be_asked_for() {
        for name in [
            "",
            ".",
            "a..b",
            ".a",
            &"a".repeat(64),
            &"abcdefg.".repeat(40),
        ] {
            assert_eq!(question(1, name, Kind::A), None, "{name:?}");
        }
        assert!(question(1, "a.b.", Kind::Aaaa).is_some());
    }
}
