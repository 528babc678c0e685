//! Decodes the bodies of responses.

use encoding_rs::{DecoderResult, Encoding, UTF_8, WINDOWS_1252};

/// Returns a body as text. `media_type` is its media type in lower case, `charset` the parameter of that type. `None`
/// if the body is not text, or contains a NUL, which PostgreSQL's texts cannot contain. `is_cut` means that an
/// incomplete character at the end of the body is left out.
pub fn text(media_type: &str, charset: Option<&str>, body: &[u8], is_cut: bool) -> Option<String> {
    if is_binary(media_type) {
        return None;
    }
    decode(media_type, charset, body, is_cut).filter(|text| !text.contains('\0'))
}

fn decode(media_type: &str, charset: Option<&str>, body: &[u8], is_cut: bool) -> Option<String> {
    let by = |encoding: &'static Encoding, body: &[u8]| {
        let mut decoder = encoding.new_decoder_without_bom_handling();
        let size = decoder.max_utf8_buffer_length_without_replacement(body.len())?;
        let mut text = String::with_capacity(size);
        let (result, _) = decoder.decode_to_string_without_replacement(body, &mut text, !is_cut);
        (result == DecoderResult::InputEmpty).then_some(text)
    };
    if let Some((encoding, mark)) = Encoding::for_bom(body) {
        return by(encoding, &body[mark..]);
    }
    let declared = charset.and_then(|label| Encoding::for_label(label.as_bytes()));
    if let Some(encoding) = declared.filter(|encoding| !encoding.is_ascii_compatible()) {
        return by(encoding, body);
    }
    // Text that is valid UTF-8 and not only ASCII is not valid in another encoding, whatever is declared.
    if let Some(text) = by(UTF_8, body) {
        return Some(text);
    }
    match declared {
        Some(encoding) => by(encoding, body),
        // The default encoding of such texts before UTF-8 (RFC 2616, section 3.7.1).
        None if media_type.starts_with("text/") && !body.iter().any(is_binary_byte) => by(WINDOWS_1252, body),
        None => None,
    }
}

fn is_binary(media_type: &str) -> bool {
    ["image/", "audio/", "video/", "font/"].iter().any(|prefix| media_type.starts_with(prefix))
        || matches!(
            media_type,
            "application/octet-stream" | "application/pdf" | "application/zip" | "application/gzip"
        )
}

/// True for a byte that no text contains: <https://mimesniff.spec.whatwg.org/#binary-data-byte>.
fn is_binary_byte(byte: &u8) -> bool {
    matches!(byte, 0..=0x08 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_in_any_charset() {
        let of = |charset, body: &[u8]| text("text/plain", charset, body, false);
        let (utf8, latin1) = ("Gr\u{fc}\u{df}e", b"Gr\xfc\xdfe".as_slice());
        for (charset, body) in [
            (None, utf8.as_bytes()),
            (Some("iso-8859-1"), latin1),
            (Some("windows-1252"), latin1),
            (Some("iso-8859-1"), utf8.as_bytes()),
            (Some("nonsense"), latin1),
            (None, latin1),
            (None, b"\xef\xbb\xbfGr\xc3\xbc\xc3\x9fe"),
            (None, b"\xff\xfeG\0r\0\xfc\0\xdf\0e\0"),
            (Some("utf-16le"), b"G\0r\0\xfc\0\xdf\0e\0"),
        ] {
            assert_eq!(of(charset, body).as_deref(), Some(utf8), "{charset:?} {body:?}");
        }
        assert_eq!(of(Some("shift_jis"), b"\x93\xfa\x96\x7b").as_deref(), Some("\u{65e5}\u{672c}"));
    }

    #[test]
    fn what_is_no_text() {
        assert_eq!(text("image/png", None, b"abc", false), None);
        assert_eq!(text("application/x-data", None, b"\xff", false), None);
        for body in [b"\xff\x01".as_slice(), b"a\0b", b"\xff\xfe\0\0"] {
            assert_eq!(text("text/plain", None, body, false), None, "{body:?}");
        }
        assert_eq!(text("text/plain", Some("utf-8"), b"\xff", false), None);
    }

    #[test]
    fn a_text_that_is_cut_off_ends_with_its_last_whole_character() {
        let euro = "1 \u{20ac}".as_bytes();
        let (utf16, japanese) = (b"1\0 \0\xac".as_slice(), b"1 \x93".as_slice());
        for (media_type, charset, body) in [
            ("text/plain", None, &euro[..4]),
            ("text/plain", Some("utf-8"), &euro[..3]),
            ("application/json", None, &euro[..4]),
            ("text/plain", Some("utf-16le"), utf16),
            ("text/plain", Some("shift_jis"), japanese),
        ] {
            assert_eq!(text(media_type, charset, body, true).as_deref(), Some("1 "), "{charset:?} {body:?}");
        }
        assert_eq!(text("application/json", None, &euro[..4], false), None);
        assert_eq!(text("application/json", None, b"1 \xff", true), None);
        assert_eq!(text("text/plain", None, euro, true).as_deref(), Some("1 \u{20ac}"));
    }
}
