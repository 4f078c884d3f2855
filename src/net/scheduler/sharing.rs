//! Shares the time of one priority between owners by start-time fair queueing (Goyal, Vin and Cheng,
//! 1996): each owner has a virtual time that advances during its turns, and the owner with the lowest one
//! goes next. An owner that was idle gets at least the queue's virtual time, so idle time gives no
//! advantage later. An owner whose turn was very long waits for a bounded time.
//!
//! The connections of an owner are a linked list through their slots, so a turn allocates nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use slab::Slab;

use super::{PRIORITIES, Priority};
use crate::session::origin::Origin;

/// How far an owner's virtual time may be above its queue's. An owner whose turns took far longer than
/// others' waits until the others have caught up. Without this bound, one turn with a slow disk would
/// delay the owner for very long.
pub(super) const USER_DEBT_MAX: Duration = Duration::from_millis(100);

/// The owner of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Owner {
    /// No account or origin, such as an administrator's connection.
    #[default]
    Nobody,
    /// An account, by the number of its active account.
    Account(u64),
    /// Unauthenticated peers of one origin.
    Origin(Origin),
}

/// All connections and their owners.
pub(super) struct Sharing {
    /// By slot.
    links: Vec<ConnectionEntry>,
    owners: Slab<OwnerEntry>,
    keys: HashMap<Owner, usize>,
    queues: [OwnerQueue; 3],
    /// The owner whose turn it is, its queue, and its virtual time when the turn began.
    current: Option<(usize, Priority, Duration)>,
    /// Orders owners with equal virtual times.
    sequence: u64,
}

/// One connection, as an element of the queue of its owner.
#[derive(Clone, Copy)]
struct ConnectionEntry {
    owner: usize,
    /// The owner's next waiting connection, or [`NONE`].
    next: usize,
    waits: Option<Priority>,
}

struct OwnerEntry {
    key: Owner,
    connections: usize,
    shares: [QueueShare; 3],
}

/// An owner's part of one queue.
#[derive(Clone, Copy)]
struct QueueShare {
    first: usize,
    last: usize,
    /// The time that the owner's turns in this queue have taken.
    virtual_time: Duration,
    is_queued: bool,
}

/// Owners with waiting connections, the one with the lowest virtual time first.
#[derive(Default)]
struct OwnerQueue {
    owners: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    /// The virtual time of the owner that was served last.
    virtual_time: Duration,
    /// Waiting connections.
    waiting: usize,
}

const NONE: usize = usize::MAX;
/// The entry of [`Owner::Nobody`].
const NOBODY: usize = 0;
const UNASSIGNED: ConnectionEntry = ConnectionEntry { owner: NOBODY, next: NONE, waits: None };

impl Default for Sharing {
    fn default() -> Self {
        let (mut owners, queues) = (Slab::new(), Default::default());
        owners.insert(OwnerEntry::new(Owner::Nobody));
        Self { links: Vec::new(), owners, keys: HashMap::new(), queues, current: None, sequence: 0 }
    }
}

impl OwnerEntry {
    fn new(key: Owner) -> Self {
        let share = QueueShare { first: NONE, last: NONE, virtual_time: Duration::ZERO, is_queued: false };
        Self { key, connections: 0, shares: [share; 3] }
    }
}

impl Sharing {
    pub(super) fn waiting(&self, priority: Priority) -> usize {
        self.queues[priority as usize].waiting
    }

    pub(super) fn assign(&mut self, slot: usize, key: Owner) {
        let waits = self.link(slot).waits;
        self.leave(slot);
        let owner = match key {
            Owner::Nobody => NOBODY,
            key => *self.keys.entry(key).or_insert_with(|| self.owners.insert(OwnerEntry::new(key))),
        };
        self.owners[owner].connections += 1;
        self.link(slot).owner = owner;
        waits.into_iter().for_each(|priority| self.push(slot, priority));
    }

    pub(super) fn leave(&mut self, slot: usize) {
        self.forget(slot);
        let owner = std::mem::replace(self.link(slot), UNASSIGNED).owner;
        if owner == NOBODY {
            return;
        }
        self.owners[owner].connections -= 1;
        if self.owners[owner].connections == 0 {
            self.current = self.current.filter(|&(served, ..)| served != owner);
            let entry = self.owners.remove(owner);
            self.keys.remove(&entry.key);
        }
    }

    fn link(&mut self, slot: usize) -> &mut ConnectionEntry {
        if self.links.len() <= slot {
            self.links.resize(slot + 1, UNASSIGNED);
        }
        &mut self.links[slot]
    }

    pub(super) fn push(&mut self, slot: usize, priority: Priority) {
        let link = self.link(slot);
        (link.next, link.waits) = (NONE, Some(priority));
        let owner = link.owner;
        let share = &mut self.owners[owner].shares[priority as usize];
        match std::mem::replace(&mut share.last, slot) {
            NONE => share.first = slot,
            last => self.links[last].next = slot,
        }
        self.queues[priority as usize].waiting += 1;
        if self.current.is_none_or(|(served, of, _)| (served, of) != (owner, priority)) {
            self.queue(owner, priority);
        }
    }

    /// Queues an owner, unless it is queued already or has no waiting connection.
    fn queue(&mut self, owner: usize, priority: Priority) {
        let (share, queue) = (&mut self.owners[owner].shares[priority as usize], &mut self.queues[priority as usize]);
        if share.is_queued || share.first == NONE {
            return;
        }
        share.is_queued = true;
        share.virtual_time = share.virtual_time.max(queue.virtual_time);
        self.sequence += 1;
        queue.owners.push(Reverse((share.virtual_time, self.sequence, owner)));
    }

    /// Takes the next connection. [`Sharing::charge`] must follow its turn.
    pub(super) fn take(&mut self, priority: Priority) -> Option<usize> {
        self.charge(Duration::ZERO);
        let queue = &mut self.queues[priority as usize];
        let (owner, began) = loop {
            let Reverse((began, order, owner)) = queue.owners.pop()?;
            let share = &mut self.owners[owner].shares[priority as usize];
            if share.virtual_time <= began {
                break (owner, began);
            }
            // Its virtual time has advanced by turns in another queue since it was queued.
            queue.owners.push(Reverse((share.virtual_time, order, owner)));
        };
        queue.virtual_time = queue.virtual_time.max(began);
        queue.waiting -= 1;
        self.current = Some((owner, priority, began));
        let share = &mut self.owners[owner].shares[priority as usize];
        share.is_queued = false;
        let slot = share.first;
        let link = &mut self.links[slot];
        share.first = std::mem::replace(&mut link.next, NONE);
        link.waits = None;
        if share.first == NONE {
            share.last = NONE;
        }
        Some(slot)
    }

    /// Ends the current turn and adds its duration to the owner's virtual time. Time of woken connections counts
    /// in the busy queue too, or an owner would get a share of both.
    pub(super) fn charge(&mut self, took: Duration) {
        let Some((owner, priority, began)) = self.current.take() else { return };
        let shares = &mut self.owners[owner].shares;
        let levels = PRIORITIES.map(|priority| self.queues[priority as usize].virtual_time);
        let add = |share: &mut QueueShare, from: Duration, priority: Priority| {
            share.virtual_time = (from + took).min(levels[priority as usize] + USER_DEBT_MAX);
        };
        add(&mut shares[priority as usize], began, priority);
        let work = &mut shares[Priority::Busy as usize];
        if priority == Priority::Woken && work.is_queued {
            add(work, work.virtual_time, Priority::Busy);
        }
        self.queue(owner, priority);
    }

    /// Slow, because it walks the owner's waiting connections; rarely called.
    pub(super) fn forget(&mut self, slot: usize) {
        let ConnectionEntry { owner, next, waits: Some(priority) } = *self.link(slot) else { return };
        self.links[slot] = ConnectionEntry { owner, next: NONE, waits: None };
        let (share, queue) = (&mut self.owners[owner].shares[priority as usize], &mut self.queues[priority as usize]);
        queue.waiting -= 1;
        let (mut before, mut at) = (NONE, share.first);
        while at != slot && at != NONE {
            (before, at) = (at, self.links[at].next);
        }
        match before {
            NONE => share.first = next,
            before => self.links[before].next = next,
        }
        if share.last == slot {
            share.last = before;
        }
        if share.first == NONE && std::mem::take(&mut share.is_queued) {
            queue.owners.retain(|&Reverse((_, _, queued))| queued != owner);
        }
    }
}
