//! Bounds-checked primitives of Avro's binary form. No read panics, whatever the bytes are.

use topology::data::Span;

use crate::fault::Fault;
use crate::plan::{Branch, Slot};

/// Reads bytes that also stand in an arena from `base` on, so that spans can point there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    base: u32,
    /// Items of arrays and maps that this record may still have.
    items_left: u32,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from `start` on; byte 0 stands at `base` in the arena.
    pub(crate) fn new(bytes: &'a [u8], start: usize, base: u32) -> Reader<'a> {
        Reader { bytes, at: start, base, items_left: ITEMS_MAX }
    }

    /// Bytes not read yet.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// `length` bytes and where they stand in the arena.
    #[inline(always)]
    pub(crate) fn take(&mut self, length: usize) -> Result<(&'a [u8], Span), Fault> {
        let end = self.at.checked_add(length).ok_or(Fault::Length)?;
        let taken = self.bytes.get(self.at..end).ok_or(Fault::End)?;
        // A record is shorter than 4 GiB, so neither sum can overflow: the whole record was stored in an arena.
        let span = Span { start: self.base + self.at as u32, length: length as u32 };
        self.at = end;
        Ok((taken, span))
    }

    /// A zigzag variable-length integer.
    #[inline(always)]
    pub(crate) fn long(&mut self) -> Result<i64, Fault> {
        match self.bytes.get(self.at) {
            // Branches, lengths and small numbers: most integers have one byte.
            Some(first) if *first < 0x80 => {
                self.at += 1;
                Ok(unzigzag(u64::from(*first)))
            }
            _ => self.long_wide(),
        }
    }

    fn long_wide(&mut self) -> Result<i64, Fault> {
        let rest = self.bytes.get(self.at..).ok_or(Fault::End)?;
        let (mut padded, taken) = ([0x80_u8; 10], rest.len().min(10));
        let ten = match rest.first_chunk::<10>() {
            Some(ten) => ten,
            None => {
                for (slot, byte) in padded.iter_mut().zip(rest) {
                    *slot = *byte;
                }
                &padded
            }
        };
        let mut value = 0_u64;
        for (index, byte) in ten.iter().enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                // The tenth byte has one bit left.
                if index == 9 && *byte > 1 {
                    return Err(Fault::Varint);
                }
                self.at += index + 1;
                return Ok(unzigzag(value));
            }
        }
        Err(if taken < 10 { Fault::End } else { Fault::Varint })
    }

    /// A 32-bit integer, which Avro writes like a long.
    #[inline(always)]
    pub(crate) fn int(&mut self) -> Result<i64, Fault> {
        let value = self.long()?;
        if i32::try_from(value).is_ok() { Ok(value) } else { Err(Fault::IntegerRange) }
    }

    /// A length or index: a long that is not negative.
    #[inline(always)]
    pub(crate) fn size(&mut self) -> Result<usize, Fault> {
        usize::try_from(self.long()?).map_err(|_| Fault::Length)
    }

    /// Length-prefixed bytes.
    #[inline(always)]
    pub(crate) fn bytes(&mut self) -> Result<(&'a [u8], Span), Fault> {
        let length = self.size()?;
        self.take(length)
    }

    /// Length-prefixed text, validated, for those who need only its place.
    #[inline(always)]
    pub(crate) fn text_bytes(&mut self) -> Result<(&'a [u8], Span), Fault> {
        let (bytes, span) = self.bytes()?;
        if is_ascii(bytes) || std::str::from_utf8(bytes).is_ok() { Ok((bytes, span)) } else { Err(Fault::Utf8) }
    }

    /// Length-prefixed text, validated.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<(&'a str, Span), Fault> {
        let (bytes, span) = self.bytes()?;
        Ok((std::str::from_utf8(bytes).map_err(|_| Fault::Utf8)?, span))
    }

    /// One byte, 0 or 1.
    #[inline]
    pub(crate) fn bool(&mut self) -> Result<bool, Fault> {
        match self.take(1)?.0 {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Fault::Boolean),
        }
    }

    /// Single precision.
    #[inline]
    pub(crate) fn float(&mut self) -> Result<f32, Fault> {
        let (bytes, _) = self.take(4)?;
        Ok(f32::from_le_bytes(bytes.try_into().map_err(|_| Fault::End)?))
    }

    /// Double precision.
    #[inline]
    pub(crate) fn double(&mut self) -> Result<f64, Fault> {
        let (bytes, _) = self.take(8)?;
        Ok(f64::from_le_bytes(bytes.try_into().map_err(|_| Fault::End)?))
    }

    /// Reads the branch in front of a value, if its slot has one; false for null.
    #[inline(always)]
    pub(crate) fn is_present(&mut self, slot: Slot) -> Result<bool, Fault> {
        if !slot.is_union() {
            return Ok(true);
        }
        match slot.branch(self.long()?) {
            Branch::Value => Ok(true),
            Branch::Null => Ok(false),
            Branch::Unknown => Err(Fault::Branch),
        }
    }

    /// Moves past a variable-length integer.
    #[inline]
    pub(crate) fn skip_long(&mut self) -> Result<(), Fault> {
        let rest = self.bytes.get(self.at..).ok_or(Fault::End)?;
        match rest.iter().take(10).position(|byte| *byte < 0x80) {
            Some(last) => {
                self.at += last + 1;
                Ok(())
            }
            None if rest.len() < 10 => Err(Fault::End),
            None => Err(Fault::Varint),
        }
    }

    /// The next block of an array or map: number of items, 0 at the end. Checked against what the record can still hold, because
    /// a few bytes may declare 2^63 items; those that take no byte are bounded for the record as a whole.
    pub(crate) fn block(&mut self, items_may_be_empty: bool) -> Result<usize, Fault> {
        let declared = self.long()?;
        let count = usize::try_from(declared.unsigned_abs()).map_err(|_| Fault::Items)?;
        if declared < 0 {
            self.size()?;
        }
        if count > self.remaining() && !items_may_be_empty {
            return Err(Fault::Items);
        }
        if items_may_be_empty && count > EMPTY_ITEMS_MAX {
            return Err(Fault::Items);
        }
        self.items_left =
            u32::try_from(count).ok().and_then(|count| self.items_left.checked_sub(count)).ok_or(Fault::Items)?;
        Ok(count)
    }
}

/// Most items of all arrays and maps of one record: more is refused, because each costs a cell of 16 bytes.
pub(crate) const ITEMS_MAX: u32 = 4 << 20;

/// Most items in one block when they take no byte: nothing else bounds them.
const EMPTY_ITEMS_MAX: usize = 1 << 16;

/// Eight bytes at a time: texts of columns are short, and the standard library's check goes byte by byte through short ones.
#[inline(always)]
fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    let high = words.iter().fold(0, |high, word| high | u64::from_le_bytes(*word));
    let tail = rest.iter().fold(0, |high, byte| high | byte);
    high & HIGH == 0 && tail < 0x80
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(bytes: &[u8]) -> Result<i64, Fault> {
        Reader::new(bytes, 0, 0).long()
    }

    #[test]
    fn integers_at_the_ends_of_their_range() {
        assert_eq!(long(&[0]), Ok(0));
        assert_eq!(long(&[1]), Ok(-1));
        assert_eq!(long(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Ok(i64::MAX));
        assert_eq!(long(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Ok(i64::MIN));
        assert_eq!(long(&[0x80]), Err(Fault::End));
        assert_eq!(long(&[0xff; 10]), Err(Fault::Varint));
        assert_eq!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x10], 0, 0).int(), Err(Fault::IntegerRange));
    }

    #[test]
    fn lengths_beyond_the_record_are_refused() {
        assert_eq!(Reader::new(&[4, b'x'], 0, 0).bytes(), Err(Fault::End));
        assert_eq!(Reader::new(&[1], 0, 0).bytes(), Err(Fault::Length));
        let huge = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(Reader::new(&huge, 0, 0).block(false), Err(Fault::Items));
        assert_eq!(Reader::new(&huge, 0, 0).block(true), Err(Fault::Items));
    }

    /// MEM-1: arrays of arrays whose items take no byte would be gigabytes otherwise.
    #[test]
    fn items_are_bounded_for_the_record_as_a_whole() {
        let most = EMPTY_ITEMS_MAX as u32;
        let block = [0x80, 0x80, 0x08];
        assert_eq!(long(&block), Ok(i64::from(most)));
        let blocks = block.repeat(1 + (ITEMS_MAX / most) as usize);
        let mut reader = Reader::new(&blocks, 0, 0);
        for _ in 0..ITEMS_MAX / most {
            assert_eq!(reader.block(true), Ok(EMPTY_ITEMS_MAX));
        }
        assert_eq!(reader.block(true), Err(Fault::Items));
    }
}
