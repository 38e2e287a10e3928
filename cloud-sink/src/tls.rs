//! By whom a web server's certificate must be signed.

use std::{fs::File, io::Read, path::Path};

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// Longest file of certificates, in bytes.
const LONGEST: u64 = 1 << 20;

/// Trusts the authorities in the PEM file `ca` alone; without one those that browsers trust.
///
/// # Errors
/// The file cannot be read, or holds no certificate: what it is, after its name.
pub fn trust(ca: Option<&Path>) -> Result<TlsConfig, String> {
    let Some(ca) = ca else {
        return Ok(TlsConfig::default());
    };
    let mut pem = Vec::new();
    let read = File::open(ca).and_then(|file| file.take(LONGEST).read_to_end(&mut pem));
    read.map_err(|error| format!("{} cannot be read: {error}", ca.display()))?;
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    if certificates.is_empty() {
        let path = ca.display();
        return Err(format!("{path} holds no certificate in PEM form"));
    }
    let roots = RootCerts::from(certificates);
    Ok(TlsConfig::builder().root_certs(roots).build())
}

/// Whether a request failed because the server's certificate is not one that is trusted for its name.
pub fn is_untrusted(error: &ureq::Error) -> bool {
    // The handshake's errors come as those of reading and writing.
    matches!(error, ureq::Error::Io(_) | ureq::Error::Rustls(_))
        && error.to_string().contains("invalid peer certificate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_or_holds_no_certificate_is_named() {
        assert!(trust(None).is_ok());
        let error = trust(Some(Path::new("/no/such.pem"))).unwrap_err();
        assert!(error.starts_with("/no/such.pem cannot be read"), "{error}");
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in [
            "",
            "-----BEGIN CERTIFICATE-----\nAA",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            std::fs::write(&file, text).unwrap();
            let error = trust(Some(file.path())).unwrap_err();
            assert!(error.contains("holds no certificate"), "{error}");
        }
    }
}
