//! Files that are cut, changed, replaced or deleted while they are being seeded, and disks that cannot read them: a leecher
//! that compares every byte gets the right ones or a refusal, the owner is told which file it is, and what is put back is
//! seeded again.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use shared::peer_wire::{Message, Span};
use tests::fake_peer::FakePeer;
use tests::rig::{MoodyDisk, Running, Stream, ask_until};

use crate::album::{Album, LIMIT, info_hash, inspect};
use crate::operating::Owner;

const PIECE_LENGTH: u32 = 64 * 1024;
const BLOCK: u32 = 16 * 1024;
const VICTIM: &str = "IMG_0000.jpg";

/// What a seeder is expected to give.
struct Truth {
    torrent: PathBuf,
    content: Bytes,
    /// Pieces that hold some byte of the victim.
    victims: BTreeSet<u32>,
}

impl Truth {
    fn of(album: &Album) -> Self {
        let torrent = album.create(&["--piece-length", &PIECE_LENGTH.to_string()]);
        let (mut content, mut victims) = (Vec::new(), BTreeSet::new());
        for file in inspect(&torrent)["files"].as_array().unwrap() {
            let path = PathBuf::from(file["path"].as_str().unwrap());
            let start = content.len();
            content.extend(fs::read(album.place("home").join(&path)).unwrap());
            if path.ends_with(VICTIM) {
                victims.extend(piece_at(start)..=piece_at(content.len() - 1));
            }
        }
        Self {
            torrent,
            content: content.into(),
            victims,
        }
    }

    fn pieces(&self) -> BTreeSet<u32> {
        (0..=piece_at(self.content.len() - 1)).collect()
    }

    fn others(&self) -> BTreeSet<u32> {
        self.pieces().difference(&self.victims).copied().collect()
    }

    fn blocks(&self, piece: u32) -> Vec<Span> {
        let start = u64::from(piece) * u64::from(PIECE_LENGTH);
        let length = (self.content.len() as u64 - start).min(PIECE_LENGTH.into());
        let length = u32::try_from(length).unwrap();
        let begins = (0..length).step_by(BLOCK as usize);
        let block = |begin| Span {
            piece,
            begin,
            length: BLOCK.min(length - begin),
        };
        begins.map(block).collect()
    }

    fn bytes(&self, piece: u32, begin: u32, length: usize) -> &[u8] {
        let start = piece as usize * PIECE_LENGTH as usize + begin as usize;
        &self.content[start..start + length]
    }
}

fn piece_at(address: usize) -> u32 {
    u32::try_from(address / PIECE_LENGTH as usize).unwrap()
}

/// A leecher that believes nothing.
struct Leecher {
    peer: FakePeer,
    may_ask: bool,
}

impl Leecher {
    fn call(seeding: &Running, truth: &Truth) -> Self {
        let address = crate::contract::peer_address(seeding).parse().unwrap();
        let mut peer = FakePeer::dial(address, info_hash(&truth.torrent));
        peer.say(&Message::Interested).unwrap();
        Self { peer, may_ask: false }
    }

    /// Asks for every block of every piece, whatever the seeder says it has; the pieces that came in full. A wrong byte ends
    /// the test.
    #[track_caller]
    fn take_all(&mut self, truth: &Truth) -> BTreeSet<u32> {
        let mut whole = BTreeSet::new();
        for piece in truth.pieces() {
            let blocks = truth.blocks(piece);
            let given = blocks.iter().filter(|span| self.take(truth, **span)).count();
            if given == blocks.len() {
                whole.insert(piece);
            }
        }
        whole
    }

    /// True if the block came, false if it was refused.
    #[track_caller]
    fn take(&mut self, truth: &Truth, wanted: Span) -> bool {
        while !self.may_ask {
            let message = self.peer.hear().unwrap();
            self.notice(&message);
        }
        self.peer.say(&Message::Request(wanted)).unwrap();
        loop {
            let message = self.peer.hear().unwrap();
            self.notice(&message);
            match message {
                Message::Piece { piece, begin, data } => {
                    assert_eq!((piece, begin), (wanted.piece, wanted.begin));
                    let right = truth.bytes(piece, begin, data.len());
                    assert!(data[..] == *right, "wrong bytes in piece {piece} from {begin} on");
                    return true;
                }
                Message::Reject(span) if span == wanted => return false,
                _ => (),
            }
        }
    }

    fn notice(&mut self, message: &Message) {
        match message {
            Message::Unchoke => self.may_ask = true,
            Message::Choke => self.may_ask = false,
            _ => (),
        }
    }
}

/// What somebody does to a file that is being seeded.
type Deed = (&'static str, fn(&Path) -> io::Result<()>);

const DEEDS: [Deed; 6] = [
    ("cut", |file| {
        File::options().write(true).open(file)?.set_len(100_000)
    }),
    ("changed in its place", |file| overwrite(file)),
    ("changed in its place, and its time set back", |file| {
        let before = file.metadata()?.modified()?;
        overwrite(file)?;
        File::options().write(true).open(file)?.set_modified(before)
    }),
    ("replaced by an older file of its length", |file| {
        let length = file.metadata()?.len();
        let other = file.with_extension("other");
        fs::write(&other, vec![7; usize::try_from(length).unwrap()])?;
        let year = file.metadata()?.modified()? - Duration::from_secs(365 * 86_400);
        let times = FileTimes::new().set_modified(year);
        File::options().write(true).open(&other)?.set_times(times)?;
        fs::rename(&other, file)
    }),
    ("deleted", |file| fs::remove_file(file)),
    ("replaced by a folder", |file| {
        fs::remove_file(file)?;
        fs::create_dir(file)
    }),
];

/// Turns every byte over.
fn overwrite(file: &Path) -> io::Result<()> {
    let mut open = File::options().read(true).write(true).open(file)?;
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes)?;
    for byte in &mut bytes {
        *byte ^= 0xff;
    }
    open.seek(SeekFrom::Start(0))?;
    open.write_all(&bytes)
}

#[test]
fn no_wrong_byte_leaves_of_files_that_are_changed_under_a_seeders_hands() {
    let album = Album::of(&[300_000, 200_000, 100_000]);
    let truth = Truth::of(&album);
    let seeding = album.seed(&truth.torrent, "127.0.0.1:0");
    let owner = Owner::of(album.place("seed-state"));
    let file = album.content().join(VICTIM);
    let kept = album.place("kept");
    fs::copy(&file, &kept).unwrap();
    for (number, (what, does)) in DEEDS.iter().enumerate() {
        let mut leecher = Leecher::call(&seeding, &truth);
        assert_eq!(leecher.take_all(&truth), truth.pieces(), "before it was {what}");
        does(&file).unwrap();
        // The same connection, at once: nothing but the reads themselves can notice. What stood open may still be right.
        let got = leecher.take_all(&truth);
        assert!(
            got.is_superset(&truth.others()),
            "{what}: more is gone than the file: {got:?}"
        );
        named(&seeding, number + 1);
        let left = truth.others().len() as u64;
        owner.wait("Holidays", "nothing of the file is claimed", |shown| {
            shown["have_count"] == left
        });
        assert_eq!(leecher.take_all(&truth), truth.others(), "after it was {what}");

        let _ = fs::remove_dir(&file);
        fs::copy(&kept, &file).unwrap();
        owner.does(&["recheck", "Holidays"]);
        owner.wait("Holidays", "all of it again", |shown| {
            shown["stage"] == "seeding" && shown["have_bytes"] == shown["total_bytes"]
        });
    }
    assert_eq!(Leecher::call(&seeding, &truth).take_all(&truth), truth.pieces());
}

/// The owner has been told of the file so many times, and of no other.
#[track_caller]
fn named(seeding: &Running, times: usize) {
    let told = || {
        let lines = seeding.lines(Stream::Err).into_iter();
        lines
            .filter(|line| line.starts_with("warning: ") && line.contains("not given"))
            .collect::<Vec<_>>()
    };
    ask_until("a word about the file", LIMIT, || {
        (told().len() >= times).then_some(())
    });
    assert_eq!(told().len(), times, "{:#?}", told());
    assert!(
        told().iter().all(|line| line.contains("Holidays/IMG_0000.jpg")),
        "{:#?}",
        told()
    );
}

#[test]
fn what_a_disk_cannot_read_is_refused_and_the_rest_is_given() {
    let album = Album::of(&[300_000, 200_000, 100_000]);
    let truth = Truth::of(&album);
    let disk = MoodyDisk::mount(&album.place("moody"), &album.place("home"));
    let owner = Owner::of(album.place("state"));
    let seeding = owner
        .program(&["seed", "--json", "--listen", "127.0.0.1:0"])
        .arg(&truth.torrent)
        .arg("--content")
        .arg(album.place("moody"))
        .start();
    disk.spoil(Some(VICTIM));
    let mut leecher = Leecher::call(&seeding, &truth);
    assert_eq!(leecher.take_all(&truth), truth.others());
    named(&seeding, 1);
    let told = seeding.lines(Stream::Err).join("\n");
    assert!(told.contains("Input/output error"), "{told}");
    // It is looked for again by itself.
    let misses = |shown: &Value| shown["have_bytes"].as_u64() < shown["total_bytes"].as_u64();
    owner.wait("Holidays", "something that is not claimed", misses);
    disk.spoil(None);
    owner.wait("Holidays", "all of it again", |shown| {
        shown["have_bytes"] == shown["total_bytes"]
    });
    assert_eq!(leecher.take_all(&truth), truth.pieces());
}
