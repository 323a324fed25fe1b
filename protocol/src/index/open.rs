//! An index as it is used: opened without reading more than its resident part.

use super::{IndexError, Meta, ReadAt, Stored, Value};

/// One index, open. Look-ups go through [`super::Layers`].
pub struct Index {
    meta: Meta,
    store: Box<dyn ReadAt>,
}

impl Index {
    /// Opens an index: reads and checks its resident part, nothing else.
    ///
    /// # Errors
    /// When it is damaged, of another version, or cannot be read.
    pub fn open(store: Box<dyn ReadAt>) -> Result<Self, IndexError> {
        Err(IndexError::damaged("not written yet"))
    }

    /// What it says about itself.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Bytes of memory that it keeps.
    pub fn resident_bytes(&self) -> usize {
        0
    }

    /// Everything in it, in the order in which it was added.
    pub fn stored(&self) -> impl Iterator<Item = Result<Stored, IndexError>> + '_ {
        std::iter::empty()
    }
}
