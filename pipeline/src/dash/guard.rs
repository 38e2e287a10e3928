//! Who may look: a token where others can reach the page, a name of the host that is ours, and headers that hold the
//! browser to what the page needs.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Result, ensure};
use axum::extract::{Query, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Shortest token, in bytes.
const SHORTEST: usize = 16;

/// Nothing but what comes from here; markup from text is refused even to the page's own scripts.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const ALWAYS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Decides on every request.
pub struct Guard {
    token: Option<String>,
    /// Proves, in a cookie, that the token was given: not the token itself, so that it ends with the program.
    session: String,
    /// The cookie's name; cookies of a host are shared by its ports.
    cookie: String,
    hosts: Vec<String>,
}

#[derive(Deserialize)]
struct Given {
    token: Option<String>,
}

impl Guard {
    /// Asks for `token` if there is one, and lets `localhost`, any address and `hosts` be the name of the host.
    ///
    /// # Errors
    /// The token is shorter than 16 bytes or cannot stand in an address, or a host is no name.
    pub fn new(token: Option<String>, hosts: Vec<String>, port: u16) -> Result<Self> {
        if let Some(token) = &token {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
            ensure!(
                token.len() >= SHORTEST && token.bytes().all(plain),
                "the page's token must have {SHORTEST} or more of A-Z, a-z, 0-9, '-', '.', '_' and '~'"
            );
        }
        for host in &hosts {
            let name = |host: &str| host.parse::<Authority>().is_ok_and(|a| a.host() == host);
            ensure!(
                name(host),
                "--host {host:?} is no name of a host: give it alone, without scheme and port"
            );
        }
        Ok(Self {
            token,
            session: secret()?,
            cookie: format!("msao_dash_{port}"),
            hosts,
        })
    }

    /// The token that it asks for.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    fn is_ours(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None, None) = (hosts.next(), hosts.next(), uri.authority()) else {
            return false;
        };
        let Ok(host) = host.to_str().unwrap_or_default().parse::<Authority>() else {
            return false;
        };
        let host = host.host();
        // Only a name can be bound to another address.
        let address = host.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self
                .hosts
                .iter()
                .any(|ours| ours.eq_ignore_ascii_case(host))
    }

    fn has_session(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter();
        let mut pairs = cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(name, value)| name == self.cookie && equal(value, &self.session))
    }
}

/// 128 bits of the system's randomness, in hexadecimal.
///
/// # Errors
/// The system has none.
pub fn secret() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether the texts are equal, in a time that does not tell where they differ or how long they are.
fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    a.as_slice().ct_eq(b.as_slice()).into()
}

/// Middleware: refuses who may not look, and sets the headers of every answer.
pub async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = match admit(&guard, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal,
    };
    for (name, value) in ALWAYS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Nothing, or the answer instead of what was asked for.
#[allow(
    clippy::result_large_err,
    reason = "made once a request, and handed on"
)]
fn admit(guard: &Guard, request: &Request) -> Result<(), Response> {
    let headers = request.headers();
    if !guard.is_ours(headers, request.uri()) {
        let why =
            "This name of the host is not known here: start msao dash with --host and the name.\n";
        return Err((StatusCode::MISDIRECTED_REQUEST, why).into_response());
    }
    // Browsers say who asks. Another site may link to the page, and to nothing else of it.
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if request.uri().path() != "/" && matches!(site, Some(b"cross-site" | b"same-site")) {
        return Err((StatusCode::FORBIDDEN, "This is not for other sites.\n").into_response());
    }
    let Some(token) = guard.token() else {
        return Ok(());
    };
    let given = Query::<Given>::try_from_uri(request.uri()).ok();
    if let Some(given) = given.and_then(|Query(given)| given.token) {
        if !equal(&given, token) {
            return Err((StatusCode::UNAUTHORIZED, "This is not the token.\n").into_response());
        }
        // Lax, so that a link in a message opens the page; nothing here changes anything.
        let cookie = format!(
            "{}={}; Path=/; HttpOnly; SameSite=Lax",
            guard.cookie, guard.session
        );
        let there = [
            (header::LOCATION, "/".to_owned()),
            (header::SET_COOKIE, cookie),
        ];
        return Err((StatusCode::SEE_OTHER, there).into_response());
    }
    if guard.has_session(headers) {
        return Ok(());
    }
    let why = "A token is needed: open the address that msao dash printed when it started.\n";
    Err((StatusCode::UNAUTHORIZED, why).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(guard: &Guard, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        admit(guard, &request).map_or_else(|refusal| refusal.status().as_u16(), |()| 200)
    }

    #[test]
    fn a_name_that_is_not_ours_is_refused() {
        let guard = Guard::new(None, vec!["dash.example".to_owned()], 80).unwrap();
        for host in [
            "localhost",
            "LOCALHOST:8790",
            "127.0.0.1:8790",
            "[::1]:8790",
            "192.0.2.7",
            "dash.example:443",
        ] {
            assert_eq!(asked(&guard, "/", &[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8790",
            "dash.example.evil",
            "",
            "localhost@evil.example",
            "a b",
        ] {
            assert_eq!(asked(&guard, "/", &[("host", host)]), 421, "{host}");
        }
        assert_eq!(asked(&guard, "/", &[]), 421);
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(asked(&guard, "/", &two), 421);
        let absolute = "http://evil.example/";
        assert_eq!(asked(&guard, absolute, &[("host", "localhost")]), 421);
    }

    #[test]
    fn another_site_may_link_to_the_page_and_read_nothing() {
        let guard = Guard::new(None, Vec::new(), 80).unwrap();
        let from = |path, site| {
            asked(
                &guard,
                path,
                &[("host", "localhost"), ("sec-fetch-site", site)],
            )
        };
        assert_eq!(from("/", "cross-site"), 200);
        assert_eq!(from("/events", "cross-site"), 403);
        assert_eq!(from("/events", "same-site"), 403);
        assert_eq!(from("/events", "same-origin"), 200);
    }

    #[test]
    fn without_the_token_or_its_cookie_nothing_is_given() {
        let token = "0123456789abcdef";
        let guard = Guard::new(Some(token.to_owned()), Vec::new(), 8790).unwrap();
        let host = ("host", "localhost");
        assert_eq!(asked(&guard, "/", &[host]), 401);
        assert_eq!(asked(&guard, "/?token=0123456789abcdee", &[host]), 401);
        assert_eq!(asked(&guard, "/?token=", &[host]), 401);
        assert_eq!(asked(&guard, "/?token=0123456789abcdef", &[host]), 303);
        let with = |cookie: &str| asked(&guard, "/events", &[host, ("cookie", cookie)]);
        let session = &guard.session;
        assert_eq!(with(&format!("a=b; msao_dash_8790={session}")), 200);
        assert_eq!(with(&format!("msao_dash_8791={session}")), 401);
        assert_eq!(with(&format!("msao_dash_8790={token}")), 401);
        assert_eq!(with("msao_dash_8790="), 401);
    }

    #[test]
    fn a_token_that_can_be_guessed_or_a_host_that_is_none_is_refused() {
        for token in ["", "short", "0123456789abcde&", "0123456789abcdeé"] {
            assert!(Guard::new(Some(token.to_owned()), Vec::new(), 1).is_err());
        }
        for host in ["", "http://a", "a:80", "a b"] {
            assert!(
                Guard::new(None, vec![host.to_owned()], 1).is_err(),
                "{host}"
            );
        }
        assert_ne!(secret().unwrap(), secret().unwrap());
        assert_eq!(secret().unwrap().len(), 32);
    }
}
