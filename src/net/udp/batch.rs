//! Many datagrams by one call, with segments that the kernel cuts (GSO) and groups that it glues (GRO).

use std::{
    io::{self, IoSliceMut},
    net::IpAddr,
    slice,
    task::{Context, Poll},
};

use rustix::io::Errno;

use super::{
    Flags, LARGEST, UdpSocket,
    control::UDP_SEGMENT,
    datagram::{RecvMeta, Transmit},
    explain,
    message::{self, Message},
};
use crate::{
    loom::global::{AtomicU8, Ordering},
    reactor::{Direction, Endpoint},
    runtime::operation::{self, Operation},
};

/// So many datagrams may be one message: what every kernel with segments allows (before 6.10 no more).
const SEGMENTS: usize = 64;

/// So many bytes a buffer must have for a group.
const GROUP: usize = 65_535;

/// # Many datagrams by one call
impl UdpSocket {
    /// So many bytes a buffer needs on a socket with [`enable_gro`](Self::enable_gro).
    pub const GRO_BUFFER: usize = GROUP;

    /// Sends datagrams, and gives the number of them, from the front, that were sent. It waits while there is no
    /// room for the first. It sends as many as one call takes, so that there may be more: remove those that
    /// were sent by [`Transmit::advance`], and send the rest.
    ///
    /// A transmit of [several datagrams](Transmit::with_segment_size) goes through the kernel as one (GSO), in parts
    /// of at most 64 datagrams and 65 507 bytes: that is what makes bulk cheap. Where the kernel, the interface or the
    /// path cannot do that, each datagram goes by itself, and the receiver sees no difference.
    ///
    /// asyncio: has nothing like it.
    ///
    /// # Cancel safety
    ///
    /// A batch whose send was dropped before it returned was not sent.
    ///
    /// # Errors
    ///
    /// Those of sendmsg(2) for the first datagram; an error of a later one is that of the call which sends it first.
    /// The segment size is 0. The address to send from is of another family than the destination, or not of this
    /// machine. And as [`send_to`](Self::send_to).
    ///
    /// ```
    /// use ringloop::net::{Transmit, UdpSocket};
    ///
    /// ringloop::run(async {
    ///     let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    ///     let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    ///     let there = far.local_addr().unwrap();
    ///     let mut transmits: Vec<_> = [b"one", b"two"].map(|text| Transmit::new(there, text)).into();
    ///     let mut left = &mut transmits[..];
    ///     while !left.is_empty() {
    ///         let sent = near.send_batch(left).await.unwrap();
    ///         Transmit::advance(&mut left, sent);
    ///     }
    ///     assert_eq!(far.recv(&mut [0; 8]).await.unwrap(), 3);
    /// });
    /// ```
    #[doc(alias = "sendmmsg")]
    #[doc(alias = "UDP_SEGMENT")]
    pub async fn send_batch(&self, transmits: &[Transmit<'_>]) -> io::Result<usize> {
        let Some(first) = transmits.first() else { return Ok(0) };
        let sent = operation::run(self.get(), SendBatch { socket: self, transmits }).await;
        sent.map_err(|error| explain_transmit(error, first))
    }

    /// Sends all datagrams of one transmit, waiting for room as often as it takes.
    ///
    /// # Cancel safety
    ///
    /// Some datagrams, from the front, may have been sent. As [`send_batch`](Self::send_batch) otherwise.
    ///
    /// # Errors
    ///
    /// As [`send_batch`](Self::send_batch). The datagrams before the one that failed were sent.
    pub async fn send_transmit(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut transmit = *transmit;
        let mut left = slice::from_mut(&mut transmit);
        while !left.is_empty() {
            let sent = self.send_batch(left).await?;
            Transmit::advance(&mut left, sent);
        }
        Ok(())
    }

    /// Sends datagrams without waiting. See [`send_batch`](Self::send_batch).
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room for the first, and as
    /// [`send_batch`](Self::send_batch).
    pub fn try_send_batch(&self, transmits: &[Transmit<'_>]) -> io::Result<usize> {
        let Some(first) = transmits.first() else { return Ok(0) };
        let sent = operation::attempt(self.get(), &mut SendBatch { socket: self, transmits });
        sent.map_err(|error| explain_transmit(error, first))
    }

    /// Sends datagrams, or has the task woken when there is room. See [`send_batch`](Self::send_batch), and
    /// [`poll_send_to`](Self::poll_send_to) for the task that is woken.
    ///
    /// # Errors
    ///
    /// As [`send_batch`](Self::send_batch).
    pub fn poll_send_batch(
        &self,
        cx: &mut Context<'_>,
        transmits: &[Transmit<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(first) = transmits.first() else { return Poll::Ready(Ok(0)) };
        let sent = operation::poll(self.get(), cx, &mut SendBatch { socket: self, transmits });
        sent.map_err(|error| explain_transmit(error, first))
    }

    /// Waits for a datagram, and takes as many as are there, one into each buffer: no more than there are buffers or
    /// metas, and 32 by one call. Gives their number. The first metas say what is in the first buffers.
    ///
    /// With [`enable_gro`](Self::enable_gro), a buffer may get a group of datagrams: that is the case in which several
    /// by one call cost much less. Else a call for each datagram is as good.
    ///
    /// asyncio: has nothing like it.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv). There is no buffer, or no meta. With [`enable_gro`](Self::enable_gro): a buffer has
    /// fewer than [`GRO_BUFFER`](Self::GRO_BUFFER) bytes.
    ///
    /// ```
    /// use std::io::IoSliceMut;
    ///
    /// use ringloop::net::{RecvMeta, Transmit, UdpSocket};
    ///
    /// ringloop::run(async {
    ///     let mut far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    ///     far.enable_gro().unwrap();
    ///     let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    ///     let transmit = Transmit::new(far.local_addr().unwrap(), &[7; 5000]).with_segment_size(1200);
    ///     near.send_transmit(&transmit).await.unwrap();
    ///
    ///     let mut memory = vec![0; 2 * UdpSocket::GRO_BUFFER];
    ///     let (one, two) = memory.split_at_mut(UdpSocket::GRO_BUFFER);
    ///     let mut bufs = [IoSliceMut::new(one), IoSliceMut::new(two)];
    ///     let mut metas = [RecvMeta::default(); 2];
    ///     let mut datagrams = Vec::new();
    ///     while datagrams.len() < 5 {
    ///         let came = far.recv_batch(&mut bufs, &mut metas).await.unwrap();
    ///         for (buf, meta) in bufs.iter().zip(&metas).take(came) {
    ///             datagrams.extend(meta.datagrams(buf).map(|datagram| datagram.len()));
    ///         }
    ///     }
    ///     assert_eq!(datagrams, [1200, 1200, 1200, 1200, 200]);
    /// });
    /// ```
    #[doc(alias = "recvmmsg")]
    #[doc(alias = "UDP_GRO")]
    pub async fn recv_batch(
        &self,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        operation::run(self.get(), self.receive(bufs, metas)?).await
    }

    /// Receives datagrams without waiting. See [`recv_batch`](Self::recv_batch).
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if none is there, and as [`recv_batch`](Self::recv_batch).
    pub fn try_recv_batch(
        &self,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        operation::attempt(self.get(), &mut self.receive(bufs, metas)?)
    }

    /// Receives datagrams, or has the task woken when there are some. See [`recv_batch`](Self::recv_batch), and
    /// [`poll_recv_from`](Self::poll_recv_from) for the task that is woken.
    ///
    /// # Errors
    ///
    /// As [`recv_batch`](Self::recv_batch).
    pub fn poll_recv_batch(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        operation::poll(self.get(), cx, &mut self.receive(bufs, metas)?)
    }

    fn receive<'s, 'b>(
        &'s self,
        bufs: &'s mut [IoSliceMut<'b>],
        metas: &'s mut [RecvMeta],
    ) -> io::Result<RecvBatch<'s, 'b>> {
        if bufs.is_empty() || metas.is_empty() {
            let text = "there is no buffer, or no meta, to receive into";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if self.flags.has(Flags::GRO) {
            bufs.iter().try_for_each(|buf| check_room(buf))?;
        }
        Ok(RecvBatch { socket: self, bufs, metas })
    }

    /// The most datagrams of a [`Transmit`] that go through the kernel as one: 1 where it cuts none.
    ///
    /// It is what quinn asks its socket for.
    pub fn max_transmit_segments(&self) -> usize {
        if self.cuts() { SEGMENTS } else { 1 }
    }

    /// The most datagrams of which a [`RecvMeta`] speaks: 1 without [`enable_gro`](Self::enable_gro).
    ///
    /// It is what quinn asks its socket for.
    pub fn max_receive_segments(&self) -> usize {
        // A sender on this machine may be allowed as many.
        if self.flags.has(Flags::GRO) { 2 * SEGMENTS } else { 1 }
    }

    /// Whether the kernel cuts a message into datagrams, as far as is known.
    fn cuts(&self) -> bool {
        !self.flags.has(Flags::NO_GSO) && kernel_cuts(self.get().endpoint())
    }
}

/// Whether the kernel knows segments: one that does not would send the message as a single datagram.
fn kernel_cuts(endpoint: &Endpoint) -> bool {
    const UNKNOWN: u8 = 0;
    const YES: u8 = 1;
    const NO: u8 = 2;
    static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
    // Relaxed: each thread may ask for itself.
    match KNOWN.load(Ordering::Relaxed) {
        UNKNOWN => {
            let yes = message::option(endpoint, libc::SOL_UDP, UDP_SEGMENT).is_ok();
            KNOWN.store(if yes { YES } else { NO }, Ordering::Relaxed);
            yes
        }
        known => known == YES,
    }
}

/// A buffer for a group: a smaller one could lose several datagrams at once.
pub(super) fn check_room(buf: &[u8]) -> io::Result<()> {
    if buf.len() >= GROUP {
        return Ok(());
    }
    let text = format!(
        "the socket receives groups of datagrams (enable_gro), and a buffer of {} bytes may be too small for one: \
         give buffers of UdpSocket::GRO_BUFFER bytes, which is {GROUP}",
        buf.len()
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// What is wrong with a transmit, if anything is.
fn check(transmit: &Transmit<'_>) -> io::Result<()> {
    let refuse = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if transmit.segment_size == Some(0) {
        return refuse(
            "a segment size of 0 makes no datagrams: leave it out for a single one".to_owned(),
        );
    }
    match (transmit.destination, transmit.src_ip) {
        (Some(to), Some(from)) if is_ipv4(to.ip()) != is_ipv4(from) => {
            refuse(format!("nothing is sent from {from} to {to}, which is of another family"))
        }
        _ => Ok(()),
    }
}

fn is_ipv4(ip: IpAddr) -> bool {
    ip.to_canonical().is_ipv4()
}

fn explain_transmit(error: io::Error, transmit: &Transmit<'_>) -> io::Error {
    match (Errno::from_io_error(&error), transmit.src_ip) {
        (Some(Errno::INVAL | Errno::ADDRNOTAVAIL | Errno::NETUNREACH), Some(from)) => {
            let text = format!(
                "nothing can be sent from {from}: it may be no address of this machine, or none that leads there \
                 ({error})"
            );
            io::Error::new(error.kind(), text)
        }
        _ => explain(error, transmit.destination, transmit.size().min(transmit.contents.len())),
    }
}

/// The messages of transmits. `cuts`: the kernel cuts them into datagrams.
fn messages<'a>(
    transmits: &'a [Transmit<'a>],
    cuts: bool,
) -> impl Iterator<Item = Message<'a>> + Clone {
    transmits.iter().flat_map(move |transmit| {
        let size = transmit.size();
        let part = if cuts { size * SEGMENTS.min(LARGEST / size).max(1) } else { size };
        let empty = transmit.contents.is_empty().then_some(&[][..]);
        transmit.contents.chunks(part).chain(empty).map(move |bytes| {
            let segment = (bytes.len() > size).then_some(size as u16);
            Message { transmit, bytes, segment }
        })
    })
}

/// sendmsg(2) or sendmmsg(2).
struct SendBatch<'a> {
    socket: &'a UdpSocket,
    transmits: &'a [Transmit<'a>],
}

impl Operation<Endpoint> for SendBatch<'_> {
    type Output = usize;

    const DIRECTION: Direction = Direction::Write;

    fn attempt(&mut self, endpoint: &Endpoint) -> io::Result<usize> {
        // Those in front of one that is wrong are sent.
        let wrong = self.transmits.iter().position(|transmit| check(transmit).is_err());
        let transmits = &self.transmits[..wrong.unwrap_or(self.transmits.len())];
        let Some(first) = transmits.first() else {
            return self.transmits.first().map_or(Ok(()), check).map(|()| 0);
        };
        let is_cut = |transmit: &Transmit<'_>| transmit.contents.len() > transmit.size();
        let cuts = transmits.iter().any(is_cut) && self.socket.cuts();
        match send(endpoint, messages(transmits, cuts)) {
            Err(error) if cuts && is_cut(first) => match Errno::from_io_error(&error) {
                // The interface cannot make checksums, or the path is too narrow for a segment, which has to be sent
                // in fragments.
                Some(reason @ (Errno::IO | Errno::INVAL)) => {
                    let sent = send(endpoint, messages(slice::from_ref(first), false));
                    if reason == Errno::IO && sent.is_ok() {
                        self.socket.flags.set(Flags::NO_GSO);
                    }
                    sent
                }
                _ => Err(error),
            },
            sent => sent,
        }
    }
}

/// Gives the number of datagrams that were sent.
fn send<'a>(
    endpoint: &Endpoint,
    messages: impl Iterator<Item = Message<'a>> + Clone,
) -> io::Result<usize> {
    let sent = message::send(endpoint, messages.clone())?;
    let datagrams = |message: Message<'_>| match message.segment {
        Some(size) => message.bytes.len().div_ceil(size.into()),
        None => 1,
    };
    Ok(messages.take(sent).map(datagrams).sum())
}

/// recvmsg(2) or recvmmsg(2).
struct RecvBatch<'s, 'b> {
    socket: &'s UdpSocket,
    bufs: &'s mut [IoSliceMut<'b>],
    metas: &'s mut [RecvMeta],
}

impl Operation<Endpoint> for RecvBatch<'_, '_> {
    type Output = usize;

    const DIRECTION: Direction = Direction::Read;
    const HAS_MARKS: bool = false;

    fn attempt(&mut self, endpoint: &Endpoint) -> io::Result<usize> {
        let wants_control = self.socket.flags.has(Flags::CONTROL);
        message::recv(endpoint, self.bufs, self.metas, wants_control, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(len: usize, size: Option<usize>, cuts: bool) -> Vec<(usize, Option<u16>)> {
        let bytes = vec![0; len];
        let mut transmit = Transmit::connected(&bytes);
        transmit.segment_size = size;
        let transmits = [transmit];
        messages(&transmits, cuts).map(|message| (message.bytes.len(), message.segment)).collect()
    }

    #[test]
    fn transmits_are_cut_where_the_kernel_cannot_go_on() {
        assert_eq!(parts(0, None, true), [(0, None)]);
        assert_eq!(parts(0, Some(10), true), [(0, None)]);
        assert_eq!(parts(5000, None, true), [(5000, None)]);
        assert_eq!(parts(5300, Some(1000), true), [(5300, Some(1000))]);
        // One datagram is none to be cut.
        assert_eq!(parts(1000, Some(1000), true), [(1000, None)]);
        assert_eq!(parts(650, Some(10), true), [(640, Some(10)), (10, None)]);
        assert_eq!(parts(70_000, Some(1200), true), [(64_800, Some(1200)), (5200, Some(1200))]);
        assert_eq!(parts(80_000, Some(40_000), true), [(40_000, None), (40_000, None)]);
        // The kernel refuses these, and says so.
        assert_eq!(parts(70_000, None, true), [(70_000, None)]);
        assert_eq!(parts(140_000, Some(70_000), true), [(70_000, None), (70_000, None)]);
    }

    #[test]
    fn kernel_that_cuts_nothing_gets_each_datagram() {
        assert_eq!(parts(0, Some(10), false), [(0, None)]);
        assert_eq!(parts(25, Some(10), false), [(10, None), (10, None), (5, None)]);
        assert_eq!(parts(25, None, false), [(25, None)]);
    }
}
