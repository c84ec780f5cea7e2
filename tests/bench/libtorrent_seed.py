"""Seeds one torrent with libtorrent from existing content, trusting it: libtorrent_seed.py TORRENT FOLDER ADDRESS."""

import sys
import threading

import libtorrent

torrent, folder, address = sys.argv[1:]
session = libtorrent.session({
    "listen_interfaces": address,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "allow_multiple_connections_per_ip": True,
    "in_enc_policy": 2,
    "out_enc_policy": 2,
    "alert_mask": 0,
})
parameters = libtorrent.add_torrent_params()
parameters.ti = libtorrent.torrent_info(torrent)
parameters.save_path = folder
parameters.flags = libtorrent.torrent_flags.seed_mode
session.add_torrent(parameters)
threading.Event().wait()
