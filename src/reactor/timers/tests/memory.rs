//! Memory that goes back: nodes are counted, exactly.

use super::{super::shelf::KEEPS, *};

/// More than a period.
const SECONDS: u64 = 2_000_000_000;
/// What a step may free.
const STEP: usize = 2 * BATCH * BATCH;

/// What remains: what the pool keeps, and blocks by the nodes that the worker keeps.
const REMAIN: std::ops::Range<usize> = KEEPS..KEEPS + 2 * BATCH * BATCH;

/// How many nodes the pool has made and not freed.
fn exist(mailbox: &'static Mailbox) -> usize {
    mailbox.pool().count().0
}

/// What an idle worker does at this time: steps, until it may sleep. How long, if not for ever.
fn idle(mailbox: &'static Mailbox, now: u64) -> Option<Duration> {
    loop {
        let before = exist(mailbox);
        match mailbox.trim_pool(now) {
            Trim::Nothing => return None,
            Trim::Later(pause) => return Some(pause),
            Trim::Again => assert!(before - exist(mailbox) <= STEP, "a step is short"),
        }
    }
}

/// Idles until there is nothing more to do; begins and ends at a time.
fn idle_for_long(mailbox: &'static Mailbox, mut now: u64) -> u64 {
    let end = now + 10 * SECONDS;
    while let Some(pause) = idle(mailbox, now) {
        now += pause.as_nanos() as u64;
        assert!(now < end, "it wakes up for ever");
    }
    now
}

/// Arms, and lets go of timers in all ways: fired and not, here and elsewhere, in an order of chance.
fn end_all(bench: &mut Bench, mut refs: Vec<TimerRef>) {
    let mut random = Random(1);
    for last in (1..refs.len()).rev() {
        refs.swap(last, random.next() as usize % (last + 1));
    }
    for (number, timer) in refs.into_iter().enumerate() {
        let here = number % 3 > 0;
        drop(TimerRef::release(&mut Some(timer), here.then_some(&mut bench.timers)));
    }
    bench.timers.drain_mailbox();
}

#[test]
fn memory_of_a_crowd_goes_back_when_nobody_has_wanted_it_for_a_period() {
    // Goal: 200 000 sleeps do not leave 13 MB behind. Method: half of them fire, all are let go of
    // in an order of chance; then the time passes.
    const TIMERS: usize = 200_000;
    let mut bench = Bench::new(0);
    let mailbox = bench.mailbox;
    for round in 0..2 {
        let now = 10 * round * SECONDS;
        let refs: Vec<_> = (0..TIMERS as u64).map(|n| bench.arm(now + n % 2 * SECONDS)).collect();
        assert_eq!(idle(mailbox, now), None, "there is nothing to give back");
        assert_eq!(exist(mailbox), TIMERS.next_multiple_of(BATCH));
        assert_eq!(bench.expire(now).len(), TIMERS / 2);
        end_all(&mut bench, refs);
        let pause = idle(mailbox, now).expect("something is to be given back");
        assert_eq!(exist(mailbox), TIMERS.next_multiple_of(BATCH), "not at once");
        idle_for_long(mailbox, now + pause.as_nanos() as u64);
        assert!(REMAIN.contains(&exist(mailbox)), "{}", exist(mailbox));
    }
    bench.finish();
}

#[test]
fn load_that_comes_and_goes_keeps_its_memory() {
    // Three times in a period there are many timers, and none; the worker goes to sleep each time.
    let mut bench = Bench::new(0);
    let mailbox = bench.mailbox;
    for round in 0..20 {
        let now = round * 300_000_000;
        let refs: Vec<_> = (0..20_000).map(|_| bench.arm(u64::MAX)).collect();
        _ = idle(mailbox, now + 1);
        end_all(&mut bench, refs);
        _ = idle(mailbox, now + 2);
        assert_eq!(exist(mailbox), 20_000_usize.next_multiple_of(BATCH), "round {round}");
    }
    bench.finish();
}

#[test]
fn end_of_a_worker_gives_memory_back_at_once() {
    // What is let go of later stays until a worker comes by.
    let mut bench = Bench::new(0);
    let mailbox = bench.mailbox;
    let refs: Vec<_> = (0..100_000).map(|_| bench.arm(u64::MAX)).collect();
    end_all(&mut bench, refs);
    assert_eq!(exist(mailbox), 100_000_usize.next_multiple_of(BATCH));
    bench.finish();
    assert!((KEEPS..KEEPS + BATCH).contains(&exist(mailbox)), "{}", exist(mailbox));
}

#[test]
fn blocks_with_a_timer_stay_and_their_nodes_are_used() {
    // Goal: what cannot be freed is neither lost nor sorted for ever. Method: of each block
    // one timer stays armed.
    const BLOCKS: usize = 1000;
    let mut bench = Bench::new(0);
    let mailbox = bench.mailbox;
    let refs: Vec<_> = (0..BLOCKS * BATCH).map(|_| bench.arm(u64::MAX)).collect();
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    for (number, timer) in refs.into_iter().enumerate() {
        if number % BATCH == 7 { &mut stay } else { &mut go }.push(timer);
    }
    end_all(&mut bench, go);
    let now = idle_for_long(mailbox, SECONDS);
    assert_eq!(exist(mailbox), BLOCKS * BATCH, "each is in use");
    let again: Vec<_> = (0..BLOCKS * (BATCH - 1)).map(|_| bench.arm(u64::MAX)).collect();
    assert_eq!(exist(mailbox), BLOCKS * BATCH, "what was kept is used before more is made");
    end_all(&mut bench, again);
    end_all(&mut bench, stay);
    idle_for_long(mailbox, now);
    assert!(REMAIN.contains(&exist(mailbox)), "{}", exist(mailbox));
    bench.finish();
}

#[test]
fn nodes_of_another_pool_are_used_and_not_freed() {
    // As in a forked child, which has timers of its parent.
    const TIMERS: usize = 313 * BATCH;
    let mut bench = Bench::new(0);
    let mut other = Bench::new(0);
    let refs: Vec<_> = (0..TIMERS).map(|_| bench.arm(0)).collect();
    assert_eq!(bench.expire(0).len(), TIMERS);
    for timer in refs {
        drop(release(timer, &mut other.timers));
    }
    idle_for_long(other.mailbox, SECONDS);
    assert_eq!(exist(other.mailbox), 0, "none has been made there");
    let refs: Vec<_> = (0..TIMERS).map(|_| other.arm(0)).collect();
    assert_eq!(exist(other.mailbox), 0, "the others are used");
    end_all(&mut other, refs);
    other.finish();
}

/// Goal: memory that goes back at any moment is nobody's. Method: one thread arms and fires, another drops, a third
/// gives back, whose clock runs; none is missing at the end. (With a memory checker it finds a use after the free.)
#[test]
fn memory_goes_back_while_timers_end_elsewhere() {
    const ROUNDS: u64 = 20;
    const TIMERS: u64 = 8000;
    let mut bench = Bench::new(0);
    let mailbox = bench.mailbox;
    let (send, receive) = mpsc::sync_channel::<Vec<TimerRef>>(1);
    let (ended, freed) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut round = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            receive.into_iter().for_each(drop);
            ended.store(1, Ordering::Release);
        });
        scope.spawn(|| {
            let mut now = 0;
            while ended.load(Ordering::Acquire) == 0 {
                now += SECONDS;
                let before = exist(mailbox);
                while mailbox.trim_pool(now) == Trim::Again {}
                let less = before.saturating_sub(exist(mailbox));
                freed.fetch_add(less as u64, Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        // Until it has freed something: on a busy machine it may not have a turn in all these rounds.
        while round < ROUNDS || (round < 50 * ROUNDS && freed.load(Ordering::Relaxed) == 0) {
            let refs = (0..TIMERS).map(|n| bench.arm(round + n % 2)).collect();
            send.send(refs).unwrap();
            let mine: Vec<_> = (0..TIMERS).map(|n| bench.arm(round + n % 2)).collect();
            while !bench.expire_some(round, 100).is_empty() {}
            end_all(&mut bench, mine);
            bench.expire(round + 1);
            round += 1;
        }
        drop(send);
    });
    assert!(freed.into_inner() > 0, "nothing was freed: the test lost its point");
    bench.timers.drain_mailbox();
    bench.expire(round + 1);
    drop(bench.timers);
    let (exist, free) = mailbox.pool().count();
    assert_eq!(exist, free, "a node is missing");
    assert_all_home(mailbox);
}
