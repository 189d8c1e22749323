//! LLC (IEEE 802.2) and SNAP, as bridges speak them.

use super::{
    Printer,
    bytes::{Bytes, Truncated},
    ethernet::Addresses,
    put,
    words::{ETHERTYPES, Words, word},
};

const SAPS: &Words = &[
    (0x00, "Null"),
    (0xff, "Global"),
    (0x02, "802.1B I"),
    (0x03, "802.1B G"),
    (IP, "IP"),
    (0x04, "SNA"),
    (0x0e, "ProWay NM"),
    (STP, "STP"),
    (0x4e, "RS511"),
    (0x7e, "ISO8208"),
    (0x8e, "ProWay"),
    (SNAP, "SNAP"),
    (0xe0, "IPX"),
    (0xf0, "NetBeui"),
    (0xfe, "OSI"),
];
const IP: u32 = 0x06;
const STP: u32 = 0x42;
const SNAP: u32 = 0xaa;

const COMMANDS: &Words = &[
    (0x03, "ui"),
    (0xe3, "test"),
    (0xaf, "xid"),
    (0x63, "ua"),
    (0x43, "disc"),
    (0x0f, "dm"),
    (0x6f, "sabme"),
    (0x87, "frmr"),
];
/// Unnumbered information, and the bits around it.
const UI: u16 = 0x03;
const XID: u16 = 0xaf;
const POLL: u16 = 0x10;

const FLAGS: &Words = &[
    (0, "Command"),
    (1, "Response"),
    (0x10, "Poll"),
    (0x11, "Final"),
    (0x100, "Poll"),
    (0x101, "Final"),
];
const SUPERVISORY: &Words = &[
    (0, "Receiver Ready"),
    (1, "Receiver not Ready"),
    (2, "Reject"),
];

/// Whose numbers a SNAP header has.
const OUIS: &Words = &[
    (0x00_0000, "Ethernet"),
    (0x00_000c, "Cisco"),
    (0x00_005e, "IANA"),
    (0x00_0081, "Nortel Networks SONMP"),
    (CISCO_BRIDGED, "Cisco bridged"),
    (BRIDGED, "Ethernet bridged"),
    (0x00_a03e, "ATM Forum"),
    (0x00_e02f, "DOCSIS Spanning Tree"),
    (APPLETALK, "Appletalk"),
    (0x00_9069, "Juniper"),
    (0x08_0009, "Hewlett-Packard"),
    (0x00_120f, "IEEE 802.3 Private"),
    (0x00_12bb, "ANSI/TIA"),
    (0x00_1b21, "DCBX"),
    (0x00_2320, "Nicira Networks"),
    (0x5c_16c7, "Big Switch Networks"),
    (0x00_1018, "Broadcom"),
];
const CISCO: u32 = 0x00_000c;
const CISCO_BRIDGED: u32 = 0x00_00f8;
const BRIDGED: u32 = 0x00_80c2;
const APPLETALK: u32 = 0x08_0007;

const CISCO_PROTOCOLS: &Words = &[
    (0x2000, "CDP"),
    (0x2003, "VTP"),
    (0x2004, "DTP"),
    (0x0111, "UDLD"),
    (0x010b, "PVST"),
    (0x010c, "VLAN Bridge"),
];
const BRIDGED_PROTOCOLS: &Words = &[
    (0x0001, "Ethernet + FCS"),
    (0x0007, "Ethernet w/o FCS"),
    (0x0002, "802.4 + FCS"),
    (0x0008, "802.4 w/o FCS"),
    (0x0003, "Token Ring + FCS"),
    (0x0009, "Token Ring w/o FCS"),
    (0x0004, "FDDI + FCS"),
    (0x000a, "FDDI w/o FCS"),
    (0x0005, "802.6 + FCS"),
    (0x000b, "802.6 w/o FCS"),
    (0x000e, "BPDU"),
];

/// How many bytes the headers took: `Ok` if what is behind them was printed, `Err` if it is not known.
type Headers = Result<usize, usize>;

impl Printer<'_> {
    pub(super) fn llc(
        &mut self,
        bytes: Bytes<'_>,
        len: usize,
        addresses: Option<Addresses<'_>>,
    ) -> Result<Headers, Truncated> {
        self.protocol = "llc";
        if bytes.len() < 3 || len < 3 {
            self.say_truncated();
            self.unknown(bytes, bytes.len())?;
            return Ok(Ok(bytes.len()));
        }
        let (to, from) = (bytes.u8(0)?, bytes.u8(1)?);
        let mut control = u16::from(bytes.u8(2)?);
        let is_unnumbered = control & 3 == 3;
        let mut header = 3;
        if !is_unnumbered {
            header = 4;
            if bytes.len() < header || len < header {
                self.say_truncated();
                self.unknown(bytes, bytes.len())?;
                return Ok(Ok(bytes.len()));
            }
            control = u16::from_le_bytes(bytes.array(2)?);
        }
        let (to_sap, from_sap) = (u32::from(to & !1), u32::from(from & !1));
        if self.options.link_header && (to, from) != (0xff, 0xff) {
            put!(
                self,
                "LLC, dsap {} (0x{to_sap:02x}) {}, ssap {} (0x{from_sap:02x}) {}",
                word(SAPS, to_sap).unwrap_or("Unknown"),
                if to & 1 == 0 { "Individual" } else { "Group" },
                word(SAPS, from_sap).unwrap_or("Unknown"),
                if from & 1 == 0 { "Command" } else { "Response" },
            );
            if is_unnumbered {
                put!(self, ", ctrl 0x{control:02x}: ");
            } else {
                put!(self, ", ctrl 0x{control:04x}: ");
            }
        }
        let (payload, payload_len) = (bytes.from(header), len - header);
        if control == UI && to_sap == from_sap {
            match to_sap {
                SNAP => {
                    return Ok(self
                        .snap(payload, payload_len, addresses)?
                        .map_or_else(|snap| Err(header + snap), |snap| Ok(header + snap)));
                }
                STP => {
                    self.stp(payload, payload_len)?;
                    return Ok(Ok(header));
                }
                IP => {
                    self.ip(payload, payload_len)?;
                    return Ok(Ok(header));
                }
                _ => {}
            }
        }
        if !self.options.link_header {
            let to_name = word(SAPS, to_sap)
                .map_or_else(|| format!("Unknown DSAP 0x{to_sap:02x}"), str::to_owned);
            let from_name = word(SAPS, from_sap)
                .map_or_else(|| format!("Unknown SSAP 0x{from_sap:02x}"), str::to_owned);
            match addresses {
                Some(ends) if to_sap == from_sap => {
                    put!(self, "{} > {} {to_name} ", ends.from, ends.to);
                }
                Some(ends) => put!(self, "{} {from_name} > {} {to_name} ", ends.from, ends.to),
                None if to_sap == from_sap => put!(self, "{to_name} "),
                None => put!(self, "{from_name} > {to_name} "),
            }
        }
        let response = u16::from(from & 1);
        let flags = |poll| word(FLAGS, u32::from(response | control & poll)).unwrap_or("?");
        if is_unnumbered {
            let command = control & 0xef;
            match word(COMMANDS, command.into()) {
                Some(name) => put!(self, "Unnumbered, {name}"),
                None => put!(self, "Unnumbered, {command:02x}"),
            }
            put!(self, ", Flags [{}], length {len}", flags(POLL));
            if control & !POLL == XID {
                if payload_len == 0 {
                    return Ok(Ok(header));
                }
                if payload.is_empty() {
                    self.say_truncated();
                    return Ok(Ok(header));
                }
                if payload.u8(0)? == 0x81 {
                    if payload.len() < 3 || payload_len < 3 {
                        self.say_truncated();
                        self.unknown(payload, payload.len())?;
                    } else {
                        put!(self, ": {:02x} {:02x}", payload.u8(1)?, payload.u8(2)?);
                    }
                    return Ok(Ok(header));
                }
            }
        } else if control & 1 == 1 {
            put!(
                self,
                "Supervisory, {}, rcv seq {}, Flags [{}], length {len}",
                word(SUPERVISORY, (control >> 2 & 3).into()).unwrap_or("?"),
                control >> 9 & 0x7f,
                flags(0x100),
            );
            return Ok(Ok(header));
        } else {
            put!(
                self,
                "Information, send seq {}, rcv seq {}, Flags [{}], length {len}",
                control >> 1 & 0x7f,
                control >> 9 & 0x7f,
                flags(0x100),
            );
        }
        Ok(Err(header))
    }

    fn snap(
        &mut self,
        bytes: Bytes<'_>,
        len: usize,
        addresses: Option<Addresses<'_>>,
    ) -> Result<Headers, Truncated> {
        const HEADER: usize = 5;
        self.protocol = "snap";
        if bytes.len() < HEADER || len < HEADER {
            self.say_truncated();
            return Ok(Ok(HEADER));
        }
        let oui = bytes.u24(0)?;
        let kind = bytes.u16(3)?;
        let organisation = word(OUIS, oui).unwrap_or("Unknown");
        let name = word(
            match oui {
                0 | CISCO_BRIDGED | APPLETALK => ETHERTYPES,
                CISCO => CISCO_PROTOCOLS,
                BRIDGED => BRIDGED_PROTOCOLS,
                _ => &[],
            },
            kind.into(),
        );
        let name = name.unwrap_or("Unknown");
        if self.options.link_header {
            let what = if oui == 0 { "ethertype" } else { "pid" };
            put!(
                self,
                "oui {organisation} (0x{oui:06x}), {what} {name} (0x{kind:04x}), length {}: ",
                len - HEADER
            );
        }
        let (payload, payload_len) = (bytes.from(HEADER), len - HEADER);
        match (oui, kind) {
            (0 | CISCO_BRIDGED, _) if self.ethernet_payload(kind, payload, payload_len)? => {
                return Ok(Ok(HEADER));
            }
            (CISCO, 0x010b | 0x010c) | (BRIDGED, 0x000e) => {
                self.stp(payload, payload_len)?;
                return Ok(Ok(HEADER));
            }
            (BRIDGED, 1 | 7) => {
                const PAD: usize = 2;
                payload.slice(0, PAD)?;
                self.nested(|printer| {
                    printer
                        .ethernet(payload.from(PAD), payload_len.saturating_sub(PAD))
                        .map(drop)
                })?;
                return Ok(Ok(HEADER));
            }
            _ => {}
        }
        if !self.options.link_header {
            if let Some(ends) = addresses {
                put!(self, "{} > {} ", ends.from, ends.to);
            }
            if oui == 0 {
                put!(
                    self,
                    "SNAP, ethertype {name} (0x{kind:04x}), length {payload_len}: "
                );
            } else {
                put!(
                    self,
                    "SNAP, oui {organisation} (0x{oui:06x}), pid {name} (0x{kind:04x}), length {payload_len}: "
                );
            }
        }
        Ok(Err(HEADER))
    }
}
