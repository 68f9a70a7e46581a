//! The end of a child against a wait, a kill and the drop of its handle.
//!
//! Code: `process/state.rs`. The kernel is the model's: a child runs, then it is a zombie, and once it is
//! reaped its number may be another process's. So is the loop of the thread that reaps: it looks into the
//! orphanage, and sleeps until one of its own children has ended or its bell has rung. There is no runtime.
//!
//! Properties:
//!
//! * a handle that knows the status sends no signal and does not ask the kernel again;
//! * the kernel gives the status once, and the handle as often as it is asked;
//! * a child whose handle is dropped is killed if that is wanted;
//! * it is reaped by the drop or by the thread, also when the thread is about to end, when it waits for another child, and when
//!   a thread was refused before.
//!
//! Actors: one or two children, the owner of their handles, the thread, and another one after its end.
//!
//! Bound: 4 threads, 2 children.

use std::{
    sync::{Arc, Mutex as Unseen},
    task::Poll,
};

use loom::{
    sync::{Condvar, Mutex, MutexGuard},
    thread::{self, JoinHandle},
};
use loom_tests::explore;
use ringloop::model::processes::{Orphanage, Pidfd, State, Waits};

const KILL: i32 = 9;
/// The status of a child that ends by itself: exit code 3.
const CODE: i32 = 3 << 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Child {
    Runs,
    /// It has been sent this signal, and will end by it.
    Doomed(i32),
    Zombie(i32),
    Reaped,
}

struct Kernel {
    children: Vec<Child>,
    /// One for each thread that was started. `true`: it has rung.
    bells: Vec<bool>,
}

struct World {
    kernel: Mutex<Kernel>,
    /// The kernel has changed.
    event: Condvar,
    orphanage: Mutex<Orphanage<Fd, usize>>,
    /// Those that reap. Not held where loom may switch threads.
    threads: Unseen<Vec<JoinHandle<()>>>,
}

struct Fd {
    world: Arc<World>,
    child: usize,
}

impl Pidfd for Fd {
    fn reap(&self) -> Option<i32> {
        let mut kernel = self.world.kernel();
        let child = &mut kernel.children[self.child];
        match *child {
            Child::Runs | Child::Doomed(_) => None,
            Child::Zombie(status) => {
                *child = Child::Reaped;
                self.world.event.notify_all();
                Some(status)
            }
            Child::Reaped => panic!("the status was given before"),
        }
    }

    fn signal(&self, signal: i32) {
        let mut kernel = self.world.kernel();
        let child = &mut kernel.children[self.child];
        match *child {
            Child::Runs => {
                *child = Child::Doomed(signal);
                self.world.event.notify_all();
            }
            Child::Doomed(_) | Child::Zombie(_) => {}
            Child::Reaped => panic!("the number may be another process's"),
        }
    }
}

impl World {
    fn new(children: usize) -> Arc<Self> {
        let kernel = Kernel { children: vec![Child::Runs; children], bells: Vec::new() };
        Arc::new(Self {
            kernel: Mutex::new(kernel),
            event: Condvar::new(),
            orphanage: Mutex::new(Orphanage::new()),
            threads: Unseen::default(),
        })
    }

    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().unwrap()
    }

    fn handle(self: &Arc<Self>, child: usize) -> State<Fd> {
        State::new(Fd { world: self.clone(), child })
    }

    /// Sleeps until that is so.
    fn wait_until(&self, mut is_so: impl FnMut(&mut Kernel) -> bool) -> MutexGuard<'_, Kernel> {
        let mut kernel = self.kernel();
        while !is_so(&mut kernel) {
            kernel = self.event.wait(kernel).unwrap();
        }
        kernel
    }

    /// A child ends: by the signal that it was sent, or by itself.
    fn end(&self, child: usize) {
        let mut kernel = self.kernel();
        let child = &mut kernel.children[child];
        *child = match *child {
            Child::Runs => Child::Zombie(CODE),
            Child::Doomed(signal) => Child::Zombie(signal),
            ended => panic!("it ends twice: {ended:?}"),
        };
        self.event.notify_all();
    }

    /// As poll(2) does: sleeps until one of these children has ended, or the bell has rung.
    fn poll(&self, children: &[usize], bell: Option<usize>) {
        let has_ended = |child| matches!(child, Child::Zombie(_) | Child::Reaped);
        let mut kernel = self.wait_until(|kernel| {
            bell.is_some_and(|bell| kernel.bells[bell])
                || children.iter().any(|&child| has_ended(kernel.children[child]))
        });
        if let Some(bell) = bell {
            kernel.bells[bell] = false;
        }
    }

    /// What the drop of a handle has left is left to the thread. `refused`: no thread can be started.
    fn adopt(self: &Arc<Self>, orphan: Option<Fd>, refused: bool) {
        let Some(orphan) = orphan else { return };
        let ring = |&bell: &usize| {
            self.kernel().bells[bell] = true;
            self.event.notify_all();
        };
        let start = || (!refused).then(|| self.start_thread());
        self.orphanage.lock().unwrap().admit(orphan, ring, start);
    }

    /// Its bell.
    fn start_thread(self: &Arc<Self>) -> usize {
        let mut kernel = self.kernel();
        kernel.bells.push(false);
        let bell = kernel.bells.len() - 1;
        drop(kernel);
        let world = self.clone();
        let thread = thread::spawn(move || world.serve(bell));
        self.threads.lock().unwrap().push(thread);
        bell
    }

    /// The life of the thread.
    fn serve(&self, bell: usize) {
        let mut waits = Waits::new();
        while self.look(&mut waits) {
            let children: Vec<_> = waits.iter().map(|orphan| orphan.child).collect();
            self.poll(&children, Some(bell));
        }
    }

    fn look(&self, waits: &mut Waits<Fd>) -> bool {
        self.orphanage.lock().unwrap().look(waits)
    }

    /// Waits for the threads. They end when all their children are reaped.
    fn check(&self) {
        loop {
            let next = self.threads.lock().unwrap().pop();
            match next {
                Some(thread) => thread.join().unwrap(),
                None => break,
            }
        }
        let kernel = self.kernel();
        let are_reaped = kernel.children.iter().all(|child| *child == Child::Reaped);
        assert!(are_reaped, "{:?}", kernel.children);
    }
}

/// A child that ends by itself, unless it is killed before.
fn ends(world: &Arc<World>, child: usize) -> JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || world.end(child))
}

/// A child that ends by a signal only.
fn ends_by_signal(world: &Arc<World>, child: usize) -> JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || {
        drop(world.wait_until(|kernel| kernel.children[child] != Child::Runs));
        world.end(child);
    })
}

/// One poll of a wait.
fn poll_wait(handle: &mut State<Fd>) -> Poll<i32> {
    handle.poll_wait(|fd| fd.reap().map_or(Poll::Pending, Poll::Ready))
}

/// A child ends while its owner asks, kills and waits, and then does all that again.
#[test]
fn exit_against_kill_and_wait() {
    explore(|| {
        let world = World::new(1);
        let mut handle = world.handle(0);
        let end = ends(&world, 0);
        let before = handle.try_wait();
        handle.send(KILL);
        let status = loop {
            match poll_wait(&mut handle) {
                Poll::Ready(status) => break status,
                Poll::Pending => world.poll(&[0], None),
            }
        };
        assert!(status == CODE || status == KILL, "{status}");
        assert!(before.is_none_or(|before| before == status), "two statuses");
        handle.send(KILL);
        assert_eq!(handle.try_wait(), Some(status), "the same again");
        assert_eq!(poll_wait(&mut handle), Poll::Ready(status), "the same again");
        world.adopt(handle.leave(true), false);
        end.join().unwrap();
        world.check();
    });
}

/// A child ends while a wait for it is given up after one poll, and while its handle is dropped.
#[test]
fn exit_against_a_wait_that_is_given_up() {
    explore(|| {
        let world = World::new(1);
        let mut handle = world.handle(0);
        let end = ends(&world, 0);
        let wait = poll_wait(&mut handle);
        let after = handle.try_wait();
        if let Poll::Ready(status) = wait {
            assert_eq!(after, Some(status), "the status is lost");
        }
        world.adopt(handle.leave(false), false);
        end.join().unwrap();
        world.check();
    });
}

/// A child ends while its handle is dropped, which does not kill it.
#[test]
fn exit_against_drop() {
    explore(|| {
        let world = World::new(1);
        let mut handle = world.handle(0);
        let end = ends(&world, 0);
        world.adopt(handle.leave(false), false);
        end.join().unwrap();
        world.check();
    });
}

/// A child ends while its handle is dropped, which kills it.
#[test]
fn exit_against_kill_on_drop() {
    explore(|| {
        let world = World::new(1);
        let mut handle = world.handle(0);
        let end = ends(&world, 0);
        world.adopt(handle.leave(true), false);
        end.join().unwrap();
        world.check();
    });
}

/// A child that does not end by itself ends by the drop of its handle.
#[test]
fn exit_by_kill_on_drop() {
    explore(|| {
        let world = World::new(1);
        let mut handle = world.handle(0);
        let end = ends_by_signal(&world, 0);
        world.adopt(handle.leave(true), false);
        end.join().unwrap();
        world.check();
    });
}

/// Another orphan comes when the thread may have reaped the first one, and may be about to end.
#[test]
fn orphan_against_the_end_of_the_thread() {
    explore(|| {
        let world = World::new(2);
        let (mut first, mut second) = (world.handle(0), world.handle(1));
        world.adopt(first.leave(false), false);
        let end = ends(&world, 0);
        world.adopt(second.leave(false), false);
        world.end(1);
        end.join().unwrap();
        world.check();
    });
}

/// Another orphan comes, and ends, while the thread waits for the first one, which runs on.
#[test]
fn orphan_against_the_sleep_of_the_thread() {
    explore(|| {
        let world = World::new(2);
        let (mut first, mut second) = (world.handle(0), world.handle(1));
        world.adopt(first.leave(false), false);
        world.adopt(second.leave(false), false);
        world.end(1);
        drop(world.wait_until(|kernel| kernel.children[1] == Child::Reaped));
        world.end(0);
        world.check();
    });
}

/// No thread can be started for the first orphan: the thread that is started for the second reaps both.
#[test]
fn orphans_after_a_thread_that_is_refused() {
    explore(|| {
        let world = World::new(2);
        let (mut first, mut second) = (world.handle(0), world.handle(1));
        world.adopt(first.leave(false), true);
        let end = ends(&world, 0);
        world.adopt(second.leave(false), false);
        world.end(1);
        end.join().unwrap();
        world.check();
    });
}
