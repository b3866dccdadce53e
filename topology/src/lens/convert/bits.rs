//! Bit strings, little-endian as Debezium sends them.

use super::{NO_WAY, Refused, Scratch, number};
use crate::data::{Arena, Cell, View};

pub(super) fn to_bits(cell: Cell, arena: &mut Arena, scratch: &mut Scratch, length: u32) -> Result<Cell, Refused> {
    const TOO_LONG: Refused = Refused("the value has more bits than the target type keeps");
    scratch.bytes.clear();
    match arena.view(cell) {
        View::Bits(bytes) => scratch.bytes.extend_from_slice(bytes),
        View::Text(text) => read_bits(text, &mut scratch.bytes)?,
        View::Bool(_) | View::I64(_) | View::U64(_) => {
            let number = number::to_int(cell, arena)?;
            let number = u64::try_from(number).map_err(|_| Refused("a negative number is no bit string"))?;
            scratch.bytes.extend_from_slice(&number.to_le_bytes());
        }
        _ => return Err(NO_WAY),
    }
    let bytes = &mut scratch.bytes;
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| {
        let whole = u32::try_from(last).unwrap_or(u32::MAX / 8) * 8;
        whole + (8 - bytes[last].leading_zeros())
    });
    if used > length {
        return Err(TOO_LONG);
    }
    if length != u32::MAX {
        bytes.resize(length.div_ceil(8) as usize, 0);
    }
    Ok(Cell::Bits(arena.push_bytes(bytes)))
}

/// `1010`, most significant bit first.
fn read_bits(text: &str, out: &mut Vec<u8>) -> Result<(), Refused> {
    for (at, digit) in text.bytes().rev().enumerate() {
        if at % 8 == 0 {
            out.push(0);
        }
        match digit {
            b'0' => {}
            b'1' => out[at / 8] |= 1 << (at % 8),
            _ => return Err(Refused("the text is not a bit string")),
        }
    }
    Ok(())
}

/// Appends all bits, most significant first.
pub(super) fn write_bits(little_endian: &[u8], out: &mut Vec<u8>) {
    for byte in little_endian.iter().rev() {
        for bit in (0..8).rev() {
            out.push(b'0' + (byte >> bit & 1));
        }
    }
}
