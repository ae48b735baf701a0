//! The caller's buffer, handed out piece by piece.

use core::marker::PhantomData;
use core::mem::{MaybeUninit, align_of, size_of};
use core::slice;

use crate::status::Failure;

/// The part of the caller's buffer that is still free.
///
/// It may begin at any address: gethostbyname_r(3) asks for no alignment.
pub struct Buffer<'a> {
    at: *mut u8,
    left: usize,
    owner: PhantomData<&'a mut [MaybeUninit<u8>]>,
}

impl<'a> Buffer<'a> {
    /// Takes over `len` bytes from `at` on.
    ///
    /// # Safety
    /// They must be writable, and nobody else's, for `'a`.
    #[allow(unsafe_code)]
    pub unsafe fn new(at: *mut u8, len: usize) -> Self {
        Self {
            at,
            left: if at.is_null() { 0 } else { len },
            owner: PhantomData,
        }
    }

    /// Room for `count` values, aligned for them.
    ///
    /// # Errors
    /// [`Failure::BufferTooSmall`] if it is not there.
    #[allow(unsafe_code)]
    pub fn reserve<T: Copy>(&mut self, count: usize) -> Result<&'a mut [MaybeUninit<T>], Failure> {
        // Computed by hand: align_offset promises nothing that could be relied on.
        let padding = self.at.addr().wrapping_neg() & (align_of::<T>() - 1);
        let size = size_of::<T>()
            .checked_mul(count)
            .ok_or(Failure::BufferTooSmall)?;
        let taken = size.checked_add(padding).ok_or(Failure::BufferTooSmall)?;
        self.left = self
            .left
            .checked_sub(taken)
            .ok_or(Failure::BufferTooSmall)?;
        let start = self.at.wrapping_add(padding);
        self.at = start.wrapping_add(size);
        // SAFETY: `start` is aligned, the `size` bytes from it on lie inside what
        // `new` was given, and are given away only this once.
        Ok(unsafe { slice::from_raw_parts_mut(start.cast(), count) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GUARD: u8 = 0xa5;

    #[test]
    fn no_buffer_has_no_room() {
        // SAFETY: a null buffer is never touched.
        #[allow(unsafe_code)]
        let mut buffer = unsafe { Buffer::new(core::ptr::null_mut(), 100) };
        assert_eq!(
            buffer.reserve::<u8>(1).unwrap_err(),
            Failure::BufferTooSmall
        );
    }

    #[test]
    fn a_count_that_overflows_has_no_room() {
        let mut bytes = [0u8; 16];
        // SAFETY: the array is ours.
        #[allow(unsafe_code)]
        let mut buffer = unsafe { Buffer::new(bytes.as_mut_ptr(), bytes.len()) };
        for count in [usize::MAX, usize::MAX / 8, usize::MAX / 8 + 1] {
            assert_eq!(
                buffer.reserve::<u64>(count).unwrap_err(),
                Failure::BufferTooSmall
            );
        }
    }

    proptest! {
        #[test]
        fn pieces_are_aligned_apart_and_inside(
            offset in 0usize..16,
            len in 0usize..200,
            pieces in proptest::collection::vec((0u8..3, 0usize..12), 0..12),
        ) {
            let mut bytes = vec![GUARD; 16 + 200 + 16];
            let start = bytes.as_mut_ptr().addr() + offset;
            let end = start + len;
            // SAFETY: the range lies in the vector, which outlives the buffer.
            #[allow(unsafe_code)]
            let mut buffer = unsafe { Buffer::new(bytes.as_mut_ptr().wrapping_add(offset), len) };
            let mut last = start;
            for (kind, count) in pieces {
                let taken = match kind {
                    0 => take::<u8>(&mut buffer, count),
                    1 => take::<u32>(&mut buffer, count),
                    _ => take::<*mut u8>(&mut buffer, count),
                };
                let (align, size) = [(1, 1), (4, 4), (8, 8)][usize::from(kind)];
                match taken {
                    Ok(at) => {
                        prop_assert_eq!(at % align, 0);
                        prop_assert!(at >= last && at - last < align);
                        last = at + size * count;
                        prop_assert!(last <= end);
                    }
                    Err(_) => prop_assert!(last.next_multiple_of(align) + size * count > end),
                }
            }
            for (i, byte) in bytes.iter().enumerate() {
                prop_assert!(*byte == GUARD || (offset..offset + len).contains(&i));
            }
        }
    }

    fn take<'a, T: Copy + 'a>(buffer: &mut Buffer<'a>, count: usize) -> Result<usize, Failure> {
        let piece = buffer.reserve::<T>(count)?;
        for slot in piece.iter_mut() {
            *slot = MaybeUninit::zeroed();
        }
        Ok(piece.as_ptr().addr())
    }
}
