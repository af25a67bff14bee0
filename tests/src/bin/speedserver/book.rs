//! The orders that are in force.

use bastion_tests::link::orders::{Act, Order};

use crate::http::Request;

/// All orders, newest last.
#[derive(Default)]
pub struct Book {
    orders: Vec<Order>,
}

impl Book {
    /// Takes an order.
    pub fn write(&mut self, order: Order) {
        if order.act == Act::Heal {
            self.orders.clear();
            return;
        }
        let kind = kind(&order.act);
        self.orders.retain(|old| {
            old.path != order.path || old.host != order.host || self::kind(&old.act) != kind
        });
        self.orders.push(order);
    }

    /// What is to be done with a request, if anything.
    pub fn find(&mut self, request: &Request) -> Option<Act> {
        let fits = |order: &Order| {
            let path = order.path.as_ref().is_none_or(|path| request.target.contains(path));
            let host = order.host.as_ref().is_none_or(|host| request.host_name() == host);
            path && host && kind(&order.act) == Kind::Request
        };
        let at = self.orders.iter().rposition(fits)?;
        self.take(at)
    }

    /// What of this kind is to be done with a connection, of whose requests nothing is known.
    pub fn find_for_connection(&mut self, wanted: impl Fn(&Act) -> bool) -> Option<Act> {
        let at = self.orders.iter().rposition(|order| wanted(&order.act))?;
        self.take(at)
    }

    /// What is said of clients, newest last.
    pub fn identities(&self) -> impl Iterator<Item = &Act> {
        let said = self.orders.iter().map(|order| &order.act);
        said.filter(|act| kind(act) == Kind::Identity)
    }

    fn take(&mut self, at: usize) -> Option<Act> {
        let order = self.orders.get_mut(at)?;
        let act = order.act.clone();
        if let Some(times) = &mut order.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.orders.remove(at);
            }
        }
        Some(act)
    }
}

/// Orders of different kinds hold beside each other.
#[derive(PartialEq, Eq)]
enum Kind {
    Connection,
    Identity,
    Request,
}

fn kind(act: &Act) -> Kind {
    match act {
        Act::Mute | Act::Certificate(_) => Kind::Connection,
        Act::Isp(_) | Act::Address(_) => Kind::Identity,
        _ => Kind::Request,
    }
}
