//! Who answers tests: what to ask each provider for, and what its answers say. Nothing here touches
//! the network.

/// A provider of tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// How it is spoken to.
    pub kind: Kind,
    /// Its address, without a slash at the end: `https://speed.example.net`. Of [`Kind::Url`] the
    /// whole URL of a file.
    pub base: String,
}

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A server of LibreSpeed.
    LibreSpeed,
    /// speed.cloudflare.com.
    Cloudflare,
    /// speedtest.net, and its list of servers.
    SpeedtestNet,
    /// A large file at any HTTP server.
    Url,
}

impl Kind {
    /// Its word in the file and in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LibreSpeed => "librespeed",
            Self::Cloudflare => "cloudflare",
            Self::SpeedtestNet => "speedtest.net",
            Self::Url => "url",
        }
    }
}

/// Who is asked where the file names nobody.
#[must_use]
pub fn defaults() -> Vec<Provider> {
    ["cloudflare", "speedtest.net"].iter().filter_map(|text| parse(text).ok()).collect()
}

/// Reads `librespeed https://speed.example.net`, `cloudflare`, `speedtest.net` (the two with an
/// address of another server in its place, if wanted) or `url https://example.net/file.bin`.
///
/// # Errors
///
/// A text for a person that says how to write one.
pub fn parse(text: &str) -> Result<Provider, String> {
    let mut words = text.split_whitespace();
    let (name, base, more) = (words.next().unwrap_or_default(), words.next(), words.next());
    let wrong = || {
        format!(
            "{text:?} is no provider; there are \"librespeed URL\", \"cloudflare\", \
             \"speedtest.net\" and \"url URL\""
        )
    };
    let (kind, usual) = match name {
        "librespeed" => (Kind::LibreSpeed, None),
        "cloudflare" => (Kind::Cloudflare, Some("https://speed.cloudflare.com")),
        "speedtest.net" => (Kind::SpeedtestNet, Some("https://www.speedtest.net")),
        "url" => (Kind::Url, None),
        _ => return Err(wrong()),
    };
    let base = base.or(usual).ok_or_else(wrong)?;
    let scheme = ["https://", "http://"].iter().find_map(|scheme| base.strip_prefix(scheme));
    let good =
        |rest: &str| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['#', '@']);
    if more.is_some() || !scheme.is_some_and(good) {
        return Err(wrong());
    }
    let base = if kind == Kind::Url { base } else { base.trim_end_matches('/') };
    Ok(Provider { kind, base: base.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_a_word_and_perhaps_an_address() {
        for (text, kind, base) in [
            ("cloudflare", Kind::Cloudflare, "https://speed.cloudflare.com"),
            ("speedtest.net", Kind::SpeedtestNet, "https://www.speedtest.net"),
            ("librespeed http://192.0.2.1:8080/", Kind::LibreSpeed, "http://192.0.2.1:8080"),
            ("url https://e.example/f/?a=1", Kind::Url, "https://e.example/f/?a=1"),
        ] {
            assert_eq!(parse(text), Ok(Provider { kind, base: base.into() }), "{text}");
        }
        for text in [
            "",
            "librespeed",
            "url",
            "ookla",
            "url ftp://x",
            "cloudflare https://",
            "url http://a b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(defaults().len(), 2);
    }
}
