//! The alphabet of a short message (3GPP TS 23.038, 6.2.1), and how many segments a text takes.
//!
//! One character outside it turns the whole message into UCS-2, where a segment holds
//! 70 characters instead of 160; so what is not in the alphabet is replaced by what is.

/// The default alphabet, one septet each. Position is code; ESC, the way into
/// [`EXTENSION`], is left out, since it is no character.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                     ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";

/// The extension table: an escape and a septet each.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// Septets of a message that is one segment, and of each segment of a longer message, whose
/// header takes seven.
const SEPTETS: (usize, usize) = (160, 153);

/// The same in UCS-2, in units of 16 bits.
const UNITS: (usize, usize) = (70, 67);

/// What each character is replaced by: the characters, then the replacement.
const ALIKE: &[(&str, &str)] = &[
    ("ÀÁÂÃĀĂĄǍẠẢẤẦẨẪẬẮẰẲẴẶ", "A"),
    ("áâãāăąǎạảấầẩẫậắằẳẵặª", "a"),
    ("Ḃ", "B"),
    ("ḃ", "b"),
    ("ĆĈĊČ", "C"),
    ("çćĉċč¢", "c"),
    ("ÐĎĐḊ", "D"),
    ("ðďđḋ", "d"),
    ("ÈÊËĒĔĖĘĚẸẺẼẾỀỂỄỆ", "E"),
    ("êëēĕėęěẹẻẽếềểễệ", "e"),
    ("ĜĞĠĢ", "G"),
    ("ĝğġģ", "g"),
    ("ĤĦ", "H"),
    ("ĥħ", "h"),
    ("ÌÍÎÏĨĪĬĮİǏỈỊ", "I"),
    ("íîïĩīĭįıǐỉị", "i"),
    ("Ĵ", "J"),
    ("ĵ", "j"),
    ("Ķ", "K"),
    ("ķĸ", "k"),
    ("ĹĻĽĿŁ", "L"),
    ("ĺļľŀł", "l"),
    ("ŃŅŇŊ", "N"),
    ("ńņňŉŋ", "n"),
    ("ÒÓÔÕŌŎŐƠǑỌỎỐỒỔỖỘỚỜỞỠỢ", "O"),
    ("óôõōŏőơǒọỏốồổỗộớờởỡợº", "o"),
    ("ŔŖŘ", "R"),
    ("ŕŗř", "r"),
    ("ŚŜŞŠȘ", "S"),
    ("śŝşšșſ", "s"),
    ("ŢŤŦȚ", "T"),
    ("ţťŧț", "t"),
    ("ÙÚÛŨŪŬŮŰŲƯǓỤỦỨỪỬỮỰ", "U"),
    ("úûũūŭůűųưǔụủứừửữựµ", "u"),
    ("ŴẀẂẄ", "W"),
    ("ŵẁẃẅ", "w"),
    ("ÝŶŸỲỴỶỸ", "Y"),
    ("ýÿŷỳỵỷỹ", "y"),
    ("ŹŻŽ", "Z"),
    ("źżž", "z"),
    ("Œ", "OE"),
    ("œ", "oe"),
    ("Ĳ", "IJ"),
    ("ĳ", "ij"),
    ("Þ", "Th"),
    ("þ", "th"),
    ("ẞ", "SS"),
    ("‘’‚‛‹›′ʼ`´", "'"),
    ("“”„‟«»″", "\""),
    ("‐‑‒–—―−", "-"),
    ("•·×", "*"),
    ("…", "..."),
    ("¦", "|"),
    ("²", "2"),
    ("³", "3"),
    ("¹", "1"),
    ("©", "(C)"),
    ("®", "(R)"),
    ("™", "(TM)"),
    ("₤", "£"),
    ("₹", "INR"),
    ("₽", "RUB"),
    ("₩", "KRW"),
    ("₺", "TRY"),
    ("₴", "UAH"),
    ("₪", "ILS"),
    ("₿", "BTC"),
];

/// Septets that `c` takes, or `None` for a character that GSM-7 has not.
#[must_use]
pub fn width(c: char) -> Option<usize> {
    if c.is_ascii_alphanumeric() || BASIC.contains(c) {
        Some(1)
    } else if EXTENSION.contains(c) {
        Some(2)
    } else {
        None
    }
}

/// Septets that `text` takes, or `None` when a character of it is not in GSM-7.
#[must_use]
pub fn septets(text: &str) -> Option<usize> {
    text.chars().map(width).sum()
}

/// `text` in GSM-7, as alike as it gets: letters lose their marks, quotes and dashes
/// become the typewriter's, any space, tab or line end is a space, and the rest is `?`.
#[must_use]
pub fn transliterate(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if c.is_whitespace() => out.push(' '),
            _ if width(c).is_some() => out.push(c),
            // Marks that combine with the letter before them, as decomposed text (NFD) has.
            '\u{300}'..='\u{36f}' => {}
            _ => out.push_str(alike(c)),
        }
    }
    out
}

fn alike(c: char) -> &'static str {
    ALIKE.iter().find(|(from, _)| from.contains(c)).map_or("?", |(_, to)| to)
}

/// Segments that `text` is sent and billed as, one at least: in GSM-7 where every character
/// is in it, else in UCS-2. No character is split between two segments.
#[must_use]
pub fn segments(text: &str) -> usize {
    let mut widths = Vec::with_capacity(text.len());
    for c in text.chars() {
        let Some(septets) = width(c) else {
            return pack(text.chars().map(char::len_utf16), UNITS);
        };
        widths.push(septets);
    }
    pack(widths.into_iter(), SEPTETS)
}

/// Most septets that `segments` hold.
#[must_use]
pub fn capacity(segments: usize) -> usize {
    match segments {
        0 | 1 => SEPTETS.0,
        more => more.saturating_mul(SEPTETS.1),
    }
}

fn pack(widths: impl Iterator<Item = usize> + Clone, (single, each): (usize, usize)) -> usize {
    if widths.clone().sum::<usize>() <= single {
        return 1;
    }
    let (mut segments, mut used) = (1, 0);
    for width in widths {
        if used + width > each {
            segments += 1;
            used = 0;
        }
        used += width;
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_complete_and_lead_into_the_alphabet() {
        assert_eq!(BASIC.chars().count(), 127, "128 codes, one of which is ESC");
        assert_eq!(EXTENSION.chars().count(), 10);
        let mut seen = std::collections::HashSet::new();
        for c in BASIC.chars().chain(EXTENSION.chars()) {
            assert!(seen.insert(c), "{c:?} twice");
        }
        for (from, to) in ALIKE {
            assert!(septets(to).is_some(), "{to}");
            for c in from.chars() {
                assert!(seen.insert(c), "{c:?} twice");
            }
        }
        // Every letter of Latin-1 and of Latin Extended-A has a look-alike.
        for c in ('\u{c0}'..='\u{17f}').filter(|c| c.is_alphabetic()) {
            assert!(seen.contains(&c), "{c}");
        }
    }

    #[test]
    fn septets_are_counted() {
        let table = [
            ("", Some(0)),
            ("Grüße aus Åre", Some(13)),
            ("[x]", Some(5)),
            ("10 €", Some(5)),
            ("ç", None),
            ("\u{1b}", None),
            ("`", None),
        ];
        for (text, want) in table {
            assert_eq!(septets(text), want, "{text}");
        }
    }

    #[test]
    fn text_is_transliterated() {
        let table = [
            ("alice@jump_1", "alice@jump_1"),
            ("zoë Łukasz façade", "zoe Lukasz facade"),
            ("e\u{301}a\u{308}", "ea"),
            ("“it’s” – fine…", "\"it's\" - fine..."),
            ("a\tb\r\nc\u{a0}d\u{3000}e", "a b  c d e"),
            ("5 € 3 ₹ 2 ¢", "5 € 3 INR 2 c"),
            ("Привет 猫 🐈", "?????? ? ?"),
            ("\u{1b}[2J\0", "?[2J?"),
        ];
        for (text, want) in table {
            assert_eq!(transliterate(text), want);
        }
    }

    #[test]
    fn segments_are_counted_as_the_network_cuts_them() {
        let table = [
            (String::new(), 1),
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            ("a".repeat(306), 2),
            ("a".repeat(307), 3),
            // The euro sign would lie across the end of the first segment: 306 septets in three.
            ("a".repeat(152) + "€" + &"a".repeat(152), 3),
            ("a".repeat(153) + "€" + &"a".repeat(151), 2),
            ("ç".repeat(70), 1),
            ("ç".repeat(71), 2),
            ("ç".repeat(66) + "🐈" + &"ç".repeat(66), 3),
        ];
        for (text, want) in table {
            assert_eq!(segments(&text), want, "{text}");
        }
        for n in 1..5 {
            assert_eq!(segments(&"a".repeat(capacity(n))), n);
            assert_eq!(segments(&"a".repeat(capacity(n) + 1)), n + 1);
        }
    }
}
