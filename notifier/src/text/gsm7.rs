//! The alphabet of a short message (3GPP TS 23.038, 6.2.1), and how many segments a text takes.
//!
//! One character outside it turns the whole message into UCS-2, where a segment holds
//! 70 characters instead of 160; so what is not in the alphabet is replaced by what is.

/// Septets of a message that is one segment, and of each segment of a longer message, whose
/// header takes seven.
const SEPTETS: (usize, usize) = (160, 153);

/// The same in UCS-2, in units of 16 bits.
const UNITS: (usize, usize) = (70, 67);

/// Septets that `c` takes: one in the default alphabet, an escape more in its extension table.
/// `None` for a character that is in neither (the escape itself is no character).
#[must_use]
pub fn width(c: char) -> Option<usize> {
    match c {
        'a'..='z' | 'A'..='Z' | ' '..='?' | '@' | '_' | '\n' | '\r' => Some(1),
        '£' | '¥' | '¤' | '§' | '¡' | '¿' | 'Δ' | 'Φ' | 'Γ' | 'Λ' | 'Ω' | 'Π' | 'Ψ' | 'Σ' | 'Θ'
        | 'Ξ' => Some(1),
        'è' | 'é' | 'ù' | 'ì' | 'ò' | 'Ç' | 'Ø' | 'ø' | 'Å' | 'å' | 'Æ' | 'æ' | 'ß' | 'É' => {
            Some(1)
        }
        'Ä' | 'Ö' | 'Ñ' | 'Ü' | 'ä' | 'ö' | 'ñ' | 'ü' | 'à' => Some(1),
        '\u{c}' | '^' | '{' | '}' | '\\' | '[' | '~' | ']' | '|' | '€' => Some(2),
        _ => None,
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

/// What `c`, which is not in the alphabet, is replaced by.
fn alike(c: char) -> &'static str {
    match c {
        'À' | 'Á' | 'Â' | 'Ã' | 'Ā' | 'Ă' | 'Ą' | 'Ǎ' | 'Ạ' | 'Ả' | 'Ấ' | 'Ầ' | 'Ẩ' | 'Ẫ' | 'Ậ'
        | 'Ắ' | 'Ằ' | 'Ẳ' | 'Ẵ' | 'Ặ' => "A",
        'á' | 'â' | 'ã' | 'ā' | 'ă' | 'ą' | 'ǎ' | 'ạ' | 'ả' | 'ấ' | 'ầ' | 'ẩ' | 'ẫ' | 'ậ' | 'ắ'
        | 'ằ' | 'ẳ' | 'ẵ' | 'ặ' | 'ª' => "a",
        'Ḃ' => "B",
        'ḃ' => "b",
        'Ć' | 'Ĉ' | 'Ċ' | 'Č' => "C",
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' | '¢' => "c",
        'Ð' | 'Ď' | 'Đ' | 'Ḋ' => "D",
        'ð' | 'ď' | 'đ' | 'ḋ' => "d",
        'È' | 'Ê' | 'Ë' | 'Ē' | 'Ĕ' | 'Ė' | 'Ę' | 'Ě' | 'Ẹ' | 'Ẻ' | 'Ẽ' | 'Ế' | 'Ề' | 'Ể' | 'Ễ'
        | 'Ệ' => "E",
        'ê' | 'ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' | 'ẹ' | 'ẻ' | 'ẽ' | 'ế' | 'ề' | 'ể' | 'ễ' | 'ệ' => {
            "e"
        }
        'Ĝ' | 'Ğ' | 'Ġ' | 'Ģ' => "G",
        'ĝ' | 'ğ' | 'ġ' | 'ģ' => "g",
        'Ĥ' | 'Ħ' => "H",
        'ĥ' | 'ħ' => "h",
        'Ì' | 'Í' | 'Î' | 'Ï' | 'Ĩ' | 'Ī' | 'Ĭ' | 'Į' | 'İ' | 'Ǐ' | 'Ỉ' | 'Ị' => "I",
        'í' | 'î' | 'ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' | 'ǐ' | 'ỉ' | 'ị' => "i",
        'Ĵ' => "J",
        'ĵ' => "j",
        'Ķ' => "K",
        'ķ' | 'ĸ' => "k",
        'Ĺ' | 'Ļ' | 'Ľ' | 'Ŀ' | 'Ł' => "L",
        'ĺ' | 'ļ' | 'ľ' | 'ŀ' | 'ł' => "l",
        'Ń' | 'Ņ' | 'Ň' | 'Ŋ' => "N",
        'ń' | 'ņ' | 'ň' | 'ŉ' | 'ŋ' => "n",
        'Ò' | 'Ó' | 'Ô' | 'Õ' | 'Ō' | 'Ŏ' | 'Ő' | 'Ơ' | 'Ǒ' | 'Ọ' | 'Ỏ' | 'Ố' | 'Ồ' | 'Ổ' | 'Ỗ'
        | 'Ộ' | 'Ớ' | 'Ờ' | 'Ở' | 'Ỡ' | 'Ợ' => "O",
        'ó' | 'ô' | 'õ' | 'ō' | 'ŏ' | 'ő' | 'ơ' | 'ǒ' | 'ọ' | 'ỏ' | 'ố' | 'ồ' | 'ổ' | 'ỗ' | 'ộ'
        | 'ớ' | 'ờ' | 'ở' | 'ỡ' | 'ợ' | 'º' => "o",
        'Ŕ' | 'Ŗ' | 'Ř' => "R",
        'ŕ' | 'ŗ' | 'ř' => "r",
        'Ś' | 'Ŝ' | 'Ş' | 'Š' | 'Ș' => "S",
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' | 'ſ' => "s",
        'Ţ' | 'Ť' | 'Ŧ' | 'Ț' => "T",
        'ţ' | 'ť' | 'ŧ' | 'ț' => "t",
        'Ù' | 'Ú' | 'Û' | 'Ũ' | 'Ū' | 'Ŭ' | 'Ů' | 'Ű' | 'Ų' | 'Ư' | 'Ǔ' | 'Ụ' | 'Ủ' | 'Ứ' | 'Ừ'
        | 'Ử' | 'Ữ' | 'Ự' => "U",
        'ú' | 'û' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' | 'ư' | 'ǔ' | 'ụ' | 'ủ' | 'ứ' | 'ừ' | 'ử'
        | 'ữ' | 'ự' | 'µ' => "u",
        'Ŵ' | 'Ẁ' | 'Ẃ' | 'Ẅ' => "W",
        'ŵ' | 'ẁ' | 'ẃ' | 'ẅ' => "w",
        'Ý' | 'Ŷ' | 'Ÿ' | 'Ỳ' | 'Ỵ' | 'Ỷ' | 'Ỹ' => "Y",
        'ý' | 'ÿ' | 'ŷ' | 'ỳ' | 'ỵ' | 'ỷ' | 'ỹ' => "y",
        'Ź' | 'Ż' | 'Ž' => "Z",
        'ź' | 'ż' | 'ž' => "z",
        'Œ' => "OE",
        'œ' => "oe",
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'Þ' => "Th",
        'þ' => "th",
        'ẞ' => "SS",
        '‘' | '’' | '‚' | '‛' | '‹' | '›' | '′' | 'ʼ' | '`' | '´' => "'",
        '“' | '”' | '„' | '‟' | '«' | '»' | '″' => "\"",
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => "-",
        '•' | '·' | '×' => "*",
        '…' => "...",
        '¦' => "|",
        '²' => "2",
        '³' => "3",
        '¹' => "1",
        '©' => "(C)",
        '®' => "(R)",
        '™' => "(TM)",
        '₤' => "£",
        '₹' => "INR",
        '₽' => "RUB",
        '₩' => "KRW",
        '₺' => "TRY",
        '₴' => "UAH",
        '₪' => "ILS",
        '₿' => "BTC",
        _ => "?",
    }
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

    /// The default alphabet in the order of its codes, without ESC (3GPP TS 23.038, 6.2.1).
    const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                         ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
    /// The extension table (6.2.1.1).
    const EXTENSION: &str = "\u{c}^{}\\[~]|€";

    #[test]
    fn the_alphabet_is_the_standards_and_all_else_leads_into_it() {
        assert_eq!(BASIC.chars().count(), 127, "128 codes, one of which is ESC");
        for c in '\0'..=char::MAX {
            let want = if BASIC.contains(c) { Some(1) } else { EXTENSION.contains(c).then_some(2) };
            assert_eq!(width(c), want, "{c:?}");
            if want.is_none() {
                assert!(septets(alike(c)).is_some(), "{c:?}");
            }
        }
    }

    #[test]
    fn every_letter_of_latin_1_and_latin_extended_a_has_a_look_alike() {
        for c in ('\u{c0}'..='\u{17f}').filter(|c| c.is_alphabetic()) {
            assert_ne!(transliterate(&c.to_string()), "?", "{c}");
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
