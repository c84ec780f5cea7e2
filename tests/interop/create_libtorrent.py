"""Makes a torrent as libtorrent would and prints its info-hashes: PATH v1|hybrid|v2 PIECE_LENGTH. Zeros where there is none."""
import os
import sys
import warnings

import libtorrent as lt

warnings.simplefilter("ignore")
path, form, piece_length = os.path.abspath(sys.argv[1]), sys.argv[2], int(sys.argv[3])
above = os.path.dirname(path)
files = lt.file_storage()
places = [os.path.relpath(os.path.join(folder, name), above) for folder, _, names in os.walk(path) for name in names]
for place in sorted(places, key=lambda place: place.split("/")):
    files.add_file(place, os.path.getsize(os.path.join(above, place)))
flags = {"v1": lt.create_torrent.v1_only, "hybrid": 0, "v2": lt.create_torrent.v2_only}[form]
torrent = lt.create_torrent(files, piece_length, flags)
lt.set_piece_hashes(torrent, above)
hashes = lt.torrent_info(lt.bencode(torrent.generate())).info_hashes()
print(hashes.v1, hashes.v2)
