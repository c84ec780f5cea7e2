//! One worker's way to the disk: a buffer that is used again and again, and the last file left open, since neighbouring
//! pieces mostly lie in one file.

use std::fs::File;
use std::io;
use std::path::Path;

use super::os;

/// How much is read at once: enough to make system calls rare, little enough to be hashed out of the core's own cache.
/// A multiple of the block, so that blocks are never torn.
const READ_LENGTH: usize = 256 * 1024;

/// Reads ranges of files, numbered by whoever asks.
#[derive(Debug)]
pub struct Reader {
    buffer: Vec<u8>,
    open: Open,
}

/// The file that was read last.
#[derive(Debug, Default)]
struct Open(Option<(usize, File)>);

impl Open {
    fn file(&mut self, (number, path): (usize, &Path)) -> io::Result<&File> {
        let file = match self.0.take() {
            Some((open, file)) if open == number => file,
            _ => os::open_source(path)?,
        };
        let (_, file) = self.0.insert((number, file));
        Ok(file)
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            buffer: vec![0; READ_LENGTH],
            open: Open::default(),
        }
    }
}

impl Reader {
    /// Hands over `length` bytes of a file from `offset` on, in order, in runs of whole blocks but for the last.
    pub fn read(
        &mut self,
        file: (usize, &Path),
        offset: u64,
        length: u64,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let file = self.open.file(file)?;
        let (mut at, end) = (offset, offset.saturating_add(length));
        while at < end {
            let rest = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            let (run, _) = self.buffer.split_at_mut(rest);
            os::read_exact_at(file, run, at)?;
            take(run);
            at += rest as u64;
        }
        Ok(())
    }
}
