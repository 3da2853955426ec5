"""Say how long a copy takes by each limit: python how_long.py --images 1000 --size 600e6 --workers 4."""

import argparse
import json
from datetime import timedelta

parser = argparse.ArgumentParser(description="Estimate a copy between registries (bytes, seconds).")
parser.add_argument("--preview", type=open, help="what a --dry-run printed, for images, size and blobs")
for name, default, meaning in (
    ("images", 1, "images"),
    ("size", 100e6, "bytes of each image that no other one has"),
    ("blobs", 3, "blobs of each image, its configuration among them"),
    ("workers", 1, "machines: shards, or workers of --dask"),
    ("connections", 5, "connections of each worker to each registry: --concurrency"),
    ("round-trip", 0.001, "seconds to the registries and back"),
    ("speed", "inf", "bytes/s of one connection"),
    ("card", "inf", "bytes/s of the network card of a worker, in one direction"),
    ("core", 300e6, "bytes/s of the processor of a worker: as measured with one core, over https"),
    ("limit", "inf", "bytes/s of the registry, or of the proxy before it, for all workers"),
    ("requests", "inf", "requests/s that the registry or its limit allows, for all workers"),
):
    parser.add_argument(f"--{name}", type=float, default=default, help=f"{meaning} (default: {default})")
it = parser.parse_args()
manifests, blobs, size = it.images, it.images * it.blobs, it.images * it.size
if it.preview:
    found = json.load(it.preview)["preview"]
    manifests, blobs = sum(image["manifests"] for image in found["images"]), found["blobs"]
    size = found["size"] - found["mountableSize"]
times = {
    "round trips": 3 * it.round_trip * (blobs / it.workers + manifests) / it.connections,
    "connections": size / (it.workers * it.connections * it.speed),
    "cards": size / (it.workers * it.card),
    "processors": (size / it.core + 0.0018 * (blobs + manifests)) / it.workers,
    "limit of bytes": size / it.limit,
    "limit of requests": 3 * (blobs + manifests) / it.requests,
}
for limit, seconds in sorted(times.items(), key=lambda pair: -pair[1]):
    print(f"{timedelta(seconds=round(seconds))!s:>17}  {limit}")
