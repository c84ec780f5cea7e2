"""Seeds one torrent with libtorrent from existing content, trusting it: libtorrent_seed.py TORRENT FOLDER ADDRESS true|false; `true` takes RC4 alone."""

import sys
import threading

import libtorrent

torrent, folder, address, hidden = sys.argv[1:]
policy = 0 if hidden == "true" else 2
session = libtorrent.session({
    "listen_interfaces": address,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "allow_multiple_connections_per_ip": True,
    "in_enc_policy": policy,
    "out_enc_policy": policy,
    "allowed_enc_level": 2 if hidden == "true" else 3,
    "alert_mask": 0,
})
parameters = libtorrent.add_torrent_params()
parameters.ti = libtorrent.torrent_info(torrent)
parameters.save_path = folder
parameters.flags = libtorrent.torrent_flags.seed_mode
session.add_torrent(parameters)
threading.Event().wait()
