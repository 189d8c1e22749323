//! Traffic control through netlink: the clsact qdisc of an interface and the filters on it.
//!
//! Every function speaks for the namespace that the calling thread is in.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle, TcMessage},
};

use super::Hook;
use crate::topology::netlink::{Answer, Netlink, NetlinkError, attribute, text, u32_at};

const KIND: &str = "clsact";
/// `TC_H_CLSACT` and its two minors:
/// <https://github.com/torvalds/linux/blob/v5.10/include/uapi/linux/pkt_sched.h#L78>
const CLSACT: TcHandle = TcHandle {
    major: 0xffff,
    minor: 0xfff1,
};
const CLSACT_QDISC: TcHandle = TcHandle {
    major: 0xffff,
    minor: 0,
};
const ETH_P_ALL: u16 = 0x0003;
/// include/uapi/linux/rtnetlink.h, pkt_cls.h.
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;

/// A filter on a clsact qdisc, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedFilter {
    pub(super) priority: u16,
    pub(super) handle: u32,
    /// What sort of filter it is, such as `bpf` or `flower`.
    pub(super) kind: String,
    /// The program's name, of a BPF filter.
    pub(super) name: Option<String>,
    /// The program's id, of an eBPF filter.
    pub(super) program: Option<u32>,
}

fn parent(hook: Hook) -> TcHandle {
    TcHandle {
        major: 0xffff,
        minor: match hook {
            Hook::Ingress => 0xfff2,
            Hook::Egress => 0xfff3,
        },
    }
}

fn qdisc(ifindex: u32) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = ifindex as i32;
    message.header.parent = CLSACT;
    message.header.handle = CLSACT_QDISC;
    message.attributes.push(TcAttribute::Kind(KIND.to_owned()));
    message
}

/// Whether the interface has a clsact qdisc.
pub(super) fn has_clsact(ifindex: u32) -> Result<bool, NetlinkError> {
    let mut request = TcMessage::default();
    request.header.index = ifindex as i32;
    let listed = Netlink::route()?.dump(&RouteNetlinkMessage::GetQueueDiscipline(request))?;
    Ok(listed.iter().filter_map(Tc::read).any(|qdisc| {
        qdisc.ifindex == ifindex
            && attribute(qdisc.attributes, TCA_KIND).map(text) == Some(KIND.to_owned())
    }))
}

/// Adds the clsact qdisc; `EEXIST` where there is one.
pub(super) fn add_clsact(ifindex: u32) -> Result<(), NetlinkError> {
    let message = RouteNetlinkMessage::NewQueueDiscipline(qdisc(ifindex));
    Netlink::route()?.ask(message, NLM_F_CREATE | NLM_F_EXCL)?;
    Ok(())
}

/// Removes the clsact qdisc with all that is on it.
pub(super) fn delete_clsact(ifindex: u32) -> Result<(), NetlinkError> {
    let message = RouteNetlinkMessage::DelQueueDiscipline(qdisc(ifindex));
    Netlink::route()?.ask(message, 0)?;
    Ok(())
}

/// The filters at one hook.
pub(super) fn filters(ifindex: u32, hook: Hook) -> Result<Vec<ListedFilter>, NetlinkError> {
    let mut request = TcMessage::default();
    request.header.index = ifindex as i32;
    request.header.parent = parent(hook);
    let listed = Netlink::route()?.dump(&RouteNetlinkMessage::GetTrafficFilter(request))?;
    Ok(listed
        .iter()
        .filter_map(Tc::read)
        // A priority is listed by itself too, with handle 0.
        .filter(|filter| filter.handle != 0)
        .map(|filter| {
            let kind = attribute(filter.attributes, TCA_KIND).map_or_else(String::new, text);
            // The options' numbers mean something else in filters of another kind.
            let option = |number| {
                let options = attribute(filter.attributes, TCA_OPTIONS).filter(|_| kind == "bpf");
                options.and_then(|options| attribute(options, number))
            };
            ListedFilter {
                priority: (filter.info >> 16) as u16,
                handle: filter.handle,
                name: option(TCA_BPF_NAME).map(text),
                program: option(TCA_BPF_ID).and_then(|value| u32_at(value, 0)),
                kind,
            }
        })
        .collect())
}

/// Removes one BPF filter.
pub(super) fn delete_filter(
    ifindex: u32,
    hook: Hook,
    priority: u16,
    handle: u32,
) -> Result<(), NetlinkError> {
    let mut message = TcMessage::default();
    message.header.index = ifindex as i32;
    message.header.parent = parent(hook);
    message.header.handle = handle.into();
    message.header.info = (u32::from(priority) << 16) | u32::from(ETH_P_ALL.to_be());
    message.attributes.push(TcAttribute::Kind("bpf".to_owned()));
    Netlink::route()?.ask(RouteNetlinkMessage::DelTrafficFilter(message), 0)?;
    Ok(())
}

/// `struct tcmsg` and the attributes behind it; include/uapi/linux/rtnetlink.h.
struct Tc<'a> {
    ifindex: u32,
    handle: u32,
    info: u32,
    attributes: &'a [u8],
}

impl<'a> Tc<'a> {
    fn read(answer: &'a Answer) -> Option<Self> {
        let body = &answer.body;
        Some(Self {
            ifindex: u32_at(body, 4)?,
            handle: u32_at(body, 8)?,
            info: u32_at(body, 16)?,
            attributes: body.get(20..)?,
        })
    }
}
