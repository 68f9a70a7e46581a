//! Workers that are run by hand, all on one thread.

use std::{
    io::{PipeReader, PipeWriter, Write, pipe},
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

use super::*;
use crate::{
    reactor::{self, Allowed, Direction, Door, Home, Source, poll_ready},
    scheduler::{NO_OWNER, Tasks, standstill, with_worker},
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
        let standstill = Standstill::new(standstill::Options::default());
        let seat =
            |made: std::io::Result<Reactor>| Seat::new(made.unwrap(), workers, &standstill, None);
        let seats: Vec<_> = (0..workers).map(reactor).map(seat).collect();
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
        let here = |f: &mut dyn FnMut(&mut Reactor) -> std::io::Result<Home>| {
            with_worker(|worker| worker.with_reactor(f)).unwrap()
        };
        let door = Door { here, elsewhere: || None };
        let mut cx = Context::from_waker(&waker);
        let waits = poll_ready(&source, Direction::Read, &mut cx, door);
        assert!(waits.is_pending());
        Self { _source: source, _writer: writer, woken }
    }

    fn is_served(&self) -> bool {
        self.woken.0.load(Ordering::Relaxed)
    }
}

/// The entry of a task that ends in its first poll.
fn short_task(worker: &Worker, owner: u16) -> Runnable {
    let (slot, birth) = worker.birth(owner, Location::caller().into());
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

/// Runs `worker` until a task that waits for its reactor is served, or for a long time; `refill` is
/// called as each tick's tasks have run. Says whether that task was served.
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
    // Goal: a worker that runs only stolen tasks looks at its reactor all the same; method: a
    // neighbour whose queue is refilled as the thief's ticks end, each with no stolen task left.
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
    // Goal: a worker that is awake need not wait until a held neighbour could no longer be a
    // preempted one; method: a tick of the neighbour's that began before, on a thread that runs,
    // this one.
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
    // Goal: a worker that was rung and then rescued gets the ring all the same; method: a neighbour
    // rescues one that was rung; then the ring is there for the next to look. (A worker that sleeps
    // until it hears it would prove nothing: a thread that has had rings may wake up for them.)
    let taken = std::cell::Cell::new(0);
    on_every_backend(2, |hub, workers| {
        let [owner, rescuer] = &workers[..] else { unreachable!() };
        owner.enter(|| {});
        rescuer.enter(|| {
            let (block, peer) = rescuer.other(0);
            let takes_a_ring = || peer.home.rescue(&mut Vec::new());
            block.doorbell.ring();
            if !takes_a_ring() {
                // The ring of a worker on io_uring is not within reach of others.
                return;
            }
            taken.set(taken.get() + 1);
            assert!(!takes_a_ring(), "an edge is seen once");
            block.doorbell.ring();
            rescuer.rescue(0);
            assert!(takes_a_ring(), "it was swallowed");
        });
        end(hub, workers);
    });
    assert_eq!(taken.get(), 1, "on epoll");
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

/// The task's worker, of those given: the one that has mail.
fn pushed_to(hub: &'static Hub, worker: &Worker) -> Vec<usize> {
    hub.push_foreign(short_task(worker, NO_OWNER), 0);
    let mut tasks = Vec::new();
    let has_got = |index: &usize| hub.block(*index).inbox.take(1, |task| tasks.push(task)) == 1;
    let got = (0..hub.workers()).filter(has_got).collect();
    tasks.into_iter().for_each(|task| worker.push_back(task));
    worker.run_tasks(&|| false);
    worker.block().end_run();
    got
}

#[test]
fn task_from_elsewhere_goes_past_held_workers() {
    // Goal: a worker that a task holds gets no more work while another worker is free or asleep;
    // method: worker 0 looked at the clock long ago, while the others are busy, asleep or held as
    // well.
    const MS: u64 = 1_000_000;
    on_every_backend(3, |hub, workers| {
        let helper = &workers[2];
        helper.enter(|| {
            // What is to be fresh lies ahead: this thread may be preempted.
            let (begin, fresh) = (clock::now() - 10 * MS, clock::now() + 60_000 * MS);
            let [held, other, _] = [0, 1, 2].map(|index| hub.block(index));
            held.begin_run(fresh);
            assert_eq!(pushed_to(hub, helper), [0], "its tasks have just begun");
            held.begin_run(begin);
            assert_eq!(pushed_to(hub, helper), [1], "between two ticks, as it is for all we know");
            held.note_check(fresh);
            assert_eq!(pushed_to(hub, helper), [0], "it has just looked at the clock");
            held.note_check(begin);
            other.begin_run(begin);
            assert_eq!(pushed_to(hub, helper), [2]);
            hub.idle.park(2, 3, false, || false, |_| assert_eq!(pushed_to(hub, helper), [2]));
            other.note_check(begin + MS);
            helper.block().begin_run(begin);
            hub.push_foreign(short_task(helper, NO_OWNER), 0);
            assert!(!other.inbox.is_empty(), "all are held, and it was the last to look");
            other.inbox.take(1, |task| helper.push_back(task));
            helper.run_tasks(&|| false);
        });
        end(hub, workers);
    });
}

#[test]
fn crowd_from_elsewhere_is_taken_a_part_in_each_tick() {
    // Goal: many tasks from other threads keep a worker from its timers for a tick and no more;
    // method: several times what is taken at once; what is left stays in order, and in reach of a
    // rescue.
    const CROWD: usize = 4 * TAKE + 5;
    for shared in [true, false] {
        on_every_backend(2, |hub, workers| {
            let [owner, helper] = &workers[..] else { unreachable!() };
            owner.enter(|| {
                for _ in 0..CROWD {
                    match shared {
                        true => hub.push_foreign(short_task(owner, NO_OWNER), 0),
                        false => hub.push_home(short_task(owner, 0), 0),
                    }
                }
                let has = || owner.backlog() + owner.local.borrow().len();
                for ticks in 1..3 {
                    owner.drain_inboxes();
                    assert_eq!(has(), ticks * TAKE);
                    assert!(owner.block().has_mail());
                }
                let mut left = CROWD - 2 * TAKE;
                if shared {
                    helper.rescue(0);
                    left -= TAKE;
                }
                let (block, mut numbers) = (owner.block(), Vec::new());
                let inbox = if shared { &block.inbox } else { &block.local_inbox };
                inbox.take(usize::MAX, |task| {
                    numbers.push(task.header().id().0);
                    if shared { owner.push_back(task) } else { owner.push_local(task) }
                });
                assert_eq!(numbers.len(), left);
                assert!(numbers.is_sorted());
                while owner.has_tasks() {
                    owner.run_tasks(&|| false);
                }
            });
            helper.enter(|| {
                while helper.has_tasks() {
                    helper.run_tasks(&|| false);
                }
            });
            assert_eq!(hub.live(), 0);
            end(hub, workers);
        });
    }
}

#[test]
fn rescue_goes_on_where_it_has_left_something() {
    // Goal: what a rescue leaves, since it takes a part at a time, does not wait for the next patrol;
    // method: ticks of a helper follow each other with no pause, and the crowd is gone.
    const CROWD: usize = 4 * TAKE;
    on_every_backend(2, |hub, workers| {
        let [owner, helper] = &workers[..] else { unreachable!() };
        owner.enter(|| (0..CROWD).for_each(|_| hub.push_foreign(short_task(owner, NO_OWNER), 0)));
        helper.enter(|| {
            helper.rescue(0);
            for _ in 0..CROWD / TAKE {
                assert!(helper.backlog() <= 2 * TAKE);
                while helper.has_tasks() {
                    helper.run_tasks(&|| false);
                }
                helper.help_neighbours(0);
            }
            assert_eq!(hub.live(), 0);
            for _ in 0..=TAKE {
                hub.push_foreign(short_task(owner, NO_OWNER), 0);
            }
            helper.rescue(0);
            owner.block().begin_tick();
            while helper.has_tasks() {
                helper.run_tasks(&|| false);
            }
            helper.help_neighbours(0);
            assert!(!helper.has_tasks(), "it has ticked since");
            owner.block().inbox.take(1, |task| helper.push_back(task));
            helper.run_tasks(&|| false);
        });
        end(hub, workers);
    });
}

#[test]
fn task_from_elsewhere_behind_a_busy_worker_has_somebody_patrol() {
    // Goal: a push behind a task that runs names a sleeper for the patrol; method: worker 1 has
    // gone to sleep without the duty, which nobody has.
    on_every_backend(2, |hub, workers| {
        let worker = &workers[0];
        worker.enter(|| {
            let push = |_| {
                hub.idle.give_up_patrol(0);
                assert!(hub.idle.notify(0), "so that it is awake");
                hub.push_foreign(short_task(worker, NO_OWNER), 0);
                assert!(hub.idle.is_patroller(1));
                assert!(!hub.idle.is_parked(1), "it is rung");
            };
            hub.idle.park(0, 2, false, || false, |_| hub.idle.park(1, 2, false, || false, push));
            worker.drain_inboxes();
            worker.run_tasks(&|| false);
        });
        end(hub, workers);
    });
}

#[test]
fn wakers_of_others_come_after_what_else_is_woken() {
    // Goal: a waker that is not a task's, and may block, does not hold up the tasks that were woken with
    // it; method: it comes first of its batch, and looks whether the task is queued and somebody patrols.
    struct Looks(&'static Hub, AtomicBool);
    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            let queued = with_worker(|worker| worker.backlog() == 1).unwrap();
            self.1.store(queued && self.0.idle.is_patroller(1), Ordering::Relaxed);
        }
    }
    on_every_backend(2, |hub, workers| {
        let worker = &workers[0];
        let looks = Arc::new(Looks(hub, AtomicBool::new(false)));
        worker.enter(|| {
            let waker = Arc::new(std::sync::Mutex::new(None));
            let theirs = waker.clone();
            let future = std::future::poll_fn(move |cx| {
                match theirs.lock().unwrap().replace(cx.waker().clone()) {
                    None => std::task::Poll::Pending,
                    Some(_) => std::task::Poll::Ready(()),
                }
            });
            let _task = worker.spawn(future, Location::caller());
            worker.run_tasks(&|| false);
            let waker: Waker = waker.lock().unwrap().clone().unwrap();
            let wake = |_| {
                hub.idle.give_up_patrol(0);
                assert!(hub.idle.notify(0), "so that it is awake");
                worker.with_wakes(|wakes| wakes.extend([looks.clone().into(), waker]));
            };
            hub.idle.park(0, 2, false, || false, |_| hub.idle.park(1, 2, false, || false, wake));
            worker.run_tasks(&|| false);
        });
        assert!(looks.1.load(Ordering::Relaxed));
        end(hub, workers);
    });
}

/// Whether a task with that owner, polled now, makes another worker the first home of a socket.
fn finds_home_elsewhere(worker: &Worker, owner: u16) -> bool {
    let (slot, birth) = worker.birth(owner, Location::caller().into());
    let found = Arc::new(AtomicBool::new(false));
    let finds = found.clone();
    let look = async move {
        let home = with_worker(Worker::home_elsewhere).unwrap();
        finds.store(home.is_some(), Ordering::Relaxed);
    };
    let (entry, registered, task) = task::create::<_, Tasks>(look, birth);
    worker.register(slot, registered, &task);
    worker.poll(entry);
    found.load(Ordering::Relaxed)
}

#[test]
fn first_home_is_at_another_worker_where_one_cannot_keep_up() {
    // Goal: a new socket stays with a worker that keeps up, and with one whose neighbour has as many,
    // but not with one that has too much to do, nor with one that was held; method: one condition after
    // the other.
    const MS: u64 = 1_000_000;
    on_every_backend(2, |hub, workers| {
        let [worker, other] = &workers[..] else { unreachable!() };
        other.enter(|| {});
        worker.enter(|| {
            let now = 10_000 * MS;
            let elsewhere = || finds_home_elsewhere(worker, NO_OWNER);
            worker.give_homes(now - 20 * MS);
            worker.begin_run(now);
            worker.poll_time.set(20_000);
            assert!(!elsewhere(), "nothing waits");
            (0..8).for_each(|_| worker.push_quietly(short_task(worker, NO_OWNER)));
            assert!(!elsewhere(), "the other has as many homes");
            let homes: Vec<_> = (0..4).map(|_| Awaited::new()).collect();
            assert!(elsewhere());
            assert!(!finds_home_elsewhere(worker, 0), "the task may run here only");
            worker.poll_time.set(2_000);
            assert!(!elsewhere(), "it keeps up");
            worker.block().held.store(now - 999 * MS, Ordering::Relaxed);
            assert!(elsewhere(), "it was held");
            other.block().held.store(now - 999 * MS, Ordering::Relaxed);
            assert!(!elsewhere(), "so was the other");
            other.block().held.store(0, Ordering::Relaxed);
            worker.block().held.store(now - 1000 * MS, Ordering::Relaxed);
            assert!(!elsewhere(), "that was long ago");
            drop(homes);
            worker.run_tasks(&|| false);
        });
        end(hub, workers);
    });
}
