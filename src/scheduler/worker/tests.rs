//! Workers that are run by hand, all on one thread.

use std::{
    io::{PipeReader, PipeWriter, Write, pipe},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

use super::*;
use crate::{
    reactor::{self, Allowed, Direction, Source, poll_ready},
    scheduler::with_worker,
};

/// Runs `test` for each backend that works here, with so many workers, none of which runs.
fn on_every_backend(workers: usize, test: impl Fn(&'static Hub, Vec<Worker>)) {
    let run = |rings: Option<Vec<reactor::TriedRing>>| {
        let hub = Hub::acquire(workers).unwrap();
        let mut rings = rings.map(Vec::into_iter);
        let reactor = |index: usize| match &mut rings {
            Some(rings) => Reactor::uring(rings.next().unwrap(), &hub.block(index).doorbell),
            None => Reactor::epoll(&hub.block(index).doorbell),
        };
        let seats: Vec<_> =
            (0..workers).map(reactor).map(|made| Seat::new(made.unwrap(), workers)).collect();
        let peers: Arc<[Peer]> = seats.iter().map(Seat::peer).collect();
        let made = |(index, seat)| Worker::new(index, hub, seat, peers.clone());
        test(hub, seats.into_iter().enumerate().map(made).collect());
    };
    let all = Allowed::ALL;
    for allowed in
        [all, Allowed { defer_taskrun: false, ..all }, Allowed { incremental: false, ..all }]
    {
        if let Ok(features) = reactor::plan(workers, allowed) {
            run(Some(features.rings));
        }
    }
    run(None);
}

/// A descriptor that is readable, for which somebody waits on this thread's worker.
struct Awaited {
    _source: Source<PipeReader>,
    _writer: PipeWriter,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Awaited {
    fn new() -> Self {
        let (reader, mut writer) = pipe().unwrap();
        writer.write_all(b"x").unwrap();
        let source = Source::new_unready(reader);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let waits = poll_ready(&source, Direction::Read, &mut Context::from_waker(&waker), |f| {
            with_worker(|worker| worker.with_reactor(|reactor| f(reactor))).unwrap()
        });
        assert!(waits.is_pending());
        Self { _source: source, _writer: writer, woken }
    }

    fn is_served(&self) -> bool {
        self.woken.0.load(Ordering::Relaxed)
    }
}

/// The entry of a task that ends in its first poll.
fn short_task(worker: &Worker, owner: u16) -> Runnable {
    let (slot, birth) = worker.birth(owner, Location::caller());
    let (entry, registered, task) = task::create::<_, Tasks>(async {}, birth);
    worker.register(slot, registered, &task);
    entry
}

/// Ends workers that have been entered, on this thread.
fn end(hub: &'static Hub, workers: Vec<Worker>) {
    hub.close(clock::now());
    for worker in workers {
        worker.close();
    }
}

/// Ticks after which what has not been looked at never will be.
const TICKS: u32 = 1000;

/// Runs `worker` until somebody who waits for its reactor is served, or for a long time;
/// `refill` is called as each tick's tasks have run. Says whether that one was served.
fn serves(worker: &Worker, refill: impl Fn()) -> bool {
    // A panic in there would end the process without a word.
    worker.enter(|| {
        let awaited = Awaited::new();
        let ticks = Cell::new(0);
        worker.run(|| {
            refill();
            ticks.set(ticks.get() + 1);
            awaited.is_served() || ticks.get() > TICKS
        });
        let served = awaited.is_served();
        drop(awaited);
        worker.drain_inboxes();
        worker.others().for_each(|(_, peer)| while worker.take_from(peer) {});
        worker.run_tasks(&|| false);
        served
    })
}

#[test]
fn thief_with_enough_to_steal_turns_its_reactor() {
    // Goal: who lives on what it steals reaps all the same; method: a neighbour whose queue is
    // refilled as the thief's ticks end, each with nothing left of the loot.
    on_every_backend(2, |hub, workers| {
        let [owner, thief] = &workers[..] else { unreachable!() };
        owner.enter(|| {});
        let served = serves(thief, || {
            owner.block().poll_time.store(balance::WAIT_NS, Ordering::Relaxed);
            while owner.backlog() < 8 {
                owner.push_back(short_task(owner, NO_OWNER));
            }
        });
        assert!(thief.block().counts.steals.get() > 0, "that is what was to be tested");
        assert!(served);
        end(hub, workers);
    });
}

#[test]
fn worker_that_always_finds_mail_turns_its_reactor() {
    // Goal: the same for a worker that is kept from sleeping; method: a task comes from outside
    // after each tick's tasks, so that the last look before each sleep finds it.
    on_every_backend(1, |hub, workers| {
        let served = serves(&workers[0], || {
            if !workers[0].block().has_mail() {
                hub.push_foreign(short_task(&workers[0], NO_OWNER), 0);
            }
        });
        assert!(served);
        end(hub, workers);
    });
}

#[test]
fn neighbour_held_by_a_task_is_helped_before_it_is_overdue() {
    // Goal: who is awake need not wait until a held neighbour could no longer be a preempted one;
    // method: a tick of the neighbour's that began before, on a thread that runs, this one.
    const MS: u64 = 1_000_000;
    on_every_backend(2, |hub, workers| {
        let [owner, helper] = &workers[..] else { unreachable!() };
        owner.enter(|| owner.push_back(short_task(owner, NO_OWNER)));
        let helped = helper.enter(|| {
            let begin = clock::now();
            owner.block().since.store(begin, Ordering::Relaxed);
            helper.help_neighbours(begin + MS);
            let ran = threads::ran(threads::id());
            while threads::ran(threads::id()) < ran + MS {}
            helper.help_neighbours(begin + 2 * MS);
            let helped = helper.backlog() == 1 && owner.backlog() == 0;
            owner.block().since.store(u64::MAX, Ordering::Relaxed);
            helper.run_tasks(&|| false);
            helped
        });
        assert!(helped);
        end(hub, workers);
    });
}

#[test]
fn ring_that_a_rescuer_takes_is_repeated() {
    // Goal: a worker that was rung and then rescued wakes up; method: a neighbour looks at the reactor of
    // one that was rung, which then sleeps for long unless it hears the ring.
    const LONG: Duration = Duration::from_secs(20);
    on_every_backend(2, |hub, workers| {
        let [owner, rescuer] = &workers[..] else { unreachable!() };
        rescuer.enter(|| {});
        let woken = owner.enter(|| {
            let wakes_up = || {
                let begin = clock::now();
                owner.with_reactor(|reactor| reactor.turn(Some(LONG), &mut Vec::new()).unwrap());
                clock::now() - begin < clock::nanos(LONG) / 2
            };
            owner.block().doorbell.ring();
            let first = wakes_up();
            owner.block().doorbell.ring();
            rescuer.look_around(clock::now());
            [first, wakes_up()]
        });
        assert_eq!(woken, [true; 2]);
        end(hub, workers);
    });
}

#[test]
fn burst_leaves_no_memory_behind() {
    // Goal: an idle worker is as small as one that was never busy; method: crowds of local tasks and
    // of wakers, several times what a worker keeps.
    const CROWD: usize = 4 * KEEPS;
    on_every_backend(1, |hub, workers| {
        let worker = &workers[0];
        let (local, wakes) = worker.enter(|| {
            for _ in 0..CROWD {
                worker.push_local(short_task(worker, 0));
            }
            worker.with_wakes(|wakes| wakes.resize(CROWD, Waker::noop().clone()));
            while worker.has_tasks() {
                worker.run_tasks(&|| false);
            }
            // One that finds nothing, as every tick before a sleep.
            worker.run_tasks(&|| false);
            (worker.local.borrow().capacity(), worker.wakes.borrow().capacity())
        });
        // Queues may round up to twice.
        assert!(local <= 2 * KEEPS, "{local}");
        assert!(wakes <= 2 * KEEPS, "{wakes}");
        end(hub, workers);
    });
}
