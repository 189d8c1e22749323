//! Numbers of protocols and the words that tcpdump has for them.

/// A table of numbers and their words.
pub(super) type Words = [(u32, &'static str)];

/// The word of a number.
pub(super) fn word(words: &Words, number: u32) -> Option<&'static str> {
    words
        .iter()
        .find(|(other, _)| *other == number)
        .map(|(_, word)| *word)
}

/// The words of the bits that are set, `none` if no word fits.
pub(super) fn bits(words: &Words, number: u32, separator: &str, none: &str) -> String {
    let set: Vec<&str> = words
        .iter()
        .filter(|(bits, _)| *bits != 0 && number & bits == *bits)
        .map(|(_, word)| *word)
        .collect();
    if set.is_empty() {
        none.to_owned()
    } else {
        set.join(separator)
    }
}

/// Ethernet's types.
pub(super) mod ethertype {
    pub(in crate::dissect) const IPV4: u16 = 0x0800;
    pub(in crate::dissect) const ARP: u16 = 0x0806;
    pub(in crate::dissect) const TRAIL: u16 = 0x1000;
    pub(in crate::dissect) const TEB: u16 = 0x6558;
    pub(in crate::dissect) const REVERSE_ARP: u16 = 0x8035;
    pub(in crate::dissect) const VLAN: u16 = 0x8100;
    pub(in crate::dissect) const IPV6: u16 = 0x86dd;
    pub(in crate::dissect) const JUMBO: u16 = 0x8870;
    pub(in crate::dissect) const QINQ: u16 = 0x88a8;
    pub(in crate::dissect) const VLAN_9100: u16 = 0x9100;
    pub(in crate::dissect) const VLAN_9200: u16 = 0x9200;
    /// The largest number there that is a length.
    pub(in crate::dissect) const MAX_LENGTH: u16 = 1500;
}

/// What types of Ethernet are called.
pub(super) const ETHERTYPES: &Words = &[
    (0x0800, "IPv4"),
    (0x8847, "MPLS unicast"),
    (0x8848, "MPLS multicast"),
    (0x86dd, "IPv6"),
    (0x8100, "802.1Q"),
    (0x9100, "802.1Q-9100"),
    (0x88a8, "802.1Q-QinQ"),
    (0x9200, "802.1Q-9200"),
    (0x88e5, "802.1AE MACsec"),
    (0x0200, "PUP"),
    (0x0806, "ARP"),
    (0x8035, "Reverse ARP"),
    (0x0600, "NS"),
    (0x0500, "Sprite"),
    (0x1000, "Trail"),
    (0x6001, "MOP DL"),
    (0x6002, "MOP RC"),
    (0x6003, "DN"),
    (0x6004, "LAT"),
    (0x6007, "SCA"),
    (0x6558, "TEB"),
    (0x8038, "Lanbridge"),
    (0x803c, "DEC DNS"),
    (0x803e, "DEC DTS"),
    (0x805b, "VEXP"),
    (0x805c, "VPROD"),
    (0x809b, "Appletalk"),
    (0x80f3, "Appletalk ARP"),
    (0x8137, "IPX"),
    (0x880b, "PPP"),
    (0x8808, "MPCP"),
    (0x8809, "Slow Protocols"),
    (0x8863, "PPPoE D"),
    (0x8864, "PPPoE S"),
    (0x888e, "EAPOL"),
    (0x8899, "Realtek protocols"),
    (0x886f, "MS NLB heartbeat"),
    (0x8870, "Jumbo"),
    (0x894f, "NSH"),
    (0x9000, "Loopback"),
    (0xfefe, "OSI"),
    (0x00fe, "GRE-OSI"),
    (0xabcd, "CFM (old)"),
    (0x8902, "CFM"),
    (0x893a, "IEEE1905.1"),
    (0x88cc, "LLDP"),
    (0x88ca, "TIPC"),
    (0x0707, "GeoNet (old)"),
    (0x8947, "GeoNet"),
    (0x04e0, "CALM FAST"),
    (0x88a2, "AoE"),
    (0x88f7, "PTP"),
    (0xd28b, "Arista Vendor Specific Protocol"),
];

/// Protocols over IP.
pub(super) mod proto {
    pub(in crate::dissect) const HOP_BY_HOP: u8 = 0;
    pub(in crate::dissect) const ICMP: u8 = 1;
    pub(in crate::dissect) const IGMP: u8 = 2;
    pub(in crate::dissect) const IPV4: u8 = 4;
    pub(in crate::dissect) const TCP: u8 = 6;
    pub(in crate::dissect) const UDP: u8 = 17;
    pub(in crate::dissect) const DCCP: u8 = 33;
    pub(in crate::dissect) const IPV6: u8 = 41;
    pub(in crate::dissect) const ROUTING: u8 = 43;
    pub(in crate::dissect) const FRAGMENT: u8 = 44;
    pub(in crate::dissect) const GRE: u8 = 47;
    pub(in crate::dissect) const AH: u8 = 51;
    pub(in crate::dissect) const ICMPV6: u8 = 58;
    pub(in crate::dissect) const NONE: u8 = 59;
    pub(in crate::dissect) const DESTINATION_OPTIONS: u8 = 60;
    pub(in crate::dissect) const MOBILITY_OLD: u8 = 62;
    pub(in crate::dissect) const SCTP: u8 = 132;
    pub(in crate::dissect) const MOBILITY: u8 = 135;
    pub(in crate::dissect) const ETHERNET: u8 = 143;
}

/// What protocols over IP are called.
pub(super) const PROTOCOLS: &Words = &[
    (0, "Options"),
    (1, "ICMP"),
    (2, "IGMP"),
    (4, "IPIP"),
    (6, "TCP"),
    (8, "EGP"),
    (9, "IGRP"),
    (17, "UDP"),
    (33, "DCCP"),
    (41, "IPv6"),
    (43, "Routing"),
    (44, "Fragment"),
    (46, "RSVP"),
    (47, "GRE"),
    (50, "ESP"),
    (51, "AH"),
    (55, "Mobile IP"),
    (58, "ICMPv6"),
    (62, "Mobile IP (old)"),
    (88, "EIGRP"),
    (89, "OSPF"),
    (103, "PIM"),
    (108, "Compressed IP"),
    (112, "VRRP"),
    (113, "PGM"),
    (132, "SCTP"),
    (135, "Mobility"),
    (143, "Ethernet"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_numbers_and_bits() {
        assert_eq!(word(PROTOCOLS, 6), Some("TCP"));
        assert_eq!(word(PROTOCOLS, 7), None);
        let flags: &Words = &[(1, "F"), (2, "S"), (0, "never"), (6, "both")];
        assert_eq!(bits(flags, 3, ", ", "none"), "F, S");
        assert_eq!(bits(flags, 6, "", "none"), "Sboth");
        assert_eq!(bits(flags, 8, "", "none"), "none");
    }
}
