//! DNS (RFC 1035) and multicast DNS (RFC 6762).

use super::{
    Printed, Printer,
    bytes::{Bytes, Truncated},
    put,
    words::{Words, word},
};

mod record;

const HEADER: usize = 12;
/// Characters of a name.
const MAX_NAME: usize = 255;

const OPERATIONS: [&str; 16] = [
    "",
    " inv_q",
    " stat",
    " op3",
    " notify",
    " update",
    " op6",
    " op7",
    " op8",
    " updateA",
    " updateD",
    " updateDA",
    " updateM",
    " updateMA",
    " zoneInit",
    " zoneRef",
];
/// Answers, as tcpdump writes them: two of them without the blank.
const RESULTS: [&str; 24] = [
    "",
    " FormErr",
    " ServFail",
    " NXDomain",
    " NotImp",
    " Refused",
    " YXDomain",
    " YXRRSet",
    " NXRRSet",
    " NotAuth",
    " NotZone",
    " Resp11",
    " Resp12",
    " Resp13",
    " Resp14",
    " NoChange",
    " BadVers",
    "Resp17",
    " Resp18",
    " Resp19",
    " Resp20",
    "Resp21",
    " Resp22",
    " BadCookie",
];
const CLASSES: &Words = &[(1, "IN"), (3, "CHAOS"), (4, "HS"), (255, "ANY")];
const IN: u16 = 1;
const OPT: u16 = 41;
/// The top bit of a class in multicast DNS: answer me alone, or forget what you knew.
const MULTICAST_BIT: u16 = 0x8000;

/// A message: what names point into.
#[derive(Clone, Copy)]
struct Message<'a> {
    bytes: Bytes<'a>,
    is_multicast: bool,
}

/// Where to go on; `None` once the message cannot be followed.
type Next = Result<Option<usize>, Truncated>;

/// How long the label of a length byte is; what is printed where there is no such.
fn label(bytes: Bytes<'_>, at: usize) -> Result<usize, &'static str> {
    let Ok(first) = bytes.u8(at) else {
        return Err("");
    };
    match first & 0xc0 {
        0x40 if first & 0x3f == 1 => match bytes.u8(at + 1) {
            Ok(bits) => Ok(bit_label_len(bits) + 1),
            Err(Truncated) => Err(""),
        },
        0x40 => Err("<ELT>"),
        0x80 => Err("<BAD LABEL TYPE>"),
        _ => Ok(first.into()),
    }
}

/// Bytes of a label of so many bits (RFC 2673).
fn bit_label_len(bits: u8) -> usize {
    let bits = if bits == 0 { 256 } else { usize::from(bits) };
    bits.div_ceil(8)
}

/// What is behind a name.
fn skip_name(bytes: Bytes<'_>, mut at: usize) -> Option<usize> {
    loop {
        let first = bytes.u8(at).ok()?;
        at += 1;
        match first & 0xc0 {
            _ if first == 0 => return Some(at),
            0xc0 => return Some(at + 1),
            0x40 if first & 0x3f == 1 => at += 1 + bit_label_len(bytes.u8(at).ok()?),
            0x40 | 0x80 => return None,
            _ => at += usize::from(first),
        }
    }
}

impl Printer<'_> {
    /// A message over TCP, behind its length.
    pub(super) fn dns_over_tcp(&mut self, bytes: Bytes<'_>, len: usize) -> Printed {
        self.protocol = "domain";
        if len < 2 {
            put!(self, " [DNS over TCP: length {len} < 2]");
            self.say_invalid();
            return Ok(());
        }
        let (told, len) = (usize::from(bytes.u16(0)?), len - 2);
        if told != len {
            put!(self, " [prefix length({told}) != length({len})]");
            self.say_invalid();
            return Ok(());
        }
        self.to.push(' ');
        self.dns(bytes.from(2), len, false)
    }

    pub(super) fn dns(&mut self, bytes: Bytes<'_>, len: usize, is_multicast: bool) -> Printed {
        self.protocol = "domain";
        if len < HEADER {
            put!(self, "domain [length {len} < {HEADER}]");
            self.say_invalid();
            return Ok(());
        }
        let message = Message {
            bytes,
            is_multicast,
        };
        let printed = if !bytes.has(HEADER) {
            None
        } else if bytes.u16(2)? & 0x8000 != 0 {
            self.dns_response(message)?
        } else {
            self.dns_request(message)?
        };
        match printed {
            Some(_) => put!(self, " ({len})"),
            None => self.say_truncated(),
        }
        Ok(())
    }

    fn dns_response(&mut self, message: Message<'_>) -> Next {
        let bytes = message.bytes;
        let flags = bytes.u16(2)?;
        let [questions, answers, authorities, additional] = counts(bytes)?;
        let result = usize::from(flags & 0xf | extended_result(bytes)?);
        let result = match RESULTS.get(result) {
            Some(name) => (*name).to_owned(),
            None => format!(" Resp{result}"),
        };
        let mark = |bit, set, unset| if flags & bit != 0 { set } else { unset };
        put!(
            self,
            "{}{}{result}{}{}{}{}",
            bytes.u16(0)?,
            OPERATIONS[usize::from(flags >> 11 & 0xf)],
            mark(0x400, "*", ""),
            mark(0x80, "", "-"),
            mark(0x200, "|", ""),
            mark(0x20, "$", ""),
        );
        if questions != 1 {
            put!(self, " [{questions}q]");
        }
        let mut at = HEADER;
        for question in 0..questions {
            if question > 0 {
                self.to.push(',');
            }
            let next = if self.verbose() > 1 {
                self.to.push_str(" q:");
                self.dns_question(message, at)?
            } else {
                skip_name(bytes, at).map(|next| next + 4)
            };
            let Some(next) = next else {
                return Ok(None);
            };
            at = next;
        }
        put!(self, " {answers}/{authorities}/{additional}");
        self.dns_sections(
            message,
            at,
            [("", answers), (" ns:", authorities), (" ar:", additional)],
            1,
        )
    }

    fn dns_request(&mut self, message: Message<'_>) -> Next {
        let bytes = message.bytes;
        let flags = bytes.u16(2)?;
        let [questions, answers, authorities, additional] = counts(bytes)?;
        let operation = usize::from(flags >> 11 & 0xf);
        put!(
            self,
            "{}{}{}{}",
            bytes.u16(0)?,
            OPERATIONS[operation],
            if flags & 0x100 == 0 { "" } else { "+" },
            if flags & 0x10 == 0 { "" } else { "%" },
        );
        if flags & 0x6cf != 0 {
            put!(self, " [b2&3=0x{flags:x}]");
        }
        // An inverse query has an answer and no question.
        if operation == 1 {
            if questions != 0 {
                put!(self, " [{questions}q]");
            }
            if answers != 1 {
                put!(self, " [{answers}a]");
            }
        } else {
            if answers != 0 {
                put!(self, " [{answers}a]");
            }
            if questions != 1 {
                put!(self, " [{questions}q]");
            }
        }
        if authorities != 0 {
            put!(self, " [{authorities}n]");
        }
        if additional != 0 {
            put!(self, " [{additional}au]");
        }
        let mut at = HEADER;
        for question in 0..questions {
            if question > 0 && at >= bytes.len() {
                return Ok(None);
            }
            let Some(next) = self.dns_question(message, at)? else {
                return Ok(None);
            };
            at = next;
        }
        let sections = [("", answers), (" ns:", authorities), (" ar:", additional)];
        self.dns_sections(message, at, sections, 0)
    }

    /// The sections of records: so many of them, or all with `-vv`.
    fn dns_sections(
        &mut self,
        message: Message<'_>,
        mut at: usize,
        sections: [(&str, u16); 3],
        always: usize,
    ) -> Next {
        let shown = if self.verbose() > 1 {
            sections.len()
        } else {
            always
        };
        for (number, (name, count)) in sections.into_iter().take(shown).enumerate() {
            for record in 0..count {
                if (number > 0 || record > 0) && at >= message.bytes.len() {
                    return Ok(None);
                }
                self.to.push_str(if record == 0 { name } else { "," });
                let Some(next) = self.dns_record(message, at)? else {
                    return Ok(None);
                };
                at = next;
            }
        }
        Ok(Some(at))
    }

    fn dns_question(&mut self, message: Message<'_>, at: usize) -> Next {
        let bytes = message.bytes;
        let Some(fields) = skip_name(bytes, at).filter(|fields| bytes.has(fields + 4)) else {
            return Ok(None);
        };
        self.dns_type(bytes.u16(fields)?);
        let class = bytes.u16(fields + 2)?;
        self.dns_class(if message.is_multicast {
            class & !MULTICAST_BIT
        } else {
            class
        });
        if message.is_multicast {
            self.to.push_str(if class & MULTICAST_BIT == 0 {
                " (QM)"
            } else {
                " (QU)"
            });
        }
        self.to.push_str("? ");
        Ok(self.dns_name(bytes, at).map(|next| next + 4))
    }

    fn dns_type(&mut self, kind: u16) {
        match word(record::TYPES, kind.into()) {
            Some(name) => put!(self, " {name}"),
            None => put!(self, " Type{kind}"),
        }
    }

    fn dns_class(&mut self, class: u16) {
        if class == IN {
            return;
        }
        match word(CLASSES, class.into()) {
            Some(name) => put!(self, " {name}"),
            None => put!(self, " (Class {class})"),
        }
    }

    /// A name, which may go on where it points to; what is behind it.
    pub(super) fn dns_name(&mut self, bytes: Bytes<'_>, start: usize) -> Option<usize> {
        let mut at = start;
        let mut behind = None;
        // Pointers must lead backwards, so they come to an end.
        let mut furthest = start;
        let mut characters = 0;
        let mut len = self.dns_label(bytes, at)?;
        let mut first = bytes.u8(at).ok()?;
        if first == 0 {
            self.to.push('.');
            return Some(at + 1);
        }
        at += 1;
        while first != 0 && at < bytes.len() {
            if first & 0xc0 == 0xc0 {
                let low = bytes.u8(at).ok()?;
                behind.get_or_insert(at + 1);
                let target = usize::from(u16::from_be_bytes([first & 0x3f, low]));
                if target >= furthest {
                    self.to.push_str("<BAD PTR>");
                    return None;
                }
                furthest = target;
                at = target;
            } else {
                if first & 0xc0 == 0x40 {
                    self.dns_bit_label(bytes, at)?;
                } else {
                    let room = (MAX_NAME + 1).saturating_sub(characters + 1);
                    if characters + len <= MAX_NAME {
                        if !self.text(bytes.from(at), len) {
                            return None;
                        }
                    } else if characters < MAX_NAME && !self.text(bytes.from(at), room) {
                        return None;
                    }
                    characters += len;
                }
                at += len;
                if characters <= MAX_NAME {
                    self.to.push('.');
                }
                characters += 1;
            }
            first = bytes.u8(at).ok()?;
            len = self.dns_label(bytes, at)?;
            at += 1;
        }
        if characters > MAX_NAME {
            self.to.push_str("<DOMAIN NAME TOO LONG>");
        }
        Some(behind.unwrap_or(at))
    }

    fn dns_label(&mut self, bytes: Bytes<'_>, at: usize) -> Option<usize> {
        match label(bytes, at) {
            Ok(len) => Some(len),
            Err("<ELT>") => {
                let kind = bytes.u8(at).ok()? & 0x3f;
                put!(self, "<ELT {kind}>");
                None
            }
            Err(why) => {
                self.to.push_str(why);
                None
            }
        }
    }

    /// A label of bits.
    fn dns_bit_label(&mut self, bytes: Bytes<'_>, at: usize) -> Option<()> {
        let told = bytes.u8(at).ok()?;
        let bits = if told == 0 { 256 } else { usize::from(told) };
        self.to.push_str("\\[x");
        self.digits(bytes.slice(at + 1, bits / 8).ok()?);
        let rest = bits % 8;
        if rest > 0 {
            let last = bytes.u8(at + 1 + bits / 8).ok()?;
            if rest > 4 {
                put!(self, "{:02x}", u32::from(last) & (0xff << (8 - rest)));
            } else {
                put!(self, "{:x}", last >> 4 & (0xf << (4 - rest)) & 0xf);
            }
        }
        put!(self, "/{bits}]");
        Some(())
    }
}

/// How many questions, answers, authorities and additional records there are.
fn counts(bytes: Bytes<'_>) -> Result<[u16; 4], Truncated> {
    Ok([bytes.u16(4)?, bytes.u16(6)?, bytes.u16(8)?, bytes.u16(10)?])
}

/// The upper bits of a response's result, which an OPT record has (RFC 6891).
fn extended_result(bytes: Bytes<'_>) -> Result<u16, Truncated> {
    let [questions, answers, authorities, additional] = counts(bytes)?;
    let mut at = HEADER;
    for _ in 0..questions {
        let Some(next) = skip_name(bytes, at) else {
            return Ok(0);
        };
        at = next + 4;
        if at >= bytes.len() {
            return Ok(0);
        }
    }
    let before = usize::from(answers) + usize::from(authorities);
    for record in 0..before + usize::from(additional) {
        let Some(fields) = skip_name(bytes, at) else {
            return Ok(0);
        };
        if record >= before && bytes.u16(fields) == Ok(OPT) {
            return Ok(bytes
                .u8(fields + 4)
                .map_or(0, |upper| u16::from(upper) << 4));
        }
        let Ok(data_len) = bytes.u16(fields + 8) else {
            return Ok(0);
        };
        at = fields + 10 + usize::from(data_len);
        if at >= bytes.len() {
            return Ok(0);
        }
    }
    Ok(0)
}
