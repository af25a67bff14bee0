//! Who is told of in an SMS, as a person reads it: of one login, or of many.

use std::collections::BTreeMap;

/// How many logins a message tells of, and how often it names whom; what it only counts ("+3
/// more") is under the name "more".
#[must_use]
pub fn logins(body: &str) -> (usize, BTreeMap<String, usize>) {
    let (_, said) = body.split_once(": ").unwrap_or(("", body));
    let (said, _) = said.rsplit_once(" #").unwrap_or((said, ""));
    let mut names = BTreeMap::new();
    let Some((head, pieces)) = said.split_once(": ").filter(|(head, _)| head.contains(" logins "))
    else {
        if let Some((_, rest)) = said.split_once("login ") {
            names.insert(word(rest).to_owned(), 1);
        }
        return (1, names);
    };
    for piece in pieces.split(", ") {
        let marks = ["CRITICAL ", "NEW "];
        let piece = marks.iter().fold(piece, |rest, mark| rest.strip_prefix(mark).unwrap_or(rest));
        if let Some(count) = piece.strip_prefix('+').and_then(|rest| word(rest).parse().ok()) {
            names.insert("more".to_owned(), count);
        } else if piece.contains(" from ") {
            let times = piece.rsplit_once(" x").and_then(|(_, times)| times.parse().ok());
            *names.entry(word(piece).to_owned()).or_default() += times.unwrap_or(1);
        }
    }
    (word(head).parse().unwrap_or(0), names)
}

fn word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_counts_are_read() {
        let table = [
            ("jump: NEW login bob from ::1, by password #k7f3q2", 1, "bob 1"),
            (
                "jump: 48 logins 22 Nov 17:00 to 17:02 UTC: NEW alice from 203.0.113.9 x40, \
                 CRITICAL bob from ::1, +7 more, told 3 min late #k7f3q2",
                48,
                "alice 40, bob 1, more 7",
            ),
            ("jump: 3 logins 22 Nov 17:00 UTC: x from 192.0.2.1, x from ::1 x2 #k7f3q2", 3, "x 3"),
            ("jump: 3 logins 22 Nov 17:00 UTC: 3 in all #k7f3q2", 3, ""),
        ];
        for (body, count, names) in table {
            let (told, named) = logins(body);
            let named: Vec<_> =
                named.iter().map(|(name, times)| format!("{name} {times}")).collect();
            assert_eq!((told, named.join(", ").as_str()), (count, names), "{body}");
        }
    }
}
