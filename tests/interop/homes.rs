//! Two homes behind routers that translate addresses, both with the same private network, and a tracker inside one of them.

use std::path::PathBuf;

use tests::our_tracker::Setup;
use tests::rig::{Lab, Program, ask_until, digests, fill_folder};

use crate::clients::{Client, PORT};
use crate::members::{MembersClient, Start};
use crate::scene::LIMIT;

#[test]
fn two_of_them_and_a_tracker_inside_one_find_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let world = Lab::internet();
    let (here, there) = (world.home(), world.home());
    let (house, laptop, desk, far) = (here.host(), here.host(), here.host(), there.host());
    assert_eq!(far.ipv4(), house.ipv4(), "homes look alike inside");
    let settings = format!("[announce]\nexternal_addresses = [\"{}\"]\n", here.outside());
    let tracker = Setup::default()
        .settings(&settings)
        .http(&[&format!("{}:0", house.ipv4())])
        .on(&house)
        .start(&place("tracker"));
    here.forward(tracker.address().port(), &house);
    here.forward(PORT, &laptop);

    let content = place("laptop/Photos of 2019");
    fill_folder(&content, 5, &[2_000_000, 10, 300_000]);
    let keys = ["laptop", "desk", "far"].map(|name| tracker.add_member(name));
    let torrent_for = |name: &str, key: &str, at: &str| -> PathBuf {
        let file = place(&format!("{name}.torrent"));
        let announce = format!("http://{at}:{}/{key}/announce", tracker.address().port());
        Program::seeder()
            .args(["create", "--v1", "--private", "--tracker", &announce, "--output"])
            .arg(&file)
            .arg(&content)
            .run(LIMIT)
            .succeeded();
        file
    };
    let inside = house.ipv4().to_string();
    let torrents = [
        torrent_for("laptop", &keys[0], &inside),
        torrent_for("desk", &keys[1], &inside),
        torrent_for("far", &keys[2], &here.outside().to_string()),
    ];
    let card = tracker.ask(&["torrent", "add", &torrents[0].to_string_lossy()]);
    let hash = card["info_hash_v1"].as_str().unwrap().parse().unwrap();
    let start = |number: usize, host, name: &str| {
        MembersClient::start(
            Client::Libtorrent,
            &Start {
                host,
                torrents: &torrents[number..=number],
                folder: &place(name),
                scratch: &place(&format!("{name}-state")),
                whole: name == "laptop",
                upload_rate: None,
            },
        )
    };
    let seeding = start(0, &laptop, "laptop");
    let asker = tracker.client(&keys[0], hash, "asker", 9_000);
    ask_until("the laptop at the tracker", LIMIT, || {
        let address = tracker.address();
        (tracker.inside(|| asker.scrape(address)) == (1, 0)).then_some(())
    });
    // One alone from far away: it can have the bytes from nobody but the laptop, through the router.
    let far = start(2, &far, "far");
    far.wait_until_done();
    let near = start(1, &desk, "desk");
    near.wait_until_done();
    for name in ["far", "desk"] {
        assert_eq!(
            digests(&content),
            digests(&place(name).join("Photos of 2019")),
            "{name}"
        );
    }
    drop(seeding);
}
