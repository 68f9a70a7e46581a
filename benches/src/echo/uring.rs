//! The limit: io_uring loops, one per thread, without a runtime or a task.
//!
//! Every connection has a multishot receive armed, which takes provided memory piece by piece; each
//! arrival is sent back from where it lies. A turn is one system call. The memory of a connection
//! has no limit: the client reads its replies. The first loop also accepts, multishot, and passes
//! connections to the loops in turn.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};
use std::{process, thread};

use io_uring::types::{BufRingEntry, Fd, TimeoutFlags, Timespec};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue};

use super::{Setup, hog};
use crate::harness::child::announce;

/// `IORING_RECVSEND_POLL_FIRST`: do not try before the socket is readable.
const POLL_FIRST: u16 = 1;
/// `IORING_RECV_MULTISHOT`.
const MULTISHOT: u16 = 2;
/// `IOU_PBUF_RING_INC` (since Linux 6.12): a buffer serves many receives, one after the other.
const INCREMENTAL: u16 = 2;

/// The only group of provided buffers in a ring.
const GROUP: u16 = 0;
/// Enough for the bytes that the connections may have in flight, since a ring without memory stops
/// receiving; and few enough to stay in a cache. A power of two.
const fn buffers(setup: Setup) -> u16 {
    if setup.buffer < BUFFER { 16 } else { 128 }
}
const BUFFER: usize = 64 * 1024;

/// The user data of new connections, of the hog's ticks and of operations whose completion is
/// ignored; the others' are twice an index, plus `SEND`.
const ACCEPTED: u64 = u64::MAX;
const TICK: u64 = u64::MAX - 1;
const FORGOTTEN: u64 = u64::MAX - 2;
const SEND: u64 = 1;

pub fn serve(setup: Setup) -> io::Result<()> {
    let mut others = Vec::new();
    for _ in 1..setup.workers {
        let (accepted, acceptor) = io::pipe()?;
        thread::spawn(move || {
            let source = Source::Pipe { accepted, new: NonNull::from(Box::leak(Box::new(-1))) };
            let Err(error) = Loop::new(source, buffers(setup)).and_then(Loop::run);
            eprintln!("a ring failed: {error}");
            process::exit(1);
        });
        others.push(acceptor);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut first = Loop::new(Source::Door { listener, others, next: 0 }, buffers(setup))?;
    if setup.hog {
        first.tick()?;
    }
    announce(address);
    match first.run()? {}
}

/// The source of a loop's connections.
enum Source {
    /// The loop accepts for all.
    Door { listener: TcpListener, others: Vec<PipeWriter>, next: usize },
    /// Their descriptors come through a pipe, one at a time, into memory that is leaked.
    Pipe { accepted: PipeReader, new: NonNull<RawFd> },
}

/// A ring, whose parts borrow from one that is leaked, and its connections.
struct Loop {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    memory: Memory,
    connections: Vec<Connection>,
    /// Indexes of connections that are over.
    vacant: Vec<usize>,
    /// Connections whose receive found no memory.
    starved: Vec<usize>,
    source: Source,
}

struct Connection {
    /// `None` when both directions are over.
    stream: Option<TcpStream>,
    is_receiving: bool,
    /// The piece that a send has in the kernel: one at a time, or their bytes might mix.
    sending: Option<Piece>,
    /// The pieces that arrived since.
    waiting: VecDeque<Piece>,
}

/// Bytes that arrived, and where they are.
#[derive(Clone, Copy)]
struct Piece {
    buffer: u16,
    start: usize,
    len: usize,
}

impl Loop {
    /// A loop for the calling thread.
    fn new(source: Source, buffers: u16) -> io::Result<Loop> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_clamp();
        let ring = builder.setup_cqsize(4096).build(256)?;
        let memory = Memory::new(&ring.submitter(), buffers)?;
        let (submitter, submissions, completions) = Box::leak(Box::new(ring)).split();
        Ok(Loop {
            submitter,
            submissions,
            completions,
            memory,
            connections: Vec::new(),
            vacant: Vec::new(),
            starved: Vec::new(),
            source,
        })
    }

    fn run(mut self) -> io::Result<Infallible> {
        self.ask_for_connections()?;
        loop {
            self.submissions.sync();
            match self.submitter.submit_and_wait(1) {
                // Busy: there are more completions than fit, so take them.
                Err(error) if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => {
                    return Err(error);
                }
                _ => {}
            }
            self.completions.sync();
            while let Some(completion) = self.completions.next() {
                self.take(&completion)?;
            }
            self.completions.sync();
            self.feed()?;
        }
    }

    fn take(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let index = (completion.user_data() >> 1) as usize;
        match completion.user_data() {
            ACCEPTED => self.accepted(completion),
            TICK => {
                hog::burn();
                Ok(())
            }
            FORGOTTEN => Ok(()),
            data if data & SEND == SEND => self.sent(index, completion.result()),
            _ => self.received(index, completion),
        }
    }

    /// Burns CPU at each tick.
    fn tick(&mut self) -> io::Result<()> {
        let period = Box::leak(Box::new(Timespec::from(hog::PERIOD)));
        let tick = opcode::Timeout::new(period).flags(TimeoutFlags::MULTISHOT).build();
        // SAFETY: the period is leaked.
        unsafe { self.push(&tick.user_data(TICK)) }
    }

    /// Accepts until the kernel ends the accept, or reads one connection from the pipe.
    fn ask_for_connections(&mut self) -> io::Result<()> {
        let ask = match &self.source {
            Source::Door { listener, .. } => {
                let flags = libc::SOCK_CLOEXEC;
                opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).flags(flags).build()
            }
            Source::Pipe { accepted, new } => {
                let (from, to) = (Fd(accepted.as_raw_fd()), new.as_ptr().cast());
                opcode::Read::new(from, to, size_of::<RawFd>() as u32).build()
            }
        };
        // SAFETY: an accept writes nothing; the memory of the read is leaked, and not read before
        // it completes.
        unsafe { self.push(&ask.user_data(ACCEPTED)) }
    }

    fn accepted(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let result = completion.result();
        let ours = match &mut self.source {
            Source::Door { others, next, .. } => {
                if result < 0 {
                    return Err(io::Error::from_raw_os_error(-result));
                }
                // SAFETY: the kernel has just made this descriptor.
                let stream = unsafe { TcpStream::from_raw_fd(result) };
                stream.set_nodelay(true)?;
                let owner = *next;
                *next = (*next + 1) % (others.len() + 1);
                match owner {
                    0 => Some(stream),
                    _ => {
                        others[owner - 1].write_all(&stream.into_raw_fd().to_ne_bytes())?;
                        None
                    }
                }
            }
            // A number is written in one call and so read in one.
            Source::Pipe { .. } if result != size_of::<RawFd>() as i32 => {
                return Err(io::Error::other(format!("no connections any more: {result}")));
            }
            // SAFETY: the only read into it has completed; the first loop has given the descriptor
            // up.
            Source::Pipe { new, .. } => Some(unsafe { TcpStream::from_raw_fd(new.read()) }),
        };
        if let Some(stream) = ours {
            self.add(stream)?;
        }
        if cqueue::more(completion.flags()) { Ok(()) } else { self.ask_for_connections() }
    }

    fn add(&mut self, stream: TcpStream) -> io::Result<()> {
        let connection = Connection {
            stream: Some(stream),
            is_receiving: true,
            sending: None,
            waiting: VecDeque::new(),
        };
        let index = self.vacant.pop().unwrap_or(self.connections.len());
        match self.connections.get_mut(index) {
            Some(place) => *place = connection,
            None => self.connections.push(connection),
        }
        self.receive(index)
    }

    /// Receives from a connection until the kernel ends the receive.
    fn receive(&mut self, index: usize) -> io::Result<()> {
        let Some(stream) = &self.connections[index].stream else { return Ok(()) };
        let receive = opcode::Recv::new(Fd(stream.as_raw_fd()), ptr::null_mut(), 0)
            .ioprio(MULTISHOT | POLL_FIRST)
            .buf_group(GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT)
            .user_data((index as u64) << 1);
        // SAFETY: the kernel writes to provided memory only.
        unsafe { self.push(&receive) }
    }

    fn received(&mut self, index: usize, completion: &cqueue::Entry) -> io::Result<()> {
        if let Some(piece) = self.memory.received(completion) {
            let connection = &mut self.connections[index];
            if connection.sending.is_none() {
                self.send(index, piece)?;
            } else {
                connection.waiting.push_back(piece);
            }
        }
        if cqueue::more(completion.flags()) {
            return Ok(());
        }
        match completion.result() {
            // It ended for lack of room for completions.
            1.. => self.receive(index),
            result if result == -libc::ENOBUFS => {
                self.starved.push(index);
                Ok(())
            }
            // The peer has ended or reset the connection.
            _ => {
                self.connections[index].is_receiving = false;
                self.close_if_over(index)
            }
        }
    }

    fn send(&mut self, index: usize, piece: Piece) -> io::Result<()> {
        let connection = &mut self.connections[index];
        connection.sending = Some(piece);
        let Some(stream) = &connection.stream else { return Ok(()) };
        let bytes = self.memory.bytes(piece);
        let send = opcode::Send::new(Fd(stream.as_raw_fd()), bytes.as_ptr(), piece.len as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .user_data((index as u64) << 1 | SEND);
        // SAFETY: the memory counts the piece as in use until the send completes.
        unsafe { self.push(&send) }
    }

    fn sent(&mut self, index: usize, result: i32) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let Some(piece) = connection.sending.take() else { return Ok(()) };
        self.memory.release(piece.buffer);
        // Failed or cut short: the peer is gone, and nothing more may be sent.
        if result != piece.len as i32
            && let Some(stream) = &connection.stream
        {
            let _ = stream.shutdown(Shutdown::Both);
        }
        match connection.waiting.pop_front() {
            Some(next) => self.send(index, next),
            None => self.close_if_over(index),
        }
    }

    fn close_if_over(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        if connection.is_receiving || connection.sending.is_some() {
            return Ok(());
        }
        let Some(stream) = connection.stream.take() else { return Ok(()) };
        self.vacant.push(index);
        let close = opcode::Close::new(Fd(stream.into_raw_fd())).build();
        // SAFETY: no memory; the descriptor is given up here.
        unsafe { self.push(&close.flags(squeue::Flags::SKIP_SUCCESS).user_data(FORGOTTEN)) }
    }

    /// Arms the receives of starved connections, as soon as there is memory.
    fn feed(&mut self) -> io::Result<()> {
        if self.memory.provided > 0 {
            while let Some(index) = self.starved.pop() {
                self.receive(index)?;
            }
        }
        Ok(())
    }

    /// # Safety
    /// The memory that `entry` names must stay valid until it completes.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: promised by the caller.
        while unsafe { self.submissions.push(entry) }.is_err() {
            self.submissions.sync();
            self.submitter.submit()?;
            self.submissions.sync();
        }
        Ok(())
    }
}

/// Memory for arrivals, leaked: the kernel may write to it until this process ends.
struct Memory {
    bytes: NonNull<u8>,
    ring: NonNull<BufRingEntry>,
    tail: u16,
    /// The number of buffers that the kernel has.
    provided: u16,
    buffers: Vec<Buffer>,
}

#[derive(Clone, Copy, Default)]
struct Buffer {
    /// The number of bytes that the kernel has filled.
    filled: usize,
    /// Pieces not yet sent.
    pieces: u32,
    is_provided: bool,
}

/// The kernel requires its ring of buffers to begin a page.
#[repr(align(4096))]
struct Page(#[expect(dead_code, reason = "the kernel's")] [u8; 4096]);

impl Memory {
    fn new(submitter: &Submitter<'_>, count: u16) -> io::Result<Memory> {
        let bytes = Box::leak(vec![0u8; usize::from(count) * BUFFER].into_boxed_slice());
        let page = Box::leak(Box::new(Page([0; 4096])));
        let ring = NonNull::from(page).cast();
        // SAFETY: the page is leaked, and larger than the entries.
        unsafe {
            submitter.register_buf_ring_with_flags(
                ring.as_ptr() as u64,
                count,
                GROUP,
                INCREMENTAL,
            )?;
        }
        let buffers = vec![Buffer::default(); usize::from(count)];
        let bytes = NonNull::from(bytes).cast();
        let mut memory = Memory { bytes, ring, tail: 0, provided: 0, buffers };
        for id in 0..count {
            memory.provide(id);
        }
        Ok(memory)
    }

    /// Gives a buffer to the kernel.
    fn provide(&mut self, id: u16) {
        self.buffers[usize::from(id)] = Buffer { is_provided: true, ..Buffer::default() };
        let place = self.tail % self.buffers.len() as u16;
        // SAFETY: within the page, and not read by the kernel: it has at most as many entries.
        let entry = unsafe { self.ring.add(usize::from(place)).as_mut() };
        entry.set_addr(self.at(id, 0).as_ptr() as u64);
        entry.set_len(BUFFER as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        self.provided += 1;
        // SAFETY: within the page; the kernel reads it as an atomic.
        let tail = unsafe { &*BufRingEntry::tail(self.ring.as_ptr()).cast::<AtomicU16>() };
        // Release: the kernel, which reads it with acquire, sees the entry.
        tail.store(self.tail, Ordering::Release);
    }

    /// The bytes of a completion, if any.
    fn received(&mut self, completion: &cqueue::Entry) -> Option<Piece> {
        let id = cqueue::buffer_select(completion.flags())?;
        let len = completion.result().max(0) as usize;
        let buffer = &mut self.buffers[usize::from(id)];
        let piece = Piece { buffer: id, start: buffer.filled, len };
        buffer.filled += len;
        buffer.pieces += 1;
        if !cqueue::buffer_more(completion.flags()) {
            buffer.is_provided = false;
            self.provided -= 1;
        }
        if len == 0 {
            self.release(id);
            return None;
        }
        Some(piece)
    }

    /// A piece of the buffer is no longer in use.
    fn release(&mut self, id: u16) {
        let buffer = &mut self.buffers[usize::from(id)];
        buffer.pieces -= 1;
        if buffer.pieces == 0 && !buffer.is_provided {
            self.provide(id);
        }
    }

    fn bytes(&self, piece: Piece) -> NonNull<u8> {
        self.at(piece.buffer, piece.start)
    }

    fn at(&self, id: u16, offset: usize) -> NonNull<u8> {
        // SAFETY: a buffer of this memory and a position in it.
        unsafe { self.bytes.add(usize::from(id) * BUFFER + offset) }
    }
}
