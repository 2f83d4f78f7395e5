//! Servers with TLS: a check believes whom the host believes, and says what is wrong with a certificate.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::{are, site};
use crate::support::host::Host;
use crate::support::lab_is_enabled;
use crate::support::site::{FLEET, PATIENCE, ROLE};

/// An authority that signs certificates.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names are good names");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate").pem();
        Self { certificate, issuer: Issuer::new(parameters, key) }
    }

    /// Has a server of the host listen on this port with a certificate for this name that is good until this year.
    fn serve(&self, host: &Host, port: u16, name: &str, until: i32) {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).expect("a good name");
        parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        host.write(&format!("/srv/{port}.pem"), certificate.pem());
        host.write(&format!("/srv/{port}.key"), key.serialize_pem());
        host.sh(&format!("systemctl start tls@{port}")).success();
    }
}

const SERVER: &str = "[Service]
ExecStart=openssl s_server -quiet -www -accept 127.0.0.1:%i -cert /srv/%i.pem -key /srv/%i.key
";

/// The same server is good for who looks no further.
const CHECKS: &str = r#"
[health.own]
http = "https://localhost:8441/"
within = "1s"
[health.stranger]
http = "https://localhost:8442/"
within = "1s"
[health.stranger-unverified]
http = "https://localhost:8442/"
verify = false
within = "1s"
[health.expired]
http = "https://localhost:8443/"
within = "1s"
[health.name]
http = "https://localhost:8444/"
within = "1s"
[health.plain]
http = "https://localhost:8445/"
within = "1s"
"#;

#[test]
fn a_certificate_is_judged_as_the_host_judges_it_and_the_reason_is_clear() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("tls", "");
    let host = &site.host;
    host.write("/etc/systemd/system/tls@.service", SERVER);
    let (own, stranger) = (Authority::new("own"), Authority::new("stranger"));
    host.write("/usr/local/share/ca-certificates/own.crt", &own.certificate);
    host.sh("update-ca-certificates").success();
    own.serve(host, 8441, "localhost", 2090);
    stranger.serve(host, 8442, "localhost", 2090);
    own.serve(host, 8443, "localhost", 2002);
    own.serve(host, 8444, "elsewhere.example", 2090);
    // A server that speaks no TLS.
    host.sh("sed 's/8080/8445/' /etc/systemd/system/web.socket >/etc/systemd/system/plain.socket
        cp /etc/systemd/system/web@.service /etc/systemd/system/plain@.service
        systemctl daemon-reload; systemctl start plain.socket")
        .success();
    host.wait_for("for port in 8441 8442 8443 8444; do ss -Hltn | grep -q :$port; done", PATIENCE);

    let stay = format!("{FLEET}\n[rollback]\nhealth = false\n");
    site.push("Checks", &[("fleet.toml", &stay), (ROLE, CHECKS)]);
    let expected = [
        ("expired", "Degraded"),
        ("name", "Degraded"),
        ("own", "Healthy"),
        ("plain", "Degraded"),
        ("stranger", "Degraded"),
        ("stranger-unverified", "Healthy"),
    ];
    let status = site.wait_status("each certificate to be judged", |run| are(run, &expected));
    let checks = status["run"]["checks"].as_array().expect("checks");
    let error = |name: &str| {
        let check = checks.iter().find(|check| check["name"] == name);
        check.and_then(|check| check["error"].as_str()).unwrap_or_default()
    };
    for (name, reason) in [
        ("expired", "its certificate has expired: it was valid until 2002-01-01 00:00:00 UTC"),
        ("name", "its certificate is for other names: elsewhere.example"),
        ("stranger", "its certificate is signed by no authority that this host trusts"),
    ] {
        assert_eq!(error(name), reason, "{status:#}");
    }
    println!("a server without TLS: {}", error("plain"));
    // Who trusts an authority from now on is believed by the next look.
    host.write("/usr/local/share/ca-certificates/stranger.crt", &stranger.certificate);
    host.sh("update-ca-certificates").success();
    site.wait_status("the stranger to be trusted", |run| {
        let mut trusted = expected;
        trusted[4].1 = "Healthy";
        are(run, &trusted)
    });
}
