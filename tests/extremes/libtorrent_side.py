"""One side of a case by libtorrent:
libtorrent_side.py create CONTENT PIECE_LENGTH TORRENT
libtorrent_side.py seed ADDRESS TORRENT FOLDER
libtorrent_side.py get ONLY TORRENT FOLDER PEER…
"""

import os
import sys
import threading

import libtorrent


def session(listen):
    return libtorrent.session({
        "listen_interfaces": listen,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "allow_multiple_connections_per_ip": True,
        "connections_limit": 1000,
        "unchoke_slots_limit": -1,
        "in_enc_policy": 2,
        "out_enc_policy": 2,
        "alert_mask": libtorrent.alert.category_t.status_notification | libtorrent.alert.category_t.storage_notification,
    })


def create(content, piece_length, torrent):
    storage = libtorrent.file_storage()
    libtorrent.add_files(storage, content)
    maker = libtorrent.create_torrent(storage, int(piece_length), libtorrent.create_torrent.v1_only)
    libtorrent.set_piece_hashes(maker, os.path.dirname(content))
    with open(torrent, "wb") as file:
        file.write(libtorrent.bencode(maker.generate()))


def limits():
    return {"max_buffer_size": 128 << 20, "max_pieces": 0x200000}


def seed(address, torrent, folder):
    ours = session(address)
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(torrent, limits())
    parameters.save_path = folder
    parameters.max_uploads = -1
    parameters.max_connections = -1
    parameters.flags = libtorrent.torrent_flags.seed_mode
    ours.add_torrent(parameters)
    print("listening", flush=True)
    threading.Event().wait()


def get(only, torrent, folder, *peers):
    ours = session("127.0.0.1:0")
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(torrent, limits())
    parameters.save_path = folder
    parameters.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
    if only:
        files = parameters.ti.files()
        parameters.file_priorities = [4 * files.file_path(number).endswith(only) for number in range(files.num_files())]
    handle = ours.add_torrent(parameters)
    for peer in peers:
        host, port = peer.rsplit(":", 1)
        handle.connect_peer((host, int(port)))
    while True:
        ours.wait_for_alert(1000)
        for alert in ours.pop_alerts():
            if isinstance(alert, libtorrent.torrent_finished_alert):
                handle.flush_cache()
            elif isinstance(alert, libtorrent.cache_flushed_alert):
                return


{"create": create, "seed": seed, "get": get}[sys.argv[1]](*sys.argv[2:])
