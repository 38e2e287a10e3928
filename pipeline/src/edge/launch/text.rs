//! Elements and their properties as text.

use std::fmt::{Display, Write};

use broker::ConnectConfig;

pub(super) fn nats(line: &mut String, nats: &ConnectConfig) {
    option(line, "url", Some(quote(&nats.url)));
    option(line, "user", nats.user.as_deref().map(quote));
    for (name, secret) in [("password", &nats.password), ("token", &nats.token)] {
        option(line, name, secret.as_ref().map(|s| quote(&s.to_string())));
    }
    for (name, path) in [
        ("credentials", &nats.credentials),
        ("nkey", &nats.nkey),
        ("tls-ca", &nats.tls_ca),
        ("tls-cert", &nats.tls_cert),
        ("tls-key", &nats.tls_key),
    ] {
        let path = path.as_ref().map(|path| path.to_string_lossy());
        option(line, name, path.as_deref().map(quote));
    }
    for (name, text) in [("cloud-domain", &nats.cloud_domain), ("inbox", &nats.inbox)] {
        option(line, name, text.as_deref().map(quote));
    }
    option(line, "retry-connect", Some(true));
}

pub(super) fn option(line: &mut String, name: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        push(line, &format!(" {name}={value}"));
    }
}

pub(super) fn push(line: &mut String, text: &str) {
    // Formatting into a String cannot fail.
    let _ = line.write_str(text);
}

pub(super) fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

/// A value in quotes, so that blanks and `!` in it are only text, for GStreamer and in a shell.
pub(super) fn quote(value: &str) -> String {
    let mut quoted = String::from('"');
    for character in value.chars() {
        if matches!(character, '\\' | '"' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}
