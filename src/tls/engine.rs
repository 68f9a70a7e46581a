//! rustls' state machine by its unbuffered interface: records in, plaintext and records out.

use rustls::{
    CommonState, Error,
    client::UnbufferedClientConnection,
    server::UnbufferedServerConnection,
    unbuffered::{
        ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
        WriteTraffic,
    },
};

use super::errors::Side;

/// The client's state, or the server's.
pub(super) enum Engine {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What is to be done once the session may send.
pub(super) enum Action<'a> {
    /// Encrypt plaintext into a buffer. The count of bytes comes back. If the buffer is too small, as for
    /// a configuration of small records, it is 0, and the records go to the other ones.
    Encrypt(&'a [u8], &'a mut [u8], &'a mut usize),
    CloseNotify,
    RefreshKeys,
}

/// What one run of the state machine has found.
#[derive(Default)]
pub(super) struct Outcome {
    /// How many bytes at the front of the records have been used.
    pub(super) used: usize,
    /// The peer has sent close_notify.
    pub(super) peer_closed: bool,
    /// The action has been done.
    pub(super) acted: bool,
    /// What has ended the session.
    pub(super) failed: Option<Error>,
}

/// Whether the state machine has more to say.
enum Step {
    Again,
    Stop,
}

impl Engine {
    pub(super) fn side(&self) -> Side {
        match self {
            Self::Client(_) => Side::Client,
            Self::Server(_) => Side::Server,
        }
    }

    pub(super) fn common(&self) -> &CommonState {
        match self {
            Self::Client(client) => client,
            Self::Server(server) => server,
        }
    }

    /// Works through `records` from the front, as far as they are whole. Plaintext goes to `plain`,
    /// records of the session's own to the end of `outgoing`, before those of the action.
    pub(super) fn run(
        &mut self,
        records: &mut [u8],
        plain: &mut dyn FnMut(&[u8]),
        outgoing: &mut Vec<u8>,
        mut action: Option<Action<'_>>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            let rest = &mut records[outcome.used..];
            match self.step(rest, plain, outgoing, &mut action, &mut outcome) {
                Ok(Step::Again) => {}
                Ok(Step::Stop) => break,
                Err(error) => {
                    outcome.failed = Some(error);
                    break;
                }
            }
        }
        // The alert that tells the peer. It is asked for nothing else any more.
        while outcome.failed.is_some() && self.common().wants_write() {
            if self.step(&mut [], plain, outgoing, &mut None, &mut outcome).is_err() {
                break;
            }
        }
        outcome
    }

    fn step(
        &mut self,
        records: &mut [u8],
        plain: &mut dyn FnMut(&[u8]),
        outgoing: &mut Vec<u8>,
        action: &mut Option<Action<'_>>,
        outcome: &mut Outcome,
    ) -> Result<Step, Error> {
        let (used, step) = match self {
            Self::Client(client) => {
                step(client.process_tls_records(records), plain, outgoing, action, outcome)
            }
            Self::Server(server) => {
                step(server.process_tls_records(records), plain, outgoing, action, outcome)
            }
        };
        outcome.used += used;
        step
    }
}

/// Does what the state machine asks for, and says how many bytes of the records have been used.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut dyn FnMut(&[u8]),
    outgoing: &mut Vec<u8>,
    action: &mut Option<Action<'_>>,
    outcome: &mut Outcome,
) -> (usize, Result<Step, Error>) {
    let mut used = status.discard;
    let state = match status.state {
        Ok(state) => state,
        Err(error) => return (used, Err(error)),
    };
    let step = match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        used += record.discard;
                        plain(record.payload);
                    }
                    Err(error) => return (used, Err(error)),
                }
            }
            Step::Again
        }
        ConnectionState::EncodeTlsData(mut data) => {
            append(outgoing, |to| match data.encode(to) {
                Ok(n) => Ok(n),
                Err(EncodeError::InsufficientSize(needs)) => Err(needs),
                // It is encoded once.
                Err(EncodeError::AlreadyEncoded) => Ok(0),
            });
            Step::Again
        }
        // What is in `outgoing` will be sent: it is not needed a second time.
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Step::Again
        }
        ConnectionState::PeerClosed => {
            outcome.peer_closed = true;
            Step::Again
        }
        ConnectionState::WriteTraffic(traffic) => match action.take() {
            None => Step::Stop,
            Some(action) => match act(action, traffic, outgoing) {
                Ok(step) => {
                    outcome.acted = true;
                    step
                }
                Err(error) => return (used, Err(error)),
            },
        },
        // It needs more records, or is over.
        _ => Step::Stop,
    };
    (used, Ok(step))
}

fn act<Data>(
    action: Action<'_>,
    mut traffic: WriteTraffic<'_, Data>,
    outgoing: &mut Vec<u8>,
) -> Result<Step, Error> {
    match action {
        Action::Encrypt(bytes, into, count) => match traffic.encrypt(bytes, into) {
            Ok(n) => *count = n,
            Err(EncryptError::InsufficientSize(_)) => {
                encrypted(outgoing, |to| traffic.encrypt(bytes, to))?;
            }
            Err(EncryptError::EncryptExhausted) => return Err(Error::EncryptError),
        },
        Action::CloseNotify => encrypted(outgoing, |to| traffic.queue_close_notify(to))?,
        Action::RefreshKeys => {
            traffic.refresh_traffic_keys()?;
            return Ok(Step::Again);
        }
    }
    Ok(Step::Stop)
}

/// Appends what `encrypt` writes.
fn encrypted(
    outgoing: &mut Vec<u8>,
    mut encrypt: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), Error> {
    let mut exhausted = false;
    append(outgoing, |to| match encrypt(to) {
        Ok(n) => Ok(n),
        Err(EncryptError::InsufficientSize(needs)) => Err(needs),
        Err(EncryptError::EncryptExhausted) => {
            exhausted = true;
            Ok(0)
        }
    });
    if exhausted { Err(Error::EncryptError) } else { Ok(()) }
}

/// Appends what `write` writes, with as much room as it says that it needs.
fn append(
    outgoing: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, InsufficientSizeError>,
) {
    let start = outgoing.len();
    let mut room = 0;
    loop {
        outgoing.resize(start + room, 0);
        match write(&mut outgoing[start..]) {
            Ok(n) => {
                outgoing.truncate(start + n);
                return;
            }
            Err(needs) => room = needs.required_size,
        }
    }
}
