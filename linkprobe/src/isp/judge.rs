//! Whether the line is the one that was meant, by all that was said about it. Pure.

use super::{Identity, Source};

/// What the identities come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It is.
    Right {
        /// Who says otherwise, in words for a person.
        note: Option<String>,
    },
    /// It is another ISP's.
    Wrong {
        /// Whose it is, who says so, and what was meant, in words for a person.
        reason: String,
        /// How many sources say so. With one, another should be asked if it can be.
        sources: usize,
    },
    /// It cannot be told.
    Unknown {
        /// Why, in words for a person.
        reason: String,
    },
}

/// What one identity says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Right,
    Wrong,
    /// A name that was not expected, where numbers were: one that needs another to believe it.
    OtherName,
    Nothing,
}

/// Judges the line by what was said: right if a number is one of `expect_asn` or a name has one of
/// `expect_isp` in it, in whatever case.
///
/// Who says that it is right outweighs who says otherwise. Sources err by saying another name: a
/// register is old, a name server was not the one that was asked, an ISP is called three ways.
/// None of that gives the very name that was expected. And a wrong verdict costs more: no test, and
/// somebody is woken.
#[must_use]
pub fn judge(expect_asn: &[u32], expect_isp: &[String], identities: &[Identity]) -> Judgement {
    if expect_asn.is_empty() && expect_isp.is_empty() {
        return Judgement::Right { note: None };
    }
    let expect = Expect { asns: expect_asn, names: expect_isp };
    let mut by: [Vec<&Identity>; 4] = Default::default();
    for identity in identities {
        let [right, wrong, other_name, nothing] = &mut by;
        match expect.says(identity) {
            Says::Right => right.push(identity),
            Says::Wrong => wrong.push(identity),
            Says::OtherName => other_name.push(identity),
            Says::Nothing => nothing.push(identity),
        }
    }
    let [right, wrong, other_name, _] = by;
    let against: Vec<&Identity> = wrong.iter().chain(&other_name).copied().collect();
    let sources = sources(&against);
    if !right.is_empty() {
        let doubt = || format!("{} says {}", names_of(&sources), describe(&against));
        return Judgement::Right { note: (!against.is_empty()).then(doubt) };
    }
    let found = || format!("{}, and not {}", describe(&against), expect.describe());
    match sources.len() {
        0 => Judgement::Unknown { reason: "nobody could tell whose line it is".into() },
        1 if wrong.is_empty() => Judgement::Unknown {
            reason: format!(
                "it may be {}; {} alone says so, without a number",
                found(),
                sources[0]
            ),
        },
        1 => Judgement::Wrong {
            reason: format!("it is {}; {} alone says so", found(), sources[0]),
            sources: 1,
        },
        many => Judgement::Wrong {
            reason: format!("it is {}; {} say so", found(), names_of(&sources)),
            sources: many,
        },
    }
}

struct Expect<'a> {
    asns: &'a [u32],
    names: &'a [String],
}

impl Expect<'_> {
    fn says(&self, identity: &Identity) -> Says {
        let named = identity.names.iter().map(|name| name.to_lowercase());
        let wanted = |name: &str| self.names.iter().any(|part| name.contains(&part.to_lowercase()));
        if identity.asns.iter().any(|asn| self.asns.contains(asn))
            || named.clone().any(|name| wanted(&name))
        {
            Says::Right
        } else if !self.asns.is_empty() && !identity.asns.is_empty() {
            Says::Wrong
        } else if self.names.is_empty() || identity.names.is_empty() {
            Says::Nothing
        } else if self.asns.is_empty() {
            Says::Wrong
        } else {
            Says::OtherName
        }
    }

    fn describe(&self) -> String {
        let asns = self.asns.iter().map(|asn| format!("AS{asn}"));
        let all: Vec<String> = asns.chain(self.names.iter().cloned()).collect();
        all.join(" or ")
    }
}

/// Without doubles, in their order.
fn sources(identities: &[&Identity]) -> Vec<Source> {
    let mut sources = Vec::new();
    for identity in identities {
        if !sources.contains(&identity.source) {
            sources.push(identity.source);
        }
    }
    sources
}

fn names_of(sources: &[Source]) -> String {
    let names: Vec<String> = sources.iter().map(ToString::to_string).collect();
    names.join(" and ")
}

/// `AS3320 DTAG`: of the first that has both, else of the first.
fn describe(identities: &[&Identity]) -> String {
    let whole = identities.iter().find(|one| !one.asns.is_empty() && !one.names.is_empty());
    let Some(identity) = whole.or(identities.first()) else { return "nobody".into() };
    let asns = identity.asns.iter().map(|asn| format!("AS{asn}"));
    let words: Vec<String> = asns.chain(identity.names.first().cloned()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Kind;

    fn identity(source: Source, asn: Option<u32>, name: &str) -> Identity {
        let mut identity = Identity::new(source);
        identity.asns.extend(asn);
        identity.add_name(name);
        identity
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// R, W and how many say so, or U.
    fn short(judgement: &Judgement) -> String {
        match judgement {
            Judgement::Right { note: None } => "R".into(),
            Judgement::Right { note: Some(_) } => "R, doubted".into(),
            Judgement::Wrong { sources, .. } => format!("W{sources}"),
            Judgement::Unknown { .. } => "U".into(),
        }
    }

    #[test]
    fn every_case_has_its_judgement() {
        let dns = |asn, name| identity(Source::Dns, asn, name);
        let cloudflare = |asn, name| identity(Source::Provider(Kind::Cloudflare), asn, name);
        let ookla = |name| identity(Source::Provider(Kind::SpeedtestNet), None, name);
        let (starlink, telekom) = ("SpaceX Starlink", "Deutsche Telekom");
        for (asns, isps, identities, want) in [
            // Nothing is expected, or nothing found.
            (&[][..], &[][..], vec![dns(Some(3320), "DTAG")], "R"),
            (&[14593], &["Starlink"], vec![], "U"),
            (&[14593], &["Starlink"], vec![dns(None, "")], "U"),
            // By number, by a part of a name, in whatever case; one of several.
            (&[14593], &[], vec![dns(Some(14593), "")], "R"),
            (&[1, 14593], &[], vec![dns(Some(14593), "")], "R"),
            (&[], &["starLINK"], vec![dns(Some(14593), "SPACEX-STARLINK")], "R"),
            (&[14593], &["Starlink"], vec![ookla(starlink)], "R"),
            (&[14593], &["Starlink"], vec![dns(Some(27277), starlink)], "R"),
            // One alone, and two.
            (&[14593], &["Starlink"], vec![dns(Some(3320), "DTAG")], "W1"),
            (&[], &["Starlink"], vec![ookla(telekom)], "W1"),
            (&[14593], &[], vec![dns(Some(3320), ""), cloudflare(Some(3320), telekom)], "W2"),
            (&[14593], &["Starlink"], vec![dns(Some(3320), ""), ookla(telekom)], "W2"),
            // Twice the same source is one.
            (&[14593], &[], vec![dns(Some(3320), ""), dns(Some(3320), "")], "W1"),
            // Another that cannot be compared says nothing.
            (&[14593], &[], vec![dns(Some(3320), "DTAG"), ookla(telekom)], "W1"),
            (&[14593], &[], vec![ookla(telekom)], "U"),
            (&[], &["Starlink"], vec![dns(Some(3320), "")], "U"),
            // Where numbers are expected, one other name alone is no proof; two are.
            (&[14593], &["Starlink"], vec![ookla("Space Exploration Technologies")], "U"),
            (&[14593], &["Starlink"], vec![ookla(telekom), cloudflare(None, "DTAG")], "W2"),
            // Right outweighs wrong.
            (
                &[14593],
                &[],
                vec![dns(Some(15169), "GOOGLE"), cloudflare(Some(14593), "")],
                "R, doubted",
            ),
            (&[14593], &["Starlink"], vec![dns(Some(14593), ""), ookla("SpaceX")], "R, doubted"),
        ] {
            let judgement = judge(asns, &names(isps), &identities);
            assert_eq!(short(&judgement), want, "{asns:?} {isps:?} {identities:?} {judgement:?}");
        }
    }

    #[test]
    fn the_reason_is_a_sentence() {
        let dns = identity(Source::Dns, Some(3320), "DTAG");
        let reason =
            |identities: &[Identity]| match judge(&[14593], &names(&["Starlink"]), identities) {
                Judgement::Wrong { reason, .. } | Judgement::Unknown { reason } => reason,
                Judgement::Right { note } => note.unwrap(),
            };
        assert_eq!(
            reason(std::slice::from_ref(&dns)),
            "it is AS3320 DTAG, and not AS14593 or Starlink; DNS alone says so"
        );
        let other = identity(Source::Provider(Kind::Cloudflare), Some(3320), "");
        assert_eq!(
            reason(&[other, dns.clone()]),
            "it is AS3320 DTAG, and not AS14593 or Starlink; cloudflare and DNS say so"
        );
        let right = identity(Source::Provider(Kind::SpeedtestNet), None, "Starlink");
        assert_eq!(reason(&[right, dns]), "DNS says AS3320 DTAG");
        assert_eq!(reason(&[]), "nobody could tell whose line it is");
    }
}
