//! A wire that loses, repeats, reorders and delays packets: a TUN device in a network of this process's own, with a
//! thread at its other end. What is sent to [`FAR`] comes back to [`NEAR`], with the addresses exchanged: a server that
//! listens on `NEAR` is reached at `FAR`, and each packet goes over the wire, both ways.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

use crate::harness::Rng;
use crate::net_connect::enter_own_network;

pub const NEAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

const NAME: &[u8] = b"wire";
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
/// A packet that is held back goes after so much time at the latest.
const HELD: Duration = Duration::from_millis(5);

/// What happens to packets, in thousandths.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub lost: usize,
    pub repeated: usize,
    /// Held back until another one has gone.
    pub reordered: usize,
    /// Nothing goes through.
    pub down: bool,
    /// Between two packets. Of those that come meanwhile the device keeps as many as its queue has room for.
    pub pace: Duration,
}

pub struct Wire {
    faults: Arc<Mutex<Faults>>,
    stop: Arc<AtomicBool>,
    passed: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// Moves this thread, and those that it starts, into a network of its own. `None`: that is not permitted here.
    pub fn new(seed: u64) -> Option<Self> {
        enter_own_network()?;
        let device = File::options().read(true).write(true).open("/dev/net/tun").ok()?;
        // SAFETY: all zeros are a request without a name and flags.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(NAME) {
            *to = *from as _;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as _;
        // SAFETY: the request names a device and its kind, and lives until the call returns.
        if unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, &raw mut request) } != 0 {
            return None;
        }
        set_address(&mut request, libc::SIOCSIFADDR, NEAR);
        set_address(&mut request, libc::SIOCSIFNETMASK, Ipv4Addr::new(255, 255, 255, 0));
        set_up("wire", true);
        let (faults, stop) = (Arc::<Mutex<Faults>>::default(), Arc::<AtomicBool>::default());
        let (passed, lost) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let mut far = FarEnd {
            device,
            rng: Rng::new(seed),
            held: None,
            passed: passed.clone(),
            lost: lost.clone(),
        };
        let (now, stopped) = (faults.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                far.turn(&now);
            }
        });
        Some(Self { faults, stop, passed, lost, thread: Some(thread) })
    }

    pub fn set(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    /// How many datagrams of UDP have come out at the other end, repeated ones among them.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    /// How many packets were lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("it was started").expect("the thread of the wire");
        }
    }
}

/// Takes an interface up or down.
pub fn set_up(name: &str, up: bool) {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    // SAFETY: all zeros are a request without a name and flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = *from as _;
    }
    request.ifr_ifru.ifru_flags = if up { libc::IFF_UP as _ } else { 0 };
    // SAFETY: the request names an interface and its flags, and lives until the call returns.
    let set = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

fn set_address(request: &mut libc::ifreq, what: libc::Ioctl, addr: Ipv4Addr) {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    let addr = libc::sockaddr_in {
        sin_family: libc::AF_INET as _,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(addr.octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: an address of IPv4 is as long as one of any kind.
    request.ifr_ifru.ifru_addr =
        unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(addr) };
    // SAFETY: the request names an interface and an address, and lives until the call returns.
    let set = unsafe { libc::ioctl(socket.as_raw_fd(), what, &raw mut *request) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// The other end of the device.
struct FarEnd {
    device: File,
    rng: Rng,
    held: Option<(Vec<u8>, Instant)>,
    passed: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
}

impl FarEnd {
    /// Passes on what is there, or waits for a moment.
    fn turn(&mut self, faults: &Mutex<Faults>) {
        if self.held.as_ref().is_some_and(|(_, since)| since.elapsed() > HELD) {
            self.let_go();
        }
        let mut fds = [PollFd::from_borrowed_fd(self.device.as_fd(), PollFlags::IN)];
        let moment = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        if poll(&mut fds, Some(&moment)).unwrap_or(0) == 0 {
            return;
        }
        let mut packet = vec![0; 2000];
        match self.device.read(&mut packet) {
            Ok(len) => packet.truncate(len),
            Err(error) if error.kind() == ErrorKind::Interrupted => return,
            Err(error) => panic!("the device: {error}"),
        }
        let version = packet.first().map_or(0, |first| first >> 4);
        if version != 4 || packet[16..20] != FAR.octets() {
            return;
        }
        // As they are now that the packet is here.
        let faults = *faults.lock().unwrap();
        let below = self.rng.below(1000);
        if faults.down || below < faults.lost {
            self.lost.fetch_add(1, Ordering::SeqCst);
            return;
        }
        // The sums of the headers stay as they are.
        let (from, to) = (NEAR.octets(), FAR.octets());
        packet[12..16].copy_from_slice(&to);
        packet[16..20].copy_from_slice(&from);
        if self.held.is_none() && self.rng.below(1000) < faults.reordered {
            self.held = Some((packet, Instant::now()));
            return;
        }
        self.pass(&packet);
        if self.rng.below(1000) < faults.repeated {
            self.pass(&packet);
        }
        self.let_go();
        std::thread::sleep(faults.pace);
    }

    fn let_go(&mut self) {
        if let Some((held, _)) = self.held.take() {
            self.pass(&held);
        }
    }

    fn pass(&mut self, packet: &[u8]) {
        const UDP: u8 = 17;
        if packet[9] == UDP {
            self.passed.fetch_add(1, Ordering::SeqCst);
        }
        self.device.write_all(packet).expect("the device");
    }
}
