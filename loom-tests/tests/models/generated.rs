//! Generated models: the operations of each thread are drawn from a seed.
//!
//! Code: `scheduler/idle.rs`, `scheduler/inbox.rs`, `reactor/uring/mailbox.rs` and doorbells as they
//! are.
//!
//! Properties:
//!
//! * as in `push_and_park`, `inbox_final_check` and `ring_mailbox`, with other orders of
//!   operations: when all threads are done and something is queued, its owner is awake, or is
//!   being woken;
//! * else loom sees it wait for ever.
//!
//! Each queued item is taken once, by a thread that sees what was done before the push.
//!
//! Actors: two or three threads, of two or three operations each.
//!
//! Bound: a number of seeds, and of executions for each.

use std::sync::Arc;

use loom::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};
use loom_tests::{Random, explore_seeds};
use ringloop::model::{inbox::Inbox, kernel, scheduler::Hub, task::Runnable};

use crate::{
    hubs::opened,
    ring_mailbox::{FIRST, Home, SECOND, Socket, socket},
    tasks::{finish, ready_task},
};

/// Two or three of `choices`.
fn operations<T: Copy>(random: &mut Random, choices: &[T]) -> Vec<T> {
    let count = 2 + random.below(2);
    (0..count).map(|_| random.choose(choices)).collect()
}

/// An operation of a worker or another thread on a hub.
#[derive(Clone, Copy)]
enum Act {
    Push {
        to: usize,
    },
    /// Takes what has come; sleeps if more will come.
    Park,
    Drain,
    Announce,
    Search,
    ArmPatrol,
    GiveUpPatrol,
}

/// A worker of a generated model, and the number of tasks that will come to it.
struct Worker {
    me: usize,
    hub: Arc<Hub>,
    expected: usize,
    tasks: Vec<Runnable>,
}

impl Worker {
    fn drain(&mut self) {
        self.hub.take_local(self.me, usize::MAX, |task| self.tasks.push(task));
    }

    fn drain_and_park(&mut self) {
        self.drain();
        if self.tasks.len() < self.expected {
            let has_work = || self.hub.has_mail(self.me);
            self.hub.park(self.me, false, has_work, |_| kernel::wait(self.me as i32));
        }
    }

    /// Runs the drawn operations, and then sleeps and wakes until all tasks have come.
    fn run(mut self, acts: &[Act]) {
        for &act in acts {
            match act {
                Act::Park => self.drain_and_park(),
                Act::Drain => self.drain(),
                Act::Search => self.hub.search(self.me, || true, || ()),
                Act::GiveUpPatrol => self.hub.give_up_patrol(self.me),
                act => tell(&self.hub, act),
            }
        }
        while self.tasks.len() < self.expected {
            self.drain_and_park();
        }
        assert_eq!(self.tasks.len(), self.expected, "taken twice");
        assert!(!self.hub.is_parked(self.me), "awake, and its bit is set");
        finish(self.tasks);
    }
}

/// An operation that any thread may do.
fn tell(hub: &Hub, act: Act) {
    let claimed = match act {
        Act::Push { to } => {
            hub.push_home(ready_task(1), to);
            None
        }
        Act::Announce => hub.announce(),
        Act::ArmPatrol => hub.arm_patrol(),
        _ => unreachable!("only a worker does that"),
    };
    claimed.into_iter().for_each(|worker| hub.ring(worker));
}

/// Two workers and a third thread push, sleep, and name each other for duties.
#[test]
fn idle() {
    explore_seeds(|seed| {
        let random = &mut Random::new(seed);
        let worker = |random: &mut Random, to| {
            use Act::{Announce, ArmPatrol, Drain, GiveUpPatrol, Park, Push, Search};
            let push = Push { to };
            operations(
                random,
                &[push, Park, Park, Drain, Announce, Search, ArmPatrol, GiveUpPatrol],
            )
        };
        let programs = [worker(random, 1), worker(random, 0)];
        let pushes = [Act::Push { to: 0 }, Act::Push { to: 1 }];
        let other = operations(random, &[pushes[0], pushes[1], Act::Announce, Act::ArmPatrol]);
        let hub = opened(2);
        let expected = |worker| {
            let acts = programs.iter().flatten().chain(&other);
            acts.filter(|act| matches!(act, Act::Push { to } if *to == worker)).count()
        };
        let worker =
            |me| Worker { me, hub: hub.clone(), expected: expected(me), tasks: Vec::new() };
        let [first, second] = [0, 1].map(worker);
        let [own, others] = programs;
        let threads = [thread::spawn(move || second.run(&others)), {
            let hub = hub.clone();
            thread::spawn(move || other.into_iter().for_each(|act| tell(&hub, act)))
        }];
        first.run(&own);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// An operation of a thread on an inbox.
#[derive(Clone, Copy)]
enum Step {
    Push,
    /// Takes at most this many tasks.
    Take(usize),
}

/// Two threads push to one inbox and take from it, one task or all.
#[test]
fn inbox() {
    explore_seeds(|seed| {
        let random = &mut Random::new(seed);
        // As many pushes as takes. A third thread would have too many orders, except for this
        // thread, which takes all at the end.
        use Step::{Push, Take};
        let programs = [0; 2].map(|_| operations(random, &[Push, Push, Take(1), Take(usize::MAX)]));
        let inbox = Arc::new(Inbox::new());
        // What was done before each task was pushed, by its number.
        let before = Arc::new([(); 6].map(|()| AtomicBool::new(false)));
        let pushed = programs.iter().flatten().filter(|step| matches!(step, Push)).count();
        let mut next = 0;
        let threads = programs.map(|program| {
            let (inbox, before, first) = (inbox.clone(), before.clone(), next);
            next += 3;
            thread::spawn(move || {
                let mut drained = Vec::new();
                for (index, step) in program.into_iter().enumerate() {
                    match step {
                        Push => {
                            before[first + index].store(true, Relaxed);
                            inbox.push(ready_task((first + index) as u64));
                        }
                        Take(limit) => drained.extend(take(&inbox, limit, &*before)),
                    }
                }
                drained
            })
        });
        let mut all = Vec::new();
        for thread in threads {
            let drained = thread.join().unwrap();
            assert_in_order(&drained);
            all.extend(drained);
        }
        all.extend(take(&inbox, usize::MAX, &*before));
        assert_eq!(all.len(), pushed);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), pushed, "taken twice");
    });
}

/// Takes what is there; returns the numbers of these tasks.
fn take(inbox: &Inbox, limit: usize, before: &[AtomicBool]) -> Vec<u64> {
    let drained = finish(inbox.take(limit));
    for &number in &drained {
        assert!(before[number as usize].load(Relaxed), "what came before a push is not seen");
    }
    assert_in_order(&drained);
    drained
}

/// Asserts that the tasks that one thread has pushed were drained in that order by one other
/// thread.
fn assert_in_order(drained: &[u64]) {
    for thread in 0..2 {
        let of_thread = drained.iter().filter(|number| **number / 3 == thread);
        assert!(of_thread.is_sorted(), "out of order: {drained:?}");
    }
}

/// An operation of a sender or the owner on a mailbox and its doorbell.
#[derive(Clone, Copy)]
enum Deed {
    Send {
        about: usize,
        request: u32,
    },
    /// Rings without a request.
    Ring,
    /// Only for the owner: sleeps, if there is something to wait for.
    Sleep,
    Drain,
}

/// Two threads send requests to a home, or ring, while it drains and sleeps, and after its end.
#[test]
fn doorbell() {
    explore_seeds(|seed| {
        let random = &mut Random::new(seed);
        let owner = operations(random, &[Deed::Sleep, Deed::Drain, Deed::Ring]);
        // Each request is sent once, by one or the other, or not at all.
        let mut senders = [Vec::new(), Vec::new()];
        for (about, request) in [(0, FIRST), (0, SECOND), (1, FIRST), (1, SECOND)] {
            let place = random.below(3);
            if let Some(sender) = senders.get_mut(place).filter(|sender| sender.len() < 2) {
                sender.push(Deed::Send { about, request });
            }
        }
        let sent = senders.iter().map(Vec::len).sum::<usize>() as u32;
        for sender in &mut senders {
            let place = random.below(sender.len() + 1);
            sender.insert(place, Deed::Ring);
        }
        let (home, sockets) = (Home::new(), Arc::new([socket(), socket()]));
        let threads = senders.map(|deeds| {
            let (home, sockets) = (home.clone(), sockets.clone());
            thread::spawn(move || {
                for deed in deeds {
                    send_or_ring(&home, &*sockets, deed);
                }
            })
        });
        own(&home, &owner, sent);
        for thread in threads {
            thread.join().unwrap();
        }
        for socket in &*sockets {
            assert_eq!(Arc::strong_count(socket), 1, "a reference is lost, or was never given");
        }
        // Closed, though a thread came late: its number is free.
        kernel::open(0);
    });
}

fn send_or_ring(home: &Home, sockets: &[Arc<Socket>], deed: Deed) {
    match deed {
        Deed::Send { about, request } => home.send(&sockets[about], request),
        Deed::Ring => home.bell.ring(),
        Deed::Sleep | Deed::Drain => unreachable!("only its owner does that"),
    }
}

/// Runs the drawn operations, and then sleeps and wakes until all requests are answered.
fn own(home: &Home, deeds: &[Deed], sent: u32) {
    let mut answered = 0;
    let sleep = |answered: u32| {
        if answered < sent && home.mailbox.may_sleep() {
            kernel::wait(0);
        }
        home.mailbox.wake();
    };
    for deed in deeds {
        match deed {
            Deed::Sleep => sleep(answered),
            Deed::Drain => answered += home.drain(),
            deed => send_or_ring(home, &[], *deed),
        }
    }
    while answered < sent {
        sleep(answered);
        answered += home.drain();
    }
    assert_eq!(answered, sent, "answered twice");
    home.end();
    assert_eq!(home.orphans.load(Relaxed), 0, "all was answered");
}
