//! Masquerading in the calling thread's namespace, through nfnetlink: no `nft` binary is needed.
//! One transaction makes `table inet netns-trace`, a chain `postrouting` and its one rule
//! `oifname UPLINK masquerade`. Constants: include/uapi/linux/netfilter/nf_tables.h.

use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::{LabError, wire::refused};
use crate::topology::netlink::{Netlink, write_attribute};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10; // NFNL_SUBSYS_NFTABLES
const NEWTABLE: u16 = SUBSYSTEM << 8;
const NEWCHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEWRULE: u16 = SUBSYSTEM << 8 | 6;
const UNSPECIFIED: u8 = 0;
const INET: u8 = 1; // NFPROTO_INET; masquerading in it from 5.2

/// Gives what leaves by `uplink` the router's own address.
pub(super) fn masquerade(uplink: &str) -> Result<(), LabError> {
    let operation = || "set up masquerading (the kernel needs nf_tables and nft_masq)".to_owned();
    let socket = Netlink::open(NETLINK_NETFILTER);
    let mut netlink = socket.map_err(|e| LabError::io(operation(), e))?;
    let sequence = netlink.next_sequence();
    let sent = netlink.send_bytes(&transaction(uplink, sequence));
    sent.map_err(|e| LabError::io(operation(), e))?;
    netlink.answers().map_err(|e| refused(operation(), e))?;
    Ok(())
}

fn transaction(uplink: &str, sequence: u32) -> Vec<u8> {
    let table = string(1, "netns-trace"); // NFTA_TABLE_NAME
    let hook = [be32(1, 4), be32(2, 100)].concat(); // NF_INET_POST_ROUTING, priority srcnat
    let chain = [
        string(1, "netns-trace"), // NFTA_CHAIN_TABLE
        string(3, "postrouting"), // NFTA_CHAIN_NAME
        nested(4, &hook),         // NFTA_CHAIN_HOOK
        string(7, "nat"),         // NFTA_CHAIN_TYPE
    ]
    .concat();
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(uplink.bytes()) {
        *to = from;
    }
    let load = [be32(1, 1), be32(2, 7)].concat(); // register 1 = NFT_META_OIFNAME
    let value = nested(3, &write_attribute(1, &name));
    let compare = [be32(1, 1), be32(2, 0), value].concat(); // register 1, NFT_CMP_EQ
    let expressions = [
        expression("meta", &load),
        expression("cmp", &compare),
        expression("masq", &[]),
    ]
    .concat();
    let rule = [
        string(1, "netns-trace"), // NFTA_RULE_TABLE
        string(2, "postrouting"), // NFTA_RULE_CHAIN
        nested(4, &expressions),  // NFTA_RULE_EXPRESSIONS
    ]
    .concat();
    let message = |kind: u16, flags: u16, family: u8, body: &[u8]| {
        // struct nfgenmsg: the batch names its subsystem in res_id, in network order.
        let resource = if family == UNSPECIFIED { SUBSYSTEM } else { 0 };
        let mut bytes = (20 + body.len() as u32).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&[family, 0]);
        bytes.extend_from_slice(&resource.to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    // An error of any message is reported; the last one's acknowledgement says that all is done.
    [
        message(BATCH_BEGIN, 0, UNSPECIFIED, &[]),
        message(NEWTABLE, NLM_F_CREATE, INET, &table),
        message(NEWCHAIN, NLM_F_CREATE, INET, &chain),
        message(
            NEWRULE,
            NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK,
            INET,
            &rule,
        ),
        message(BATCH_END, 0, UNSPECIFIED, &[]),
    ]
    .concat()
}

fn expression(name: &str, data: &[u8]) -> Vec<u8> {
    let body = [string(1, name), nested(2, data)].concat(); // NFTA_EXPR_NAME, NFTA_EXPR_DATA
    nested(1, &body) // NFTA_LIST_ELEM
}

fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    write_attribute(kind | 0x8000, value) // NLA_F_NESTED
}

fn string(kind: u16, text: &str) -> Vec<u8> {
    write_attribute(kind, &[text.as_bytes(), &[0]].concat())
}

fn be32(kind: u16, value: u32) -> Vec<u8> {
    write_attribute(kind, &value.to_be_bytes())
}
