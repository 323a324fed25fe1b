#!/usr/bin/env python3
"""python-tuf as the oracle of tests/tuf_oracle.rs: makes a repository that our verification has to believe, and
follows one of ours with the reference client.

  tuf_oracle.py make OUT BUNDLE...                        repository with a rotated root; BUNDLE are target files
  tuf_oracle.py follow REPOSITORY ROOT CACHE TARGET       prints the target's SHA-256, or why it is not believed
"""
import hashlib
import os
import sys
from datetime import datetime, timedelta, timezone

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import MetaFile, Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig


def signed(metadata, *signers):
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def make(out, bundles):
    expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
    for folder in ("metadata", "targets"):
        os.makedirs(os.path.join(out, folder))

    def put(name, data):
        with open(os.path.join(out, name), "wb") as file:
            file.write(data)

    roots = [CryptoSigner.generate_ed25519() for _ in range(3)]
    daily = {role: CryptoSigner.generate_ed25519() for role in ("targets", "snapshot", "timestamp")}
    root = Root(version=1, expires=expires, consistent_snapshot=True)
    for signer in roots:
        root.add_key(signer.public_key, "root")
    root.roles["root"].threshold = 2
    for role, signer in daily.items():
        root.add_key(signer.public_key, role)
    put("metadata/1.root.json", signed(Metadata(root), *roots[:2]))
    # The second root replaces one root key and the key of the targets.
    root.revoke_key(roots[2].public_key.keyid, "root")
    root.revoke_key(daily["targets"].public_key.keyid, "targets")
    roots[2], daily["targets"] = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
    root.add_key(roots[2].public_key, "root")
    root.add_key(daily["targets"].public_key, "targets")
    root.version = 2
    put("metadata/2.root.json", signed(Metadata(root), roots[0], roots[1], roots[2]))

    targets = Targets(version=3, expires=expires)
    for bundle in bundles:
        name = os.path.basename(bundle)
        target = TargetFile.from_file(name, bundle, ["sha256"])
        targets.targets[name] = target
        with open(bundle, "rb") as file:
            put(f"targets/{target.hashes['sha256']}.{name}", file.read())
    data = signed(Metadata(targets), daily["targets"])
    put("metadata/3.targets.json", data)
    meta = {"targets.json": MetaFile.from_data(3, data, ["sha256"])}
    data = signed(Metadata(Snapshot(version=4, expires=expires, meta=meta)), daily["snapshot"])
    put("metadata/4.snapshot.json", data)
    timestamp = Timestamp(version=5, expires=expires, snapshot_meta=MetaFile.from_data(4, data, ["sha256"]))
    put("metadata/timestamp.json", signed(Metadata(timestamp), daily["timestamp"]))


class Folder(FetcherInterface):
    """Files below a folder, as if a server had them."""

    def __init__(self, folder):
        self.folder = folder

    def _fetch(self, url):
        path = os.path.join(self.folder, url.removeprefix("folder:///"))
        if not os.path.isfile(path):
            raise DownloadHTTPError(f"{url} is not there", 404)
        with open(path, "rb") as file:
            yield file.read()


def follow(repository, root, cache, name):
    os.makedirs(os.path.join(cache, "metadata"), exist_ok=True)
    os.makedirs(os.path.join(cache, "targets"), exist_ok=True)
    with open(root, "rb") as file:
        pinned = file.read()
    updater = Updater(
        metadata_dir=os.path.join(cache, "metadata"),
        metadata_base_url="folder:///metadata/",
        target_dir=os.path.join(cache, "targets"),
        target_base_url="folder:///targets/",
        fetcher=Folder(repository),
        config=UpdaterConfig(prefix_targets_with_hash=True),
        bootstrap=pinned,
    )
    updater.refresh()
    target = updater.get_targetinfo(name)
    if target is None:
        sys.exit(f"{name} is not among the targets")
    with open(updater.download_target(target), "rb") as file:
        print(hashlib.sha256(file.read()).hexdigest())


def main():
    command, *arguments = sys.argv[1:]
    if command == "make":
        make(arguments[0], arguments[1:])
    elif command == "follow":
        try:
            follow(*arguments)
        except Exception as error:  # pylint: disable=broad-except  # whatever it is, it is the answer
            sys.exit(f"{type(error).__name__}: {error}")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
