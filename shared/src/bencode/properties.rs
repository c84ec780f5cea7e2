//! Whatever is written is read back; whatever is thrown at the scan, it answers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Int(i64),
    Bytes(Vec<u8>),
    List(Vec<Tree>),
    Dict(BTreeMap<Vec<u8>, Tree>),
}

impl Tree {
    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Int(number) => _ = writer.int(*number),
            Self::Bytes(bytes) => _ = writer.bytes(bytes),
            Self::List(items) => {
                writer.list();
                for item in items {
                    item.write(writer);
                }
                writer.end();
            }
            Self::Dict(entries) => {
                writer.dict();
                for (key, value) in entries {
                    value.write(writer.key(key));
                }
                writer.end();
            }
        }
    }

    fn read(value: &Value<'_>) -> Self {
        let list = || Some(Self::List(value.list()?.map(|item| Self::read(&item)).collect()));
        let dict = || {
            Some(Self::Dict(
                value
                    .dict()?
                    .map(|(key, item)| (key.to_vec(), Self::read(&item)))
                    .collect(),
            ))
        };
        let bytes = || Some(Self::Bytes(value.bytes()?.to_vec()));
        let int = || Some(Self::Int(value.int()?));
        bytes()
            .or_else(list)
            .or_else(dict)
            .or_else(int)
            .expect("every value has a kind")
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..12);
    let leaf = prop_oneof![any::<i64>().prop_map(Tree::Int), bytes().prop_map(Tree::Bytes)];
    leaf.prop_recursive(6, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Tree::List),
            prop::collection::btree_map(bytes(), inner, 0..5).prop_map(Tree::Dict),
        ]
    })
}

fn written(tree: &Tree) -> Vec<u8> {
    let mut writer = Writer::new();
    tree.write(&mut writer);
    writer.finish()
}

/// Every value lies inside its parent and is bencode by itself.
fn check_spans(value: &Value<'_>) {
    assert!(scan(value.raw(), &Limits::TORRENT).is_ok());
    let inside = |child: &Value<'_>| {
        assert!(value.span().start < child.span().start && child.span().end < value.span().end);
        check_spans(child);
    };
    value
        .list()
        .into_iter()
        .flatten()
        .for_each(|child| inside(&child));
    value
        .dict()
        .into_iter()
        .flatten()
        .for_each(|(_, child)| inside(&child));
}

proptest! {
    #[test]
    fn what_is_written_is_canonical_and_read_back(tree in trees()) {
        let bytes = written(&tree);
        let scan = scan(&bytes, &Limits::TORRENT).unwrap();
        prop_assert_eq!(scan.root().blemish(), None);
        prop_assert_eq!(scan.length(), bytes.len());
        prop_assert_eq!(Tree::read(&scan.root()), tree);
    }

    #[test]
    fn damaged_bencode_is_refused_or_still_whole(
        tree in trees(), wounds in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = written(&tree);
        for (place, byte) in wounds {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(scan) = scan(&bytes, &Limits::TORRENT) {
            check_spans(&scan.root());
        }
    }

    #[test]
    fn anything_at_all_is_answered(bytes in prop::collection::vec(prop::sample::select(b"0123456789ilde:-\x00\xff".to_vec()), 0..60)) {
        if let Ok(scan) = scan_prefix(&bytes, &Limits::MESSAGE) {
            check_spans(&scan.root());
        }
    }
}
