//! Random trees of tasks and scopes, with random cancels and panics.
//!
//! A seed gives a tree: groups, timeouts, gathers, races, shields, masks, regions and `finally`
//! blocks around leaves that yield, sleep, wait for ever or panic. Some destructors panic, and some futures
//! are kept after their panic. The seed also gives the time at which the tree's task is cancelled. In every case each
//! cleanup that was reached runs once, everything that began has ended, and no error is lost. On one worker, with a mock clock and a seeded order, a tree gives
//! the same events again.

use std::future::{Future, pending};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use ringloop::time::{sleep, timeout};
use ringloop::{
    Builder, Group, Handle, Scope, TryGroup, catch_cancel, finally, gather, race, scope, shield,
    spawn, task_group, try_gather, try_task_group, uncancellable, yield_now,
};

use crate::harness::{
    Cfg, ErrorLog, Kind, Rng, guarded, on_every_within, panic_text, scale, settle,
};

const LONG: Duration = Duration::from_secs(3600);
/// The unit of all times.
const TICK: Duration = Duration::from_micros(100);

/// A tree, made before it runs.
#[derive(Debug)]
enum Plan {
    Yields(usize),
    Sleep(u32),
    Never,
    /// After so many turns.
    Panic(usize),
    Fails,
    /// A destructor panics, at the end of what is inside or when that is dropped.
    Bomb(Box<Plan>),
    /// Catches a panic of what is inside, and keeps that while it goes on for some turns.
    Keep(usize, Box<Plan>),
    Sequence(Vec<Plan>),
    Timeout(u32, Box<Plan>),
    Scope {
        cancel_after: Option<usize>,
        inner: Box<Plan>,
    },
    Catch {
        consumes: bool,
        inner: Box<Plan>,
    },
    Mask(Box<Plan>),
    Finally(usize, Box<Plan>),
    Gather(Vec<Plan>),
    TryGather(Vec<Plan>),
    Race(Vec<Plan>),
    Group {
        cancels: bool,
        children: Vec<Plan>,
    },
    TryGroup(Vec<Plan>),
    Join(Box<Plan>),
    Shield(Box<Plan>),
}

/// Makes a plan. Inside a mask or a shield, every part ends by itself.
fn plan(rng: &mut Rng, depth: usize, ends: bool) -> Plan {
    if depth == 0 || rng.one_in(4) {
        return match rng.below(if ends { 3 } else { 12 }) {
            0 | 3 | 4 => Plan::Yields(rng.below(4)),
            1 | 5 | 6 => Plan::Sleep(rng.below(20) as u32),
            2 | 7 => Plan::Fails,
            8 => Plan::Panic(rng.below(3)),
            _ => Plan::Never,
        };
    }
    let some = |rng: &mut Rng| (0..1 + rng.below(3)).map(|_| plan(rng, depth - 1, ends)).collect();
    let one = |rng: &mut Rng, ends| Box::new(plan(rng, depth - 1, ends));
    match rng.below(16) {
        0 => Plan::Sequence(some(rng)),
        1 => Plan::Timeout(rng.below(15) as u32, one(rng, ends)),
        2 => {
            let cancel_after = rng.one_in(2).then(|| rng.below(6));
            Plan::Scope { cancel_after, inner: one(rng, ends) }
        }
        3 => Plan::Catch { consumes: rng.one_in(3), inner: one(rng, ends) },
        4 => Plan::Mask(one(rng, true)),
        5 | 6 => Plan::Finally(rng.below(4), one(rng, ends)),
        7 => Plan::Gather(some(rng)),
        8 => Plan::TryGather(some(rng)),
        9 => Plan::Race(some(rng)),
        10 => Plan::Group { cancels: rng.one_in(3), children: some(rng) },
        11 => Plan::TryGroup(some(rng)),
        12 => Plan::Join(one(rng, ends)),
        13 => Plan::Keep(rng.below(4), one(rng, ends)),
        14 if !ends => Plan::Bomb(one(rng, ends)),
        _ => Plan::Shield(one(rng, true)),
    }
}

/// Counts and events of one run.
#[derive(Default)]
struct World {
    events: Mutex<Vec<(u32, &'static str)>>,
    record: bool,
    numbers: AtomicU64,
    begun: AtomicU64,
    gone: AtomicU64,
    cleanups_due: AtomicU64,
    cleanups_done: AtomicU64,
}

impl World {
    fn say(&self, node: u32, what: &'static str) {
        if self.record {
            self.events.lock().unwrap().push((node, what));
        }
    }

    fn events(&self) -> Vec<(u32, &'static str)> {
        self.events.lock().unwrap().clone()
    }

    fn hash(&self) -> (u64, usize) {
        let events = self.events();
        let mut hasher = DefaultHasher::new();
        events.hash(&mut hasher);
        (hasher.finish(), events.len())
    }
}

/// A value of each part that runs; at the end all of them must have been dropped.
struct Alive {
    world: Arc<World>,
    node: u32,
}

impl Alive {
    fn new(world: &Arc<World>) -> Alive {
        world.begun.fetch_add(1, Ordering::Relaxed);
        let node = world.numbers.fetch_add(1, Ordering::Relaxed) as u32;
        world.say(node, "begins");
        Alive { world: world.clone(), node }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.world.say(self.node, "is gone");
        self.world.gone.fetch_add(1, Ordering::Relaxed);
    }
}

/// Its destructor panics, unless a panic is under way.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::panic::resume_unwind(Box::new("planned, in a destructor"));
        }
    }
}

type Run = Pin<Box<dyn Future<Output = Result<(), u32>> + Send>>;

/// Runs a plan.
fn run(world: Arc<World>, plan: Arc<Plan>, path: fn(&Plan) -> &Plan) -> Run {
    // `path` borrows from a plan that is shared.
    run_part(world, Part { root: plan, path: vec![], top: path })
}

/// A part of a plan that many tasks share.
#[derive(Clone)]
struct Part {
    root: Arc<Plan>,
    path: Vec<usize>,
    top: fn(&Plan) -> &Plan,
}

impl Part {
    fn get(&self) -> &Plan {
        self.path.iter().fold((self.top)(&self.root), |plan, &index| &plan.children()[index])
    }

    fn child(&self, index: usize) -> Part {
        let mut child = self.clone();
        child.path.push(index);
        child
    }

    fn children(&self) -> Vec<Part> {
        (0..self.get().children().len()).map(|index| self.child(index)).collect()
    }
}

impl Plan {
    fn children(&self) -> &[Plan] {
        match self {
            Plan::Sequence(all)
            | Plan::Gather(all)
            | Plan::TryGather(all)
            | Plan::Race(all)
            | Plan::Group { children: all, .. }
            | Plan::TryGroup(all) => all,
            Plan::Timeout(_, inner)
            | Plan::Scope { inner, .. }
            | Plan::Catch { inner, .. }
            | Plan::Mask(inner)
            | Plan::Bomb(inner)
            | Plan::Keep(_, inner)
            | Plan::Finally(_, inner)
            | Plan::Join(inner)
            | Plan::Shield(inner) => std::slice::from_ref(inner),
            _ => &[],
        }
    }
}

fn run_part(world: Arc<World>, part: Part) -> Run {
    Box::pin(async move {
        let alive = Alive::new(&world);
        let result = step(&world, &part, alive.node).await;
        world.say(alive.node, if result.is_ok() { "is done" } else { "has failed" });
        result
    })
}

async fn step(world: &Arc<World>, part: &Part, node: u32) -> Result<(), u32> {
    let child = |index| run_part(world.clone(), part.child(index));
    let children = || part.children().into_iter().map(|part| run_part(world.clone(), part));
    match part.get() {
        Plan::Yields(count) => {
            for _ in 0..*count {
                yield_now().await;
            }
        }
        Plan::Sleep(ticks) => sleep(TICK * *ticks).await,
        Plan::Never => pending().await,
        Plan::Panic(turns) => {
            for _ in 0..*turns {
                yield_now().await;
            }
            std::panic::resume_unwind(Box::new("planned"));
        }
        Plan::Bomb(_) => {
            let _bomb = Bomb;
            return child(0).await;
        }
        Plan::Keep(turns, _) => {
            let mut kept = pin!(AssertUnwindSafe(child(0)).catch_unwind());
            let ended = kept.as_mut().await;
            if let Ok(result) = ended {
                return result;
            }
            for _ in 0..*turns {
                yield_now().await;
            }
        }
        Plan::Fails => return Err(node),
        Plan::Sequence(all) => {
            for index in 0..all.len() {
                child(index).await?;
            }
        }
        Plan::Timeout(ticks, _) => {
            let result = timeout(TICK * *ticks, child(0)).await;
            world.say(node, if result.is_err() { "is over" } else { "is in time" });
            return result.unwrap_or(Ok(()));
        }
        Plan::Scope { cancel_after, .. } => {
            let result = scope(async |s: Scope| {
                let Some(turns) = *cancel_after else { return child(0).await };
                let canceller = async {
                    for _ in 0..turns {
                        yield_now().await;
                    }
                    s.cancel();
                    Ok(())
                };
                ringloop::try_gather!(child(0), canceller).await.map(drop)
            });
            return result.await.unwrap_or(Ok(()));
        }
        Plan::Catch { consumes, .. } => match catch_cancel(child(0)).await {
            Ok(result) => return result,
            Err(gone) => {
                world.say(node, "is cancelled");
                if *consumes {
                    gone.consume();
                }
                yield_now().await;
            }
        },
        Plan::Mask(_) => return uncancellable(child(0)).await,
        Plan::Finally(turns, _) => {
            world.cleanups_due.fetch_add(1, Ordering::Relaxed);
            let cleanup = async {
                for _ in 0..*turns {
                    yield_now().await;
                }
                world.say(node, "is clean");
                world.cleanups_done.fetch_add(1, Ordering::Relaxed);
            };
            return finally(child(0), cleanup, LONG).await.unwrap_or(Ok(()));
        }
        Plan::Gather(_) => drop(gather(children()).await),
        Plan::TryGather(_) => return try_gather(children()).await.map(drop),
        Plan::Race(_) => return race(children()).unwrap().await.1,
        Plan::Group { cancels, .. } => {
            let result = task_group(async |g: Group| {
                for child in children() {
                    g.spawn(child).detach();
                }
                yield_now().await;
                if *cancels {
                    g.cancel();
                }
            });
            return result.await.map_err(|_| node);
        }
        Plan::TryGroup(_) => {
            let result = try_task_group(async |g: TryGroup<u32>| {
                for child in children() {
                    g.spawn(child).detach();
                }
                Ok(())
            });
            return result.await.map_err(|error| error.errors().first().copied().unwrap_or(node));
        }
        Plan::Join(_) => return spawn(child(0)).join().await.unwrap_or(Ok(())),
        Plan::Shield(_) => return shield(child(0)).await.unwrap_or(Ok(())),
    }
    Ok(())
}

/// Runs one tree: spawned, perhaps cancelled after some turns, and joined.
async fn one_tree(rng: &mut Rng, record: bool) -> (u64, usize) {
    let live = Handle::current().metrics().live_tasks;
    let world = Arc::new(World { record, ..World::default() });
    let plan = Arc::new(plan(rng, 4, false));
    let task = spawn(run(world.clone(), plan.clone(), |plan| plan));
    // A tree that waits for ever is cancelled in the end.
    for _ in 0..rng.below(40) {
        yield_now().await;
    }
    if rng.one_in(2) {
        sleep(TICK * rng.below(10) as u32).await;
    }
    // More than once: a region may consume the request, and a wait for ever is still there.
    let mut task = task;
    let mut ended = false;
    for _ in 0..1000 {
        task.cancel();
        ended = timeout(100 * TICK, &mut task).await.is_ok();
        if ended {
            break;
        }
    }
    assert!(ended, "the task does not end: {plan:#?}\n{:?}", world.events());
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    // Shields go on by themselves, for which a mock clock has to move.
    for _ in 0..100_000 {
        let left = Handle::current().metrics().live_tasks - live;
        if left == 0 && load(&world.begun) == load(&world.gone) {
            break;
        }
        sleep(TICK).await;
    }
    assert_eq!(load(&world.begun), load(&world.gone), "something is left of {plan:#?}");
    assert_eq!(
        load(&world.cleanups_due),
        load(&world.cleanups_done),
        "each cleanup once: {plan:#?}\n{:?}",
        world.events()
    );
    settle(live).await;
    world.hash()
}

/// Runs so many trees of a seed, on a runtime where the order is exact. Returns a hash of all
/// events.
fn exact(cfg: &Cfg, seed: u64, trees: usize) -> (u64, usize) {
    let log = ErrorLog::default();
    let main = async {
        let mut rng = Rng::new(seed);
        let mut all = (DefaultHasher::new(), 0);
        for _ in 0..trees {
            let (hash, events) = one_tree(&mut rng, true).await;
            hash.hash(&mut all.0);
            all.1 += events;
        }
        (all.0.finish(), all.1)
    };
    let builder: Builder = cfg.builder_with(&log).mock_clock().test_seed(seed);
    let result = builder.run(main).unwrap_or_else(|error| match error.try_into_panic() {
        Ok(payload) => panic!("seed {seed}: {}", panic_text(&*payload)),
        Err(error) => panic!("seed {seed}: {error}"),
    });
    // Panics of detached shields.
    log.take(Kind::Panic);
    log.assert_silent();
    result
}

#[test]
fn random_trees_leave_nothing_and_replay_exactly() {
    // Goal: all of cancellation on one worker; method: see above. The backends do not differ here,
    // so the 1000 trees are split over them.
    on_every_within(Duration::from_secs(120), |cfg| {
        if !cfg.single() {
            return;
        }
        let mut rng = cfg.rng(18);
        for _ in 0..25 * scale() {
            let seed = rng.next();
            let first = exact(cfg, seed, 10);
            assert!(first.1 > 0);
            assert_eq!(
                first,
                exact(cfg, seed, 10),
                "seed {seed} gives other events the second time"
            );
        }
    });
}

#[test]
fn random_trees_leave_nothing_on_many_workers() {
    // Goal: the same invariants where tasks move between workers.
    on_every_within(Duration::from_secs(120), |cfg| {
        if cfg.single() {
            return;
        }
        let log = ErrorLog::default();
        cfg.once_with(&log, async {
            let mut rng = cfg.rng(19);
            for _ in 0..200 * scale() {
                one_tree(&mut rng, true).await;
            }
        });
        log.take(Kind::Panic);
        log.assert_silent();
    });
}

#[test]
#[ignore = "ten thousand trees: `cargo storms`"]
fn ten_thousand_random_trees() {
    // Goal: the same at full size; method: one seed for each ten, printed if it fails.
    for cfg in Cfg::all().into_iter().filter(Cfg::single).take(1) {
        guarded("ten thousand trees", Duration::from_secs(1200), || {
            let mut rng = cfg.rng(20);
            for _ in 0..1000 {
                let seed = rng.next();
                assert_eq!(exact(&cfg, seed, 10), exact(&cfg, seed, 10), "seed {seed}");
            }
        });
    }
}
