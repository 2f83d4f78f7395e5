//! https: authorities, tokens, client certificates, redirects, a proxy, and what an unchanged poll costs.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use abide::config::Source;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::git::{World, codes, good, source};
use super::servers::{self, Web};

/// An authority that signs for one test.
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { certificate, issuer: Issuer::new(params, key) }
    }

    fn signed(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap(), key)
    }

    pub fn file(&self, folder: &Path) -> PathBuf {
        let path = folder.join("ca.pem");
        std::fs::write(&path, self.certificate.pem()).unwrap();
        path
    }
}

/// Serves `web` over TLS; with `clients`, only to those that this authority signed.
pub fn tls(web: &Arc<Web>, authority: &Authority, clients: bool) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = if clients {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.certificate.der().clone()).unwrap();
        let roots = Arc::new(roots);
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let (certificate, key) = authority.signed("localhost");
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let web = Arc::clone(web);
    servers::accept(move |stream: TcpStream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        web.serve(rustls::StreamOwned::new(connection, stream));
    })
}

pub fn with_authority(port: u16, authority: &Authority, world: &World) -> Source {
    let mut source = source(&[&format!("https://localhost:{port}/fleet/.git")]);
    source.ca_file = Some(authority.file(world.root()));
    source
}

/// Attack 41: an unchanged branch costs one request, however many hosts ask how often.
#[test]
fn an_unchanged_poll_is_one_small_request() {
    let world = World::new();
    for number in 0..50 {
        world.git(&["branch", &format!("other-{number}")]);
    }
    let authority = Authority::new();
    let web = Arc::new(Web::new(world.root()));
    let source = with_authority(tls(&web, &authority, false), &authority, &world);
    let first = good(world.poll(&source));
    assert!(first.changed && first.received > 0);
    assert_eq!(first.tip, world.tip());
    web.forget();
    let second = good(world.poll(&source));
    let (up, down) = (web.up.load(Ordering::Relaxed), web.down.load(Ordering::Relaxed));
    println!("unchanged poll: {:?}, {up} bytes up, {down} bytes down, {} ms", web.seen(), second.took);
    assert!(!second.changed && second.received == 0);
    assert_eq!(web.seen().len(), 1, "{:?}", web.seen());
    assert!(web.seen()[0].starts_with("POST /fleet/.git/git-upload-pack"));
    assert!(up + down < 2048, "{up} + {down}");

    let tip = world.commit("second");
    let third = good(world.poll(&source));
    assert!(third.changed && third.received > 0);
    assert_eq!(third.tip, tip);
}

/// Attack 35: somebody in the middle has a certificate that only he believes in.
#[test]
fn an_unknown_authority_is_a_tls_error() {
    let world = World::new();
    let authority = Authority::new();
    let port = tls(&Arc::new(Web::new(world.root())), &authority, false);
    let note = world.poll(&with_authority(port, &Authority::new(), &world));
    assert_eq!(codes(&note), ["E103"], "{note:#?}");
    assert_eq!(note.failures, 1);
    // The system's authorities do not know it either.
    let note = world.poll(&source(&[&format!("https://localhost:{port}/fleet/.git")]));
    assert_eq!(codes(&note), ["E103"], "{note:#?}");
    assert_eq!(note.failures, 2);
    // Another name than that of the certificate.
    let mut source = with_authority(port, &authority, &world);
    source.urls = vec![format!("https://127.0.0.1:{port}/fleet/.git")];
    assert_eq!(codes(&world.poll(&source)), ["E103"]);
}

#[test]
fn tokens_open_the_door() {
    let world = World::new();
    let authority = Authority::new();
    for (user, wants) in [(Some("deploy"), "Basic ZGVwbG95OnMzY3JldA=="), (None, "Bearer s3cret")] {
        let web = Arc::new(Web { wants: Some(wants.into()), ..Web::new(world.root()) });
        let port = tls(&web, &authority, false);
        let mut source = with_authority(port, &authority, &world);
        source.token_credential = Some("token".into());
        source.user = user.map(str::to_owned);
        world.credential("token", "s3cret\n");
        good(world.poll(&source));
        assert_eq!(
            web.seen().iter().filter(|line| line.starts_with("GET")).count().max(1),
            1,
            "no second try"
        );

        world.credential("token", "wrong");
        let note = world.poll(&source);
        assert_eq!(codes(&note), ["E104"], "{note:#?}");
        assert!(!format!("{note:?}").contains("wrong"), "a secret in the note");

        source.token_credential = None;
        assert_eq!(codes(&world.poll(&source)), ["E104"]);
        source.token_credential = Some("absent".into());
        assert_eq!(codes(&world.poll(&source)), ["E113"]);
    }
}

#[test]
fn a_client_certificate_opens_the_door() {
    let world = World::new();
    let authority = Authority::new();
    let port = tls(&Arc::new(Web::new(world.root())), &authority, true);
    let mut source = with_authority(port, &authority, &world);
    assert_eq!(codes(&world.poll(&source)), ["E103"]);
    let (certificate, key) = authority.signed("host");
    let file = world.root().join("client.pem");
    std::fs::write(&file, certificate.pem() + &key.serialize_pem()).unwrap();
    source.client_certificate = Some(file.clone());
    good(world.poll(&source));
    std::fs::write(&file, "nonsense").unwrap();
    assert_eq!(codes(&world.poll(&source)), ["E113"]);
}

/// Attack 35: a redirect would have the poll go on without TLS.
#[test]
fn a_redirect_is_followed_unless_it_leaves_tls() {
    let world = World::new();
    let authority = Authority::new();
    let plain = servers::http(&Arc::new(Web::new(world.root())));
    let good_port = tls(&Arc::new(Web::new(world.root())), &authority, false);
    for (to, expected) in [
        (format!("https://localhost:{good_port}"), Vec::<&str>::new()),
        (format!("http://localhost:{plain}"), vec!["E115"]),
    ] {
        let web = Arc::new(Web { redirect: Some(to.clone()), ..Web::new(world.root()) });
        let source = with_authority(tls(&web, &authority, false), &authority, &world);
        let note = world.poll(&source);
        assert_eq!(codes(&note), expected, "{to}: {note:#?}");
    }
}

#[test]
fn other_answers_have_their_own_codes() {
    let world = World::new();
    let port = servers::http(&Arc::new(Web::new(world.root())));
    for (url, code) in [
        (format!("http://localhost:{port}/nothing"), "E106"),
        (format!("http://localhost:{}/fleet/.git", servers::free_port()), "E102"),
        ("http://nowhere.invalid/fleet".to_owned(), "E102"),
    ] {
        let note = world.poll(&source(&[&url]));
        assert_eq!(codes(&note), [code], "{note:#?}");
    }
    let garbage = servers::accept(|mut stream| {
        use std::io::{Read, Write};
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    });
    let note = world.poll(&source(&[&format!("http://localhost:{garbage}/fleet")]));
    assert_eq!(codes(&note), ["E110"], "{note:#?}");
}

#[test]
fn a_proxy_is_used() {
    let world = World::new();
    let web = Arc::new(Web::new(world.root()));
    let mut source = source(&["http://fleet.invalid/fleet/.git"]);
    source.proxy = Some(format!("http://localhost:{}", servers::http(&web)));
    // A proxy for plain http is asked with the whole URL; our server has no such path, but was asked.
    let note = world.poll(&source);
    assert_ne!(note.failures, 0);
    assert!(web.seen()[0].contains("http://fleet.invalid/fleet/.git"), "{:?}", web.seen());
}
