//! Messages: answers of name servers, of netlink, and of the process connector.

use super::Bytes;
use crate::{
    inspect::{
        conntrack, dns,
        links::{self, read_details},
        neighbours::read_neighbour,
        routes::read_route,
        rules::read_rule,
    },
    topology::link,
    watch::connector,
};

/// Records of a DNS message are this long at least.
const DNS_RECORD: usize = 11;

/// Who answers, and the answer. It is refused, or what is taken of it is bounded.
pub fn answers(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let (kind, answer) = (bytes.byte(), bytes.0);
    let names = &|index: u32| index.to_string();
    match kind % 9 {
        0 => name_server(answer),
        1 => drop(read_details(answer)),
        2 => {
            links::read_address(answer);
            link::read_address(answer);
        }
        3 => {
            link::read_default(answer, libc::AF_INET as u8);
        }
        4 => drop(read_neighbour(answer, names)),
        5 => {
            if let Some(route) = read_route(answer, names) {
                assert!(route.hops.len() * 8 <= answer.len());
            }
        }
        6 => drop(read_rule(answer)),
        7 => drop(conntrack::read(answer)),
        _ => {
            connector::life(answer);
        }
    }
}

/// The answer stands behind the question, whose id and flags it begins with.
fn name_server(answer: &[u8]) {
    let question = dns::question(7, "web.lan", dns::Kind::A).expect("a name");
    let mut whole = question.clone();
    for (to, from) in whole[2..12].iter_mut().zip(answer) {
        *to = *from;
    }
    whole[4..6].copy_from_slice(&[0, 1]);
    whole.extend(answer.get(10..).unwrap_or_default());
    for message in [answer, &whole] {
        if let Ok(reply) = dns::answer(message, &question) {
            assert!(reply.addresses.len() * DNS_RECORD <= message.len());
            assert!(reply.aliases.len() <= 16);
            assert!(reply.aliases.iter().all(|alias| alias.len() <= 3 * 255));
        }
    }
}
