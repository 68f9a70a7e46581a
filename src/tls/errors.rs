//! The texts of errors: each says what is wrong and how to mend it, and has rustls' error as its source.

use std::{error::Error as StdError, fmt, io, time::Duration};

use rustls::{AlertDescription, CertificateError, Error};

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    fn peer(self) -> &'static str {
        match self {
            Self::Client => "server",
            Self::Server => "client",
        }
    }
}

/// A text, and the error of rustls that it explains.
#[derive(Debug)]
struct Failure {
    text: String,
    source: Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}

/// An error with a text of ours.
pub(super) fn with_source(kind: io::ErrorKind, text: String, source: Error) -> io::Error {
    io::Error::new(kind, Failure { text, source })
}

/// An error of a configuration.
pub(super) fn of_config(text: String, source: Error) -> io::Error {
    with_source(io::ErrorKind::InvalidInput, text, source)
}

pub(super) fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.into())
}

/// An error of a connection. `name` is that of the server, as the client asks for it.
pub(super) fn of_connection(side: Side, name: Option<&str>, error: &Error) -> io::Error {
    let peer = side.peer();
    let text = match error {
        Error::InvalidCertificate(error) => of_certificate(side, name, error),
        Error::AlertReceived(alert) => of_alert(side, name, *alert),
        Error::NoCertificatesPresented => {
            "the client gave no certificate, but one is demanded: give it one, or let \
             certificates be optional with ClientCertificates::Optional"
                .to_owned()
        }
        Error::NoApplicationProtocol => {
            "the client offers none of the ALPN protocols of this server: add one that it speaks \
             to the acceptor's, or give the acceptor none"
                .to_owned()
        }
        Error::PeerIncompatible(_) => format!(
            "the {peer} and this side have no version, cipher suite or key exchange of TLS in \
             common ({error}): TLS 1.2 and 1.3 are spoken here"
        ),
        Error::DecryptError => {
            format!("a record of the {peer} was changed on its way, or belongs elsewhere")
        }
        _ => format!("the {peer} broke the rules of TLS: {error}"),
    };
    with_source(io::ErrorKind::InvalidData, text, error.clone())
}

fn of_certificate(side: Side, name: Option<&str>, error: &CertificateError) -> String {
    let peer = side.peer();
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "the {peer}'s certificate has expired: renew it there, or set this machine's clock right"
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the {peer}'s certificate is not valid yet: set the clocks of both sides right")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let presented = match error {
                CertificateError::NotValidForNameContext { presented, .. } => presented.as_slice(),
                _ => &[],
            };
            let names = match presented {
                [] => "no name that could match".to_owned(),
                names => names.join(", "),
            };
            format!(
                "the server's certificate is not for {}, it is for {names}: connect by a name of \
                 the certificate, or have the server use another one",
                name.unwrap_or("this name"),
            )
        }
        CertificateError::UnknownIssuer => match side {
            Side::Client => "the server's certificate is signed by no root that is trusted here: \
                             add its root with TlsConnectorBuilder::add_root_pem, or have the \
                             server send the whole chain"
                .to_owned(),
            Side::Server => "the client's certificate is signed by no root that is trusted here: \
                             add its root with TlsAcceptorBuilder::client_certificates_pem, or have \
                             the client send the whole chain"
                .to_owned(),
        },
        CertificateError::Revoked => {
            format!("the {peer}'s certificate has been revoked: have a new one made")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!(
                "the {peer}'s certificate is not made for a {peer}: have one made with the \
                 extended key usage of a {peer}"
            )
        }
        _ => format!("the {peer}'s certificate is refused: {error}"),
    }
}

fn of_alert(side: Side, name: Option<&str>, alert: AlertDescription) -> String {
    let peer = side.peer();
    match alert {
        AlertDescription::UnknownCA => format!(
            "the {peer} does not trust the root of this side's certificate: give the {peer} that \
             root, or use a certificate that it trusts"
        ),
        AlertDescription::CertificateExpired => format!(
            "the {peer} says that this side's certificate has expired: renew it, or set the \
             {peer}'s clock right"
        ),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => format!(
            "the {peer} refuses this side's certificate ({alert:?}): see the {peer}'s log for the \
             reason"
        ),
        AlertDescription::CertificateRequired => "the server demands a certificate of the client: \
             give one with TlsConnectorBuilder::client_certificate_pem"
            .to_owned(),
        AlertDescription::HandshakeFailure => format!(
            "the {peer} found no parameters that suit both sides: a version, a cipher suite, or a \
             certificate that it demands"
        ),
        AlertDescription::ProtocolVersion => {
            format!("the {peer} speaks neither TLS 1.2 nor 1.3 with this side: update the {peer}")
        }
        AlertDescription::NoApplicationProtocol => {
            format!("the {peer} speaks none of the ALPN protocols that this side offers")
        }
        AlertDescription::UnrecognisedName => {
            format!("the server has no certificate for {}", name.unwrap_or("this name"))
        }
        _ => format!("the {peer} ended the connection with the alert {alert:?}"),
    }
}

/// The first bytes of the peer are no record of TLS.
pub(super) fn not_tls(side: Side, first: &[u8], error: Error) -> io::Error {
    let shown = first[..first.len().min(24)].escape_ascii();
    let fix = match side {
        Side::Client => "the port may be a plaintext one, or one that wants STARTTLS first",
        Side::Server => {
            "make the client use TLS (https:// for HTTP), or serve it on a plaintext port"
        }
    };
    let text = format!("the {} does not speak TLS, it began with \"{shown}\": {fix}", side.peer());
    with_source(io::ErrorKind::InvalidData, text, error)
}

/// The peer closed during the handshake.
pub(super) fn handshake_eof(side: Side) -> io::Error {
    let peer = side.peer();
    let text = format!(
        "the {peer} closed the connection in the middle of the TLS handshake: see the {peer}'s log \
         for the reason"
    );
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

pub(super) fn handshake_timeout(side: Side, limit: Duration) -> io::Error {
    let text = format!(
        "the TLS handshake was not complete after {limit:?}: the {} is silent, slow, or does not \
         speak TLS",
        side.peer()
    );
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// The stream ended without close_notify.
pub(super) fn truncated(side: Side) -> io::Error {
    let text = format!(
        "the {} closed the connection without close_notify: what it sent may be cut short",
        side.peer()
    );
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

pub(super) fn shutdown_timeout(side: Side, limit: Duration, sent: bool) -> io::Error {
    let peer = side.peer();
    let text = match sent {
        true => format!("the {peer} did not answer close_notify within {limit:?}"),
        false => format!("the {peer} did not take what was left to send within {limit:?}"),
    };
    io::Error::new(io::ErrorKind::TimedOut, text)
}

pub(super) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the write side of this TLS stream was closed here")
}
