//! Errors of TLS: each says what is wrong and how to mend it, and has rustls' error as its source.

use std::io::ErrorKind;

use ringloop::io::{AsyncReadExt, AsyncWriteExt};
use ringloop::net::UnixStream;
use ringloop::spawn;
use ringloop::tls::rustls::{CertificateError, Error, InconsistentKeys, InvalidMessage};
use ringloop::tls::{ClientCertificates, TlsAcceptor, TlsConnector};

use crate::harness::on_every;
use crate::tls_tools::{
    Authority, Identity, acceptor, acceptor_of, cause, connector, handshake, pki,
};

/// The client's and the server's error of a handshake that fails on both sides.
async fn refused(
    connector: &TlsConnector,
    acceptor: &TlsAcceptor,
) -> (std::io::Error, std::io::Error) {
    let (near, far) = UnixStream::pair().unwrap();
    let (client, server) = handshake(connector, acceptor, near, far).await;
    (client.unwrap_err(), server.unwrap_err())
}

#[track_caller]
fn says(error: &std::io::Error, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

#[test]
fn certificates_that_are_wrong_are_refused_by_the_client() {
    let (expired, early, elsewhere, stranger) = (
        pki().authority.valid(2001, 2002),
        pki().authority.valid(2200, 2201),
        pki().authority.server(&["example.com", "example.org"]),
        Authority::new("a stranger").server(&["localhost"]),
    );
    // A client's certificate, as a server's.
    let purpose = &pki().client;
    on_every(|cfg| {
        cfg.once(async {
            type Case<'a> = (&'a Identity, fn(&CertificateError) -> bool, &'a [&'a str]);
            let cases: [Case; 4] = [
                (
                    &expired,
                    |e| matches!(e, CertificateError::ExpiredContext { .. }),
                    &["server's certificate has expired", "renew", "clock"],
                ),
                (
                    &early,
                    |e| matches!(e, CertificateError::NotValidYetContext { .. }),
                    &["not valid yet", "clock"],
                ),
                (
                    &elsewhere,
                    |e| matches!(e, CertificateError::NotValidForNameContext { .. }),
                    &["not for localhost", "example.com", "example.org"],
                ),
                (
                    &stranger,
                    |e| matches!(e, CertificateError::UnknownIssuer),
                    &["no root that is trusted", "add_root_pem", "whole chain"],
                ),
            ];
            for (identity, expected, words) in cases {
                let (client, server) = refused(&connector(), &acceptor_of(identity)).await;
                assert_eq!(client.kind(), ErrorKind::InvalidData);
                let Error::InvalidCertificate(error) = cause(&client) else {
                    panic!("{client:?}");
                };
                assert!(expected(error), "{error:?}");
                says(&client, words);
                assert!(matches!(cause(&server), Error::AlertReceived(_)), "{server:?}");
                says(&server, &["client", "certificate"]);
            }
            let (client, _) = refused(&connector(), &acceptor_of(purpose)).await;
            assert!(matches!(cause(&client), Error::InvalidCertificate(_)), "{client}");
        });
    });
}

#[test]
fn a_plaintext_client_on_a_tls_port_is_named() {
    on_every(|cfg| {
        cfg.once(async {
            for words in ["GET / HTTP/1.1\r\n\r\n", "hi", "\n", "EHLO example.com\r\n"] {
                let (mut near, far) = UnixStream::pair().unwrap();
                near.write_all(words.as_bytes()).await.unwrap();
                // It stays open: the error does not wait for its end.
                let error = acceptor().accept(far).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidData);
                says(&error, &["client does not speak TLS", "https"]);
                says(&error, &[&words[..words.len().min(10)].escape_default().to_string()]);
                let expected = Error::InvalidMessage(InvalidMessage::InvalidContentType);
                assert_eq!(cause(&error), &expected);
                drop(near);
            }
        });
    });
}

#[test]
fn a_plaintext_server_is_named() {
    on_every(|cfg| {
        cfg.once(async {
            for words in ["HTTP/1.1 400 Bad Request\r\n", "220 mail.example.com\r\n", "x"] {
                let (near, mut far) = UnixStream::pair().unwrap();
                let server = spawn(async move {
                    far.read_exact(&mut [0; 5]).await.unwrap();
                    far.write_all(words.as_bytes()).await.unwrap();
                    far
                });
                let error = connector().connect("localhost", near).await.unwrap_err();
                says(&error, &["server does not speak TLS", "plaintext", "STARTTLS"]);
                cause(&error);
                drop(server.await.unwrap());
            }
        });
    });
}

#[test]
fn a_client_that_does_not_trust_the_server_is_heard() {
    on_every(|cfg| {
        cfg.once(async {
            let stranger = Authority::new("another");
            let connector = TlsConnector::builder()
                .platform_roots(false)
                .add_root_pem(stranger.root())
                .build()
                .unwrap();
            let (_, server) = refused(&connector, &acceptor()).await;
            says(&server, &["client does not trust", "root"]);
        });
    });
}

#[test]
fn names_of_servers_are_checked() {
    on_every(|cfg| {
        cfg.once(async {
            for (name, hint) in [
                ("localhost:443", "without port"),
                ("https://localhost", "without scheme"),
                ("[::1]", "without port and brackets"),
                ("", "a DNS name or an IP address"),
                ("a b", "a DNS name or an IP address"),
            ] {
                let (near, _far) = UnixStream::pair().unwrap();
                let error = connector().connect(name, near).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                says(&error, &[hint]);
            }
        });
    });
}

#[test]
fn a_connector_without_roots_is_refused() {
    let error = TlsConnector::builder().platform_roots(false).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    says(&error, &["no root", "ca-certificates", "SSL_CERT_FILE", "add_root_pem"]);
    // The platform's roots are those that the environment names.
    crate::processes::isolated_with(
        |command| {
            command.env("SSL_CERT_FILE", "/dev/null").env_remove("SSL_CERT_DIR");
        },
        || {
            let error = TlsConnector::new().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            let root = &pki().root;
            TlsConnector::builder().add_root_pem(root).build().unwrap();
        },
    );
}

#[test]
fn certificates_and_keys_that_do_not_fit_are_refused() {
    let (server, other) = (&pki().server, pki().authority.server(&["localhost"]));
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let broken = server.key.replacen("MI", "M!", 1);
    let cases: [(&str, &str, &[&str]); 8] = [
        (&server.chain, "", &["no private key", "it is empty"]),
        ("", &server.key, &["no certificate", "it is empty"]),
        (&server.key, &server.chain, &["no certificate", "swapped"]),
        (&server.chain, &server.chain, &["no private key", "certificates only"]),
        (&server.chain, encrypted, &["encrypted", "openssl pkey"]),
        (&server.chain, &broken, &["private key", "broken"]),
        ("DER", &server.key, &["no certificate", "not PEM", "openssl x509"]),
        (&server.chain, &other.key, &["is not that of the first certificate"]),
    ];
    for (chain, key, words) in cases {
        let error = TlsAcceptor::from_pem(chain, key).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        says(&error, words);
        // The same for a client.
        let error = TlsConnector::builder()
            .platform_roots(false)
            .add_root_pem(&pki().root)
            .client_certificate_pem(chain, key)
            .build()
            .unwrap_err();
        says(&error, words);
    }
    let error = TlsAcceptor::from_pem(&server.chain, &other.key).unwrap_err();
    assert_eq!(cause(&error), &Error::InconsistentKeys(InconsistentKeys::KeyMismatch));

    says(&TlsAcceptor::builder().build().unwrap_err(), &["needs a certificate"]);
    let error = TlsAcceptor::builder()
        .certificate_pem(&server.chain, &server.key)
        .client_certificates_pem(ClientCertificates::Demanded, &server.key)
        .build()
        .unwrap_err();
    says(&error, &["no certificate", "clients' roots", "swapped"]);
}

#[test]
fn files_are_read_and_named() {
    let folder = std::env::temp_dir().join(format!("ringloop-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name);
    std::fs::write(path("chain.pem"), &pki().server.chain).unwrap();
    std::fs::write(path("key.pem"), &pki().server.key).unwrap();
    std::fs::write(path("root.pem"), &pki().root).unwrap();
    // One file may have both.
    std::fs::write(path("both.pem"), pki().client.chain.clone() + &pki().client.key).unwrap();

    on_every(|cfg| {
        cfg.once(async {
            let acceptor = TlsAcceptor::builder()
                .certificate_files(path("chain.pem"), path("key.pem"))
                .client_certificates_file(ClientCertificates::Demanded, path("root.pem"))
                .build()
                .unwrap();
            let connector = TlsConnector::builder()
                .platform_roots(false)
                .add_root_file(path("root.pem"))
                .client_certificate_files(path("both.pem"), path("both.pem"))
                .build()
                .unwrap();
            let (near, far) = UnixStream::pair().unwrap();
            let (client, server) = handshake(&connector, &acceptor, near, far).await;
            client.unwrap();
            assert!(server.unwrap().peer_certificates().is_some());
        });
    });

    for error in [
        TlsAcceptor::from_pem_files(path("none.pem"), path("key.pem")).unwrap_err(),
        TlsConnector::builder().add_root_file(path("none.pem")).build().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        says(&error, &["none.pem"]);
    }
    let error = TlsAcceptor::from_pem_files(path("key.pem"), path("key.pem")).unwrap_err();
    says(&error, &["key.pem", "swapped"]);
    std::fs::remove_dir_all(&folder).unwrap();
}
