//! A pull tokenizer for JSON: numbers keep their text, strings keep their place.

use crate::fault::Fault;

/// Nesting that is followed.
const DEPTH_MAX: usize = 64;

/// A string as it stands between its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawText<'a> {
    /// With escapes unresolved.
    pub(crate) raw: &'a str,
    /// Byte index in the document.
    pub(crate) at: usize,
    /// True when `raw` holds a backslash.
    pub(crate) is_escaped: bool,
}

impl RawText<'_> {
    /// Resolves the escapes into `out`, which is cleared first.
    pub(crate) fn unescape(&self, out: &mut String) -> Result<(), Fault> {
        out.clear();
        let mut rest = self.raw;
        while let Some(at) = rest.find('\\') {
            out.push_str(&rest[..at]);
            let escape = rest.as_bytes().get(at + 1).ok_or(Fault::JsonSyntax)?;
            rest = rest.get(at + 2..).ok_or(Fault::JsonSyntax)?;
            out.push(match escape {
                b'"' => '"',
                b'\\' => '\\',
                b'/' => '/',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => {
                    let high = hex4(&mut rest)?;
                    match high {
                        0xd800..=0xdbff => {
                            rest = rest.strip_prefix("\\u").ok_or(Fault::JsonSyntax)?;
                            let low = hex4(&mut rest)?;
                            if !(0xdc00..=0xdfff).contains(&low) {
                                return Err(Fault::JsonSyntax);
                            }
                            char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
                        }
                        other => char::from_u32(other),
                    }
                    .ok_or(Fault::JsonSyntax)?
                }
                _ => return Err(Fault::JsonSyntax),
            });
        }
        out.push_str(rest);
        Ok(())
    }

    /// True when the text is `name`; escapes in names are resolved.
    pub(crate) fn is(&self, name: &str) -> bool {
        if !self.is_escaped {
            return self.raw == name;
        }
        let mut text = String::new();
        self.unescape(&mut text).is_ok() && text == name
    }
}

fn hex4(rest: &mut &str) -> Result<u32, Fault> {
    let digits = rest.get(..4).ok_or(Fault::JsonSyntax)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Fault::JsonSyntax);
    }
    *rest = &rest[4..];
    u32::from_str_radix(digits, 16).map_err(|_| Fault::JsonSyntax)
}

/// A scalar, or the beginning of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Null,
    Bool(bool),
    /// Exactly as written, valid by JSON's grammar.
    Number(&'a str),
    Text(RawText<'a>),
    Object,
    Array,
}

/// Reads one document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// Accept control characters inside strings: Connect's header converter does not escape them.
    is_lenient: bool,
}

impl<'a> Tokens<'a> {
    /// `bytes` must be UTF-8.
    pub(crate) fn new(bytes: &'a [u8], is_lenient: bool) -> Result<Tokens<'a>, Fault> {
        Ok(Tokens { text: std::str::from_utf8(bytes).map_err(|_| Fault::Utf8)?, at: 0, is_lenient })
    }

    /// Byte index of the next token.
    pub(crate) fn position(&mut self) -> usize {
        self.space();
        self.at
    }

    /// The document's text between two indices that [`Tokens::position`] or [`Tokens::at`] returned.
    pub(crate) fn slice(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or("")
    }

    /// Byte index right after the last token.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    fn space(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Result<u8, Fault> {
        self.space();
        self.text.as_bytes().get(self.at).copied().ok_or(Fault::JsonSyntax)
    }

    fn eat(&mut self, byte: u8) -> Result<(), Fault> {
        if self.peek()? != byte {
            return Err(Fault::JsonSyntax);
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str, token: Token<'a>) -> Result<Token<'a>, Fault> {
        if self.text.as_bytes().get(self.at..self.at + word.len()) != Some(word.as_bytes()) {
            return Err(Fault::JsonSyntax);
        }
        self.at += word.len();
        Ok(token)
    }

    /// The next scalar or opening bracket.
    pub(crate) fn token(&mut self) -> Result<Token<'a>, Fault> {
        match self.peek()? {
            b'{' => {
                self.at += 1;
                Ok(Token::Object)
            }
            b'[' => {
                self.at += 1;
                Ok(Token::Array)
            }
            b'"' => Ok(Token::Text(self.string()?)),
            b'n' => self.word("null", Token::Null),
            b't' => self.word("true", Token::Bool(true)),
            b'f' => self.word("false", Token::Bool(false)),
            _ => self.number().map(Token::Number),
        }
    }

    fn string(&mut self) -> Result<RawText<'a>, Fault> {
        self.eat(b'"')?;
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut is_escaped = false;
        loop {
            match bytes.get(self.at).ok_or(Fault::JsonSyntax)? {
                b'"' => break,
                b'\\' => {
                    is_escaped = true;
                    self.at += 2;
                }
                0..0x20 if !self.is_lenient => return Err(Fault::JsonSyntax),
                _ => self.at += 1,
            }
        }
        let raw = self.text.get(start..self.at).ok_or(Fault::JsonSyntax)?;
        self.at += 1;
        Ok(RawText { raw, at: start, is_escaped })
    }

    fn digits(&mut self) -> usize {
        let bytes = self.text.as_bytes();
        let start = self.at;
        while bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<&'a str, Fault> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let first = bytes.get(self.at).copied();
        let whole = self.digits();
        if whole == 0 || (whole > 1 && first == Some(b'0')) {
            return Err(Fault::JsonSyntax);
        }
        if bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(Fault::JsonSyntax);
            }
        }
        if let Some(b'e' | b'E') = bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = bytes.get(self.at) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(Fault::JsonSyntax);
            }
        }
        self.text.get(start..self.at).ok_or(Fault::JsonSyntax)
    }

    /// After [`Token::Object`]: the next member's name, `None` at the end. `is_first` starts true.
    pub(crate) fn member(&mut self, is_first: &mut bool) -> Result<Option<RawText<'a>>, Fault> {
        if !self.more(b'}', is_first)? {
            return Ok(None);
        }
        self.space();
        let name = self.string()?;
        self.eat(b':')?;
        Ok(Some(name))
    }

    /// After [`Token::Array`]: true when another item follows. `is_first` starts true.
    pub(crate) fn item(&mut self, is_first: &mut bool) -> Result<bool, Fault> {
        self.more(b']', is_first)
    }

    fn more(&mut self, end: u8, is_first: &mut bool) -> Result<bool, Fault> {
        if self.peek()? == end {
            self.at += 1;
            return Ok(false);
        }
        if !std::mem::take(is_first) {
            self.eat(b',')?;
        }
        Ok(true)
    }

    /// Moves past the next value, checking its syntax.
    pub(crate) fn skip(&mut self) -> Result<(), Fault> {
        self.skip_at(DEPTH_MAX)
    }

    fn skip_at(&mut self, depth: usize) -> Result<(), Fault> {
        let token = self.token()?;
        self.skip_rest(token, depth)
    }

    /// Moves past the rest of a value whose first token was read.
    pub(crate) fn skip_rest(&mut self, token: Token<'_>, depth: usize) -> Result<(), Fault> {
        let depth = depth.checked_sub(1).ok_or(Fault::Depth)?;
        let mut is_first = true;
        match token {
            Token::Object => {
                while self.member(&mut is_first)?.is_some() {
                    self.skip_at(depth)?;
                }
            }
            Token::Array => {
                while self.item(&mut is_first)? {
                    self.skip_at(depth)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// After [`Token::Object`] whose members were not asked for to the end: the closing bracket must come.
    pub(crate) fn close(&mut self) -> Result<(), Fault> {
        self.eat(b'}')
    }

    /// Nothing but space may follow.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(Fault::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(text: &str) -> Result<(), Fault> {
        let mut tokens = Tokens::new(text.as_bytes(), false)?;
        tokens.skip()?;
        tokens.end()
    }

    #[test]
    fn documents_are_accepted_exactly_when_serde_accepts_them() {
        for text in [
            "null",
            "true",
            "[]",
            "{}",
            " { \"a\" : [ 1 , -0.5e+3 , \"x\\n\" ] } ",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "-",
            "1.",
            "1e",
            "\"",
            "\"\\\"",
            "nul",
            "[1 2]",
            "{\"a\" 1}",
            "{1:2}",
            "\"\u{1}\"",
            "",
            "1 1",
            "0",
            "-0",
            "0.10",
        ] {
            let serde = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(skip(text).is_ok(), serde, "{text:?}");
        }
    }

    #[test]
    fn escapes_and_surrogates_resolve() {
        let mut tokens = Tokens::new(br#""a\"\\\/\b\f\n\r\t\u00fc\ud83e\udd80""#, false).unwrap();
        let Token::Text(text) = tokens.token().unwrap() else { panic!("a text") };
        let mut out = String::new();
        text.unescape(&mut out).unwrap();
        assert_eq!(out, "a\"\\/\u{8}\u{c}\n\r\tü🦀");
        for broken in [r#""\ud83e""#, r#""\u12""#, r#""\x""#, r#""\ud83e\u0041""#] {
            let mut tokens = Tokens::new(broken.as_bytes(), false).unwrap();
            let Ok(Token::Text(text)) = tokens.token() else { panic!("a text") };
            assert!(text.unescape(&mut out).is_err(), "{broken}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert_eq!(skip(&"[".repeat(1_000)), Err(Fault::Depth));
    }
}
