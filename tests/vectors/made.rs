//! Torrents of our own making, good and hostile: every reason to refuse, every rule for names. Written by a small encoder
//! that, unlike the product's, can also write what is wrong.

use std::collections::BTreeMap;

use shared::merkle::{self, Hash};

/// A torrent and the name under which it is kept.
#[derive(Debug)]
pub struct Made {
    pub name: &'static str,
    pub bytes: Vec<u8>,
}

impl Made {
    pub fn file_name(&self) -> String {
        format!("{}.torrent", self.name)
    }
}

/// A bencoded value. Dictionaries keep the order in which they were written, right or wrong.
#[derive(Clone, Debug)]
enum Ben {
    Int(i64),
    Text(Vec<u8>),
    List(Vec<Ben>),
    Dict(Vec<(Vec<u8>, Ben)>),
    /// As it stands.
    Raw(&'static str),
}

impl Ben {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Int(number) => format!("i{number}e").into_bytes(),
            Self::Text(text) => [text.len().to_string().as_bytes(), b":", text].concat(),
            Self::List(items) => [
                &b"l"[..],
                &items.iter().flat_map(Self::encode).collect::<Vec<u8>>(),
                b"e",
            ]
            .concat(),
            Self::Dict(entries) => {
                let entry = |(key, value): &(Vec<u8>, Self)| [text(key).encode(), value.encode()].concat();
                [
                    &b"d"[..],
                    &entries.iter().flat_map(entry).collect::<Vec<u8>>(),
                    b"e",
                ]
                .concat()
            }
            Self::Raw(raw) => raw.as_bytes().to_vec(),
        }
    }

    /// The same dictionary with a key set, in its place by order.
    fn with(mut self, key: impl AsRef<[u8]>, value: Self) -> Self {
        self = self.without(&key);
        if let Self::Dict(entries) = &mut self {
            let place = entries.partition_point(|(other, _)| other.as_slice() < key.as_ref());
            entries.insert(place, (key.as_ref().to_vec(), value));
        }
        self
    }

    fn without(mut self, key: impl AsRef<[u8]>) -> Self {
        if let Self::Dict(entries) = &mut self {
            entries.retain(|(other, _)| other != key.as_ref());
        }
        self
    }

    /// The last two keys the wrong way round.
    fn unsorted(mut self) -> Self {
        if let Self::Dict(entries) = &mut self {
            let last = entries.len().saturating_sub(1);
            entries.swap(last, last.saturating_sub(1));
        }
        self
    }

    /// The first key twice.
    fn doubled(mut self) -> Self {
        if let Self::Dict(entries) = &mut self {
            entries.extend(entries.first().cloned());
            entries.rotate_right(1);
        }
        self
    }
}

fn int(number: i64) -> Ben {
    Ben::Int(number)
}

fn text(content: impl AsRef<[u8]>) -> Ben {
    Ben::Text(content.as_ref().to_vec())
}

fn list(items: impl IntoIterator<Item = Ben>) -> Ben {
    Ben::List(items.into_iter().collect())
}

fn dict<K: AsRef<[u8]>>(entries: impl IntoIterator<Item = (K, Ben)>) -> Ben {
    Ben::Dict(
        entries
            .into_iter()
            .map(|(key, value)| (key.as_ref().to_vec(), value))
            .collect(),
    )
}

fn path(components: &[&str]) -> Ben {
    list(components.iter().map(text))
}

/// The piece length of most of these.
const PIECE: i64 = 16_384;

/// So many bytes of content, every one of them 7.
fn content(length: i64) -> Vec<u8> {
    vec![7; usize::try_from(length).unwrap_or_default()]
}

fn pieces(length: i64) -> Ben {
    text(vec![
        b'h';
        20 * usize::try_from(length.max(0))
            .unwrap_or_default()
            .div_ceil(16_384)
    ])
}

/// A v1 info dictionary of one file.
fn one(name: impl AsRef<[u8]>) -> Ben {
    dict([
        ("length", int(20_000)),
        ("name", text(name)),
        ("piece length", int(PIECE)),
        ("pieces", pieces(20_000)),
    ])
}

fn file(length: i64, components: &[&str]) -> Ben {
    dict([("length", int(length)), ("path", path(components))])
}

/// A v1 info dictionary of these files, which are so long in all.
fn many(length: i64, files: impl IntoIterator<Item = Ben>) -> Ben {
    dict([
        ("files", list(files)),
        ("name", text("album")),
        ("piece length", int(PIECE)),
        ("pieces", pieces(length)),
    ])
}

/// A v1 album of small files with these names.
fn named(paths: &[&[&str]]) -> Ben {
    many(
        5 * i64::try_from(paths.len()).unwrap_or_default(),
        paths.iter().map(|path| file(5, path)),
    )
}

fn leaf(length: i64) -> Ben {
    let root = merkle::file_root(&merkle::leaves(&content(length)), 16_384);
    let file = dict([("length", int(length)), ("pieces root", text(root))]);
    dict([(
        "",
        if length == 0 {
            dict([("length", int(0))])
        } else {
            file
        },
    )])
}

/// A v2 info dictionary over this tree.
fn v2(tree: Ben) -> Ben {
    dict([
        ("file tree", tree),
        ("meta version", int(2)),
        ("name", text("album")),
        ("piece length", int(PIECE)),
    ])
}

/// The layers of files of these lengths.
fn layers(lengths: &[i64]) -> BTreeMap<Hash, Vec<Hash>> {
    let layer = |length: &i64| {
        let leaves = merkle::leaves(&content(*length));
        (merkle::file_root(&leaves, 16_384), merkle::layer(&leaves, 16_384))
    };
    lengths.iter().map(layer).collect()
}

fn layers_value(layers: &BTreeMap<Hash, Vec<Hash>>) -> Ben {
    dict(layers.iter().map(|(root, layer)| (root, text(layer.concat()))))
}

/// A v2 torrent of one file of 40,000 bytes, with its layer.
fn v2_long(layers: &BTreeMap<Hash, Vec<Hash>>) -> Ben {
    dict([
        ("info", v2(dict([("long", leaf(40_000))]))),
        ("piece layers", layers_value(layers)),
    ])
}

/// A hybrid of two files with padding between them and, where `tail` says so, behind them.
fn hybrid(tail: bool) -> Ben {
    let padding = |length| file(length, &[".pad", "x"]).with("attr", text("p"));
    let mut files = vec![file(5, &["a"]), padding(PIECE - 5), file(7, &["b"])];
    files.extend(tail.then(|| padding(PIECE - 7)));
    let tree = dict([("a", leaf(5)), ("b", leaf(7))]);
    v2(tree)
        .with("files", list(files))
        .with("pieces", pieces(2 * PIECE))
}

fn hybrid_one() -> Ben {
    v2(dict([("album", leaf(40_000))]))
        .with("length", int(40_000))
        .with("pieces", pieces(40_000))
}

fn torrent(info: Ben) -> Ben {
    dict([("info", info)])
}

/// All of them.
pub fn all() -> Vec<Made> {
    let info = [
        v1_good(),
        v1_special(),
        names(),
        v1_bad(),
        v1_bad_files(),
        v2_good(),
        v2_bad(),
        hybrids(),
    ]
    .concat();
    let info = info.into_iter().map(|(name, info)| (name, torrent(info)));
    let whole = info.chain(outer_good()).chain(outer_bad()).chain(layer_cases());
    let whole = whole.map(|(name, value)| Made {
        name,
        bytes: value.encode(),
    });
    whole.chain(raw()).collect()
}

type Case = (&'static str, Ben);

fn v1_good() -> Vec<Case> {
    vec![
        ("v1_one", one("photo.jpg")),
        ("v1_many", named(&[&["a"], &["b", "c"]])),
        (
            "v1_private",
            one("a").with("private", int(1)).with("source", text("home")),
        ),
        ("v1_unsorted", one("a").unsorted()),
        ("v1_duplicate_key", one("a").doubled()),
        ("v1_loose_integer", one("a").with("length", Ben::Raw("i020000e"))),
        (
            "v1_minus_zero",
            many(
                5,
                [file(5, &["a"]), file(0, &["b"]).with("length", Ben::Raw("i-0e"))],
            ),
        ),
        ("v1_keys_not_utf8", one("a").with(b"\xff\xfe", int(1))),
        (
            "v1_piece_length_1",
            one("a")
                .with("length", int(3))
                .with("piece length", int(1))
                .with("pieces", text([b'h'; 60])),
        ),
        (
            "v1_piece_length_odd",
            one("a")
                .with("length", int(5))
                .with("piece length", int(536_854_528))
                .with("pieces", pieces(5)),
        ),
        ("v1_meta_version_1", one("a").with("meta version", int(1))),
        ("v1_name_utf8", one("a").with("name.utf-8", text("b"))),
        (
            "v1_path_utf8",
            many(5, [file(5, &["a"]).with("path.utf-8", path(&["ü", "b"]))]),
        ),
        ("v1_length_and_files", named(&[&["a"]]).with("length", int(9))),
        ("v1_files_not_a_list", one("a").with("files", int(5))),
    ]
}

/// Files that are no content.
fn v1_special() -> Vec<Case> {
    let padding = |name: &str| file(PIECE - 5, &[name]);
    let link = |target: &[&str]| {
        file(0, &["link"])
            .with("attr", text("l"))
            .with("symlink path", path(target))
    };
    vec![
        (
            "v1_padding",
            many(
                PIECE + 4,
                [
                    file(5, &["a"]),
                    padding("p").with("attr", text("p")),
                    file(4, &["b"]),
                ],
            ),
        ),
        (
            "v1_padding_bitcomet",
            many(
                PIECE + 4,
                [file(5, &["a"]), padding("_____padding_file_0"), file(4, &["b"])],
            ),
        ),
        (
            "v1_padding_without_path",
            many(
                5,
                [file(4, &["a"]), dict([("attr", text("p")), ("length", int(1))])],
            ),
        ),
        ("v1_link", many(5, [file(5, &["a"]), link(&["a"])])),
        (
            "v1_link_out",
            many(
                5,
                [
                    file(5, &["a"]),
                    link(&["..", "..", "etc", "passwd"]),
                    link(&["/etc"]),
                ],
            ),
        ),
        (
            "v1_link_without_target",
            many(5, [file(5, &["a"]), link(&[]).without("symlink path")]),
        ),
        (
            "v1_link_with_length",
            many(5, [file(5, &["a"]), link(&["a"]).with("length", int(9))]),
        ),
        (
            "v1_empty_files",
            many(5, [file(0, &["a"]), file(5, &["b"]), file(0, &["c"])]),
        ),
        ("v1_depth_100", named(&[&["d"; 100]])),
    ]
}

fn names() -> Vec<Case> {
    let long = "n".repeat(400);
    let longer = long.clone() + ".jpeg";
    let same: Vec<&[&str]> = vec![&["a.txt"]; 33];
    vec![
        (
            "name_up",
            named(&[&["..", "..", "etc", "passwd"], &[".."], &["."], &["a", ".", "b"]]),
        ),
        (
            "name_absolute",
            named(&[&["/etc/passwd"], &["/", "etc"], &["\\\\host\\share"], &["C:\\x"]]),
        ),
        (
            "name_hidden_up",
            named(&[&["./."], &["\u{202e}.."], &[".\0."], &["..\\"]]),
        ),
        ("name_empty", named(&[&[""], &["a", "", "b"]])),
        (
            "name_controls",
            named(&[&["a\nb"], &["\u{1b}[31m"], &["\u{9b}"], &["a\0b"]]),
        ),
        (
            "name_bidi",
            named(&[&["photo\u{202e}gpj.exe"], &["\u{200f}\u{2066}x\u{2069}"]]),
        ),
        (
            "name_reserved",
            named(&[&["CON"], &["aux.txt"], &["lpt1", "com¹"], &["nul .x"]]),
        ),
        (
            "name_not_utf8",
            many(
                5,
                [dict([
                    ("length", int(5)),
                    ("path", list([text(b"caf\xe9"), text(b"\xff\xfe\x00")])),
                ])],
            ),
        ),
        ("name_long", named(&[&[&long], &[&longer], &[&long, &longer]])),
        ("name_long_path", named(&[&[long.as_str(); 60]])),
        (
            "name_duplicates",
            named(&[&["a.jpg"], &["A.JPG"], &["a.1.jpg"], &["a.jpg"]]),
        ),
        (
            "name_file_and_folder",
            named(&[&["a"], &["A", "b"], &["a", "B", "c"]]),
        ),
        ("name_33_duplicates", named(&same)),
        ("name_34_duplicates", named(&[&same[..], &[&["a.txt"]]].concat())),
        ("torrent_name_up", named(&[&["a"]]).with("name", text(".."))),
        ("torrent_name_slash", named(&[&["a"]]).with("name", text("/"))),
        ("torrent_name_empty", named(&[&["a"]]).with("name", text(""))),
        ("torrent_name_absolute", one("/etc/passwd")),
        ("torrent_name_not_utf8", one(b"\xff")),
        ("one_name_up", one("..")),
        ("one_name_empty", one("")),
        ("one_name_nothing_left", one("/\\\u{202e}")),
    ]
}

fn v1_bad() -> Vec<Case> {
    vec![
        ("v1_no_piece_length", one("a").without("piece length")),
        ("v1_piece_length_zero", one("a").with("piece length", int(0))),
        (
            "v1_piece_length_negative",
            one("a").with("piece length", int(-PIECE)),
        ),
        (
            "v1_piece_length_huge",
            one("a").with("piece length", int(536_854_529)),
        ),
        (
            "v1_piece_length_text",
            one("a").with("piece length", text("16384")),
        ),
        ("v1_no_name", one("a").without("name")),
        ("v1_name_number", one("a").with("name", int(5))),
        ("v1_no_length", one("a").without("length")),
        ("v1_length_negative", one("a").with("length", int(-1))),
        ("v1_length_text", one("a").with("length", text("20000"))),
        (
            "v1_length_zero",
            one("a").with("length", int(0)).with("pieces", text("")),
        ),
        (
            "v1_length_too_long",
            one("a").with("length", int(17_592_186_028_032)),
        ),
        (
            "v1_length_of_20_digits",
            one("a").with("length", Ben::Raw("i99999999999999999999e")),
        ),
    ]
}

fn v1_bad_files() -> Vec<Case> {
    vec![
        ("v1_no_files", many(0, [])),
        ("v1_file_not_a_dictionary", many(5, [file(5, &["a"]), int(5)])),
        ("v1_no_path", many(5, [file(5, &["a"]).without("path")])),
        ("v1_path_empty", many(5, [file(5, &[])])),
        ("v1_path_text", many(5, [file(5, &[]).with("path", text("a"))])),
        (
            "v1_path_of_numbers",
            many(5, [file(5, &[]).with("path", list([int(5)]))]),
        ),
        ("v1_depth_101", named(&[&["d"; 101]])),
        (
            "v1_file_without_length",
            many(5, [file(5, &["a"]).without("length")]),
        ),
        ("v1_only_empty_files", many(0, [file(0, &["a"]), file(0, &["b"])])),
        (
            "v1_only_padding",
            many(5, [file(5, &["a"]).with("attr", text("p"))]),
        ),
        (
            "v1_only_links",
            many(
                0,
                [file(0, &["a"])
                    .with("attr", text("l"))
                    .with("symlink path", path(&["a"]))],
            ),
        ),
        ("v1_no_pieces", one("a").without("pieces")),
        ("v1_pieces_short", one("a").with("pieces", text([b'h'; 20]))),
        ("v1_pieces_long", one("a").with("pieces", text([b'h'; 60]))),
        ("v1_pieces_uneven", one("a").with("pieces", text([b'h'; 39]))),
        ("v1_pieces_number", one("a").with("pieces", int(5))),
        (
            "v1_too_many_pieces",
            one("a")
                .with("length", int(2_097_153))
                .with("piece length", int(1)),
        ),
        ("v1_file_tree", one("a").with("file tree", dict([("a", leaf(5))]))),
    ]
}

fn v2_good() -> Vec<Case> {
    vec![
        ("v2_one", v2(dict([("a.jpg", leaf(5))]))),
        (
            "v2_many",
            v2(dict([
                ("a", leaf(5)),
                ("b", dict([("c", leaf(16_384)), ("d", leaf(0))])),
            ])),
        ),
        ("v2_without_layers", v2(dict([("a", leaf(40_000))]))),
        (
            "v2_empty_folder",
            v2(dict([("a", leaf(5)), ("b", dict::<&str>([]))])),
        ),
        (
            "v2_name_up",
            v2(dict([
                ("..", dict([("..", leaf(5)), ("x/y", leaf(5))])),
                ("/", leaf(5)),
            ])),
        ),
        (
            "v2_name_not_utf8",
            v2(dict([(b"\xfe", leaf(5)), (b"\xff", leaf(5))])),
        ),
        ("v2_same_names", v2(dict([("A", leaf(5)), ("a", leaf(5))]))),
        (
            "v2_link",
            v2(dict([
                ("a", leaf(5)),
                (
                    "b",
                    dict([(
                        "",
                        dict([
                            ("attr", text("l")),
                            ("length", int(0)),
                            ("symlink path", path(&["a"])),
                        ]),
                    )]),
                ),
            ])),
        ),
        (
            "v2_pieces_too",
            v2(dict([("a", leaf(5))])).with("pieces", pieces(5)),
        ),
    ]
}

fn v2_bad() -> Vec<Case> {
    let small = || v2(dict([("a", leaf(5))]));
    let entry = |value: Ben| v2(dict([("a", dict([("", value)]))]));
    let good = || dict([("length", int(5)), ("pieces root", text([1; 32]))]);
    vec![
        ("v2_version_3", small().with("meta version", int(3))),
        ("v2_version_missing", small().without("meta version")),
        ("v2_version_1", small().with("meta version", int(1))),
        ("v2_unsorted", small().unsorted()),
        ("v2_duplicate_key", small().doubled()),
        (
            "v2_loose_integer",
            small().with("piece length", Ben::Raw("i016384e")),
        ),
        ("v2_loose_length", small().with("name", Ben::Raw("01:a"))),
        (
            "v1_version_1_unsorted",
            one("a").with("meta version", int(1)).unsorted(),
        ),
        ("v2_piece_length_odd", small().with("piece length", int(20_000))),
        ("v2_piece_length_small", small().with("piece length", int(8_192))),
        ("v2_no_file_tree", small().without("file tree")),
        ("v2_file_tree_a_list", small().with("file tree", list([]))),
        ("v2_file_tree_empty", v2(dict::<&str>([]))),
        ("v2_file_tree_of_numbers", v2(dict([("a", int(5))]))),
        ("v2_empty_name", v2(dict([("", leaf(5))]))),
        (
            "v2_file_is_folder_too",
            v2(dict([("a", dict([("", good()), ("b", leaf(5))]))])),
        ),
        ("v2_file_a_number", entry(int(5))),
        ("v2_padding", entry(good().with("attr", text("p")))),
        ("v2_no_length", entry(good().without("length"))),
        ("v2_length_negative", entry(good().with("length", int(-5)))),
        ("v2_length_too_long", entry(good().with("length", int(1 << 45)))),
        ("v2_no_root", entry(good().without("pieces root"))),
        ("v2_root_short", entry(good().with("pieces root", text([1; 31])))),
        ("v2_root_zero", entry(good().with("pieces root", text([0; 32])))),
        ("v2_only_empty", v2(dict([("a", leaf(0))]))),
        (
            "v2_too_many_pieces",
            entry(good().with("length", int(PIECE * 2_097_153))),
        ),
        ("v2_pieces_wrong", small().with("pieces", pieces(3 * PIECE))),
    ]
}

fn hybrids() -> Vec<Case> {
    let padding = file(PIECE - 5, &["p"]).with("attr", text("p"));
    let files = |files: Vec<Ben>| hybrid(true).with("files", list(files));
    vec![
        ("hybrid_one", hybrid_one()),
        ("hybrid_padded", hybrid(true)),
        (
            "hybrid_without_tail_padding",
            hybrid(false).with("pieces", pieces(PIECE + 7)),
        ),
        ("hybrid_without_v1_hashes", hybrid(true).without("pieces")),
        (
            "hybrid_other_name",
            files(vec![file(5, &["a"]), padding.clone(), file(7, &["c"])]),
        ),
        (
            "hybrid_other_length",
            files(vec![file(5, &["a"]), padding.clone(), file(8, &["b"])]),
        ),
        (
            "hybrid_other_order",
            files(vec![file(7, &["b"]), padding.clone(), file(5, &["a"])]),
        ),
        (
            "hybrid_one_file_more",
            files(vec![
                file(5, &["a"]),
                padding.clone(),
                file(7, &["b"]),
                file(1, &["c"]),
            ]),
        ),
        ("hybrid_unpadded", files(vec![file(5, &["a"]), file(7, &["b"])])),
        (
            "hybrid_padding_elsewhere",
            files(vec![padding, file(5, &["a"]), file(7, &["b"])]),
        ),
        (
            "hybrid_one_in_a_folder",
            hybrid_one().with("file tree", dict([("album", dict([("album", leaf(40_000))]))])),
        ),
        ("hybrid_pieces_short", hybrid(true).with("pieces", pieces(PIECE))),
    ]
}

fn outer_good() -> Vec<Case> {
    let tiers = list([
        list([text("http://a/announce"), text("  udp://b:1 "), int(5)]),
        text("http://no.tier/"),
        list([]),
    ]);
    let seeds = list([
        text("http://w/"),
        text("http://w/"),
        int(5),
        text("file:///etc/passwd"),
    ]);
    vec![
        (
            "outer_everything",
            torrent(one("a"))
                .with("announce-list", tiers)
                .with("url-list", seeds)
                .with("comment", text("line one\n\u{1b}[31mline two"))
                .with("created by", text(b"\xff"))
                .with("creation date", int(1_700_000_000))
                .with("httpseeds", list([text("http://h/")])),
        ),
        (
            "outer_wrong_types",
            torrent(one("a"))
                .with("announce", int(5))
                .with("announce-list", text("x"))
                .with("url-list", dict([("a", int(1))]))
                .with("comment", list([]))
                .with("creation date", text("now")),
        ),
        (
            "outer_unsorted",
            torrent(one("a")).with("announce", text("http://a/")).unsorted(),
        ),
    ]
}

fn outer_bad() -> Vec<Case> {
    vec![
        ("outer_a_list", list([torrent(one("a"))])),
        ("outer_no_info", dict([("announce", text("http://a/"))])),
        ("outer_info_a_list", dict([("info", list([]))])),
        ("outer_info_a_text", dict([("info", text("d4:name1:ae"))])),
    ]
}

fn layer_cases() -> Vec<Case> {
    let good = layers(&[40_000]);
    let (root, layer) = good
        .first_key_value()
        .map(|(root, layer)| (*root, layer.clone()))
        .unwrap_or_default();
    let other = |layer: Vec<Hash>| v2_long(&BTreeMap::from([(root, layer)]));
    let raw = |key: &[u8], value: Ben| v2_long(&good).with("piece layers", dict([(key, value)]));
    let two = v2(dict([("a", leaf(40_000)), ("b", leaf(50_000))]));
    vec![
        ("layer_good", v2_long(&good)),
        (
            "layer_of_equal_files",
            torrent(v2(dict([("a", leaf(40_000)), ("b", leaf(40_000))])))
                .with("piece layers", layers_value(&good)),
        ),
        (
            "layer_of_one_of_two",
            torrent(two).with("piece layers", layers_value(&good)),
        ),
        ("layers_a_list", v2_long(&good).with("piece layers", list([]))),
        ("layer_wrong_hash", other(layer.iter().rev().copied().collect())),
        ("layer_short", other(layer.iter().take(2).copied().collect())),
        ("layer_long", other([&layer[..], &[[1; 32]]].concat())),
        ("layer_uneven", raw(&root, text([1; 95]))),
        ("layer_not_a_text", raw(&root, int(5))),
        ("layer_of_nothing", raw(&[9; 32], text([1; 96]))),
        ("layer_key_short", raw(&[9; 31], text([1; 96]))),
        (
            "layer_of_small_file",
            torrent(v2(dict([("a", leaf(5))]))).with("piece layers", layers_value(&layers(&[5]))),
        ),
    ]
}

/// Bytes that are no bencode, or not only bencode.
fn raw() -> Vec<Made> {
    let whole = torrent(one("a")).encode();
    let cut = whole.get(..whole.len() - 1).unwrap_or_default().to_vec();
    let made = |(name, bytes): (&'static str, Vec<u8>)| Made { name, bytes };
    [
        ("raw_newline_behind", [&whole[..], b"\r\n"].concat()),
        ("raw_rubbish_behind", [&whole[..], b"rubbish"].concat()),
        ("raw_empty", Vec::new()),
        ("raw_cut", cut),
        ("raw_html", b"<!DOCTYPE html><title>404</title>".to_vec()),
        ("raw_10000_lists", vec![b'l'; 10_000]),
        ("raw_10000_dictionaries", b"d1:a".repeat(10_000)),
        ("raw_10_gigabytes", b"d4:info10000000000:".to_vec()),
        (
            "raw_length_of_30_digits",
            b"d4:info999999999999999999999999999999:".to_vec(),
        ),
        ("raw_key_a_number", b"di5e4:infoe".to_vec()),
        ("raw_key_without_value", b"d4:infoe".to_vec()),
        ("raw_integer_empty", b"d4:infoiee".to_vec()),
        ("raw_integer_of_letters", b"d4:infoi12x4ee".to_vec()),
        ("raw_negative_length", b"d4:info-5:abcde".to_vec()),
    ]
    .into_iter()
    .map(made)
    .collect()
}
