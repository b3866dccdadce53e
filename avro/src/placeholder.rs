//! Recognises the stand-in for values that the source did not send, in every form Debezium gives it.
//!
//! Such a cell becomes [`Cell::Unavailable`] and is never written to a target (BAT-3). Comparison is exact and begins with the
//! length, so that ordinary values cost one comparison of two numbers.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use topology::data::{Arena, Cell, Span, View, decimal};

/// Debezium's `unavailable.value.placeholder` unless configured otherwise.
pub const DEFAULT_UNAVAILABLE_VALUE: &str = "__debezium_unavailable_value";

/// The placeholder and its encoded forms.
#[derive(Clone, Debug)]
pub(crate) struct Placeholder {
    bytes: Vec<u8>,
    /// The texts: plain; base64, URL-safe base64 and hexadecimal (bytea as text); hstore as JSON.
    texts: Vec<Vec<u8>>,
    /// Bit n is set when one of the texts has n bytes (bit 127 also for all longer ones): nearly every value fails this test alone.
    lengths: u128,
    /// Version 3 UUID of the bytes, the element of an unchanged `uuid[]`.
    uuid: [u8; 16],
}

fn length_bit(length: usize) -> u128 {
    1 << length.min(127)
}

impl Placeholder {
    /// `configured` as in Debezium's option: text, or `hex:` and hexadecimal digits.
    pub(crate) fn new(configured: &str) -> Placeholder {
        let bytes = match configured.strip_prefix("hex:") {
            Some(hexadecimal) => unhex(hexadecimal).unwrap_or_else(|| configured.as_bytes().to_vec()),
            None => configured.as_bytes().to_vec(),
        };
        let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut texts = vec![STANDARD.encode(&bytes).into_bytes(), URL_SAFE.encode(&bytes).into_bytes()];
        texts.push(hexadecimal.to_ascii_uppercase().into_bytes());
        texts.push(hexadecimal.into_bytes());
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let quoted = serde_json::Value::from(text).to_string();
            texts.push(format!("{{{quoted}:{quoted}}}").into_bytes());
            texts.push(format!("{{{quoted}: {quoted}}}").into_bytes());
        }
        texts.push(bytes.clone());
        let mut uuid = md5(&bytes);
        uuid[6] = uuid[6] & 0x0f | 0x30;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        let lengths = texts.iter().map(|text| length_bit(text.len())).fold(0, |all, bit| all | bit);
        Placeholder { bytes, texts, lengths, uuid }
    }

    /// True for the text of an unavailable value.
    #[inline]
    pub(crate) fn is_text(&self, text: &[u8]) -> bool {
        self.lengths & length_bit(text.len()) != 0 && self.texts.iter().any(|form| form == text)
    }

    /// True for the bytes of an unavailable value.
    #[inline]
    pub(crate) fn is_bytes(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.bytes.len() && bytes == self.bytes
    }

    /// True when the elements are the array form: one placeholder, its UUID, or one number per byte.
    pub(crate) fn is_array(&self, arena: &Arena, elements: Span) -> bool {
        let cells = arena.elements(elements);
        if let [only] = cells {
            match arena.view(*only) {
                View::Text(text) | View::Json(text) => return self.is_text(text.as_bytes()),
                View::Bytes(bytes) => return self.is_bytes(bytes),
                View::Uuid(uuid) => return uuid == self.uuid,
                _ => {}
            }
        }
        cells.len() == self.bytes.len()
            && !cells.is_empty()
            && cells.iter().zip(&self.bytes).all(|(cell, byte)| is_number(arena, *cell, *byte))
    }
}

fn is_number(arena: &Arena, cell: Cell, byte: u8) -> bool {
    match arena.view(cell) {
        View::I64(value) => value == i64::from(byte),
        View::F32(value) => value == f32::from(byte),
        View::F64(value) => value == f64::from(byte),
        View::Decimal { unscaled, scale } => {
            let power = u32::try_from(scale).ok().and_then(|scale| 10_i128.checked_pow(scale));
            power.is_some_and(|power| decimal::to_i128(unscaled) == i128::from(byte).checked_mul(power))
        }
        _ => false,
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.bytes().map(crate::value::parse_hex_digit).collect();
    let digits = digits?;
    (digits.len() % 2 == 0).then(|| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// MD5 (RFC 1321), for the version 3 UUID alone.
fn md5(message: &[u8]) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64 * 8).to_le_bytes());
    for block in padded.chunks_exact(64) {
        let words: Vec<u32> =
            block.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
        let [mut a, mut b, mut c, mut d] = state;
        for step in 0..64_usize {
            let (mix, word) = match step / 16 {
                0 => ((b & c) | (!b & d), step),
                1 => ((d & b) | (!d & c), (5 * step + 1) % 16),
                2 => (b ^ c ^ d, (3 * step + 5) % 16),
                _ => (c ^ (b | !d), (7 * step) % 16),
            };
            let constant = (((step + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(mix).wrapping_add(constant).wrapping_add(words[word]);
            (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(SHIFTS[step / 16][step % 4])));
        }
        for (total, part) in state.iter_mut().zip([a, b, c, d]) {
            *total = total.wrapping_add(part);
        }
    }
    let mut out = [0; 16];
    for (chunk, word) in out.chunks_exact_mut(4).zip(state) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use topology::data::Value;

    use super::*;

    fn array(values: Vec<Value>) -> bool {
        let mut arena = Arena::default();
        let Cell::Array(span) = arena.push_value(&Value::Array(values)) else { panic!("an array") };
        Placeholder::new(DEFAULT_UNAVAILABLE_VALUE).is_array(&arena, span)
    }

    #[test]
    fn md5_matches_the_examples_of_its_rfc() {
        let hexadecimal = |text: &str| md5(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hexadecimal(""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hexadecimal("message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
    }

    #[test]
    fn every_text_form_is_recognised() {
        let placeholder = Placeholder::new(DEFAULT_UNAVAILABLE_VALUE);
        for text in [
            "__debezium_unavailable_value",
            "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==",
            "5f5f646562657a69756d5f756e617661696c61626c655f76616c7565",
            "{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}",
        ] {
            assert!(placeholder.is_text(text.as_bytes()), "{text}");
        }
        assert!(!placeholder.is_text(b"__debezium_unavailable_valuf"));
        assert!(!placeholder.is_text(b""));
        assert!(Placeholder::new("hex:0aff").is_bytes(&[0x0a, 0xff]));
    }

    #[test]
    fn arrays_are_unavailable_as_one_placeholder_or_one_number_per_byte() {
        let text = DEFAULT_UNAVAILABLE_VALUE;
        let numbers = |make: fn(u8) -> Value| text.bytes().map(make).collect::<Vec<_>>();
        assert!(array(vec![text.into()]));
        assert!(array(vec![Value::Bytes(text.into())]));
        assert!(array(numbers(|byte| Value::I64(byte.into()))));
        assert!(array(numbers(|byte| Value::F64(byte.into()))));
        assert!(array(numbers(|byte| Value::Decimal { unscaled: vec![0, byte], scale: 0 })));
        assert!(!array(vec![text.into(), text.into()]));
        assert!(!array(vec![]));
    }
}
