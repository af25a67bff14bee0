//! Whose an address is: texts of Team Cymru's, and the file in which they are remembered.
//!
//! First byte `f`: a file. Else an address in a line, and texts, a line each.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use bastion_fuzz::hides;
use libfuzzer_sys::fuzz_target;
use linkprobe::isp::cache::Cache;
use linkprobe::isp::cymru::{as_name, name_of, origin, origin_name};
use linkprobe::isp::is_public;

const NOW_S: u64 = 1_800_000_000;

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, rest)) = bytes.split_first() else { return };
    if *mode == b'f' {
        return file(rest);
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let (address, texts) = text.split_once('\n').unwrap_or((text, ""));
    let texts: Vec<String> = texts.split('\n').map(str::to_owned).collect();
    let Ok(ip) = address.parse::<IpAddr>() else { return };
    let name = origin_name(ip);
    assert!(name.len() < 100 && name.ends_with(".asn.cymru.com") && !name.contains(':'));
    if let Some(mut network) = origin(ip, &texts) {
        assert!((1..=8).contains(&network.asns.len()) && !network.asns.contains(&0));
        assert!(network.net.contains(&ip.to_canonical()) && network.net.prefix_len() >= 3);
        assert_eq!(network.net, network.net.trunc());
        // Nobody else said a narrower one.
        let said =
            |text: &String| Some(text.split('|').nth(1)?.trim().parse::<ipnet::IpNet>().ok()?);
        let narrowest = texts.iter().filter(|text| text.split('|').next().unwrap().trim() == "7");
        let narrowest = narrowest.filter_map(said).filter(|net| net.contains(&ip.to_canonical()));
        assert!(
            narrowest.map(|net| net.prefix_len()).max().unwrap_or(0) <= network.net.prefix_len()
        );
        for asn in network.asns.clone() {
            assert!(name_of(asn).starts_with("AS"));
            if let Some(name) = as_name(asn, &texts) {
                assert!(!name.is_empty() && name.chars().count() <= 100 && !name.contains(hides));
                network.names.push(name);
            }
        }
        network.names.truncate(2);
        let mut cache = Cache::default();
        let ip = ip.to_canonical();
        cache.put(ip, network.clone(), NOW_S);
        assert_eq!(cache.find(ip, NOW_S).map(|found| &found.asns), Some(&network.asns));
    }
    if let IpAddr::V4(four) = ip {
        // RFC 1918, RFC 6598 and RFC 1122, by their bits.
        let within = |net: [u8; 4], bits: u32| {
            four.to_bits() >> (32 - bits) == Ipv4Addr::from(net).to_bits() >> (32 - bits)
        };
        let private = within([10, 0, 0, 0], 8)
            || within([172, 16, 0, 0], 12)
            || within([192, 168, 0, 0], 16)
            || within([100, 64, 0, 0], 10)
            || within([127, 0, 0, 0], 8)
            || within([0, 0, 0, 0], 8);
        assert!(!private || !is_public(ip));
    }
});

fn file(bytes: &[u8]) {
    let cache = Cache::parse(bytes);
    let json = serde_json::to_vec(&cache).expect("plain data");
    assert_eq!(Cache::parse(&json), cache, "what is written means something else");
    for ip in [IpAddr::from([98, 97, 32, 7]), IpAddr::from([0x2605, 0x59c8, 0, 0, 0, 0, 0, 7])] {
        for now_s in [0, 5, NOW_S, u64::MAX] {
            if let Some(network) = cache.find(ip, now_s) {
                assert!(network.net.contains(&ip) && !network.asns.is_empty());
                assert!(network.net.prefix_len() >= if ip.is_ipv4() { 24 } else { 48 });
                assert!(!network.names.iter().any(|name| name.contains(hides)));
            }
        }
    }
}
