//! Who gets in and over what: TLS and credentials, against real servers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use broker::{
    ConnectConfig, Connection,
    connect::{AtStart, ConnectError},
    test_server::TestServer,
};
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa};
use serde_json::{Value, json};
use tempfile::TempDir;

type Authority = CertifiedIssuer<'static, rcgen::KeyPair>;

async fn open(config: &ConnectConfig) -> Result<Connection, ConnectError> {
    Connection::open(config, AtStart::Fail).await
}

/// Writes `text` to a file of `folder`.
fn file(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn authority(folder: &TempDir, name: &str) -> (Authority, PathBuf) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let path = file(folder, &format!("{name}.pem"), &authority.pem());
    (authority, path)
}

/// A certificate for `host` and its key, as files.
fn certificate(folder: &TempDir, authority: &Authority, host: &str) -> (PathBuf, PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = CertificateParams::new([host.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (
        file(folder, &format!("{host}-cert.pem"), &certificate.pem()),
        file(folder, &format!("{host}-key.pem"), &key.serialize_pem()),
    )
}

fn tls_server(ca: &Path, (certificate, key): &(PathBuf, PathBuf), verify: bool) -> TestServer {
    TestServer::with_config(&format!(
        "tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {ca:?}, verify: {verify} }}"
    ))
}

#[tokio::test]
async fn a_server_with_tls_is_trusted_by_its_authority_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (authority_, ca) = authority(&folder, "ca");
    let (_, other_ca) = authority(&folder, "other");
    let server = tls_server(&ca, &certificate(&folder, &authority_, "127.0.0.1"), false);
    let config = ConnectConfig {
        url: server.url(),
        tls_ca: Some(ca),
        ..ConnectConfig::default()
    };
    assert!(open(&config).await.unwrap().is_connected());
    for tls_ca in [None, Some(other_ca)] {
        let config = ConnectConfig {
            tls_ca,
            ..config.clone()
        };
        let error = open(&config).await.unwrap_err();
        assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
        assert!(error.to_string().contains("tls_ca"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_host_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, ca) = authority(&folder, "ca");
    let server = tls_server(&ca, &certificate(&folder, &authority, "elsewhere"), false);
    let config = ConnectConfig {
        url: server.url(),
        tls_ca: Some(ca),
        ..ConnectConfig::default()
    };
    let error = open(&config).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_verifies_clients_takes_only_those_with_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, ca) = authority(&folder, "ca");
    let server = tls_server(&ca, &certificate(&folder, &authority, "127.0.0.1"), true);
    let (certificate, key) = certificate(&folder, &authority, "car-7");
    let config = ConnectConfig {
        url: server.url(),
        tls_ca: Some(ca),
        tls_cert: Some(certificate),
        tls_key: Some(key),
        ..ConnectConfig::default()
    };
    assert!(open(&config).await.unwrap().is_connected());
    let without = ConnectConfig {
        tls_cert: None,
        tls_key: None,
        ..config
    };
    let error = open(&without).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Tls { .. }) && error.to_string().contains("tls_cert"),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_nkey_lets_in_its_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (car, other) = (KeyPair::new_user(), KeyPair::new_user());
    let server = TestServer::with_config(&format!(
        "authorization {{ users: [ {{ nkey: {} }} ] }}",
        car.public_key()
    ));
    let with = |name: &str, key: &KeyPair| ConnectConfig {
        url: server.url(),
        nkey: Some(file(&folder, name, &format!("{}\n", key.seed().unwrap()))),
        ..ConnectConfig::default()
    };
    assert!(open(&with("car", &car)).await.unwrap().is_connected());
    let error = open(&with("other", &other)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
}

/// A JWT of NATS: claims about `subject`, signed by `issuer`.
fn token(issuer: &KeyPair, subject: &KeyPair, kind: &str, claims: Value) -> String {
    let mut nats = json!({ "type": kind, "version": 2 });
    nats.as_object_mut()
        .unwrap()
        .extend(claims.as_object().unwrap().clone());
    let claims = json!({
        "jti": "test", "iat": 1_700_000_000, "name": kind,
        "iss": issuer.public_key(), "sub": subject.public_key(), "nats": nats,
    });
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[tokio::test]
async fn a_credentials_file_lets_in_a_user_of_the_account() {
    let folder = tempfile::tempdir().unwrap();
    let operator = KeyPair::new_operator();
    let (account, system) = (KeyPair::new_account(), KeyPair::new_account());
    let unlimited = json!({
        "subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1, "wildcards": true,
    });
    let preload = [&account, &system].map(|account| {
        let claims = json!({ "limits": unlimited });
        let token = token(&operator, account, "account", claims);
        format!("{}: {token}", account.public_key())
    });
    let server = TestServer::with_config(&format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {} }}",
        token(&operator, &operator, "operator", json!({})),
        system.public_key(),
        preload.join("\n"),
    ));
    let limits = json!({ "subs": -1, "data": -1, "payload": -1 });
    let with = |name: &str, issuer: &KeyPair| {
        let user = KeyPair::new_user();
        let jwt = token(issuer, &user, "user", limits.clone());
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed().unwrap()
        );
        ConnectConfig {
            url: server.url(),
            credentials: Some(file(&folder, name, &text)),
            ..ConnectConfig::default()
        }
    };
    let connection = open(&with("car.creds", &account)).await.unwrap();
    assert!(connection.is_connected());
    let stranger = KeyPair::new_account();
    let error = open(&with("other.creds", &stranger)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
}
