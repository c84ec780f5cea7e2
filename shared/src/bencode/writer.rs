//! The writer: appends bencode to a buffer. The caller gives keys in order; debug builds check it.

/// Builds one bencoded value from front to back.
///
/// ```
/// let mut writer = shared::bencode::Writer::new();
/// writer.dict().key("interval").int(60).key("peers").bytes(b"").end();
/// assert_eq!(writer.finish(), b"d8:intervali60e5:peers0:e");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    /// One entry an open list or dictionary: where the last key's content stands in `out`.
    open: Vec<(usize, usize)>,
}

impl Writer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An integer.
    pub fn int(&mut self, number: impl Into<i128>) -> &mut Self {
        self.out.push(b'i');
        self.digits(number.into());
        self.out.push(b'e');
        self
    }

    /// A string, text or not.
    pub fn bytes(&mut self, content: impl AsRef<[u8]>) -> &mut Self {
        let content = content.as_ref();
        self.digits(content.len() as i128);
        self.out.push(b':');
        self.out.extend_from_slice(content);
        self
    }

    /// A value that is bencoded already, as an `info` dictionary of which the hash must not change.
    pub fn raw(&mut self, bencode: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bencode);
        self
    }

    /// Opens a list.
    pub fn list(&mut self) -> &mut Self {
        self.out.push(b'l');
        self.open.push((0, 0));
        self
    }

    /// Opens a dictionary.
    pub fn dict(&mut self) -> &mut Self {
        self.out.push(b'd');
        self.open.push((0, 0));
        self
    }

    /// The key of the next value. Keys come in the order of their bytes, each once.
    pub fn key(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        let key = key.as_ref();
        self.bytes(key);
        let here = (self.out.len() - key.len(), self.out.len());
        if let Some(last) = self.open.last_mut() {
            let (start, end) = std::mem::replace(last, here);
            debug_assert!(
                end == 0 || self.out.get(start..end).is_some_and(|last| last < key),
                "the key {:?} is out of order",
                String::from_utf8_lossy(key)
            );
        }
        self
    }

    /// Closes the innermost list or dictionary.
    pub fn end(&mut self) -> &mut Self {
        debug_assert!(!self.open.is_empty(), "nothing is open");
        self.open.pop();
        self.out.push(b'e');
        self
    }

    /// The finished value.
    pub fn finish(self) -> Vec<u8> {
        debug_assert!(
            self.open.is_empty(),
            "{} lists or dictionaries are open",
            self.open.len()
        );
        self.out
    }

    fn digits(&mut self, number: i128) {
        self.out.extend_from_slice(number.to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_nest_and_numbers_reach_both_ends() {
        let mut writer = Writer::new();
        writer
            .list()
            .int(i64::MIN)
            .int(u64::MAX)
            .dict()
            .key("")
            .bytes([0xff])
            .end()
            .list()
            .end()
            .raw(b"0:")
            .end();
        assert_eq!(
            writer.finish(),
            b"li-9223372036854775808ei18446744073709551615ed0:1:\xffele0:e"
        );
    }

    #[test]
    fn each_dictionary_has_an_order_of_its_own() {
        let mut writer = Writer::new();
        writer
            .dict()
            .key("b")
            .dict()
            .key("a")
            .int(1)
            .end()
            .key("c")
            .int(2)
            .end();
        assert_eq!(writer.finish(), b"d1:bd1:ai1ee1:ci2ee");
    }
}
