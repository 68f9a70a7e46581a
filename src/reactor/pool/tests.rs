//! Buffers that are filled, lent and come back. The kernel's part is played by `fill`.

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::FileExt},
    sync::mpsc,
    thread,
};

use rustix::event::{EventfdFlags, eventfd};

use super::*;

/// A doorbell, and how often it was rung.
struct Bell {
    doorbell: &'static Doorbell,
    fd: OwnedFd,
}

impl Bell {
    fn new() -> Self {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        let doorbell: &Doorbell = Box::leak(Box::new(Doorbell::new()));
        doorbell.open(fd.try_clone().unwrap());
        Self { doorbell, fd }
    }

    /// Since the last time.
    fn rings(&self) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&self.fd, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(error) => {
                assert_eq!(error, rustix::io::Errno::AGAIN);
                0
            }
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.doorbell.close();
    }
}

fn pool(count: usize, size: usize) -> (Pool, Bell) {
    let bell = Bell::new();
    (Pool::new(count, size, bell.doorbell).unwrap(), bell)
}

/// The buffers that were free.
fn reclaimed(pool: &mut Pool) -> Vec<u16> {
    let mut ids = Vec::new();
    pool.reclaim(MAX_BUFFERS, |id, _, _| ids.push(id));
    ids
}

/// The filler of `id` writes `bytes` behind what it has written.
fn fill(pool: &mut Pool, id: u16, bytes: &[u8], last: bool) -> Lease {
    let at = pool.at(id, pool.filled[usize::from(id)]);
    assert!(bytes.len() <= pool.size - pool.filled[usize::from(id)]);
    // SAFETY: `id` is being filled, by us.
    unsafe {
        at.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
        pool.lend(id, bytes.len(), last)
    }
}

/// What `recv` would do.
fn receive(pool: &mut Pool, bytes: &[u8]) -> Option<Lease> {
    let room = &mut pool.spare()?[..bytes.len()];
    for (place, byte) in room.iter_mut().zip(bytes) {
        place.write(*byte);
    }
    // SAFETY: just written.
    Some(unsafe { pool.commit(bytes.len()) })
}

fn finish(pool: &mut Pool, id: u16) {
    // SAFETY: nobody but `fill` writes.
    unsafe { pool.finish(id) };
}

#[test]
fn buffers_lie_side_by_side() {
    let (mut pool, _bell) = pool(MAX_BUFFERS, 5000);
    let mut seen = Vec::new();
    pool.reclaim(MAX_BUFFERS, |id, at, size| seen.push((id, at as usize, size)));
    let base = seen[0].1;
    let expected = (0..MAX_BUFFERS).map(|n| (n as u16, base + n * 5000, 5000));
    assert_eq!(seen, expected.collect::<Vec<_>>());
    assert_eq!(reclaimed(&mut pool), [0u16; 0], "each is handed out once");
}

#[test]
fn leases_hold_what_was_lent_and_no_more() {
    let (mut pool, _bell) = pool(2, 10);
    reclaimed(&mut pool);
    let first = fill(&mut pool, 0, b"first", false);
    let other = fill(&mut pool, 1, b"other", false);
    let second = fill(&mut pool, 0, b"2nd", false);
    assert_eq!((&*first, &*other, second.as_ref()), (&b"first"[..], &b"other"[..], &b"2nd"[..]));
    let end = fill(&mut pool, 0, b"ab", true);
    assert_eq!(&*end, b"ab", "to the last byte");
    assert_eq!(format!("{first:?}"), "Lease { len: 5 }");
}

#[test]
fn leases_are_split_and_shortened() {
    let (mut pool, _bell) = pool(1, 100);
    let gauge = pool.gauge();
    reclaimed(&mut pool);
    let mut rest = fill(&mut pool, 0, b"one two three", true);
    let one = rest.split_to(4);
    rest.advance(4);
    assert_eq!((&*one, &*rest), (&b"one "[..], &b"three"[..]));
    assert_eq!(gauge.leased(), 2);

    let none = rest.split_to(0);
    assert_eq!((none.len(), gauge.leased()), (0, 2), "nothing holds nothing");
    rest.advance(0);
    let mut all = rest.split_to(5);
    assert_eq!((&*all, rest.len(), gauge.leased()), (&b"three"[..], 0, 2));
    all.advance(5);
    assert_eq!((all.len(), gauge.leased()), (0, 1), "without bytes there is no hold");
    assert_eq!(reclaimed(&mut pool), [0u16; 0]);
    drop(one);
    assert_eq!((gauge.leased(), reclaimed(&mut pool)), (0, vec![0]));
}

#[test]
#[should_panic = "4 bytes of a lease of 3"]
fn no_lease_is_split_beyond_its_end() {
    let (mut pool, _bell) = pool(1, 100);
    receive(&mut pool, b"abc").unwrap().split_to(4);
}

#[test]
#[should_panic = "1 bytes of a lease of 0"]
fn no_lease_is_advanced_beyond_its_end() {
    Lease::empty().advance(1);
}

#[test]
fn a_buffer_is_free_when_its_filler_and_all_leases_are_done() {
    let (mut pool, _bell) = pool(3, 100);
    reclaimed(&mut pool);
    let (a, b) = (fill(&mut pool, 1, b"a", false), fill(&mut pool, 1, b"b", false));
    drop(a);
    finish(&mut pool, 1);
    assert_eq!(reclaimed(&mut pool), [0u16; 0], "a lease is left");
    drop(b);
    assert_eq!(reclaimed(&mut pool), [1]);

    drop(fill(&mut pool, 1, b"c", false));
    assert_eq!(reclaimed(&mut pool), [0u16; 0], "the filler is left");
    drop(fill(&mut pool, 1, b"d", true));
    finish(&mut pool, 0);
    // SAFETY: nobody writes.
    assert!(unsafe { pool.lend(2, 0, true) }.is_empty());
    assert_eq!(reclaimed(&mut pool), [0, 1, 2]);
    assert_eq!(&*fill(&mut pool, 1, b"front", false), b"front");
    assert_eq!(pool.filled[1], 5, "it starts at the front again");
}

#[test]
#[should_panic = "5 bytes at 6 of buffer 0"]
fn no_more_is_lent_than_there_is() {
    let (mut pool, _bell) = pool(1, 10);
    reclaimed(&mut pool);
    let _lease = fill(&mut pool, 0, b"sixsix", false);
    // SAFETY: it is refused.
    unsafe { pool.lend(0, 5, true) };
}

#[test]
#[should_panic = "buffer 0 is with no filler"]
fn no_free_buffer_is_lent() {
    let (mut pool, _bell) = pool(1, 10);
    // SAFETY: it is refused.
    unsafe { pool.lend(0, 1, false) };
}

#[test]
fn spare_room_is_enough_for_a_piece() {
    const SIZE: usize = 3 * MIN_SPARE;
    let (mut pool, _bell) = pool(2, SIZE);
    let small = receive(&mut pool, b"small").unwrap();
    assert_eq!(pool.spare().unwrap().len(), SIZE - 5, "behind what is lent");
    // SAFETY: it is nothing.
    assert!(unsafe { pool.commit(0) }.is_empty());
    let large = receive(&mut pool, &[1; 2 * MIN_SPARE - 4]).unwrap();
    assert_eq!(pool.spare().unwrap().len(), SIZE, "too little was left: another one");
    let whole = receive(&mut pool, &[2; SIZE]).unwrap();
    assert!(pool.spare().is_none(), "all is lent");
    drop(large);
    assert!(pool.spare().is_none(), "all is lent");
    drop(small);
    assert_eq!(pool.spare().unwrap().len(), SIZE);
    assert_eq!(*whole, [2; SIZE]);
}

#[test]
fn a_buffer_whose_leases_return_at_once_starts_again() {
    let (mut pool, _bell) = pool(2, 2 * MIN_SPARE);
    let first = receive(&mut pool, b"first").unwrap();
    let front = first.as_ptr();
    let second = receive(&mut pool, b"second").unwrap();
    assert_eq!(second.as_ptr(), front.wrapping_add(5));
    drop((first, second));
    assert_eq!(receive(&mut pool, b"third").unwrap().as_ptr(), front);
}

#[test]
fn leases_return_from_other_threads() {
    let (mut pool, _bell) = pool(2, 100);
    reclaimed(&mut pool);
    let (a, b) = (fill(&mut pool, 0, b"a", false), fill(&mut pool, 0, b"b", true));
    let c = fill(&mut pool, 1, b"c", true);
    let read = |lease: &Lease| assert_eq!(&**lease, b"a");
    thread::scope(|scope| {
        scope.spawn(|| read(&a));
        read(&a);
    });
    thread::spawn(move || drop((a, c))).join().unwrap();
    assert_eq!(reclaimed(&mut pool), [1]);
    thread::spawn(move || drop(b)).join().unwrap();
    assert_eq!(reclaimed(&mut pool), [0]);
}

#[test]
fn leases_outlive_their_pool() {
    let (mut pool, bell) = pool(3, 1 << 16);
    let gauge = pool.gauge();
    reclaimed(&mut pool);
    let mut lease = fill(&mut pool, 0, b"late bytes", false);
    let other = fill(&mut pool, 1, b"other", true);
    pool.set_starved(true);
    drop(pool);
    assert_eq!((&*lease, gauge.leased()), (&b"late bytes"[..], 2));
    let late = lease.split_to(5);
    thread::spawn(move || drop((lease, other))).join().unwrap();
    assert_eq!((&*late, gauge.leased()), (&b"late "[..], 1));
    drop(late);
    assert_eq!((gauge.leased(), bell.rings()), (0, 0), "nobody is left to starve");
}

/// Pages of address space in use.
fn addresses() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn memory_ends_with_the_last_lease() {
    const PAGES: usize = 16 << 4;
    let bell = Bell::new();
    let before = addresses();
    for turn in 0..4096 {
        let mut pool = Pool::new(16, 1 << 16, bell.doorbell).unwrap();
        let lease = receive(&mut pool, b"bytes");
        match turn % 3 {
            0 => drop((pool, lease)),
            1 => drop((lease, pool)),
            _ => drop((pool.gauge(), pool, lease)),
        }
    }
    // Other tests use some, too.
    assert!(addresses() < before + 1000 * PAGES, "memory has leaked");
}

#[test]
fn memory_that_is_not_used_is_not_there() {
    const PAGE: usize = 4096;
    const SIZE: usize = 1 << 20;
    let (mut pool, _bell) = pool(8, SIZE);
    let _lease = receive(&mut pool, &[7; PAGE + 1]);
    let pagemap = fs::File::open("/proc/self/pagemap").unwrap();
    let present = |id, offset| {
        let page = pool.at(id, offset).as_ptr() as usize / PAGE;
        let mut entry = [0; 8];
        pagemap.read_exact_at(&mut entry, (page * 8) as u64).unwrap();
        u64::from_ne_bytes(entry) >> 62 != 0
    };
    assert!(present(0, 0) && present(0, PAGE));
    // Farther from all that is used than a huge page.
    let untouched = (3..6).flat_map(|id| (0..SIZE).step_by(PAGE).map(move |at| (id, at)));
    assert_eq!(untouched.filter(|(id, at)| present(*id, *at)).count(), 0);
}

#[test]
fn a_child_gets_a_copy_of_the_memory() {
    let (pool, _bell) = pool(4, 1 << 16);
    let base = pool.at(0, 0).as_ptr() as usize;
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let holds_base = |line: &str| {
        let (start, rest) = line.split_once('-')?;
        let (end, _) = rest.split_once(' ')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        Some(range.contains(&base))
    };
    let mut lines = smaps.lines().skip_while(|line| holds_base(line) != Some(true));
    let flags = lines.find(|line| line.starts_with("VmFlags:")).unwrap();
    // Neither kept from it (`MADV_DONTFORK`) nor wiped, nor shared.
    assert!(!flags.split(' ').any(|flag| ["dc", "wf", "sh"].contains(&flag)), "{flags}");
}

#[test]
fn a_starved_owner_is_rung_once() {
    let (mut pool, bell) = pool(2, 100);
    reclaimed(&mut pool);
    let (a, b) = (fill(&mut pool, 0, b"a", false), fill(&mut pool, 0, b"b", true));
    let c = fill(&mut pool, 1, b"c", true);
    pool.set_starved(true);
    assert_eq!(reclaimed(&mut pool), [0u16; 0]);
    drop(a);
    assert_eq!(bell.rings(), 0, "nothing is free yet");
    drop((b, c));
    assert_eq!(bell.rings(), 1, "for both");
    assert_eq!(reclaimed(&mut pool), [0, 1]);

    drop(fill(&mut pool, 0, b"a", true));
    assert_eq!((bell.rings(), reclaimed(&mut pool)), (0, vec![0]), "it does not starve");
    let a = fill(&mut pool, 0, b"a", true);
    pool.set_starved(true);
    pool.set_starved(false);
    drop(a);
    assert_eq!((bell.rings(), reclaimed(&mut pool)), (0, vec![0]), "it does not any more");
    let a = fill(&mut pool, 0, b"a", true);
    drop(a);
    pool.set_starved(true);
    assert_eq!((bell.rings(), reclaimed(&mut pool)), (0, vec![0]), "it looks after that");
}

#[test]
fn leases_are_counted() {
    let (mut pool, _bell) = pool(2, 4 * MIN_SPARE);
    let gauge = pool.gauge();
    let leased = || {
        let gauge = gauge.clone();
        thread::spawn(move || gauge.leased()).join().unwrap()
    };
    assert_eq!(leased(), 0);
    let a = receive(&mut pool, &[1; 3 * MIN_SPARE]);
    let b = receive(&mut pool, &[2; MIN_SPARE]);
    let c = receive(&mut pool, &[3]);
    assert_eq!(leased(), 3, "fillers do not count");
    drop((a, c));
    assert_eq!(leased(), 1);
    drop(b);
    assert_eq!((leased(), gauge.leased()), (0, 0));
}

#[test]
fn lease_beyond_the_pool_is_as_large_as_its_bytes_and_counted() {
    // Goal: what is lent when all buffers are out costs its own bytes, is counted with its parts, and
    // outlives the pool. Method: a pool of one buffer, all of it lent.
    let (mut pool, _bell) = pool(1, MIN_SPARE);
    let gauge = pool.gauge();
    let all = receive(&mut pool, &[0; MIN_SPARE]).unwrap();
    let read = |room: &mut [MaybeUninit<u8>]| {
        room.iter_mut().zip(b"some bytes").for_each(|(place, byte)| _ = place.write(*byte));
        Ok(10)
    };
    let mut apart = pool.read_or_apart(read).unwrap();
    assert_eq!((&*apart, gauge.leased(), pool.held()), (&b"some bytes"[..], 2, MIN_SPARE + 10));
    let front = apart.split_to(4);
    assert_eq!((&*front, &*apart, gauge.leased()), (&b"some"[..], &b" bytes"[..], 3));
    apart.advance(1);
    drop(pool);
    drop(all);
    assert_eq!((&*front, &*apart, gauge.leased()), (&b"some"[..], &b"bytes"[..], 2));
    let elsewhere = thread::spawn(move || front.to_vec());
    assert_eq!((&elsewhere.join().unwrap()[..], gauge.leased()), (&b"some"[..], 1));
    drop(apart);
    assert_eq!(gauge.leased(), 0);
}

#[test]
fn what_is_left_unread_is_moved_out_of_the_pool() {
    // Goal: a reader that holds leases for long does not hold the buffers of others: beyond half of
    // them short ones are copied, beyond seven eighths all. Method: leases of whole buffers, all
    // held.
    let (mut pool, _bell) = pool(16, 2 * COPY);
    let gauge = pool.gauge();
    let mut held = Vec::new();
    let mut lend = |pool: &mut Pool, len: usize| {
        let mut free = Vec::new();
        pool.reclaim(1, |id, _, _| free.push(id));
        let id = free.pop().expect("a buffer is left");
        // SAFETY: zeroes of a new mapping, that nobody writes to.
        held.push(unsafe { pool.lend_or_copy(id, len, true) });
    };
    (0..100).for_each(|_| lend(&mut pool, 10));
    let short = pool.held();
    // The last one that was copied has come back, which is seen when the next is wanted.
    assert_eq!((short, gauge.leased()), ((8 + 1) * 2 * COPY + 92 * 10, 100));
    (0..20).for_each(|_| lend(&mut pool, 2 * COPY));
    assert_eq!((pool.held() - short, gauge.leased()), (20 * 2 * COPY, 120));
    assert!(!reclaimed(&mut pool).is_empty(), "all buffers are held");
    drop(held);
    assert_eq!((gauge.leased(), pool.watch.apart_bytes()), (0, 0));
}

/// A count that is taken at any moment is never one of what a filler has.
#[test]
fn leases_are_counted_while_buffers_come_and_go() {
    const ROUNDS: usize = 100_000;
    let (mut pool, _bell) = pool(2, MIN_SPARE);
    let gauge = pool.gauge();
    let (stop, stopped) = mpsc::channel::<()>();
    let counter = thread::spawn(move || {
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            let leased = gauge.leased();
            assert!(leased <= 4, "{leased} leases");
        }
    });
    for round in 0..ROUNDS {
        // Whole buffers and pieces in turn: both ends of a filler's time.
        drop(receive(&mut pool, &[1; MIN_SPARE][..if round % 2 == 0 { MIN_SPARE } else { 1 }]));
    }
    drop(stop);
    counter.join().unwrap();
}

/// Bytes stay what they are while others are filled, read and returned.
#[test]
fn bytes_stay_under_their_leases() {
    const PIECES: usize = 20_000;
    let (mut pool, _bell) = pool(4, 4 * MIN_SPARE);
    let gauge = pool.gauge();
    let check = |pieces: mpsc::Receiver<(u8, Lease)>| {
        let mut kept = Vec::new();
        for (byte, mut lease) in pieces {
            let front = lease.split_to(lease.len() / 2);
            kept.push((byte, front, lease));
            if kept.len() == 3 {
                let (byte, front, back) = kept.remove(usize::from(byte) % 3);
                assert!(front.iter().chain(&*back).all(|found| *found == byte));
            }
        }
    };
    thread::scope(|scope| {
        let (senders, checkers): (Vec<_>, Vec<_>) = [(); 2]
            .map(|()| {
                let (sender, pieces) = mpsc::sync_channel(4);
                (sender, scope.spawn(move || check(pieces)))
            })
            .into_iter()
            .unzip();
        for piece in 0..PIECES {
            let (byte, len) = (piece as u8, piece % 1500 + 1);
            let lease = loop {
                match receive(&mut pool, &[byte; 1500][..len]) {
                    Some(lease) => break lease,
                    None => thread::yield_now(),
                }
            };
            senders[piece % 2].send((byte, lease)).unwrap();
        }
        drop(senders);
        checkers.into_iter().for_each(|checker| checker.join().unwrap());
    });
    assert_eq!(gauge.leased(), 0);
}
