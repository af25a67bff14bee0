//! What providers say of who we are and of their servers: the provider in a byte, an address in
//! Cloudflare's headers up to a line end, then the body.
#![no_main]

use bastion_fuzz::hides;
use libfuzzer_sys::fuzz_target;
use linkprobe::isp::judge::{Judgement, judge};
use linkprobe::isp::{Source, client, is_public};
use linkprobe::provider::{Kind, MAX_BODY};
use ureq::http::{HeaderMap, HeaderValue, Uri};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let kind = Kind::ALL[usize::from(*kind) % Kind::ALL.len()];
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (header, body) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(header) {
        for name in ["cf-meta-ip", "cf-meta-asn", "cf-meta-country"] {
            headers.insert(name, value.clone());
        }
    }
    let protocol = kind.protocol();
    if let Some(identity) = protocol.read_identity(&headers, body) {
        assert_eq!(identity.source, Source::Provider(kind));
        assert!(identity.ip.is_none_or(is_public), "{identity:?}");
        assert!(identity.asns.len() <= 1 && !identity.asns.contains(&0));
        for name in &identity.names {
            assert!(!name.is_empty() && name.chars().count() <= 100 && !name.contains(hides));
        }
        let country = identity.country.as_deref().unwrap_or("XX");
        assert!(country.len() == 2 && country.bytes().all(|letter| letter.is_ascii_uppercase()));
        // One provider's word alone is never the last.
        let judgement = judge(&[14593], &["starlink".into()], std::slice::from_ref(&identity));
        match judgement {
            Judgement::Right { note } => assert_eq!(note, None),
            Judgement::Wrong { reason, sources } => {
                assert!(sources == 1 && !reason.contains(hides), "{reason:?}");
                assert!(!identity.asns.is_empty());
            }
            Judgement::Unknown { reason } => assert!(!reason.contains(hides)),
        }
        assert!(client(&[identity], &[]).is_some());
    }
    let servers = protocol.read_servers(body);
    assert!(servers.len() <= 10 && (kind == Kind::SpeedtestNet || servers.is_empty()));
    for server in &servers {
        let record = &server.record;
        for text in [&record.name, &record.sponsor, &record.host, &record.url] {
            assert!(!text.contains(hides) && text.chars().count() <= 300, "{text:?}");
        }
        assert!(server.distance.is_none_or(|distance| distance.is_finite()));
        let host = record.host.parse::<ureq::http::uri::Authority>().expect("a host");
        for place in &server.places {
            for request in [
                protocol.download(place, 1_000_000, 7),
                protocol.upload(place, 1_000_000, 7).expect("it takes uploads"),
                protocol.ping(place, 7),
            ] {
                let uri: Uri = request.url.parse().expect("a URL");
                assert!(uri.authority().is_some_and(|to| !to.as_str().contains('@')));
                assert!(request.bytes > 0);
                // Where it was told to go is where it goes.
                let old = place.ends_with("/upload.php");
                assert!(old || uri.authority() == Some(&host), "{request:?} {host}");
            }
        }
    }
    // No more of a body is looked at than is read. That takes its time, so now and then.
    if body.len() % 32 == 31 {
        let mut long = body.to_vec();
        long.resize(MAX_BODY + 100, b' ');
        let _ = protocol.read_identity(&headers, &long);
    }
});
